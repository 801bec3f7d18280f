//! What can go wrong with an evaluation.

use std::{io, path::PathBuf};

use leadspan_cache::CacheError;
use leadspan_corpus::CorpusError;
use leadspan_diagnosis::Diagnosis;
use leadspan_model::ModelError;
use leadspan_train::TrainError;

/// Why an evaluation could not be done.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A key of the configuration holds a value that cannot work.
    #[error("`{key}` cannot be used: {problem}")]
    InvalidSetting {
        /// The key, with its table.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The expression that is to find answers is none.
    #[error("`evaluate.answer_pattern` is no regular expression: `{pattern}`")]
    InvalidPattern {
        /// As it was written.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: regex::Error,
    },
    /// The model cannot be asked in its own words.
    #[error("`{}` has no chat template, so there is no telling how to ask it", model.display())]
    NoChatTemplate {
        /// The model.
        model: PathBuf,
    },
    /// There is nothing to ask.
    #[error("the files of `[evaluate]` have no problem")]
    NoProblems,
    /// A prompt cannot be rendered.
    #[error("problem `{id}` cannot be rendered")]
    Prompt {
        /// The problem.
        id: String,
        /// What the chat template says.
        #[source]
        source: CorpusError,
    },
    /// The tokenizer fails on a text.
    #[error("the tokenizer fails on problem `{id}`")]
    Tokenizer {
        /// The problem.
        id: String,
        /// What it says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process evaluates into the same folder.
    #[error("another process is working in `{}`", dir.display())]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder has results of something else.
    #[error("`{}` has an evaluation with another `{key}`: `{stored}`, not `{asked}`", dir.display())]
    OtherEvaluation {
        /// The folder.
        dir: PathBuf,
        /// What differs.
        key: String,
        /// What it was.
        stored: String,
        /// What it is now.
        asked: String,
    },
    /// A file of results cannot be read or written.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The problems cannot be read.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The model cannot be read or run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A result or the cache cannot be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The held-out losses cannot be measured.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl Diagnosis for EvaluateError {
    fn is_unexpected(&self) -> bool {
        match self {
            Self::Corpus(error) | Self::Prompt { source: error, .. } => error.is_unexpected(),
            Self::Model(error) => error.is_unexpected(),
            Self::Cache(error) => error.is_unexpected(),
            Self::Train(error) => error.is_unexpected(),
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoChatTemplate { .. } => {
                Some("put a `chat_template.jinja` into the model's directory, or use a chat model".into())
            }
            Self::NoProblems => Some("look at `evaluate.where`, or at the files themselves".into()),
            Self::Busy { .. } => Some("wait for it, or give this evaluation another `evaluate.dir`".into()),
            Self::OtherEvaluation { dir, .. } => Some(format!(
                "give this evaluation a folder of its own, `--set evaluate.dir=DIR`, or remove `{}`",
                dir.display()
            )),
            Self::Corpus(error) | Self::Prompt { source: error, .. } => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::Train(error) => error.hint(),
            _ => None,
        }
    }
}
