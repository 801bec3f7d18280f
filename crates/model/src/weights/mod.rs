//! Where a model's weights are and how they are held: safetensors and GGUF files, the Hub's local cache, a student's
//! parameters.

mod adapter;
pub(crate) mod asked;
pub(crate) mod counted;
mod float8;
pub(crate) mod gguf;
pub(crate) mod hub;
pub(crate) mod initial;
pub(crate) mod joined;
pub(crate) mod lora;
pub(crate) mod low_rank;
mod mapped;
mod merged;
pub(crate) mod parameters;
pub(crate) mod projection;
mod runs;
pub(crate) mod safetensors;
pub(crate) mod source;
pub(crate) mod tensor_stream;
mod text_names;
mod unread;
pub(crate) mod weight_source;
mod widened;
