//! Tensors written to a safetensors file in single precision, piece by piece.
//!
//! Values are converted one piece at a time, so memory holds one piece beside the tensors themselves. A tensor on another
//! device is first copied to main memory as a whole.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use candle_core::{DType, Device, Tensor};
use leadspan_files::{SafetensorsWriter, TensorHeader};
use safetensors::Dtype;

/// How many numbers are converted at a time: 1 MiB in single precision.
const NUMBERS_PER_PIECE: usize = 1 << 18;

/// Writes `tensors` to `to` as a safetensors file in single precision, in the order of their names.
///
/// # Errors
///
/// If `to` fails. An error of the tensor library has the kind [`io::ErrorKind::Other`]; [`io::Error::downcast`] returns it.
pub fn write_single_precision<W: Write>(
    to: W,
    metadata: &[(&str, &str)],
    tensors: &BTreeMap<&str, &Tensor>,
) -> io::Result<W> {
    let headers = tensors.iter().map(|(&name, tensor)| TensorHeader {
        name: name.to_owned(),
        dtype: Dtype::F32,
        shape: tensor.dims().to_vec(),
    });
    let mut writer = SafetensorsWriter::new(to, metadata, headers)?;
    for tensor in tensors.values() {
        let numbers = in_main_memory(tensor).map_err(io::Error::other)?;
        let count = numbers.elem_count();
        let pieces = (0..count)
            .step_by(NUMBERS_PER_PIECE)
            .map(|start| piece(&numbers, start, NUMBERS_PER_PIECE.min(count - start)).map_err(io::Error::other));
        writer.write_tensor(pieces)?;
    }
    writer.finish()
}

/// The numbers of `tensor` as a vector, untracked. They are copied only if they are on another device or not contiguous.
fn in_main_memory(tensor: &Tensor) -> candle_core::Result<Tensor> {
    tensor.detach().to_device(&Device::Cpu)?.flatten_all()
}

/// `count` numbers from `start` on, as little-endian single-precision bytes.
fn piece(numbers: &Tensor, start: usize, count: usize) -> candle_core::Result<Vec<u8>> {
    let numbers = numbers
        .narrow(0, start, count)?
        .to_dtype(DType::F32)?
        .to_vec1::<f32>()?;
    Ok(numbers.into_iter().flat_map(f32::to_le_bytes).collect())
}
