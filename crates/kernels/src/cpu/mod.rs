//! The operations in fused form, for single precision on the CPU: parallel, and vectorised for the widest instructions of
//! the processor.

pub(crate) mod attention;
pub(crate) mod cached_attention;
pub(crate) mod gated;
pub(crate) mod linear;
pub(crate) mod linear_of_two;
pub(crate) mod norm;
pub(crate) mod product;
pub(crate) mod residual;
pub(crate) mod rotary;
mod skinny_product;
pub(crate) mod slices;
