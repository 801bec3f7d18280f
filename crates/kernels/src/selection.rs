//! The largest logits of rows, found where the logits are.

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::{Kernels, selected::Selected};

/// A selection that a device is making.
pub struct Selecting {
    #[cfg(feature = "cuda")]
    pending: cuda::selection::Pending,
    #[cfg(not(feature = "cuda"))]
    never: std::convert::Infallible,
}

/// Begins to find the `k` largest of each row of `logits` `[N, V]`, in single precision, the sums over all others, and the
/// logits of `targets` `[N]`. `None` if the device has no kernel for this.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
#[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
pub fn select_rows(
    logits: &Tensor,
    targets: &[u32],
    k: usize,
    temperatures: &[f32],
    kernels: Kernels,
) -> Result<Option<Selecting>> {
    #[cfg(feature = "cuda")]
    if kernels == Kernels::Fused && logits.device().is_cuda() && cuda::selection::has_kernel(k, temperatures.len()) {
        let pending = cuda::selection::select_rows(logits, targets, k, temperatures)?;
        return Ok(Some(Selecting { pending }));
    }
    Ok(None)
}

impl Selecting {
    /// Waits for the results. May run on another thread than the one that began.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn wait(self) -> Result<Selected> {
        #[cfg(feature = "cuda")]
        return self.pending.wait();
        #[cfg(not(feature = "cuda"))]
        match self.never {}
    }
}
