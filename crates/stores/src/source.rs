//! A file here on its way into a store, piece by piece, compared with what describes it.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use leadspan_files::{FileError, open_unlinked};

use crate::{Event, StoreError, records::Region};

/// A file that is being read.
pub(crate) struct Source<'a> {
    path: PathBuf,
    file: File,
    bytes: u64,
    read: u64,
    hasher: blake3::Hasher,
    /// What its receipt says, if it has one.
    expected: Option<&'a Region>,
    tell: &'a dyn Fn(Event),
    stop: &'a AtomicBool,
}

impl<'a> Source<'a> {
    pub(crate) fn open(
        path: &Path,
        expected: Option<&'a Region>,
        tell: &'a dyn Fn(Event),
        stop: &'a AtomicBool,
    ) -> Result<Self, StoreError> {
        let file = open_unlinked(path).map_err(FileError::io("open", path))?;
        let bytes = file.metadata().map_err(FileError::io("open", path))?.len();
        if let Some(expected) = expected.filter(|expected| expected.bytes != bytes) {
            return Err(differs(path, &format!("it has {bytes} bytes, not {}", expected.bytes)));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
            read: 0,
            hasher: blake3::Hasher::new(),
            expected,
            tell,
            stop,
        })
    }

    /// Its size, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next `most` bytes, or what is left; nothing at its end.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] instead of the last piece if the file is not the one that is expected;
    /// [`StoreError::Stopped`]; the error of a file that cannot be read.
    pub(crate) fn piece(&mut self, most: u64) -> Result<Vec<u8>, StoreError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(StoreError::Stopped);
        }
        let wanted = most.min(self.bytes - self.read);
        let mut piece = Vec::with_capacity(wanted as usize);
        (&mut self.file)
            .take(wanted)
            .read_to_end(&mut piece)
            .map_err(FileError::io("read", &self.path))?;
        if piece.len() as u64 != wanted {
            return Err(differs(&self.path, "it became shorter while it was read"));
        }
        self.read += wanted;
        if let Some(expected) = self.expected {
            self.hasher.update(&piece);
            if self.read == self.bytes && self.hasher.finalize().to_hex().as_str() != expected.blake3 {
                return Err(differs(&self.path, "its contents have another hash"));
            }
        }
        Ok(piece)
    }

    /// Notes that a piece is in the store.
    pub(crate) fn moved(&self, bytes: u64) {
        (self.tell)(Event::Moved(bytes));
    }
}

fn differs(path: &Path, problem: &str) -> StoreError {
    StoreError::Damaged {
        place: path.display().to_string(),
        by: "its receipt".to_owned(),
        problem: problem.to_owned(),
    }
}
