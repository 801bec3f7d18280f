//! A writer that hashes what passes through it, region by region.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// Passes bytes on to `inner` and hashes them.
pub(crate) struct HashingWriter<W> {
    inner: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

/// Size and hash of one stretch of bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Region {
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
}

impl Region {
    /// Whether `bytes` are those that were hashed.
    pub(crate) fn matches(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.bytes && blake3::hash(bytes).to_hex().as_str() == self.blake3
    }
}

impl<W> HashingWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }

    /// Ends the region that began at the last call (or at the start) and begins the next.
    pub(crate) fn end_region(&mut self) -> (u64, blake3::Hash) {
        let region = (self.bytes, self.hasher.finalize());
        self.hasher.reset();
        self.bytes = 0;
        region
    }

    pub(crate) fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
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
        let region = Region {
            bytes,
            blake3: hash.to_hex().to_string(),
        };
        assert!(region.matches(b"first") && !region.matches(b"forst") && !region.matches(b"firstsecond"));
        writer.write_all(b"second").unwrap();
        assert_eq!(writer.end_region(), (6, blake3::hash(b"second")));
        assert_eq!(writer.into_inner(), b"firstsecond");
    }
}
