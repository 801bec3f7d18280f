//! Arithmetic on the widest vectors of the processor, and vectorised exponentials.
//!
//! All instruction sets give the same bits: [`on_widest_vectors`] compiles one body for AVX-512, AVX2 and the baseline,
//! without fused multiply-add. This crate does not know what the numbers mean.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod dispatch;
mod exponential;

pub use exponential::{exp_of_non_positive, exp_sum_below, exponentiate};
