//! One decoder for teacher and student: Llama, Qwen2, Qwen3, and Qwen3-MoE as a teacher.
//!
//! A [`ModelSource`] is a model on disk, a directory in the Hugging Face layout or a GGUF file: its [`DecoderConfig`],
//! its tokenizer, its weights. [`Decoder::load`] makes an inference-only decoder of it, [`Decoder::trainable`] one whose
//! every parameter receives a gradient; both run the same forward. Hidden states of all positions and logits of chosen
//! rows are separate calls, so that nobody ever makes a `[tokens, vocabulary]` tensor by accident.
//!
//! The final hidden state of a token depends on it and on those before it in its sequence, bit for bit on the CPU, whatever
//! shares the pass. A [`HubCache`] finds models that were downloaded from the Hugging Face Hub; nothing here downloads.
//!
//! The crate knows nothing of caches or data sets.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attention;
mod config;
mod decoder;
mod device;
mod error;
mod experts;
mod export;
mod feed_forward;
mod flops;
mod gated_block;
mod generation;
mod gguf;
mod gguf_alignment;
mod hub;
mod min_rows;
mod norm;
mod normal;
mod parameters;
mod projection;
mod rotary;
mod safetensors_files;
mod safetensors_writer;
mod source;
mod stop;
mod tensor_stream;
mod tokenizer;
mod trace;
mod weight_source;

pub use config::{DecoderConfig, Experts, Family, RotaryScaling};
pub use decoder::Decoder;
pub use device::{StoredDtype, StudentDtype, open_device};
pub use error::ModelError;
pub use export::write_model_dir;
pub use flops::ForwardFlops;
pub use generation::{End, Generated, Generation, GenerationSettings, Prompt, Sampling, stop_tokens};
pub use hub::HubCache;
pub use leadspan_kernels::{self as kernels, GradientSum, Kernels, Packed, project, project_back};
pub use parameters::{Parameters, StudentStart};
pub use safetensors_writer::{SafetensorsWriter, TensorHeader};
pub use source::ModelSource;
pub use stop::Stop;
pub use tensor_stream::write_single_precision;
pub use tokenizer::{TokenizerBundle, tokenizer_fingerprint};
pub use trace::Trace;
