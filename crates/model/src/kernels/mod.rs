//! The operations of a decoder, each with its backward pass.
//!
//! They are public for the benchmark, `benches/kernels.rs`, and for code that builds another decoder from them. All other
//! code uses a [`Decoder`](crate::Decoder).
//!
//! Every operation has two forms. The *fused* form is a custom operation of the tensor library for single precision on the
//! CPU: parallel, vectorised for the widest instructions of the processor, with a backward pass that accumulates the gradients
//! of parameters in place. The *stock* form consists of the library's own differentiable operations. It runs on every device
//! and in every dtype, serves CUDA, and is the oracle of the fused form: tests hold both to each other, forward and backward,
//! and to finite differences.
//!
//! Both compute the same function. A fused operation's result for one row or sequence depends on that row or sequence alone,
//! and the order of its sums does not depend on the number of threads. Speeds are in `docs/benchmarks.md`.

mod attention;
mod cached_attention;
mod few_rows;
mod linear;
mod norm;
mod product;
mod rotary;
mod slices;
mod swiglu;
mod tape;

#[cfg(test)]
mod tests;

pub use crate::{
    rotary::{Pairing, RotaryTable},
    weight::{GradientSum, Weight},
};
pub use attention::{AttentionShape, attention};
pub(crate) use cached_attention::{KeyValues, cached_attention};
pub(crate) use linear::add_outer_products;
pub use linear::{linear, project, project_back};
pub use norm::rms_norm;
pub(crate) use product::Write;
pub use rotary::rotate;
pub(crate) use slices::{InPlace, add_rows, scatter_rows, with as with_values};
pub use swiglu::swiglu;
pub use tape::Pass;
pub(crate) use tape::Tape;

use candle_core::{DType, Tensor};

/// Which form of the operations is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernels {
    /// The fused form where there is one for the device and dtype, and the stock form elsewhere.
    #[default]
    Fused,
    /// The stock form everywhere.
    Stock,
}

impl Kernels {
    /// Whether an operation on `x` takes its fused form.
    pub(crate) fn fuse(self, x: &Tensor) -> bool {
        self == Self::Fused && x.device().is_cpu() && x.dtype() == DType::F32
    }
}
