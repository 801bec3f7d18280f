//! The operations made of the tensor library's own, which run on every device and in every dtype and are differentiable
//! where their inputs are tracked.

pub(crate) mod attention;
pub(crate) mod cached_attention;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod rotary;
pub(crate) mod swiglu;
