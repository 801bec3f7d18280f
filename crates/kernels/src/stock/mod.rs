//! The operations in stock form: made of the tensor library's own operations, for every device and dtype. Results are part
//! of a graph if their inputs are.

pub(crate) mod attention;
pub(crate) mod cached_attention;
pub(crate) mod gated;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod residual;
pub(crate) mod rotary;
