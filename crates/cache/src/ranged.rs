//! Reading ranges of the files of a cache, wherever they lie.
//!
//! A cut reads of a shard only its seal, its tail, the heads of row groups and the blocks that it needs. Whoever implements
//! [`CacheFiles`] for another place, such as an object store, therefore fetches no more than that.

use std::{
    io,
    ops::Range,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use crate::{Cache, CacheError, mapping};

/// The files of a cache.
pub trait CacheFiles: Sync {
    /// An open file.
    type File: RangedFile;

    /// Opens the file `name`, a path relative to the cache's folder.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if it cannot be opened.
    fn open(&self, name: &Path) -> Result<Self::File, CacheError>;

    /// How many new shards are made at a time; `None` for as many as there are processors.
    fn at_a_time(&self) -> Option<usize> {
        None
    }
}

/// A file that is read by ranges.
pub trait RangedFile: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// The bytes of a range of the file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends before the range, and what else prevents reading it.
    fn range(&self, range: Range<u64>) -> io::Result<Bytes>;

    /// The bytes of several ranges, in their order. They ascend and do not overlap.
    ///
    /// # Errors
    ///
    /// Those of [`range`](Self::range).
    fn ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        ranges.iter().map(|range| self.range(range.clone())).collect()
    }
}

impl Cache {
    /// Opens the frame of a cache whose shards lie elsewhere: the folder has all of its other files. A receipt alone shows that a
    /// work unit is committed. Only [`cut_reading`](crate::cut_reading) takes such a cache.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_frame(dir: &Path) -> Result<Self, CacheError> {
        let mut cache = Self::open(dir)?;
        cache.is_frame = true;
        Ok(cache)
    }
}

/// The files of a cache in a folder. They are mapped.
#[derive(Clone, Copy, Debug)]
pub struct Folder<'a>(pub &'a Path);

impl CacheFiles for Folder<'_> {
    type File = Bytes;

    fn open(&self, name: &Path) -> Result<Bytes, CacheError> {
        mapping::map(&self.0.join(name))
    }
}

impl RangedFile for Bytes {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn range(&self, range: Range<u64>) -> io::Result<Bytes> {
        if range.start > range.end || range.end > self.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.slice(range.start as usize..range.end as usize))
    }
}

/// A file whose bytes that are read are counted.
#[derive(Debug)]
pub(crate) struct Counted<'a, F> {
    pub(crate) file: F,
    pub(crate) bytes_read: &'a AtomicU64,
}

impl<F: RangedFile> RangedFile for Counted<'_, F> {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn range(&self, range: Range<u64>) -> io::Result<Bytes> {
        let bytes = self.file.range(range)?;
        self.bytes_read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    fn ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let read = self.file.ranges(ranges)?;
        let bytes: usize = read.iter().map(Bytes::len).sum();
        self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_within_the_file_and_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), b"0123456789").unwrap();
        let bytes_read = AtomicU64::new(0);
        let file = Counted {
            file: Folder(folder.path()).open(Path::new("file")).unwrap(),
            bytes_read: &bytes_read,
        };
        assert_eq!(file.size(), 10);
        assert_eq!(&file.range(2..5).unwrap()[..], b"234");
        assert!(file.range(10..10).unwrap().is_empty());
        for (start, end) in [(8, 11), (11, 12), (5, 2)] {
            let error = file.range(Range { start, end }).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(bytes_read.into_inner(), 3);
        let missing = Folder(folder.path()).open(Path::new("none")).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }
}
