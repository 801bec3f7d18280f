//! The largest logits of rows, found where the logits are.

use candle_core::{Result, Tensor};

use crate::Kernels;
#[cfg(feature = "cuda")]
use crate::cuda;

/// What was found of rows of logits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selected {
    /// How many tokens there are of each row.
    pub k: usize,
    /// The tokens with the largest logits of each row, largest first, ties to the lower id: `[N, k]`.
    pub token_ids: Vec<u32>,
    /// Their logits: `[N, k]`.
    pub logits: Vec<f32>,
    /// How many sums there are of each row: at least one more than temperatures. Those beyond have no meaning.
    pub sums: usize,
    /// log Σ exp(z/τ) over all other tokens, at temperature 1 and then at each further temperature; −∞ if there are no
    /// others: `[N, sums]`.
    pub others: Vec<f64>,
    /// The logit of each row's target: `[N]`.
    pub target_logits: Vec<f32>,
    /// The first row with a logit that is not finite, and its first such token. Nothing else of that row has a meaning.
    pub not_finite: Option<(usize, u32)>,
}

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
#[cfg_attr(not(feature = "cuda"), expect(unused_variables, clippy::unnecessary_wraps))]
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
