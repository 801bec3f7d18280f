//! Stored numbers as tensors. What most models need, bfloat16 in single precision, is converted straight from the file.

use candle_core::{DType, Device, Result, Tensor, safetensors::Load as _};
use rayon::prelude::*;
use safetensors::{Dtype, tensor::TensorView};

/// How many numbers a task converts.
const NUMBERS: usize = 1 << 16;

/// The numbers of a stored weight, in the format `dtype`.
pub(super) fn load(stored: &TensorView<'_>, dtype: DType, device: &Device) -> Result<Tensor> {
    if stored.dtype() == Dtype::BF16 && dtype == DType::F32 && device.is_cpu() {
        return Tensor::from_vec(widened(stored.data()), stored.shape(), device);
    }
    stored.load(device)?.to_dtype(dtype)
}

/// Numbers in bfloat16 in single precision. The conversion is exact: bfloat16 is the upper half of single precision.
fn widened(bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0f32; bytes.len() / 2];
    let tasks = values.par_chunks_mut(NUMBERS).zip(bytes.par_chunks(2 * NUMBERS));
    tasks.for_each(|(values, bytes)| {
        for (value, &[low, high]) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *value = f32::from_bits(u32::from_le_bytes([0, 0, low, high]));
        }
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bfloat16_number_is_what_the_tensor_library_reads() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let stored = TensorView::new(Dtype::BF16, vec![256, 256], &bytes).unwrap();
        let cpu = Device::Cpu;
        let expected = stored.load(&cpu).unwrap().to_dtype(DType::F32).unwrap();
        let found = load(&stored, DType::F32, &cpu).unwrap();
        assert_eq!(found.dims(), [256, 256]);
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (found, expected) in numbers(&found).into_iter().zip(numbers(&expected)) {
            assert!(found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()));
        }
    }
}
