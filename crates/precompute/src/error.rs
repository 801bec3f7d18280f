//! The errors of stage one.

use std::path::PathBuf;

use leadspan_cache::CacheError;
use leadspan_corpus::CorpusError;
use leadspan_diagnosis::Diagnosis;
use leadspan_distribution::InvalidEntrySettings;
use leadspan_files::FileError;
use leadspan_model::ModelError;

use crate::server_error::ServerError;

/// How a setting without a value is shown.
pub(crate) const NOT_SET: &str = "not set";

/// Why a cache could not be prepared or filled.
#[derive(Debug, thiserror::Error)]
pub enum PrecomputeError {
    /// The teacher could not be read or run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The data could not be prepared.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The cache could not be made, read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A count that must be at least 1 is 0.
    #[error("`{key}` must be at least 1")]
    ZeroSetting {
        /// The key, with its table.
        key: &'static str,
    },
    /// More requests at a time than servers take.
    #[error("`teacher.requests` is {given}, but it must be at most {most}")]
    TooManyRequests {
        /// The value given.
        given: usize,
        /// The most.
        most: usize,
    },
    /// The weights cannot be streamed to this device.
    #[error("`teacher.memory` is set, but weights are streamed on the CPU alone, and `teacher.device` is `{device}`")]
    StreamingDevice {
        /// The device.
        device: String,
    },
    /// A server cannot be the teacher.
    #[error(transparent)]
    Server(Box<ServerError>),
    /// The settings of the stored entries are impossible.
    #[error(transparent)]
    Entries(#[from] InvalidEntrySettings),
    /// The teacher has no chat template, so conversations cannot be rendered.
    #[error("the model `{}` has no chat template", model.display())]
    NoChatTemplate {
        /// The model.
        model: PathBuf,
    },
    /// Samples may be longer than the teacher's context.
    #[error(
        "`data.max_tokens` is {max_tokens}, but the model `{}` has a context of {context} tokens",
        model.display()
    )]
    BeyondContext {
        /// The length of the longest accepted sample.
        max_tokens: usize,
        /// The length of the model's context.
        context: usize,
        /// The model.
        model: PathBuf,
    },
    /// The tokenizer gives a token that the model does not know.
    #[error(
        "sample `{sample}` has the token {token}, but the model `{}` has a vocabulary of {vocabulary}",
        model.display()
    )]
    BeyondVocabulary {
        /// The sample's id.
        sample: String,
        /// The token.
        token: u32,
        /// The number of rows of the model's embedding.
        vocabulary: usize,
        /// The model.
        model: PathBuf,
    },
    /// A setting differs from the one that the cache was prepared with.
    #[error("the cache `{}` was prepared with `{key}` `{stored}`, but `{asked}` is asked for", cache.display())]
    SettingChanged {
        /// The cache.
        cache: PathBuf,
        /// The key, with its table.
        key: String,
        /// Its value when the cache was prepared.
        stored: String,
        /// Its value now.
        asked: String,
    },
    /// The cache's record of its preparation cannot be read.
    #[error("the cache `{}` does not say how it was prepared", cache.display())]
    UnreadableProvenance {
        /// The cache.
        cache: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: serde_json::Error,
    },
    /// The folder for temporary files cannot be written to.
    #[error("could not make a temporary folder in `{}`", path.display())]
    Scratch {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// The teacher's files changed while they were hashed and loaded.
    #[error("the weights of `{}` changed while they were read", model.display())]
    TeacherChanged {
        /// The model.
        model: PathBuf,
    },
    /// The teacher gives other distributions than the cache holds.
    #[error(
        "the cache `{}` disagrees with its teacher: at sample `{sample}` of work unit `{unit}` by {divergence:.2e} nats on \
         average, where {bound:.0e} are expected at most",
        cache.display()
    )]
    Disagrees {
        /// The cache.
        cache: PathBuf,
        /// The sample that disagrees most, by its id.
        sample: String,
        /// Its work unit.
        unit: String,
        /// The mean divergence of its compared positions.
        divergence: f64,
        /// The largest one that rounding explains.
        bound: f64,
    },
    /// The teacher's output is infinite or not a number.
    #[error("the teacher's logits at position {position} of sample `{sample}` are not finite (token {token})")]
    NonFiniteLogits {
        /// The sample's id.
        sample: String,
        /// The position.
        position: u32,
        /// The first token whose logit is not finite.
        token: u32,
    },
}

impl From<ServerError> for PrecomputeError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Stopped => Self::Model(ModelError::Stopped),
            error => Self::Server(Box::new(error)),
        }
    }
}

impl From<FileError> for PrecomputeError {
    fn from(error: FileError) -> Self {
        Self::Cache(error.into())
    }
}

impl Diagnosis for PrecomputeError {
    fn is_unexpected(&self) -> bool {
        match self {
            Self::Model(error) => error.is_unexpected(),
            Self::Corpus(error) => error.is_unexpected(),
            Self::Cache(error) => error.is_unexpected(),
            Self::Server(error) => error.is_unexpected(),
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Model(error) => error.hint(),
            Self::Corpus(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::Server(error) => error.hint(),
            Self::ZeroSetting { .. } | Self::TooManyRequests { .. } | Self::Entries(_) => None,
            Self::StreamingDevice { .. } => {
                Some("remove `teacher.memory`, or set `teacher.device = \"cpu\"`".to_owned())
            }
            Self::NoChatTemplate { .. } => {
                Some("put a `chat_template.jinja` into the model's directory, or use a chat model".to_owned())
            }
            Self::BeyondContext { context, .. } => Some(format!("set `data.max_tokens = {context}` or less")),
            Self::BeyondVocabulary { .. } => {
                Some("model and tokenizer do not belong together: use the files they were published with".to_owned())
            }
            Self::SettingChanged { key, stored, .. } if stored == NOT_SET => Some(format!(
                "remove `{key}` to use this cache, or point `cache.dir` at a new folder"
            )),
            Self::SettingChanged { key, stored, .. } => Some(format!(
                "set `{key} = {stored}` to use this cache, or point `cache.dir` at a new folder"
            )),
            Self::UnreadableProvenance { .. } => {
                Some("use the version of leadspan that made it, or point `cache.dir` at a new folder".to_owned())
            }
            Self::Scratch { .. } => Some("name another folder with the environment variable `TMPDIR`".to_owned()),
            Self::TeacherChanged { .. } => Some("run the same command again once the model is complete".to_owned()),
            Self::Disagrees { .. } => Some(
                "its shards may come from other weights: remove the shards of such work units and run `leadspan precompute` \
                 again, or capture into a new cache"
                    .to_owned(),
            ),
            Self::NonFiniteLogits { .. } => Some(
                "the weights may be damaged, or overflow in half precision: try `teacher.dtype = \"f32\"`".to_owned(),
            ),
        }
    }
}
