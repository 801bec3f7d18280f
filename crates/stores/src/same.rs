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

/// An MD5 in the hexadecimal form of an ETag. That of an object of several parts has a hyphen, and is something else.
pub(crate) fn from_etag(etag: &str) -> Option<[u8; 16]> {
    let text = etag.trim_matches('"');
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut md5 = [0; 16];
    for (place, byte) in md5.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(md5)
}

/// An MD5 in the base64 form of `Content-MD5`.
pub(crate) fn from_base64(text: &str) -> Option<[u8; 16]> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = text.trim().strip_suffix("==").filter(|letters| letters.len() == 22)?;
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::with_capacity(16));
    for letter in letters.bytes() {
        let value = LETTERS.iter().position(|known| *known == letter)?;
        bits = (bits << 6 | value as u32) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5s_are_read_in_both_forms() {
        // MD5 of nothing.
        let md5: [u8; 16] = [
            0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04, 0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8, 0x42, 0x7e,
        ];
        assert_eq!(from_etag("\"d41d8cd98f00b204e9800998ecf8427e\""), Some(md5));
        assert_eq!(from_base64("1B2M2Y8AsgTpgAmY7PhCfg=="), Some(md5));
        for wrong in [
            "",
            "d41d8cd98f00b204e9800998ecf8427e-2",
            "d41d8cd98f00b204e9800998ecf8427g",
        ] {
            assert_eq!(from_etag(wrong), None, "{wrong}");
        }
        assert_eq!(from_base64("1B2M2Y8AsgTpgAmY7PhC*g=="), None);
    }
}
