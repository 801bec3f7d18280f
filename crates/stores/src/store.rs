//! What a store can do.

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

use crate::{StoreError, source::Source};

/// The bytes that are sent or asked for at a time. Larger files are uploaded in several parts.
pub(crate) const PIECE: u64 = 8 << 20;

/// The most bytes of a file that is read as a whole, as for the files of a cache.
pub(crate) const MOST_BYTES: u64 = 64 << 20;

/// What a store says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) bytes: u64,
    /// Its MD5, or `None` if the store states none. Some stores state something else in its place.
    pub(crate) md5: Option<[u8; 16]>,
}

/// Whether a file may replace another one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replacing {
    No,
    Yes,
}

/// Whether everything is to stop.
pub type Stopping = Arc<dyn Fn() -> bool + Send + Sync>;

/// A folder in a store. Names are relative to it, with `/` between their parts.
pub(crate) trait Store: Sync {
    /// Its URL, for messages.
    fn url(&self) -> &str;

    /// All files; `None` if the store cannot list them.
    fn list(&self) -> Result<Option<BTreeMap<String, Object>>, StoreError>;

    /// A file of at most [`MOST_BYTES`]; `None` if there is none.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// A part of a file, or less if the file ends in it.
    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError>;

    /// Writes a file of at most [`PIECE`] bytes. Returns whether it was written: not if there is one, and it must not be
    /// replaced. A store that cannot say so replaces it.
    fn put(&self, name: &str, bytes: Vec<u8>, replacing: Replacing) -> Result<bool, StoreError>;

    /// Writes a file in pieces. It becomes visible once all of them are there.
    fn put_large(&self, name: &str, source: &mut Source<'_>) -> Result<(), StoreError>;

    /// Refuses a store that is only read, or that lies in the cache in `dir`, which is to be pushed.
    fn require_target(&self, dir: &Path) -> Result<(), StoreError>;

    /// Lets a pause before another try end when this says so. A store that does not pause needs no such thing.
    fn end_pauses_by(&mut self, _is_stopped: Stopping) {}

    /// The URL of a file, for messages.
    fn url_of(&self, name: &str) -> String {
        format!("{}/{name}", self.url())
    }
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
        assert_eq!(pieces_of(&(5..6)).next(), Some(5..6));
        let pieces: Vec<_> = pieces_of(&(3..2 * PIECE + 4)).collect();
        assert_eq!(
            pieces,
            [3..PIECE + 3, PIECE + 3..2 * PIECE + 3, 2 * PIECE + 3..2 * PIECE + 4]
        );
    }
}
