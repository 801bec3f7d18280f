//! Write operations that fail on purpose: in tests, one of them, counted from the start; otherwise, none.
//!
//! Everything that changes a cache's folder goes through `commit`, which comes here before each operation.

#[cfg(test)]
pub(crate) use injected::{failing_at, step};

/// An operation that changes the cache's folder is about to be done.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it can fail")]
#[inline(always)]
pub(crate) fn step() -> std::io::Result<()> {
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
