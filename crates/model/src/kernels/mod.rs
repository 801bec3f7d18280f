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
//! the table. Rates are of what has to be moved or multiplied at least. A backward pass includes what the tensor library
//! adds, fresh memory, zeros and a sum for every gradient, which is most of it for what is bound by memory.
//!
//! | kernel, unit | shape | forward: fused | stock | times | backward: fused | stock | times |
//! |---|---|---|---|---|---|---|---|
//! | norm, GB/s | smollm2-135m | 0.23 ms, 32.8 | 8.61 ms, 0.86 | 38.3 | 10.1 ms, 1.09 | 51.1 ms, 0.22 | 5.04 |
//! | norm, GB/s | qwen3-0.6b | 0.34 ms, 38.2 | 5.54 ms, 2.37 | 16.2 | 7.12 ms, 2.76 | 70.3 ms, 0.28 | 9.88 |
//! | rotary, GB/s | smollm2-135m | 0.39 ms, 19.0 | 1.54 ms, 4.78 | 3.97 | 2.05 ms, 3.60 | 44.3 ms, 0.17 | 21.6 |
//! | rotary, GB/s | qwen3-0.6b | 1.08 ms, 24.2 | 14.4 ms, 1.82 | 13.3 | 31.7 ms, 0.83 | 154 ms, 0.17 | 4.84 |
//! | swiglu, GB/s | smollm2-135m | 1.29 ms, 22.9 | 21.1 ms, 1.40 | 16.4 | 35.5 ms, 1.38 | 102 ms, 0.48 | 2.88 |
//! | swiglu, GB/s | qwen3-0.6b | 2.96 ms, 20.0 | 38.5 ms, 1.53 | 13.0 | 62.8 ms, 1.56 | 188 ms, 0.52 | 2.99 |
//! | attention, GFLOP/s | smollm2-135m | 10.4 ms, 40.5 | 102 ms, 4.13 | 9.80 | 25.4 ms, 33.2 | 143 ms, 5.90 | 5.63 |
//! | attention, GFLOP/s | qwen3-0.6b | 32.5 ms, 46.2 | 243 ms, 6.17 | 7.48 | 103 ms, 29.2 | 1116 ms, 2.69 | 10.9 |
//! | linear, GFLOP/s | smollm2-135m | 27.9 ms, 102 | 29.6 ms, 95.6 | 1.06 | 73.5 ms, 77.1 | 98.0 ms, 57.8 | 1.33 |
//! | linear, GFLOP/s | qwen3-0.6b | 103 ms, 98.0 | 106 ms, 94.9 | 1.03 | 208 ms, 96.7 | 259 ms, 77.9 | 1.24 |
//! | embedding, GB/s | smollm2-135m |  |  |  | 0.44 ms, 25.2 | 85.3 ms, 0.13 | 194 |
//! | embedding, GB/s | qwen3-0.6b |  |  |  | 0.96 ms, 20.6 | 379 ms, 0.05 | 397 |

mod attention;
mod linear;
mod norm;
mod product;
mod rotary;
mod slices;
mod swiglu;

#[cfg(test)]
mod tests;

pub use crate::{
    rotary::{Pairing, RotaryTable},
    weight::{GradientSum, Weight},
};
pub use attention::{AttentionShape, attention};
pub(crate) use linear::add_outer_products;
pub use linear::linear;
pub use norm::rms_norm;
pub(crate) use product::Write;
pub use rotary::rotate;
pub(crate) use slices::{InPlace, add_rows, scatter_rows, with as with_values};
pub use swiglu::swiglu;

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
