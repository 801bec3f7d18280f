//! What happens before each write operation: in tests, one of them fails on purpose, or a hook sees it; otherwise, nothing.
//!
//! Everything that commits a file comes here before each operation. It costs a look at a thread's own counter.

use std::{cell::Cell, io, sync::OnceLock};

static BEFORE_EACH: OnceLock<fn()> = OnceLock::new();

/// Calls `hook` before each operation of the commit protocol (create, write, sync, rename, sync the folder) from here on, in
/// the thread that is about to do it. The first hook stays. For tests that stop a process at a certain operation.
pub fn before_each_write(hook: fn()) {
    let _ = BEFORE_EACH.set(hook);
}

thread_local! {
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Runs `body` with the `number`-th write operation of this thread, counted from 0, failing as on a full disk; also returns
/// whether that operation was reached. For tests.
pub fn failing_at<T>(number: u32, body: impl FnOnce() -> T) -> (T, bool) {
    LEFT.set(Some(number));
    let result = body();
    (result, LEFT.take().is_none())
}

/// An operation that changes a folder is about to be done.
pub(crate) fn step() -> io::Result<()> {
    if let Some(hook) = BEFORE_EACH.get() {
        hook();
    }
    match LEFT.get() {
        None => Ok(()),
        Some(0) => {
            LEFT.set(None);
            Err(io::ErrorKind::StorageFull.into())
        }
        Some(left) => {
            LEFT.set(Some(left - 1));
            Ok(())
        }
    }
}
