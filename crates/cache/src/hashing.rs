//! A writer that hashes the bytes that pass through it, region by region.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// Writes bytes to `inner` and hashes them.
pub(crate) struct HashingWriter<W> {
    /// `None` after [`take`](Self::take).
    inner: Option<W>,
    hasher: blake3::Hasher,
    bytes: u64,
}

/// Size and hash of consecutive bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Region {
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
}

impl Region {
    /// The size and hash of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len() as u64,
            blake3: hash(bytes).to_hex().to_string(),
        }
    }

    /// Whether `bytes` have this size and this hash.
    pub(crate) fn matches(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.bytes && hash(bytes).to_hex().as_str() == self.blake3
    }
}

/// The hash of `bytes`. Uses all processors if there are enough bytes.
fn hash(bytes: &[u8]) -> blake3::Hash {
    const WORTH_SHARING: usize = 1 << 20;
    if bytes.len() < WORTH_SHARING {
        blake3::hash(bytes)
    } else {
        blake3::Hasher::new().update_rayon(bytes).finalize()
    }
}

impl<W> HashingWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner: Some(inner),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }

    /// Ends the current region, which began at the last call or at the start, and begins the next. Returns size and
    /// hash.
    pub(crate) fn end_region(&mut self) -> (u64, blake3::Hash) {
        let region = (self.bytes, self.hasher.finalize());
        self.hasher.reset();
        self.bytes = 0;
        region
    }

    /// The inner writer. Bytes that are written to it directly are not hashed.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotConnected`] if it was taken.
    pub(crate) fn inner_mut(&mut self) -> io::Result<&mut W> {
        self.inner.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Takes the inner writer. Nothing can be written afterwards.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotConnected`] if it was taken before.
    pub(crate) fn take(&mut self) -> io::Result<W> {
        self.inner.take().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner_mut()?.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.as_mut().map_or(Ok(()), W::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_hashed_apart() {
        let mut writer = HashingWriter::new(Vec::new());
        writer.write_all(b"first").unwrap();
        let (bytes, hash) = writer.end_region();
        let region = Region::of(b"first");
        assert_eq!((region.bytes, &region.blake3[..]), (bytes, hash.to_hex().as_str()));
        assert!(region.matches(b"first") && !region.matches(b"forst") && !region.matches(b"firstsecond"));
        writer.write_all(b"second").unwrap();
        assert_eq!(writer.end_region(), (6, blake3::hash(b"second")));
        assert_eq!(writer.take().unwrap(), b"firstsecond");
        assert!(writer.write(b"third").is_err() && writer.take().is_err());
    }
}
