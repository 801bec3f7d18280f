//! Checksums of large files.

use std::{
    io::{self, Read},
    path::Path,
};

use crate::open_regular;

/// Bytes that are read and hashed at a time: enough for all cores, and little memory.
const PIECE: usize = 8 << 20;

/// Adds the bytes of a file to `hasher`, on all cores.
///
/// The file is read instead of mapped: pages of a mapping count as memory of the process, and a file that shrinks
/// meanwhile would end it.
///
/// # Errors
///
/// If the file cannot be opened or read.
pub fn hash_contents(hasher: &mut blake3::Hasher, path: &Path) -> io::Result<()> {
    let mut file = open_regular(path)?;
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        piece.clear();
        (&mut file).take(PIECE as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        hasher.update_rayon(&piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_several_pieces_has_the_hash_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        for length in [0, 1, PIECE, 2 * PIECE + 12_345] {
            let path = folder.path().join("weights");
            let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            let mut hasher = blake3::Hasher::new();
            hash_contents(&mut hasher, &path).unwrap();
            assert_eq!(hasher.count(), length as u64);
            assert_eq!(hasher.finalize(), blake3::hash(&bytes));
        }
    }
}
