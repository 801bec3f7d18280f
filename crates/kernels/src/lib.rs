//! The operations a decoder is made of, each with its backward pass.
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
//! of `cargo bench -p leadspan-kernels` on a virtual machine with 2 cores (AMD EPYC, AVX-512), which drifts: compare within
//! the table. Rates are of what has to be moved or multiplied at least. A backward pass includes what the tensor library's
//! graph adds, fresh memory, zeros and a sum for every gradient, which is most of it for what is bound by memory; a step of
//! training goes back over a tape instead, and is spared that.
//!
//! | kernel, unit | shape | forward: fused | stock | times | backward: fused | stock | times |
//! |---|---|---|---|---|---|---|---|
//! | norm, GB/s | smollm2-135m | 0.16 ms, 45.3 | 0.24 ms, 30.2 | 1.50 | 0.92 ms, 12.0 | 7.88 ms, 1.40 | 8.57 |
//! | norm, GB/s | qwen3-0.6b | 0.39 ms, 33.6 | 1.19 ms, 11.1 | 3.04 | 4.47 ms, 4.39 | 20.5 ms, 0.96 | 4.57 |
//! | rotary, GB/s | smollm2-135m | 0.27 ms, 27.2 | 0.54 ms, 13.7 | 1.99 | 0.93 ms, 7.92 | 5.55 ms, 1.33 | 5.97 |
//! | rotary, GB/s | qwen3-0.6b | 0.68 ms, 38.3 | 4.12 ms, 6.36 | 6.02 | 3.43 ms, 7.64 | 19.7 ms, 1.33 | 5.74 |
//! | swiglu, GB/s | smollm2-135m | 1.00 ms, 29.6 | 3.97 ms, 7.42 | 3.99 | 4.76 ms, 10.3 | 12.8 ms, 3.83 | 2.70 |
//! | swiglu, GB/s | qwen3-0.6b | 1.98 ms, 29.8 | 8.26 ms, 7.14 | 4.18 | 13.8 ms, 7.14 | 28.3 ms, 3.48 | 2.05 |
//! | attention, GFLOP/s | smollm2-135m | 5.02 ms, 83.9 | 21.3 ms, 19.8 | 4.23 | 11.2 ms, 75.0 | 65.2 ms, 12.9 | 5.80 |
//! | attention, GFLOP/s | qwen3-0.6b | 16.4 ms, 91.5 | 51.8 ms, 28.9 | 3.16 | 37.0 ms, 80.9 | 180 ms, 16.7 | 4.85 |
//! | linear, GFLOP/s | smollm2-135m | 13.2 ms, 215 | 13.6 ms, 208 | 1.03 | 28.7 ms, 198 | 31.0 ms, 183 | 1.08 |
//! | linear, GFLOP/s | qwen3-0.6b | 46.1 ms, 218 | 51.2 ms, 197 | 1.11 | 97.0 ms, 207 | 112 ms, 181 | 1.15 |
//! | embedding, GB/s | smollm2-135m |  |  |  | 0.19 ms, 59.6 | 18.5 ms, 0.60 | 99.8 |
//! | embedding, GB/s | qwen3-0.6b |  |  |  | 0.37 ms, 53.9 | 94.6 ms, 0.21 | 259 |
//!
//! The products by themselves, ours beside the `gemm` crate's, in GFLOP/s: y = x · Wᵀ, the gradient of x, and that of W.
//!
//! | weight | y: ours | gemm | x: ours | gemm | W: ours | gemm |
//! |---|---|---|---|---|---|---|
//! | feed-forward, smollm2-135m | 218 | 206 | 212 | 193 | 197 | 153 |
//! | feed-forward, qwen3-0.6b | 217 | 196 | 210 | 208 | 212 | 209 |
//! | head, smollm2-135m | 215 | 201 | 158 | 182 | 213 | 181 |
//! | head, qwen3-0.6b | 214 | 159 | 208 | 210 | 218 | 209 |

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attention;
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

pub use attention::{AttentionShape, attention};
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
    pub fn fuse(self, x: &Tensor) -> bool {
        self == Self::Fused && x.device().is_cpu() && x.dtype() == DType::F32
    }
}
