//! Floats of eight bits, each multiplied by a scale: what they stand for.

use rayon::prelude::*;
use safetensors::{Dtype, tensor::TensorView};

use crate::config::quantization::{Scales, USUAL_BLOCKS};

/// The numbers that a weight of eight-bit floats stands for, in single precision.
///
/// # Errors
///
/// A sentence about the weight if its type is another, or its scale has a type or a shape that does not fit.
pub(super) fn dequantised(weight: &TensorView<'_>, scale: &TensorView<'_>, scales: Scales) -> Result<Vec<f32>, String> {
    let table = table_of(weight.dtype()).ok_or_else(|| stored_as(weight.dtype()))?;
    let factors = numbers(scale)?;
    if factors.iter().any(|factor| !factor.is_finite()) {
        return Err("its scale is not finite".to_owned());
    }
    let blocks = blocks(weight.shape(), scale.shape(), scales)?;
    let columns = weight.shape().last().copied().unwrap_or(1).max(1);
    let mut values = vec![0f32; weight.data().len()];
    let rows = values.par_chunks_mut(columns).zip(weight.data().par_chunks(columns));
    rows.enumerate().for_each(|(row, (values, bytes))| {
        let across = columns.div_ceil(blocks[1]);
        let factors = &factors[row / blocks[0] * across..][..across];
        let blocks = values.chunks_mut(blocks[1]).zip(bytes.chunks(blocks[1]));
        for (factor, (values, bytes)) in factors.iter().zip(blocks) {
            for (value, &byte) in values.iter_mut().zip(bytes) {
                *value = table[usize::from(byte)] * factor;
            }
        }
    });
    Ok(values)
}

/// How a weight of this type is described in a refusal.
pub(super) fn stored_as(dtype: Dtype) -> String {
    format!("it is stored as {dtype}, which is not supported")
}

/// Whether a type is one of the eight-bit floats that are read.
pub(super) fn is_float8(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F8_E4M3 | Dtype::F8_E5M2)
}

/// The rows and columns that share a factor of the scale, for a weight and a scale of these shapes.
fn blocks(weight: &[usize], scale: &[usize], scales: Scales) -> Result<[usize; 2], String> {
    let whole = [usize::MAX, usize::MAX];
    let grid = |blocks: [usize; 2]| match weight {
        &[rows, columns] => Some([rows.div_ceil(blocks[0]), columns.div_ceil(blocks[1])]),
        _ => None,
    };
    let in_blocks = |blocks: [usize; 2]| grid(blocks).is_some_and(|grid| scale == grid);
    let as_whole_or_rows = || match (weight, scale) {
        (_, [] | [1] | [1, 1]) => Some(whole),
        (&[rows, _], &[factors] | &[factors, 1]) if rows == factors => Some([1, usize::MAX]),
        _ => None,
    };
    let found = match scales {
        Scales::Blocks(blocks) if in_blocks(blocks) => Some(blocks),
        // One factor is enough if one block is.
        Scales::Blocks(blocks) => as_whole_or_rows().filter(|&found| found == whole && grid(blocks) == Some([1, 1])),
        Scales::WholeOrRows => as_whole_or_rows(),
        Scales::Unstated => as_whole_or_rows().or_else(|| in_blocks(USUAL_BLOCKS).then_some(USUAL_BLOCKS)),
    };
    let expected = match scales {
        Scales::Blocks([rows, columns]) => format!("one factor for each block of {rows} × {columns}"),
        Scales::WholeOrRows => "one factor, or one for each row".to_owned(),
        Scales::Unstated => {
            let [rows, columns] = USUAL_BLOCKS;
            format!("one factor, one for each row, or one for each block of {rows} × {columns}")
        }
    };
    found.ok_or_else(|| format!("its shape is {weight:?}, and its scale of shape {scale:?} is not {expected}"))
}

/// The numbers of a scale.
fn numbers(scale: &TensorView<'_>) -> Result<Vec<f32>, String> {
    let bytes = scale.data();
    Ok(match scale.dtype() {
        Dtype::F32 => {
            let numbers = bytes.chunks_exact(4);
            numbers
                .map(|number| f32::from_le_bytes([number[0], number[1], number[2], number[3]]))
                .collect()
        }
        Dtype::BF16 => {
            let numbers = bytes.chunks_exact(2);
            numbers
                .map(|number| f32::from_le_bytes([0, 0, number[0], number[1]]))
                .collect()
        }
        Dtype::F16 => {
            let numbers = bytes.chunks_exact(2);
            numbers
                .map(|number| decoded(u32::from(u16::from_le_bytes([number[0], number[1]])), 5, 10))
                .collect()
        }
        // Powers of two; the last one stands for no number.
        Dtype::F8_E8M0 => bytes
            .iter()
            .map(|&byte| {
                if byte == u8::MAX {
                    f32::NAN
                } else {
                    2f32.powi(i32::from(byte) - 127)
                }
            })
            .collect(),
        dtype => return Err(format!("its scale is stored as {dtype}, which is not supported")),
    })
}

/// What each byte of a type stands for; `None` if the type is not read.
fn table_of(dtype: Dtype) -> Option<[f32; 256]> {
    let value: fn(u8) -> f32 = match dtype {
        // This type has no infinity: only all ones are no number.
        Dtype::F8_E4M3 => |byte| match byte & 0x7f {
            0x7f => f32::NAN,
            0x78..=0x7e => f32::from(i8::from(byte < 0x80) * 2 - 1) * (256.0 + 32.0 * f32::from(byte & 7)),
            _ => decoded(u32::from(byte), 4, 3),
        },
        Dtype::F8_E5M2 => |byte| decoded(u32::from(byte), 5, 2),
        _ => return None,
    };
    let mut table = [0.0; 256];
    for (byte, entry) in (0..=u8::MAX).zip(&mut table) {
        *entry = value(byte);
    }
    Some(table)
}

/// A float of a sign, `exponent_bits` and `mantissa_bits` as the IEEE defines them.
fn decoded(bits: u32, exponent_bits: u32, mantissa_bits: u32) -> f32 {
    let bias = (1 << (exponent_bits - 1)) - 1;
    let mantissa = bits & ((1 << mantissa_bits) - 1);
    let exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
    let unit = |exponent: u32| 2f32.powi(exponent as i32 - bias - mantissa_bits as i32);
    let magnitude = match exponent {
        0 => mantissa as f32 * unit(1),
        largest if largest == (1 << exponent_bits) - 1 => {
            if mantissa == 0 {
                f32::INFINITY
            } else {
                f32::NAN
            }
        }
        exponent => ((1 << mantissa_bits) + mantissa) as f32 * unit(exponent),
    };
    if bits >> (exponent_bits + mantissa_bits) & 1 == 1 {
        -magnitude
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_for_the_numbers_of_the_two_formats() {
        let of = |dtype, byte: u8| table_of(dtype).unwrap()[usize::from(byte)];
        // Open Compute Project, 8-bit floating point specification, table 2: zero, the subnormal and normal ends, 1, −1.
        for (byte, value) in [
            (0x00, 0.0),
            (0x01, 2f32.powi(-9)),
            (0x07, 0.875 * 2f32.powi(-6)),
            (0x08, 2f32.powi(-6)),
            (0x38, 1.0),
            (0xb8, -1.0),
            (0x3b, 1.375),
            (0x77, 240.0),
            (0x78, 256.0),
            (0x7e, 448.0),
            (0xfe, -448.0),
        ] {
            assert_eq!(of(Dtype::F8_E4M3, byte), value, "{byte:#x}");
        }
        for (byte, value) in [
            (0x01, 2f32.powi(-16)),
            (0x03, 0.75 * 2f32.powi(-14)),
            (0x04, 2f32.powi(-14)),
            (0x3c, 1.0),
            (0xbe, -1.5),
            (0x7b, 57344.0),
            (0x7c, f32::INFINITY),
            (0xfc, f32::NEG_INFINITY),
        ] {
            assert_eq!(of(Dtype::F8_E5M2, byte), value, "{byte:#x}");
        }
        for (dtype, byte) in [(Dtype::F8_E4M3, 0x7f), (Dtype::F8_E4M3, 0xff), (Dtype::F8_E5M2, 0x7d)] {
            assert!(of(dtype, byte).is_nan());
        }
        assert!(table_of(Dtype::F8_E4M3FNUZ).is_none());
    }

    #[test]
    fn a_scale_belongs_to_what_its_shape_and_the_configuration_say() {
        let whole = [usize::MAX, usize::MAX];
        let rows = [1, usize::MAX];
        for (weight, scale, scales, found) in [
            (&[300, 200][..], &[][..], Scales::WholeOrRows, Some(whole)),
            (&[300, 200], &[1], Scales::Unstated, Some(whole)),
            (&[300], &[1], Scales::WholeOrRows, Some(whole)),
            (&[300, 200], &[300, 1], Scales::WholeOrRows, Some(rows)),
            (&[300, 200], &[300], Scales::Unstated, Some(rows)),
            (&[300, 200], &[3, 2], Scales::Unstated, Some([128, 128])),
            (&[300, 200], &[3, 2], Scales::Blocks([128, 128]), Some([128, 128])),
            (&[300, 200], &[5, 4], Scales::Blocks([64, 64]), Some([64, 64])),
            (&[30, 20], &[1], Scales::Blocks([64, 64]), Some(whole)),
            // Blocks of another size, the grid transposed, a scale for the wrong rows, too few.
            (&[300, 200], &[3, 2], Scales::Blocks([64, 64]), None),
            (&[300, 200], &[2, 3], Scales::Blocks([128, 128]), None),
            (&[300, 200], &[200], Scales::WholeOrRows, None),
            (&[300, 200], &[1, 200], Scales::WholeOrRows, None),
            (&[300, 200], &[3, 2], Scales::WholeOrRows, None),
            (&[300, 200], &[1], Scales::Blocks([128, 128]), None),
            (&[300], &[3], Scales::Blocks([128, 128]), None),
        ] {
            assert_eq!(
                blocks(weight, scale, scales).ok(),
                found,
                "{weight:?} {scale:?} {scales:?}"
            );
        }
    }

    #[test]
    fn scales_of_every_type_are_read() {
        let numbers_of =
            |dtype, bytes: &[u8], count| numbers(&TensorView::new(dtype, vec![count], bytes).unwrap()).unwrap();
        assert_eq!(numbers_of(Dtype::F32, &0.375f32.to_le_bytes(), 1), [0.375]);
        assert_eq!(numbers_of(Dtype::BF16, &[0xc0, 0x3e], 1), [0.375]);
        assert_eq!(
            numbers_of(Dtype::F16, &[0x00, 0x36, 0x01, 0x80], 2),
            [0.375, -(2f32.powi(-24))]
        );
        assert_eq!(numbers_of(Dtype::F8_E8M0, &[127, 124], 2), [1.0, 0.125]);
        let other = numbers(&TensorView::new(Dtype::U8, vec![1], &[124]).unwrap());
        assert!(other.unwrap_err().contains("U8"));
    }
}
