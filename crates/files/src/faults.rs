//! Fault injection for tests: makes a chosen write operation or all locks fail, or calls a hook before each write.
//!
//! All code that commits a file calls `step` before each operation. Outside tests a call costs one read of a
//! thread-local counter.

use std::{cell::Cell, io, sync::OnceLock};

static BEFORE_EACH: OnceLock<fn()> = OnceLock::new();

/// Calls `hook` before each later operation of the commit protocol (create, write, sync, rename, sync the folder), in the
/// thread that performs the operation. Only the first hook that is set counts. For tests that stop a process at a certain
/// operation.
pub fn before_each_write(hook: fn()) {
    let _ = BEFORE_EACH.set(hook);
}

thread_local! {
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    static LOCKS_FAIL: Cell<Option<i32>> = const { Cell::new(None) };
    static READ_ONLY: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` with the `number`-th write operation of this thread, counted from 0, failing as on a full disk; also returns
/// whether that operation was reached. For tests.
pub fn failing_at<T>(number: u32, body: impl FnOnce() -> T) -> (T, bool) {
    LEFT.set(Some(number));
    let result = body();
    (result, LEFT.take().is_none())
}

/// Must be called before each operation that changes a folder.
pub(crate) fn step() -> io::Result<()> {
    if let Some(hook) = BEFORE_EACH.get() {
        hook();
    }
    writable()?;
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

/// Runs `body` as on a file system that refuses every lock of this thread with the error number `errno`. For tests.
pub fn without_locks<T>(errno: i32, body: impl FnOnce() -> T) -> T {
    let before = LOCKS_FAIL.replace(Some(errno));
    let result = body();
    LOCKS_FAIL.set(before);
    result
}

/// The error with which a lock must fail, if it must.
pub(crate) fn lock_fault() -> Option<io::Error> {
    LOCKS_FAIL.get().map(io::Error::from_raw_os_error)
}

/// Runs `body` as on a file system that is mounted without write access. For tests.
pub fn read_only<T>(body: impl FnOnce() -> T) -> T {
    let before = READ_ONLY.replace(true);
    let result = body();
    READ_ONLY.set(before);
    result
}

/// Must be called before a file is opened to be written.
pub(crate) fn writable() -> io::Result<()> {
    if READ_ONLY.get() {
        return Err(io::ErrorKind::ReadOnlyFilesystem.into());
    }
    Ok(())
}
