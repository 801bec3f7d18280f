//! Integers as tokens and raw bits: small ones exactly, larger ones by exponent and two leading bits.

/// The number of tokens that integers are split into.
pub(super) const TOKENS: usize = 16 + 4 * 28;

/// An integer split into a token and raw bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) token: u8,
    /// The number of raw bits.
    pub(super) width: u32,
    pub(super) bits: u32,
}

pub(super) fn split(integer: u32) -> Parts {
    if integer < 16 {
        return Parts {
            token: integer as u8,
            width: 0,
            bits: 0,
        };
    }
    let width = integer.ilog2() - 2;
    let lead = integer >> width;
    Parts {
        token: (16 + 4 * (width - 2) + (lead & 3)) as u8,
        width,
        bits: integer & ((1 << width) - 1),
    }
}

/// For each token: the number of raw bits that follow it, and the integer if all of them are zero.
const MEANINGS: [(u32, u32); TOKENS] = {
    let mut meanings = [(0, 0); TOKENS];
    let mut token = 0;
    while token < TOKENS {
        meanings[token] = if token < 16 {
            (0, token as u32)
        } else {
            let width = (token as u32 - 16) / 4 + 2;
            (width, (4 + (token as u32 & 3)) << width)
        };
        token += 1;
    }
    meanings
};

/// The number of raw bits that follow a token, and the integer if all of them are zero.
#[inline(always)]
pub(super) fn meaning(token: u8) -> (u32, u32) {
    MEANINGS[token as usize % TOKENS]
}

/// Writes a bit stream.
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    pending_bits: u32,
}

impl BitWriter {
    /// Adds the lowest `width` bits of `bits`. All other bits are zero.
    pub(super) fn push(&mut self, bits: u32, width: u32) {
        self.pending |= u64::from(bits) << self.pending_bits;
        self.pending_bits += width;
        while self.pending_bits >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.pending_bits -= 8;
        }
    }

    /// The bytes in stream order. The last byte is padded with zeros.
    pub(super) fn finish(&mut self) -> &[u8] {
        if self.pending_bits > 0 {
            self.bytes.push(self.pending as u8);
        }
        (self.pending, self.pending_bits) = (0, 0);
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }
}

/// Reads a bit stream from the last of `bytes` to the first.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The next `width` bits, at most 30. Reading past the end gives zeros; [`bytes_used`](Self::bytes_used) then exceeds
    /// the length.
    #[inline(always)]
    pub(super) fn take(&mut self, width: u32) -> u32 {
        let (skipped, shift) = (self.position / 8, self.position % 8);
        self.position += width as usize;
        let end = self.bytes.len().saturating_sub(skipped);
        let window = match end.checked_sub(8).and_then(|start| self.bytes.get(start..end)) {
            Some(window) => u64::from_be_bytes(window.try_into().expect("eight bytes")),
            None => self.last_window(end),
        };
        ((window >> shift) & ((1 << width) - 1)) as u32
    }

    #[cold]
    fn last_window(&self, end: usize) -> u64 {
        let mut window = [0; 8];
        window[8 - end..].copy_from_slice(&self.bytes[..end]);
        u64::from_be_bytes(window)
    }

    pub(super) fn bytes_used(&self) -> usize {
        self.position.div_ceil(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_the_tokens_of_the_table() {
        // (x, token, raw bits) by hand: 16 = 1 00 00b, 27 = 1 10 11b, 2^31 has 29 raw bits.
        for (integer, token, width, bits) in [
            (0, 0, 0, 0),
            (15, 15, 0, 0),
            (16, 16, 2, 0),
            (27, 18, 2, 3),
            (31, 19, 2, 3),
            (32, 20, 3, 0),
            (1 << 31, 16 + 4 * 27, 29, 0),
            (u32::MAX, 16 + 4 * 27 + 3, 29, (1 << 29) - 1),
        ] {
            let parts = split(integer);
            assert_eq!(parts, Parts { token, width, bits }, "{integer}");
            assert!((token as usize) < TOKENS);
            let (raw, base) = meaning(token);
            assert_eq!((raw, base + bits), (width, integer));
        }
    }

    #[test]
    fn bits_come_back_in_order_from_the_end() {
        let values = [(3, 2), (0, 1), (1, 1), (0x1234_5678, 29), (5, 3), (77, 7), (1, 29)];
        let mut writer = BitWriter::default();
        for (bits, width) in values {
            writer.push(bits, width);
        }
        let mut bytes = writer.finish().to_vec();
        bytes.reverse();
        let mut reader = BitReader::new(&bytes);
        for (bits, width) in values {
            assert_eq!(reader.take(width), bits);
        }
        assert_eq!(reader.bytes_used(), bytes.len());
        assert_eq!(reader.take(29), 0);
        assert!(reader.bytes_used() > bytes.len());
    }
}
