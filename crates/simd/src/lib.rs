//! Arithmetic on the widest vectors that the processor has, and exponentials made with it.
//!
//! The same bits come out whatever the instruction set: [`on_widest_vectors`] compiles one body for AVX-512, AVX2 and the
//! baseline, and fuses nothing. What the numbers mean is not this crate's business.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod dispatch;
mod exponential;

pub use exponential::{exp_of_non_positive, exp_sum_below, exponentiate};
