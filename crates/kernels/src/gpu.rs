//! What a GPU can do, and opening it.

use candle_core::{Device, Result};

/// NVIDIA GPU number `ordinal`.
///
/// # Errors
///
/// If there is none, or the program was built without CUDA.
#[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
pub fn open_gpu(ordinal: usize) -> Result<Device> {
    #[cfg(feature = "cuda")]
    return crate::cuda::device::open(ordinal);
    #[cfg(not(feature = "cuda"))]
    candle_core::bail!("this program was built without CUDA")
}

/// Whether the GPU has kernels for attention with heads of `head_dim` numbers, in a layer whose rows have `widths` numbers.
#[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
pub fn has_layer_kernels(head_dim: usize, widths: &[usize]) -> bool {
    #[cfg(feature = "cuda")]
    // A thread takes eight numbers at a time.
    return crate::cuda::attention::has_kernels(head_dim) && widths.iter().all(|width| width % 8 == 0);
    #[cfg(not(feature = "cuda"))]
    false
}
