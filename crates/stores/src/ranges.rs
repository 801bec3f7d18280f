//! Parts of a file in a store.

use std::{ops::Range, sync::atomic::AtomicBool};

use crate::{Opened, StoreError, parallel, store::PIECE};

/// Reads byte ranges of the file `name` of a cache, several at a time. Nothing else of the file is fetched.
///
/// # Errors
///
/// [`StoreError::Damaged`] if the file ends before one of the ranges does; [`StoreError::Missing`] if there is no such file;
/// the error of a store that does not answer.
pub fn read_ranges(opened: &Opened, name: &str, ranges: &[Range<u64>]) -> Result<Vec<Vec<u8>>, StoreError> {
    let pieces: Vec<Range<u64>> = ranges.iter().flat_map(pieces_of).collect();
    let go = AtomicBool::new(false);
    let store = &*opened.store;
    let read = parallel::each(&pieces, opened.parallel, &go, &mut |_| {}, &|piece, _| {
        let bytes = store.read_range(name, piece.clone())?;
        if bytes.len() as u64 == piece.end - piece.start {
            return Ok(bytes);
        }
        Err(StoreError::Damaged {
            place: store.url_of(name),
            by: "the index of the cache".to_owned(),
            problem: format!("it ends before byte {}", piece.end),
        })
    })?;
    let mut read = read.into_iter();
    Ok(ranges
        .iter()
        .map(|range| read.by_ref().take(pieces_of(range).count()).flatten().collect())
        .collect())
}

/// A range in pieces of at most [`PIECE`] bytes.
pub(crate) fn pieces_of(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let (start, end) = (range.start, range.end);
    (start..end)
        .step_by(PIECE as usize)
        .map(move |begin| begin..end.min(begin + PIECE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_covered_by_its_pieces() {
        assert_eq!(pieces_of(&(5..5)).count(), 0);
        assert_eq!(pieces_of(&(5..6)).collect::<Vec<_>>(), [5..6]);
        let pieces: Vec<_> = pieces_of(&(3..2 * PIECE + 4)).collect();
        assert_eq!(
            pieces,
            [3..PIECE + 3, PIECE + 3..2 * PIECE + 3, 2 * PIECE + 3..2 * PIECE + 4]
        );
    }
}
