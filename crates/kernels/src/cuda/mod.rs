//! The operations on NVIDIA GPUs, in 16-bit formats: launchers of the kernels in `crates/kernels/cuda`, and products by cuBLAS.
//!
//! Everything runs on one stream, in order. Nothing here waits for the device but [`selection::Pending::wait`].

pub(crate) mod adamw;
pub(crate) mod attention;
mod batch;
pub(crate) mod device;
pub(crate) mod embedding;
pub(crate) mod heads;
mod library;
pub(crate) mod linear;
mod memory;
pub(crate) mod norm;
pub(crate) mod objective;
pub(crate) mod product;
pub(crate) mod selection;
pub(crate) mod several;
mod staging;
pub(crate) mod swiglu;
