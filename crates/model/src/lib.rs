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

mod config;
mod decoder;
mod device;
mod error;
mod export;
mod flops;
mod generation;
mod stop;
mod tokenizer;
mod weights;

pub use config::{DecoderConfig, Experts, Family, RotaryScaling};
pub use decoder::{Decoder, trace::Trace};
pub use device::{StoredDtype, StudentDtype, open_device};
pub use error::ModelError;
pub use export::write_model_dir;
pub use flops::ForwardFlops;
pub use generation::{End, Generated, Generation, GenerationSettings, Prompt, Sampling, stop_tokens};
pub use leadspan_kernels::{self as kernels, GradientSum, Kernels, Packed, project, project_back};
pub use stop::Stop;
pub use tokenizer::{TokenizerBundle, tokenizer_fingerprint};
pub use weights::{
    hub::HubCache,
    parameters::{Parameters, StudentStart},
    source::ModelSource,
    tensor_stream::write_single_precision,
};
