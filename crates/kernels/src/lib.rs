//! The operations of a decoder, each with its backward pass.
//!
//! Every operation has up to three forms. The *fused* forms are custom operations of the tensor library, with a backward pass
//! that accumulates the gradients of parameters in place: in `cpu/` for single precision on the CPU, parallel and vectorised
//! for the widest instructions of the processor; in `cuda/` for 16-bit formats on NVIDIA GPUs. The *stock* form consists of
//! the library's own differentiable operations. It runs on every device and in every dtype. Tests compare the forms with each
//! other, forward and backward, and with finite differences. `tests/emulation` compares the CUDA kernels with double
//! precision, without a GPU.
//!
//! All forms compute the same function. A fused operation's result for one row or sequence depends on that row or sequence
//! alone, and the order of its sums does not depend on the number of threads. Speeds are in `docs/benchmarks.md`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod activation;
#[cfg(any(feature = "cuda", test))]
mod agreement;
mod attention;
mod attention_shape;
mod cached_attention;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod delta_rule;
mod form;
mod gated;
mod gpu;
mod linear;
mod norm;
mod objective;
mod objective_rows;
mod packed;
mod packed_block;
mod residual;
mod rotary;
mod rotary_table;
mod selected;
mod selection;
mod stock;
mod tape;
mod updated_parameter;
mod updates;
mod weight;

#[cfg(test)]
mod tests;

pub use attention::attention;
pub use attention_shape::AttentionShape;
pub use cached_attention::{KeyValues, cached_attention};
pub use cpu::slices::{InPlace, add_rows, scatter_rows, with as with_values};
pub use delta_rule::{DeltaShape, gated_delta_rule, short_convolution};
pub use form::{Kernels, has_fused_form};
pub use gated::{geglu, swiglu};
pub use gpu::{has_layer_kernels, open_gpu};
pub use linear::{linear, linear_of_two, project, project_back, project_widened};
pub use norm::{rms_norm, rms_norm_around_one};
pub use objective::{DeviceLosses, DeviceObjective};
pub use objective_rows::{DeviceLoss, DeviceObjectiveKind, DeviceRows, DrawnTokens};
pub use packed::Packed;
pub use packed_block::{BlockNorms, attend_packed, gate_packed, linear_packed};
pub use residual::{add_scaled, scaled};
pub use rotary::rotate;
pub use rotary_table::{Angles, Pairing, RotaryTable};
pub use selected::Selected;
pub use selection::{Selecting, select_rows};
pub use tape::{Pass, Tape};
pub use updated_parameter::{UpdateNumbers, UpdatedParameter};
pub use updates::{DeviceNorm, DeviceUpdates};
pub use weight::{GradientSum, Weight};
