//! One decoder for teacher and student.
//!
//! A [`ModelSource`] is a model on disk, a directory in the Hugging Face layout or a GGUF file: its [`DecoderConfig`],
//! its tokenizer, its weights. [`Decoder::load`] makes an inference-only decoder of it, [`Decoder::trainable`] one whose
//! every parameter receives a gradient; both run the same forward. Hidden states of all positions and logits of chosen
//! rows are separate calls, so that nobody ever makes a `[tokens, vocabulary]` tensor by accident.
//!
//! The crate knows nothing of caches or data sets.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attention;
mod config;
mod decoder;
mod device;
mod error;
mod export;
mod flops;
mod gguf;
mod kernels;
mod norm;
mod normal;
mod packed;
mod parameters;
mod projection;
mod rotary;
mod safetensors_files;
mod source;
mod tokenizer;
mod trace;
mod weight;

pub use config::{DecoderConfig, Family, RotaryScaling};
pub use decoder::Decoder;
pub use device::{StoredDtype, open_device};
pub use error::ModelError;
pub use export::write_model_dir;
pub use flops::ForwardFlops;
pub use kernels::{Kernels, project, project_back};
pub use packed::Packed;
pub use parameters::{Parameters, StudentStart};
pub use source::ModelSource;
pub use tokenizer::{TokenizerBundle, tokenizer_fingerprint};
pub use trace::Trace;
pub use weight::GradientSum;
