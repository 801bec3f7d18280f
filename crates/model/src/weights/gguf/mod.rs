//! Models in one GGUF file: architecture, tokenizer and (quantised) weights.

mod alignment;
mod config;
pub(crate) mod file;
mod names;
pub(crate) mod weights;
