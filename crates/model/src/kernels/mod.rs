//! The operations a decoder is made of, each with its backward pass.
//!
//! They are public for the benchmark, `benches/kernels.rs`, and for who builds another decoder of them; everybody else
//! takes a [`Decoder`](crate::Decoder).
//!
//! Every operation has two forms. The *fused* one is a custom operation of the tensor library for single precision on the
//! CPU: parallel, vectorised for the widest instructions that the processor has, with a backward pass of its own that adds
//! the gradients of parameters up in place. The *stock* one is made of the library's own differentiable operations; it runs
//! on every device and in every dtype, is what CUDA runs, and is the oracle of the fused one: tests hold both to each other,
//! forward and backward, and to finite differences.
//!
//! Both give the same function. A fused operation's result for one row or sequence depends on that row or sequence alone,
//! and its sums run in an order that does not depend on the number of threads.
//!
//! # Speed
//!
//! Milliseconds and rates on 1,600 packed tokens of eight samples, and how many times longer the stock form takes; one run
//! of `cargo bench -p leadspan-model` on a virtual machine with 2 cores (AMD EPYC, AVX-512), which drifts: compare within
//! the table. Rates are of what has to be moved or multiplied at least. A backward pass includes what the tensor library's
//! graph adds, fresh memory, zeros and a sum for every gradient, which is most of it for what is bound by memory; a step of
//! training goes back over a tape instead, and is spared that.
//!
//! | kernel, unit | shape | forward: fused | stock | times | backward: fused | stock | times |
//! |---|---|---|---|---|---|---|---|
//! | norm, GB/s | smollm2-135m | 0.28 ms, 26.0 | 0.30 ms, 24.4 | 1.07 | 5.12 ms, 2.16 | 35.6 ms, 0.31 | 6.96 |
//! | norm, GB/s | qwen3-0.6b | 0.28 ms, 46.4 | 0.64 ms, 20.5 | 2.26 | 2.39 ms, 8.22 | 37.8 ms, 0.52 | 15.8 |
//! | rotary, GB/s | smollm2-135m | 0.30 ms, 25.0 | 0.64 ms, 11.5 | 2.16 | 1.17 ms, 6.28 | 33.0 ms, 0.22 | 28.1 |
//! | rotary, GB/s | qwen3-0.6b | 0.78 ms, 33.7 | 5.61 ms, 4.67 | 7.21 | 19.4 ms, 1.35 | 125 ms, 0.21 | 6.47 |
//! | swiglu, GB/s | smollm2-135m | 0.94 ms, 31.5 | 10.2 ms, 2.90 | 10.9 | 23.0 ms, 2.14 | 68.3 ms, 0.72 | 2.97 |
//! | swiglu, GB/s | qwen3-0.6b | 1.95 ms, 30.2 | 19.7 ms, 2.99 | 10.1 | 42.0 ms, 2.34 | 123 ms, 0.80 | 2.94 |
//! | attention, GFLOP/s | smollm2-135m | 5.54 ms, 76.1 | 23.9 ms, 17.6 | 4.32 | 13.2 ms, 63.7 | 106 ms, 7.93 | 8.03 |
//! | attention, GFLOP/s | qwen3-0.6b | 21.4 ms, 69.9 | 135 ms, 11.1 | 6.28 | 81.7 ms, 36.7 | 400 ms, 7.50 | 4.89 |
//! | linear, GFLOP/s | smollm2-135m | 15.2 ms, 186 | 15.0 ms, 188 | 0.99 | 43.9 ms, 129 | 40.2 ms, 141 | 0.92 |
//! | linear, GFLOP/s | qwen3-0.6b | 54.7 ms, 184 | 55.0 ms, 183 | 1.01 | 132 ms, 152 | 151 ms, 133 | 1.14 |
//! | embedding, GB/s | smollm2-135m |  |  |  | 0.28 ms, 39.0 | 73.5 ms, 0.15 | 259 |
//! | embedding, GB/s | qwen3-0.6b |  |  |  | 1.14 ms, 17.3 | 383 ms, 0.05 | 337 |

mod attention;
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
