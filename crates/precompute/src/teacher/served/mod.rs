//! A teacher that an inference server runs: leadspan sends token ids and is told the most probable tokens of every position.
//!
//! ```text
//!  source ── what is known without the server: tokenizer, vocabulary, settings
//!  server ── questions, several at a time: http, bounded by patience; facts, fingerprint
//!  vllm, sglang ── the forms of requests and answers        answer ── one position, checked
//! ```
//!
//! Nothing here reads a clock or the environment. The key is in no message, identity or file.

mod answer;
mod facts;
mod fingerprint;
mod http;
mod patience;
mod running;
mod server;
mod sglang;
mod source;
mod vllm;

pub use self::patience::ServerWait;
pub(super) use self::source::{ServedSource, refuse_without_server};
