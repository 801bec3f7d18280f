//! The memory map: the only unsafe code of this crate.

use std::path::Path;

use bytes::Bytes;
use leadspan_files::{MappedFile, open_unlinked};

use crate::CacheError;

/// A mapping, and the note of which file it is of.
struct Mapping {
    /// For the message about a bus error.
    _noted: MappedFile,
    bytes: memmap2::Mmap,
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Maps a committed file into memory, read-only.
///
/// # Errors
///
/// [`CacheError::Io`] if the file cannot be opened or mapped, or is no regular file.
#[expect(
    unsafe_code,
    reason = "a file-backed memory map is unsafe by nature; the argument is below"
)]
pub(crate) fn map(path: &Path) -> Result<Bytes, CacheError> {
    let file = open_unlinked(path).map_err(CacheError::io("open", path))?;
    let length = file.metadata().map_err(CacheError::io("open", path))?.len();
    if length == 0 {
        // An empty mapping is an error on some systems.
        return Ok(Bytes::new());
    }
    // SAFETY: the mapped bytes must not change while they are borrowed. Only files of a cache are mapped. They are
    // written under another name and renamed when they are complete. After that, no code of this project opens them for
    // writing, and replacing or deleting the name leaves the mapped inode as it was. Another program that modifies a
    // committed file in place breaks the guarantees of the cache (front page of the crate): checksums that were already
    // compared no longer match, and truncation raises a bus error, which the program reports with the path that is
    // noted here before it ends.
    let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(CacheError::io("map", path))?;
    Ok(Bytes::from_owner(Mapping {
        _noted: MappedFile::note(path, &bytes),
        bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_maps_to_no_bytes_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty");
        std::fs::write(&path, b"").unwrap();
        assert!(map(&path).unwrap().is_empty());
        assert!(
            map(&folder.path().join("none"))
                .unwrap_err()
                .to_string()
                .contains("none")
        );
    }

    #[test]
    fn a_mapped_file_is_known_by_its_addresses_until_it_is_unmapped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard");
        std::fs::write(&path, b"committed").unwrap();
        let bytes = map(&path).unwrap();
        let address = bytes.as_ptr() as usize + 8;
        let known = leadspan_files::mapped_file_at(address).unwrap();
        assert!(known.ends_with(b"/shard"));
        drop(bytes);
        assert_ne!(leadspan_files::mapped_file_at(address), Some(known));
    }

    #[test]
    fn a_map_outlives_the_name_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard");
        std::fs::write(&path, b"committed").unwrap();
        let bytes = map(&path).unwrap();
        leadspan_files::commit_bytes(&path, b"replaced!").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(&bytes[..], b"committed");
    }
}
