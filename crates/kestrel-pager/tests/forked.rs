//! A process that forks while it has files open. (Here, as this is the crate that may be unsafe, and a fork is.)
#![cfg(unix)]
#![allow(unsafe_code, reason = "the standard library has no fork")]
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use kestrel_io::{FileStorage, Storage, StorageFile};

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(code: i32) -> !;
}

/// Whether all that changes anything is refused.
fn all_refused(storage: &dyn Storage, file: &dyn StorageFile) -> bool {
    let outcomes = [
        file.write_at(b"from the fork", 0).map(drop),
        file.set_len(1),
        file.preallocate(0, 1 << 20),
        storage.create("other").map(drop),
        storage.rename("data", "other"),
        storage.remove("data"),
    ];
    outcomes.iter().all(|outcome| {
        outcome.as_ref().is_err_and(|error| error.to_string().contains("open it after the fork"))
    })
}

#[test]
fn a_forked_process_writes_to_nothing_that_was_open() {
    let directory = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(directory.path()).unwrap();
    let file = storage.create("data").unwrap();
    file.write_all_at(b"from the first", 0).unwrap();
    // SAFETY: takes no arguments. The new process has this thread only, and ends below without running anything else.
    let process = unsafe { fork() };
    assert!(process >= 0, "no process can be forked");
    if process == 0 {
        let code = i32::from(!all_refused(&storage, &*file));
        // SAFETY: ends the process at once, without destructors, which belong to the other one.
        unsafe { _exit(code) };
    }
    let mut status = -1;
    // SAFETY: the status is a local that outlives the call.
    let ended = unsafe { waitpid(process, &raw mut status, 0) };
    assert_eq!((ended, status), (process, 0), "something was not refused");
    let mut bytes = [0; 14];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"from the first");
    file.write_all_at(b"still writable", 0).unwrap();
}
