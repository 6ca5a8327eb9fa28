//! Room: it is used again, blobs wait as long as a log record may name them, and a full disk changes nothing.

use kestrel_io::{CrashStorage, MemoryStorage};

use super::*;

#[test]
fn a_thousand_checkpoints_of_the_same_pages_do_not_grow_the_file() {
    for (page_size, pages, changes) in [(4096, 3000, 200), (65536, 300, 20)] {
        let storage = MemoryStorage::new();
        let mut workload = Workload::new(create(&storage, page_size).unwrap(), 5);
        workload.page_max = pages;
        for _ in 0..60 {
            workload.round(changes).unwrap();
        }
        for _ in 0..940 {
            workload.round(changes).unwrap();
        }
        workload.check();
        let (file, live) = (workload.store.file_bytes(), workload.store.live_bytes());
        println!("{page_size}: file {file}, live {live}, ratio {}", file as f64 / live as f64);
        assert!(file < 3 * live, "{file} bytes for {live}");
    }
}

#[test]
fn an_image_is_free_once_neither_memory_nor_a_checkpoint_needs_it() {
    let store = create(&MemoryStorage::new(), PAGE_SIZE).unwrap();
    let free = store.free_bytes();
    let at = store.write_images(&[image(1, 5, &[1; 1000])], Claim::Live).unwrap()[0];
    assert_eq!(store.free_bytes(), free - 1536);
    store.release_live(at, None);
    assert_eq!(store.free_bytes(), free);

    let at = store.write_images(&[image(1, 5, &[1; 1000])], Claim::Live).unwrap()[0];
    let state = CheckpointState { next_page: 2, ..CheckpointState::default() };
    let mut writer = store.begin_checkpoint().unwrap();
    writer.set(PageId(1), Some((at, None)));
    writer.finish(&state).unwrap();
    let with_page = store.free_bytes();
    store.release_live(at, None);
    assert_eq!(store.free_bytes(), with_page, "the checkpoint holds it");
    store.claim_live(at, None);
    store.release_live(at, None);
    let mut writer = store.begin_checkpoint().unwrap();
    writer.set(PageId(1), None);
    writer.finish(&state).unwrap();
    assert_eq!(store.free_bytes(), free, "chunk and image are gone, the root is as large as before");
    assert_eq!(store.verify_claims(), Vec::<String>::new());
}

#[test]
fn a_released_blob_waits_for_a_checkpoint_begun_later() {
    let store = create(&MemoryStorage::new(), PAGE_SIZE).unwrap();
    let free = store.free_bytes();
    let state = CheckpointState::default();
    let (at, _) = store.write_blob(PageId(1), TreeId(1), Timestamp(1), &[1; 5000]).unwrap();
    let writer = store.begin_checkpoint().unwrap();
    store.release_live(at, Some(5000));
    writer.finish(&state).unwrap();
    assert_eq!(store.free_bytes(), free - 5120, "released after the checkpoint began");
    drop(store.begin_checkpoint().unwrap());
    assert_eq!(store.free_bytes(), free - 5120, "that checkpoint was never written");
    assert_eq!(store.verify_live_claims([]), Vec::<String>::new(), "the wait is accounted for");
    store.begin_checkpoint().unwrap().finish(&state).unwrap();
    assert_eq!(store.free_bytes(), free);
}

#[test]
fn recovery_reserves_blobs_that_no_checkpoint_knows() {
    let storage = MemoryStorage::new();
    let store = create(&storage, PAGE_SIZE).unwrap();
    let (at, checksum) = store.write_blob(PageId(1), TreeId(1), Timestamp(1), &[1; 5000]).unwrap();
    let (store, _) = PageStore::open(&storage).unwrap();
    store.reserve_blob(at, 5000).unwrap();
    for wrong in [
        store.reserve_blob(at, 5000),
        store.reserve_blob(Location::new(at.sector() + 9, 0, 0), 1),
        store.reserve_blob(Location::new(at.sector() + 100, 3, 0), 1),
        store.reserve_blob(Location::new(2040, 0, 0), 10_000),
        store.reserve_blob(Location::new(Location::SECTORS - 1, 0, 0), u32::MAX),
    ] {
        assert!(matches!(wrong, Err(Error::Corrupted { .. })), "{wrong:?}");
    }
    for _ in 0..100 {
        store.write_images(&[image(2, 2, &[2; 4000])], Claim::Live).unwrap();
    }
    assert_eq!(store.read_blob(PageId(1), at, 5000, checksum).unwrap(), [1; 5000]);
    let mut writer = store.begin_checkpoint().unwrap();
    writer.set(PageId(1), Some((at, Some(5000))));
    writer.finish(&CheckpointState { next_page: 2, ..CheckpointState::default() }).unwrap();
    assert_eq!(store.durable_entry(PageId(1)).unwrap().checksum, checksum);
}

#[test]
fn a_full_disk_is_an_error_that_changes_nothing() {
    let storage = CrashStorage::new();
    storage.set_capacity(Some(8 << 20));
    let mut workload = Workload::new(create(&storage, PAGE_SIZE).unwrap(), 6);
    workload.round(200).unwrap();
    let free = workload.store.free_bytes();
    // The last byte of room is used before the disk counts as full.
    let mut written = vec![];
    let error = loop {
        match workload.store.write_images(&[image(1, 1, &[7; 4000]); 10], Claim::Live) {
            Ok(locations) => written.extend(locations),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::DiskFull { needed } if needed > 0), "{error}");
    assert!(workload.store.free_bytes() < 200_000, "{} bytes are left", workload.store.free_bytes());
    assert!(written.len() > 1000);
    // Regions of which so little is free are only refilled now that the file cannot grow.
    for at in written.iter_mut().step_by(6) {
        workload.store.release_live(*at, None);
        *at = Location::new(128, 0, 0);
    }
    for at in written.iter_mut().step_by(6) {
        *at = workload.store.write_images(&[image(1, 2, &[8; 4000])], Claim::Live).unwrap()[0];
    }
    let blob = workload.store.write_blob(PageId(1), TreeId(1), Timestamp(1), &vec![1; 2 << 20]);
    assert!(matches!(blob, Err(Error::DiskFull { .. })), "{blob:?}");
    let pages = workload.pages.clone();
    let before = workload.store.free_bytes();
    let mut out = vec![];
    for (at, page) in written.iter().zip(std::iter::repeat(PageId(1))) {
        workload.store.read_image(page, *at, &mut out).unwrap();
    }
    check(&workload.store, &pages);
    assert_eq!(workload.store.free_bytes(), before);
    for at in written {
        workload.store.release_live(at, None);
    }
    assert!(workload.store.free_bytes() >= free);
    workload.round(200).unwrap();
    workload.check();
}

#[test]
fn a_file_beyond_4_gib_works() {
    let storage = MemoryStorage::new();
    let store = create(&storage, PAGE_SIZE).unwrap();
    let mut far = Location::new(128, 1, 0);
    {
        // As if 5 GiB were in use.
        let mut allocator = store.allocator.lock();
        allocator.set_capacity(5 << 10);
        let extent = Extent { sector: 2048, sectors: (5 << 21) - 4096 };
        assert!(allocator.try_claim(extent, Claim::Live));
        allocator.release(Extent { sector: (5 << 21) - 2048 - 100, sectors: 100 }, Claim::Live);
        let rest = Extent { sector: 600, sectors: 1448 };
        assert!(allocator.try_claim(rest, Claim::Live));
    }
    let bytes = vec![5; 4000];
    for _ in 0..60 {
        far = store.write_images(&[image(1, 5, &bytes)], Claim::Both).unwrap()[0];
    }
    assert!(far.offset() > 1 << 32, "{far:?}");
    let mut writer = store.begin_checkpoint().unwrap();
    writer.set(PageId(1), Some((far, None)));
    writer.finish(&CheckpointState { next_page: 2, ..CheckpointState::default() }).unwrap();
    let (store, _) = PageStore::open(&storage).unwrap();
    let mut out = vec![];
    store.read_image(PageId(1), far, &mut out).unwrap();
    assert_eq!(out, bytes);
}
