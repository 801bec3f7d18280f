//! LoRA (arXiv 2106.09685): a student learns low-rank additions to some of its products, and nothing else.
//!
//! y = x · Wᵀ + b + s · (x · Aᵀ) · Bᵀ with A `[r, in]`, B `[out, r]` and s = α / r, or α / √r (rsLoRA, arXiv 2312.03732). A starts
//! uniform in ±1/√in and B at zero, as in PEFT. Names of tensors and settings are PEFT's, too.
//!
//! `adapter/` reads adapters of others, which are merged into the weights of a model for inference.

pub(crate) mod directory;
pub(crate) mod merged;
pub(crate) mod modules;
pub(crate) mod settings;
#[cfg(test)]
mod tests;
