use std::io;

use kestrel_io::Storage;

use super::*;

fn plan(fault: DiskFault, when: When) -> FaultPlan {
    FaultPlan { fault, target: Target::Any, when }
}

/// A disk with a data file and a segment of the log of 4 KiB each, of ones, synced.
fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    for name in ["kestrel.data", "kestrel.log.0"] {
        let file = disk.create(name).unwrap();
        file.write_all_at(&[1; 4096], 0).unwrap();
        file.sync_data().unwrap();
    }
    disk.sync_directory().unwrap();
    disk
}

fn bytes(disk: &SimDisk, name: &str) -> Vec<u8> {
    disk.storage().contents(name)
}

#[test]
fn every_plannable_fault_fires_and_does_what_it_says() {
    for fault in DiskFault::ALL.into_iter().filter(|fault| fault.can_be_planned()) {
        let disk = disk();
        disk.plan(plan(DiskFault::StaleRead, When::Nth(u64::MAX - 1)));
        let file = disk.open("kestrel.data").unwrap();
        file.write_all_at(&[2; 1024], 512).unwrap();
        if fault != DiskFault::LyingSync {
            file.sync_data().unwrap();
        }
        disk.create("kestrel.spare.1").unwrap();
        disk.plan(plan(fault, When::Nth(0)));
        let mut buffer = [0; 2048];
        let read = file.read_at(&mut buffer, 0);
        let write = file.write_at(&[3; 2048], 0);
        let grow = file.set_len(5000);
        let sync = file.sync_data();
        let name = disk.remove("kestrel.spare.1").and(disk.sync_directory());
        assert_eq!(disk.fired().of(fault), 1, "{fault}");
        let others = disk.fired().iter().map(|(_, count)| count).sum::<u64>();
        assert_eq!(others, 1, "{fault}");
        let failures = [read.is_err(), write.is_err(), grow.is_err(), sync.is_err(), name.is_err()];
        let failed = failures.iter().filter(|&&failed| failed).count();
        let fails = fault.demand() == Demand::Error || fault == DiskFault::Interrupted;
        assert_eq!(failed, usize::from(fails), "{fault}: {failures:?}");
        let clean = [vec![1; 512], vec![2; 1024], vec![1; 512]].concat();
        match fault {
            DiskFault::ShortRead => assert!(read.unwrap() < 2048),
            DiskFault::ShortWrite => assert!(write.unwrap() < 2048),
            DiskFault::StaleRead | DiskFault::RotInRead | DiskFault::RotOnDisk => {
                assert_ne!(buffer[..], clean);
            }
            DiskFault::ReadError => assert_eq!(read.unwrap_err().kind(), io::ErrorKind::Other),
            DiskFault::Interrupted => assert_eq!(read.unwrap_err().kind(), io::ErrorKind::Interrupted),
            DiskFault::NoSpace => assert_eq!(write.unwrap_err().kind(), io::ErrorKind::StorageFull),
            DiskFault::OverQuota => assert_eq!(write.unwrap_err().kind(), io::ErrorKind::QuotaExceeded),
            DiskFault::LostWrite | DiskFault::MisdirectedWrite => {
                assert_ne!(bytes(&disk, "kestrel.data")[..2048], [3; 2048]);
            }
            _ => assert_eq!(buffer[..], clean, "{fault}"),
        }
    }
}

#[test]
fn a_lying_sync_is_found_out_by_a_crash_and_made_good_by_an_honest_one() {
    let lost = (0..50).any(|seed| {
        let disk = disk();
        disk.plan(plan(DiskFault::LyingSync, When::From(0)));
        let file = disk.open("kestrel.data").unwrap();
        file.write_all_at(&[2; 4096], 0).unwrap();
        file.sync_data().unwrap();
        bytes(&disk.crash(seed), "kestrel.data") != [2; 4096]
    });
    assert!(lost);
    for seed in 0..50 {
        let disk = disk();
        disk.plan(plan(DiskFault::LyingSync, When::Nth(0)));
        let file = disk.open("kestrel.data").unwrap();
        file.write_all_at(&[2; 4096], 0).unwrap();
        file.sync_data().unwrap();
        file.sync_data().unwrap();
        assert_eq!(bytes(&disk.crash(seed), "kestrel.data"), [2; 4096]);
    }
}

#[test]
fn targets_are_told_apart_even_after_a_renaming() {
    let disk = disk();
    disk.plan(FaultPlan { fault: DiskFault::WriteError, target: Target::Log, when: When::From(0) });
    let spare = disk.create("kestrel.spare.0").unwrap();
    spare.write_all_at(&[1], 0).unwrap();
    disk.open("kestrel.data").unwrap().write_all_at(&[1], 0).unwrap();
    disk.rename("kestrel.spare.0", "kestrel.log.4096").unwrap();
    assert!(spare.write_all_at(&[1], 0).is_err());
    disk.clear_plans();
    spare.write_all_at(&[1], 0).unwrap();
}

#[test]
fn the_same_seed_does_the_same_and_crashes_leave_everything_that_they_may() {
    let run = |seed: u64| {
        let mut disk = SimDisk::new(seed);
        for fault in
            [DiskFault::RotInRead, DiskFault::ShortWrite, DiskFault::WriteError, DiskFault::LostWrite]
        {
            disk.plan(plan(fault, When::Sometimes(8000)));
        }
        for round in 0..4 {
            let file = disk.create(&format!("kestrel.log.{round}")).unwrap();
            if round % 2 == 0 {
                disk.sync_directory().unwrap();
            }
            for i in 0..20 {
                let _ = file.write_at(&[i; 1500], 2048 * u64::from(i));
                let _ = file.read_at(&mut [0; 100], 500);
                if i == 12 {
                    let _ = file.sync_data();
                }
            }
            disk.stop_at(disk.operations());
            assert!(file.sync_data().is_err());
            disk = disk.crash(seed + round);
        }
        (disk.trace(), disk.fired())
    };
    let mut all = FaultCounts::default();
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
        assert_ne!(run(seed).0, run(seed + 1).0);
        all += run(seed).1;
    }
    let at_crashes = DiskFault::ALL.into_iter().filter(|fault| fault.demand() == Demand::Survive);
    for fault in at_crashes {
        assert!(all.of(fault) > 5, "{fault}: {}", all.of(fault));
    }
}
