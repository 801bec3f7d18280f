//! The pieces of a shard that the Parquet library may read: their checksums were compared, and the rest is not there.

use bytes::{Buf, Bytes, buf::Reader};
use parquet::{
    errors::ParquetError,
    file::reader::{ChunkReader, Length},
};

/// A file of which only some pieces are known.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    /// Size of the file, in bytes.
    bytes: u64,
    /// Where each piece starts in the file, and its bytes.
    pieces: Vec<(u64, Bytes)>,
}

impl Pieces {
    /// The pieces of a file of this size.
    pub(super) fn of(bytes: u64, pieces: Vec<(u64, Bytes)>) -> Self {
        Self { bytes, pieces }
    }

    /// The bytes from `start` to the end of the piece around it.
    fn rest_from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let within = |(first, piece): &(u64, Bytes)| {
            let skipped = usize::try_from(start.checked_sub(*first)?).ok()?;
            (skipped <= piece.len()).then(|| piece.slice(skipped..))
        };
        // Where two pieces touch, the later one has the bytes.
        let found = self.pieces.iter().filter_map(within).max_by_key(Bytes::len);
        found.ok_or_else(|| ParquetError::EOF(format!("byte {start} is not in a piece that was checked")))
    }
}

impl Length for Pieces {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Pieces {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.rest_from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let piece = self.rest_from(start)?;
        if length > piece.len() {
            return Err(ParquetError::EOF(format!(
                "bytes {start} to {} are not in a piece that was checked",
                start.saturating_add(length as u64)
            )));
        }
        Ok(piece.slice(..length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_one_piece_can_be_read() {
        let pieces = Pieces::of(
            100,
            vec![(10, Bytes::from_static(b"abc")), (13, Bytes::from_static(b"defg"))],
        );
        assert_eq!(pieces.len(), 100);
        assert_eq!(&pieces.get_bytes(11, 2).unwrap()[..], b"bc");
        assert_eq!(&pieces.get_bytes(13, 4).unwrap()[..], b"defg");
        assert_eq!(pieces.get_read(14).unwrap().into_inner().len(), 3);
        for (start, length) in [(9, 1), (11, 3), (13, 5), (18, 0), (u64::MAX, 1)] {
            assert!(pieces.get_bytes(start, length).is_err(), "{start} {length}");
        }
    }
}
