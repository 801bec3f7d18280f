//! The alignment of tensors in a GGUF header. The tensor library divides by it without checking for zero.

use std::io::{self, BufRead, Read as _};

/// The key of the alignment in bytes.
const KEY: &[u8] = b"general.alignment";

/// Whether the header sets the alignment to zero. A header that cannot be read gives `false`: the tensor library reports
/// its damage.
///
/// Reads the metadata without keeping any of it in memory.
pub(super) fn is_zero(header: &mut impl BufRead) -> bool {
    alignment_of(header).ok().flatten() == Some(0)
}

/// The alignment, if the metadata has it.
fn alignment_of(header: &mut impl BufRead) -> io::Result<Option<u64>> {
    let _magic = number(header, 4)?;
    // Counts have 32 bits in version 1.
    let count_bytes = if number(header, 4)? == 1 { 4 } else { 8 };
    let _tensors = number(header, count_bytes)?;
    let mut found = None;
    for _ in 0..number(header, count_bytes)? {
        let length = number(header, count_bytes)?;
        // Only a key of the right length can be the one.
        let is_key = if length == KEY.len() as u64 {
            let mut key = [0; KEY.len()];
            header.read_exact(&mut key)?;
            key == KEY
        } else {
            skip(header, length)?;
            false
        };
        let kind = number(header, 4)?;
        match (is_key, width(kind)) {
            // If a key occurs twice, the last value counts.
            (true, Some(bytes)) => found = Some(number(header, bytes)?),
            _ => skip_value(header, kind, count_bytes, 0)?,
        }
    }
    Ok(found)
}

/// The size in bytes of a value of this kind; `None` if sizes vary.
fn width(kind: u64) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// Skips a value. Lists nested more than `DEEPEST` deep are invalid.
fn skip_value(header: &mut impl BufRead, kind: u64, count_bytes: u64, depth: usize) -> io::Result<()> {
    const TEXT: u64 = 8;
    const LIST: u64 = 9;
    const DEEPEST: usize = 64;
    match kind {
        TEXT => {
            let length = number(header, count_bytes)?;
            skip(header, length)
        }
        LIST if depth < DEEPEST => {
            let kind = number(header, 4)?;
            let count = number(header, count_bytes)?;
            match width(kind) {
                Some(bytes) => skip(header, count.saturating_mul(bytes)),
                None => (0..count).try_for_each(|_| skip_value(header, kind, count_bytes, depth + 1)),
            }
        }
        kind => width(kind).map_or(Err(io::ErrorKind::InvalidData.into()), |bytes| skip(header, bytes)),
    }
}

/// Reads a little-endian number of up to eight bytes.
fn number(header: &mut impl BufRead, bytes: u64) -> io::Result<u64> {
    let mut value = [0; 8];
    header.read_exact(&mut value[..bytes as usize])?;
    Ok(u64::from_le_bytes(value))
}

fn skip(header: &mut impl BufRead, bytes: u64) -> io::Result<()> {
    if io::copy(&mut header.take(bytes), &mut io::sink())? < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
