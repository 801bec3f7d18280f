//! A hold for tests: the program waits at the n-th event of a kind, so that a test can stop or kill it exactly there.
//!
//! `LEADSPAN_TEST_HOLD=KIND:N:FILE` asks for it. `KIND` is `writes`, the operations of the commit protocol (create, write,
//! sync, rename, sync the folder), or what a command's progress counts: `steps`, `tokens`, `problems`, `runs`, and so on.
//! Before the n-th write, or after the n-th report of progress, the thread creates `FILE` and waits until the program is
//! asked to stop or `FILE` is removed. A test that finds `FILE` knows how far the program has come, however slow the machine.
//!
//! Commands that run this program as a child pass the variable on. Each process counts for itself, and only the first that
//! gets there is held. Nothing here is part of the program's interface.

use std::{
    fs::File,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

const VARIABLE: &str = "LEADSPAN_TEST_HOLD";

/// The kind of the operations that change a folder.
const WRITES: &str = "writes";

static HOLD: OnceLock<Hold> = OnceLock::new();
static RELEASED: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct Hold {
    kind: String,
    number: u64,
    file: PathBuf,
    seen: AtomicU64,
}

impl Hold {
    /// `None` if the text is malformed.
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (number, file) = rest.split_once(':')?;
        Some(Self {
            kind: kind.to_owned(),
            number: number.parse().ok()?,
            file: file.into(),
            seen: AtomicU64::new(0),
        })
    }

    /// Counts an event of `kind`, and returns whether it is the one to wait at.
    fn is_at(&self, kind: &str) -> bool {
        self.kind == kind && self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.number
    }
}

/// Reads the environment.
pub(crate) fn start() {
    let Some(text) = std::env::var_os(VARIABLE) else {
        return;
    };
    let hold = text.to_str().and_then(Hold::parse);
    let hold = hold.unwrap_or_else(|| panic!("`{VARIABLE}` is malformed: expected `KIND:N:FILE`"));
    let _ = HOLD.set(hold);
    leadspan_files::faults::before_each_write(|| reached(WRITES));
}

/// Counts an event, and waits if it is the one to wait at.
pub(crate) fn reached(kind: &str) {
    let Some(hold) = HOLD.get() else {
        return;
    };
    if hold.is_at(kind) && File::create_new(&hold.file).is_ok() {
        while !RELEASED.load(Ordering::Relaxed) && hold.file.exists() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Lets the thread that waits go on: the program was asked to stop.
pub(crate) fn release() {
    RELEASED.store(true, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_nth_event_of_the_kind_is_held() {
        let hold = Hold::parse("steps:2:/tmp/a:b").unwrap();
        assert_eq!(hold.file, PathBuf::from("/tmp/a:b"));
        let kinds = ["steps", "writes", "steps", "steps"];
        assert_eq!(kinds.map(|kind| hold.is_at(kind)), [false, false, true, false]);
        for malformed in ["", "steps", "steps:2", "steps:two:file"] {
            assert!(Hold::parse(malformed).is_none(), "{malformed}");
        }
    }
}
