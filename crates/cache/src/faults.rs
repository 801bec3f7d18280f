//! What happens before each write operation: in tests, one of them fails on purpose; otherwise, a hook may see it.
//!
//! Everything that changes a cache's folder goes through `commit`, which comes here before each operation.

use std::sync::OnceLock;

#[cfg(test)]
pub(crate) use injected::{failing_at, step};

static BEFORE_EACH: OnceLock<fn()> = OnceLock::new();

/// Calls `hook` before each operation of the commit protocol (create, write, sync, rename, sync the folder) from here on, in
/// the thread that is about to do it. The first hook stays. For tests that stop a process at a certain operation.
pub fn before_each_write(hook: fn()) {
    let _ = BEFORE_EACH.set(hook);
}

/// An operation that changes the cache's folder is about to be done.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it can fail")]
#[inline(always)]
pub(crate) fn step() -> std::io::Result<()> {
    if let Some(hook) = BEFORE_EACH.get() {
        hook();
    }
    Ok(())
}

#[cfg(test)]
mod injected {
    use std::{cell::Cell, io};

    thread_local! {
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// Runs `body` with the `number`-th write operation of this thread, counted from 0, failing as on a full disk; tells
    /// whether it came to that.
    pub(crate) fn failing_at<T>(number: u32, body: impl FnOnce() -> T) -> (T, bool) {
        LEFT.set(Some(number));
        let result = body();
        (result, LEFT.take().is_none())
    }

    pub(crate) fn step() -> io::Result<()> {
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
}
