//! Models in GGUF files: architecture, tokenizer and (quantised) weights.

mod architecture_keys;
mod config;
pub(crate) mod file;
mod header;
mod names;
mod parts;
mod piece;
mod rotary_keys;
mod split;
#[cfg(test)]
mod tests;
pub(crate) mod weights;

pub(super) use architecture_keys::reads;
