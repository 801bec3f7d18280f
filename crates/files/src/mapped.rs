//! Which files this process has mapped into memory, so that a bus error can be told with the name of its file.
//!
//! If another program truncates a mapped file, reading the mapping raises a bus error. The handler of that signal may
//! neither lock nor allocate. It therefore reads a list whose entries are never freed: an entry without bytes is free, and
//! is used again only for a mapping of the same file.

use std::{
    collections::BTreeMap,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// An entry of the list.
#[derive(Debug)]
struct Entry {
    path: PathBuf,
    /// The address of the mapping.
    start: AtomicUsize,
    /// Its size in bytes; 0 if the entry is free.
    bytes: AtomicUsize,
    next: OnceLock<&'static Entry>,
}

static FIRST: OnceLock<&'static Entry> = OnceLock::new();

static CHANGES: Mutex<Changes> = Mutex::new(Changes {
    last: None,
    free: BTreeMap::new(),
});

/// What is needed to change the list.
struct Changes {
    last: Option<&'static Entry>,
    free: BTreeMap<PathBuf, Vec<&'static Entry>>,
}

fn changes() -> MutexGuard<'static, Changes> {
    // A panic while it is held leaves nothing half changed.
    CHANGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that a file is mapped, until it is dropped. Keep it beside the mapping.
#[derive(Debug)]
pub struct MappedFile(&'static Entry);

impl MappedFile {
    /// Notes that the file at `path` is mapped to these bytes.
    pub fn note(path: &Path, mapping: &[u8]) -> Self {
        let mut changes = changes();
        let free = changes.free.get_mut(path).and_then(Vec::pop);
        let entry = free.unwrap_or_else(|| changes.add(path));
        entry.start.store(mapping.as_ptr() as usize, Ordering::Relaxed);
        entry.bytes.store(mapping.len(), Ordering::Release);
        Self(entry)
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        let mut changes = changes();
        self.0.bytes.store(0, Ordering::Release);
        changes.free.entry(self.0.path.clone()).or_default().push(self.0);
    }
}

impl Changes {
    fn add(&mut self, path: &Path) -> &'static Entry {
        let entry: &'static Entry = Box::leak(Box::new(Entry {
            path: path.to_owned(),
            start: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            next: OnceLock::new(),
        }));
        let place = self.last.map_or(&FIRST, |last| &last.next);
        // It is empty, because only the holder of the lock adds entries.
        let _ = place.set(entry);
        self.last = Some(entry);
        entry
    }
}

/// The bytes of the path of the file that is mapped at `address`; `None` if none is known to be. It neither locks nor
/// allocates, so a signal handler may call it.
pub fn mapped_file_at(address: usize) -> Option<&'static [u8]> {
    let mut entry = FIRST.get();
    while let Some(current) = entry {
        let bytes = current.bytes.load(Ordering::Acquire);
        let offset = address.wrapping_sub(current.start.load(Ordering::Relaxed));
        if offset < bytes {
            return Some(current.path.as_os_str().as_bytes());
        }
        entry = current.next.get();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_the_file_that_is_mapped_there_while_it_is() {
        let (one, other) = (vec![0; 100], vec![0; 50]);
        let at = |bytes: &[u8], offset: usize| mapped_file_at(bytes.as_ptr() as usize + offset);
        let first = MappedFile::note(Path::new("one"), &one);
        let second = MappedFile::note(Path::new("other"), &other);
        assert_eq!(at(&one, 0), Some(&b"one"[..]));
        assert_eq!(at(&one, 99), Some(&b"one"[..]));
        assert_eq!(at(&other, 49), Some(&b"other"[..]));
        drop(first);
        assert_eq!(at(&one, 0), None);
        let again = MappedFile::note(Path::new("one"), &other[..10]);
        drop(second);
        assert_eq!((at(&other, 9), at(&other, 10)), (Some(&b"one"[..]), None));
        drop(again);
        assert_eq!(at(&other, 0), None);
    }
}
