//! Numbers of any width in bytes, one after the other, the highest bit of each first.

/// The bytes that `count` numbers of `bits` bits take.
pub(crate) fn packed_bytes(count: usize, bits: u32) -> usize {
    (count * bits as usize).div_ceil(8)
}

/// Appends the lowest `bits` bits of each number, and zeros to a whole byte.
pub(crate) fn pack(numbers: &[u32], bits: u32, into: &mut Vec<u8>) {
    let (mut held, mut filled) = (0u64, 0);
    for &number in numbers {
        held = held << bits | u64::from(number) & ((1 << bits) - 1);
        filled += bits;
        while filled >= 8 {
            filled -= 8;
            into.push((held >> filled) as u8);
        }
    }
    if filled > 0 {
        into.push((held << (8 - filled)) as u8);
    }
}

/// The `count` numbers of `bits` bits (at most 32) in `bytes`, which has as many bytes as [`packed_bytes`] says.
pub(crate) fn unpack(bytes: &[u8], bits: u32, count: usize) -> impl Iterator<Item = u32> {
    let (mut held, mut filled) = (0u64, 0);
    let mut bytes = bytes.iter();
    (0..count).map(move |_| {
        while filled < bits {
            held = held << 8 | u64::from(bytes.next().copied().unwrap_or(0));
            filled += 8;
        }
        filled -= bits;
        (held >> filled & ((1 << bits) - 1)) as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_one_after_the_other_highest_bit_first() {
        let mut packed = Vec::new();
        // 101 011 111 and seven zeros.
        pack(&[5, 3, 7], 3, &mut packed);
        assert_eq!(packed, [0b1010_1111, 0b1000_0000]);
        assert_eq!(unpack(&packed, 3, 3).collect::<Vec<_>>(), [5, 3, 7]);
        for bits in 1..=32 {
            let numbers: Vec<u32> = (0..7u32)
                .map(|at| (0x9e37_79b9u32.wrapping_mul(at + 1)) >> (32 - bits))
                .collect();
            let mut packed = Vec::new();
            pack(&numbers, bits, &mut packed);
            assert_eq!(packed.len(), packed_bytes(7, bits));
            assert_eq!(unpack(&packed, bits, 7).collect::<Vec<_>>(), numbers, "{bits} bits");
        }
    }
}
