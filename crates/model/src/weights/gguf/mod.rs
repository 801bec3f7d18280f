//! Models in one GGUF file: architecture, tokenizer and (quantised) weights.

mod architecture_keys;
mod config;
pub(crate) mod file;
mod header;
mod names;
mod rotary_keys;
pub(crate) mod weights;
