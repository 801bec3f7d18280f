//! One decoder for teacher and student, for the families in [`Family`].
//!
//! A [`ModelSource`] is a model on disk, a directory in the Hugging Face layout or a GGUF file: its [`DecoderConfig`], its
//! tokenizer, its weights. [`Decoder::load`] makes a decoder for inference of it; [`Decoder::trainable`] makes one whose
//! parameters all receive gradients, and [`Decoder::adapted`] one that learns low-rank adapters alone. All run the same forward
//! pass. A [`StreamedDecoder`] runs it with one layer in memory and one on the way. Hidden states of all positions and logits of chosen
//! rows are separate calls, so that no caller makes a `[tokens, vocabulary]` tensor by accident.
//!
//! The final hidden state of a token depends only on the token and the earlier tokens of its sequence, on the CPU bit for
//! bit, and not on other sequences in the same pass. Weights in floats of eight bits become what they stand for while they are
//! read, for teacher and student; what is not read right is refused. A [`HubCache`] finds models that were downloaded from the Hugging Face
//! Hub; this crate downloads nothing.
//!
//! The folders: `families` has one file for each family of models, `config` the architecture, `weights` everything on disk
//! and in memory that holds numbers, `decoder` the forward and backward pass, `generation` the generation of text.
//!
//! This crate knows neither caches nor data sets.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod config;
mod decoder;
mod device;
mod error;
mod export;
mod families;
mod flops;
mod generation;
mod stop;
mod tokenizer;
mod weights;

pub use config::{
    DecoderConfig,
    experts::Experts,
    json::stated_numbers,
    parts::{LayerKind, LinearAttention, Parts, Rotation},
    scaling::RotaryScaling,
};
pub use decoder::{
    Decoder, Distrust,
    sizes::WeightSizes,
    streamed::{StreamedDecoder, StreamedHead},
    trace::{Activations, Trace},
};
pub use device::{DEVICE_PATTERN, KernelForm, StoredDtype, StudentDtype, open_device};
pub use error::ModelError;
pub use export::{write_adapter_dir, write_model_dir};
pub use families::Family;
pub use flops::ForwardFlops;
pub use generation::{
    End, Generated, Generation, Prompt,
    settings::{GenerationSettings, Sampling},
    stop_tokens::{files_with_stop_tokens, stop_tokens},
};
pub use leadspan_kernels::{
    self as kernels, GradientSum, Kernels, Packed, Selected, Selecting, project, project_back, select_rows,
};
pub use stop::Stop;
pub use tokenizer::{TokenizerBundle, tokenizer_fingerprint};
pub use weights::{
    hub::HubCache,
    lora::{
        directory::{AdapterBase, Lora},
        merged::merged_weights,
        settings::{AllLinear, LoraSettings, LoraTargets},
    },
    parameters::{Parameters, StudentStart},
    source::ModelSource,
    tensor_stream::write_single_precision,
};
