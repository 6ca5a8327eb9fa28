//! Threads for worlds: each has an epoch of its own, so that worlds side by side do not disturb each other; and panics are caught.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::thread;

use kestreldb::simulation::stand_apart;

thread_local! {
    /// Panics of this thread are kept, not printed.
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs something in a thread that stands apart. A panic is an error that says where it was.
pub fn apart<T: Send>(act: impl FnOnce() -> T + Send) -> Result<T, String> {
    keep_panics();
    let run = || {
        QUIET.set(true);
        if !stand_apart() {
            return Err("a new thread does not stand apart".to_owned());
        }
        panic::catch_unwind(AssertUnwindSafe(act)).map_err(|_| format!("panic: {}", PANIC.take()))
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("world".to_owned()).spawn_scoped(scope, run);
        match thread.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(format!("panic at the end: {}", crate::panic_message(&*panic))),
            Err(error) => Err(format!("no thread can be had: {error}")),
        }
    })
}

/// Runs on so many threads what gives out work until there is none.
pub(crate) fn on_threads(threads: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(&work);
        }
    });
}

/// How many threads there are processors for.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                return before(info);
            }
            let said = crate::panic_message(info.payload());
            let place = info.location().map_or(String::new(), |place| format!(" ({place})"));
            PANIC.with(|panic| *panic.borrow_mut() = format!("{said}{place}"));
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_says_where() {
        let error = apart(|| -> u32 { panic!("on {}", "purpose") }).unwrap_err();
        assert!(error.starts_with("panic: on purpose (") && error.contains("apart.rs"), "{error}");
        assert_eq!(apart(|| 7), Ok(7));
    }
}
