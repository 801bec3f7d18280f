//! What the tensor library does not check in a GGUF header: an alignment of zero, by which it divides, the types of tensors,
//! the first unknown one of which it calls a number, and names that occur twice.

use std::io::{self, BufRead, Read as _};

/// The key of the alignment in bytes.
const KEY: &[u8] = b"general.alignment";

/// What was found in a header, up to its end or to its first damage, which the tensor library reports.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// The alignment, if the metadata has it.
    pub(super) alignment: Option<u64>,
    /// The first tensor of a type that is not read, with the name of the type.
    pub(super) unknown: Option<(String, String)>,
    /// How many keys the header claims.
    pub(super) keys: u64,
    /// How many tensors the header claims.
    pub(super) tensors: u64,
}

/// The longest name of a tensor that is kept for a message.
const LONGEST_NAME: u64 = 256;

/// Reads a header without keeping it in memory.
pub(super) fn skim(header: &mut impl BufRead) -> Header {
    let mut found = Header::default();
    let _damage = read(header, &mut found);
    found
}

fn read(header: &mut impl BufRead, found: &mut Header) -> io::Result<()> {
    let _magic = number(header, 4)?;
    // Counts have 32 bits in version 1.
    let count_bytes = if number(header, 4)? == 1 { 4 } else { 8 };
    found.tensors = number(header, count_bytes)?;
    found.keys = number(header, count_bytes)?;
    for _ in 0..found.keys {
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
            (true, Some(bytes)) => found.alignment = Some(number(header, bytes)?),
            _ => skip_value(header, kind, count_bytes, 0)?,
        }
    }
    for _ in 0..found.tensors {
        let length = number(header, count_bytes)?;
        let mut name = Vec::new();
        header.take(length.min(LONGEST_NAME)).read_to_end(&mut name)?;
        skip(header, length.saturating_sub(LONGEST_NAME))?;
        let dimensions = number(header, 4)?;
        skip(header, dimensions.saturating_mul(count_bytes))?;
        let kind = number(header, 4)?;
        let _offset = number(header, 8)?;
        if found.unknown.is_none() && !is_read(kind) {
            found.unknown = Some((String::from_utf8_lossy(&name).into_owned(), type_name(kind)));
        }
    }
    Ok(())
}

/// Whether a type is read.
///
/// `Q8_1` (9) is not: its blocks have 36 bytes in llama.cpp and 40 in the package `gguf`, and neither writes it to files.
fn is_read(kind: u64) -> bool {
    matches!(kind, 0..=3 | 6..=8 | 10..=15 | 30)
}

/// The name that GGML gives to a type that is not read.
fn type_name(kind: u64) -> String {
    let name = match kind {
        4 => "Q4_2",
        5 => "Q4_3",
        9 => "Q8_1",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        34 => "TQ1_0",
        35 => "TQ2_0",
        36 => "IQ4_NL_4_4",
        37 => "IQ4_NL_4_8",
        38 => "IQ4_NL_8_8",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        _ => return format!("type {kind}"),
    };
    name.to_owned()
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
