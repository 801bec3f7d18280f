//! The operations of a decoder, each with its backward pass.
//!
//! Every operation has two forms. The *fused* form is a custom operation of the tensor library for single precision on the
//! CPU: parallel, vectorised for the widest instructions of the processor, with a backward pass that accumulates the
//! gradients of parameters in place. The *stock* form consists of the library's own differentiable operations. It runs on
//! every device and in every dtype, and serves CUDA. Tests compare the two forms with each other, forward and backward, and
//! with finite differences.
//!
//! Both forms compute the same function. A fused operation's result for one row or sequence depends on that row or sequence
//! alone, and the order of its sums does not depend on the number of threads. Speeds are in `docs/benchmarks.md`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attention;
mod attention_shape;
mod cached_attention;
mod cpu;
mod linear;
mod norm;
mod packed;
mod rotary;
mod rotary_table;
mod stock;
mod swiglu;
mod tape;
mod weight;

#[cfg(test)]
mod tests;

pub use attention::attention;
pub use attention_shape::AttentionShape;
pub use cached_attention::{KeyValues, cached_attention};
pub use cpu::slices::{InPlace, add_rows, scatter_rows, with as with_values};
pub use linear::{linear, project, project_back};
pub use norm::rms_norm;
pub use packed::Packed;
pub use rotary::rotate;
pub use rotary_table::{Angles, Pairing, RotaryTable};
pub use swiglu::swiglu;
pub use tape::{Pass, Tape};
pub use weight::{GradientSum, Weight};

use candle_core::{DType, Tensor};

/// The form of the operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernels {
    /// The fused form if the device and dtype have one, otherwise the stock form.
    #[default]
    Fused,
    /// Always the stock form.
    Stock,
}

impl Kernels {
    /// Whether an operation on `x` uses its fused form.
    pub fn fuse(self, x: &Tensor) -> bool {
        self == Self::Fused && x.device().is_cpu() && x.dtype() == DType::F32
    }
}
