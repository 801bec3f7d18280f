//! The seal at the head of a shard, with which a reader checks the footer before it parses anything.
//!
//! ```text
//! byte   0  "PAR1"
//!        4  "LEADSPAN"
//!       12  u32 LE   format version
//!       16  u32 LE   0
//!       20  u64 LE   bytes of the whole file
//!       28  u64 LE   bytes of the tail (offset index, footer, length, "PAR1")
//!       36  32 bytes blake3 of the tail
//!       68  row groups, back to back, then the tail
//! ```
//!
//! Parquet readers start at the footer and follow absolute offsets, so they do not see the seal. The footer lists size
//! and blake3 of each row group. Seal and footer together cover every byte of the file.

use std::path::Path;

use bytes::Bytes;

use crate::{CacheError, FORMAT_VERSION, ranged::RangedFile};

/// The magic at the start of a Parquet file.
pub(crate) const PARQUET_MAGIC: &[u8; 4] = b"PAR1";
/// Size of the seal, which follows the magic, in bytes.
pub(crate) const SEAL_BYTES: usize = 64;
/// Offset of the first row group.
pub(crate) const DATA_START: usize = PARQUET_MAGIC.len() + SEAL_BYTES;

const SEAL_MAGIC: &[u8; 8] = b"LEADSPAN";

/// The seal of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) file_bytes: u64,
    pub(crate) tail_bytes: u64,
    pub(crate) tail_blake3: [u8; 32],
}

impl Seal {
    /// The seal's bytes in the file.
    pub(crate) fn to_bytes(&self) -> [u8; SEAL_BYTES] {
        let mut bytes = [0; SEAL_BYTES];
        bytes[..8].copy_from_slice(SEAL_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.tail_bytes.to_le_bytes());
        bytes[32..].copy_from_slice(&self.tail_blake3);
        bytes
    }

    /// Reads the seal of `file` and compares the tail with it, which is returned as well.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotAShard`], [`CacheError::UnsupportedVersion`], [`CacheError::WrongSize`],
    /// [`CacheError::Damaged`], or [`CacheError::Io`] if the file cannot be read.
    pub(crate) fn check(file: &impl RangedFile, path: &Path) -> Result<(Self, Bytes), CacheError> {
        let not_a_shard = || CacheError::NotAShard { path: path.to_owned() };
        if file.size() < DATA_START as u64 {
            return Err(not_a_shard());
        }
        let read = |range| file.range(range).map_err(CacheError::io("read", path));
        let head = read(0..DATA_START as u64)?;
        let (magic, seal) = head.split_at(PARQUET_MAGIC.len());
        if magic != PARQUET_MAGIC || &seal[..8] != SEAL_MAGIC {
            return Err(not_a_shard());
        }
        let u32_at = |at: usize| u32::from_le_bytes(seal[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(seal[at..at + 8].try_into().expect("eight bytes"));
        let version = u32_at(8);
        if version != FORMAT_VERSION {
            return Err(CacheError::UnsupportedVersion {
                path: path.to_owned(),
                found: version,
                supported: vec![FORMAT_VERSION],
            });
        }
        let damaged = |part: &str| CacheError::Damaged {
            path: path.to_owned(),
            part: part.to_owned(),
        };
        if u32_at(12) != 0 {
            return Err(damaged("seal"));
        }
        let seal = Self {
            file_bytes: u64_at(16),
            tail_bytes: u64_at(24),
            tail_blake3: seal[32..].try_into().expect("the seal's last 32 bytes"),
        };
        let found = file.size();
        if seal.file_bytes != found {
            return Err(CacheError::WrongSize {
                path: path.to_owned(),
                found,
                expected: seal.file_bytes,
            });
        }
        if seal.tail_bytes > found - DATA_START as u64 {
            return Err(damaged("seal"));
        }
        let tail = read(found - seal.tail_bytes..found)?;
        if blake3::hash(&tail).as_bytes() != &seal.tail_blake3 {
            return Err(damaged("index and footer"));
        }
        Ok((seal, tail))
    }
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    fn sealed(tail: &[u8]) -> Vec<u8> {
        let seal = Seal {
            file_bytes: (DATA_START + 3 + tail.len()) as u64,
            tail_bytes: tail.len() as u64,
            tail_blake3: *blake3::hash(tail).as_bytes(),
        };
        [PARQUET_MAGIC, &seal.to_bytes()[..], b"row", tail].concat()
    }

    #[test]
    fn a_seal_reads_back_and_every_bit_of_seal_and_tail_matters() {
        let sound = sealed(b"index footer PAR1");
        let check = |bytes: Vec<u8>| Seal::check(&Bytes::from(bytes), Path::new("shard"));
        assert_eq!(check(sound.clone()).unwrap().0.tail_bytes, 17);
        for bit in (0..sound.len() * 8).filter(|bit| !(DATA_START..DATA_START + 3).contains(&(bit / 8))) {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check(flipped).is_err(), "bit {bit}");
        }
        for length in 0..sound.len() {
            assert!(check(sound[..length].to_vec()).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_newer_version_is_refused_by_number() {
        let mut newer = sealed(b"tail");
        newer[12] = 200;
        let error = Seal::check(&Bytes::from(newer), Path::new("shard")).unwrap_err();
        assert!(
            matches!(error, CacheError::UnsupportedVersion { found: 200, .. }),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("newer"));
    }
}
