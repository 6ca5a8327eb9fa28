use super::*;

/// Events by number: a call begins when it is named first, and ends when it is named again.
fn trace(calls: Vec<Call>, order: &[usize]) -> Trace {
    let mut begun = vec![false; calls.len()];
    let events = order.iter().map(|&call| match std::mem::replace(&mut begun[call], true) {
        false => Event::Begin(call),
        true => Event::End(call),
    });
    let before = BTreeMap::from([("a".to_owned(), vec![1; 1024])]);
    Trace { before, events: events.collect(), calls }
}

fn write(offset: u64, byte: u8, len: usize) -> Call {
    Call::Write { file: 0, offset, bytes: vec![byte; len] }
}

/// All that a crash at the end may leave of the files.
fn left(trace: &Trace) -> BTreeSet<BTreeMap<String, Vec<u8>>> {
    let mut disk = Disk::new(trace);
    while disk.next().is_some() {
        disk.step();
    }
    let open = disk.open();
    let mut choice = vec![0; open.sizes().len()];
    let mut found = BTreeSet::new();
    for _ in 0..open.ways().unwrap() {
        found.insert(open.image(&choice));
        for (chosen, size) in choice.iter_mut().zip(open.sizes()) {
            *chosen = (*chosen + 1) % size;
            if *chosen > 0 {
                break;
            }
        }
    }
    found
}

/// The possible contents of the file `a`, each as the first byte of every sector.
fn contents(trace: &Trace) -> Vec<Vec<u8>> {
    left(trace).iter().map(|files| files["a"].chunks(512).map(|sector| sector[0]).collect()).collect()
}

#[test]
fn sectors_of_a_write_are_there_or_not_each_for_itself() {
    let calls = vec![write(0, 2, 1024)];
    let all: Vec<_> = [[1, 1], [1, 2], [2, 1], [2, 2]].map(Vec::from).to_vec();
    assert_eq!(contents(&trace(calls.clone(), &[0, 0])), all);
    assert_eq!(contents(&trace(calls, &[0])), all, "also while the write is under way");
}

#[test]
fn a_sync_is_about_what_had_ended_when_it_began() {
    let calls = vec![write(0, 2, 512), Call::SyncData { file: 0 }];
    assert_eq!(contents(&trace(calls.clone(), &[0, 0, 1, 1])), [[2, 1]]);
    let undecided = [[1, 1], [2, 1]];
    assert_eq!(contents(&trace(calls.clone(), &[0, 0, 1])), undecided, "the sync is under way");
    assert_eq!(contents(&trace(calls.clone(), &[0, 1, 0, 1])), undecided, "the write ended too late");
    assert_eq!(contents(&trace(calls, &[1, 0, 0, 1])), undecided, "the write began too late");
}

#[test]
fn sectors_written_again_are_as_after_any_of_the_writes() {
    let calls = vec![write(0, 2, 512), write(0, 3, 512), write(512, 1, 512)];
    let found = contents(&trace(calls, &[0, 0, 1, 1, 2, 2]));
    assert_eq!(found, [[1, 1], [2, 1], [3, 1]], "and the last write changes nothing");
}

#[test]
fn lengths_are_open_too() {
    let calls = vec![write(1024, 2, 100), Call::SetLen { file: 0, len: 512 }];
    let lengths = |trace: &Trace| left(trace).iter().map(|files| files["a"].len()).collect::<BTreeSet<_>>();
    assert_eq!(lengths(&trace(calls.clone(), &[0, 0])), [1024, 1124].into());
    assert_eq!(lengths(&trace(calls, &[0, 0, 1, 1])), [512, 1024, 1124].into());
    let calls = vec![Call::Preallocate { file: 0, offset: 1024, len: 1024 }, Call::SyncData { file: 0 }];
    assert_eq!(lengths(&trace(calls.clone(), &[0, 0])), [1024, 2048].into());
    assert_eq!(lengths(&trace(calls, &[0, 0, 1, 1])), [2048].into());
}

#[test]
fn names_are_open_until_the_directory_is_synced() {
    let rename = Call::Rename { from: "a".to_owned(), to: "b".to_owned() };
    let create = Call::Create { name: "a".to_owned(), file: 1 };
    let names = |trace: &Trace| -> Vec<String> {
        left(trace)
            .iter()
            .map(|files| files.keys().map(|name| &**name).collect::<Vec<_>>().join(" "))
            .collect()
    };
    let calls = vec![rename, create, Call::SyncDirectory];
    // The creation needs the rename before it, as they share a name.
    assert_eq!(names(&trace(calls.clone(), &[0, 0, 1, 1])), ["a b", "a", "b"]);
    assert_eq!(names(&trace(calls.clone(), &[0, 0, 2, 1, 1, 2])), ["a b", "b"]);
    assert_eq!(names(&trace(calls, &[0, 0, 1, 1, 2, 2])), ["a b"]);
}
