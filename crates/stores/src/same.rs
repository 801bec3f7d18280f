//! Whether a file of a store is the file here.

use std::{fs::File, io::Read as _, path::Path};

use leadspan_files::{FileError, open_unlinked};
use md5::{Digest as _, Md5};

use crate::{
    StoreError,
    store::{MOST_BYTES, Object, PIECE, Store, pieces_of},
};

/// Reads a whole file here, of at most [`MOST_BYTES`].
pub(crate) fn contents(path: &Path) -> Result<Vec<u8>, FileError> {
    leadspan_files::read_unlinked(path, MOST_BYTES).map_err(FileError::io("read", path))
}

/// The MD5 of bytes.
pub(crate) fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// Whether a file in a store has the contents of the file at `path`, given what the store says of it.
///
/// An equal MD5 is enough. Another one, or none, decides nothing, because some stores state something else in its place: the
/// file is then read.
pub(crate) fn is_same(store: &dyn Store, name: &str, object: Object, path: &Path) -> Result<bool, StoreError> {
    let failed = || FileError::io("read", path);
    let open = || -> Result<File, FileError> { open_unlinked(path).map_err(failed()) };
    let mut file = open()?;
    if file.metadata().map_err(failed())?.len() != object.bytes {
        return Ok(false);
    }
    if let Some(md5) = object.md5 {
        let mut hasher = Md5::new();
        let mut piece = Vec::new();
        loop {
            piece.clear();
            (&mut file).take(PIECE).read_to_end(&mut piece).map_err(failed())?;
            if piece.is_empty() {
                break;
            }
            hasher.update(&piece);
        }
        if hasher.finalize().as_slice() == md5 {
            return Ok(true);
        }
        file = open()?;
    }
    for range in pieces_of(&(0..object.bytes)) {
        let mut here = Vec::with_capacity((range.end - range.start) as usize);
        (&mut file)
            .take(range.end - range.start)
            .read_to_end(&mut here)
            .map_err(failed())?;
        if store.read_range(name, range)? != here {
            return Ok(false);
        }
    }
    Ok(true)
}
