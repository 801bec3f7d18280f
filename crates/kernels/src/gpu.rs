//! Opening a GPU.

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
