//! The programs that may serve a teacher.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A program that serves models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerEngine {
    /// vLLM, started with `--max-logprobs` of at least `cache.top_k`.
    Vllm,
    /// SGLang.
    Sglang,
}

impl ServerEngine {
    /// Its name in settings and caches.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
        }
    }
}
