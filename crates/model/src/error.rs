//! What can go wrong with a model, named in the terms of the person who gave it.

use std::path::PathBuf;

use leadspan_diagnosis::Diagnosis;

/// A model that could not be read, understood or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There is no such directory or file.
    #[error("no model at `{}`", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Neither a directory or file of that name, nor a snapshot of a Hub model.
    #[error(
        "no model at `{}`, and `{id}`{} is not in the Hub cache, at `{}`",
        path.display(),
        revision.as_ref().map_or_else(String::new, |revision| format!(" of revision `{revision}`")),
        repository.display()
    )]
    NotInHubCache {
        /// Where a directory or file was looked for.
        path: PathBuf,
        /// The Hub id that it may be.
        id: Box<str>,
        /// The revision that was named.
        revision: Option<Box<str>>,
        /// The folder in the Hub cache where it was looked for.
        repository: PathBuf,
        /// The commits that are there.
        available: Box<[String]>,
    },
    /// A revision was named of a model that has none.
    #[error("`{}` is not a model of the Hub, so it has no revision `{revision}`", path.display())]
    RevisionOfNoHubModel {
        /// The model.
        path: PathBuf,
        /// The revision.
        revision: String,
    },
    /// A file of the model could not be read or written.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A directory that lacks a file every model has.
    #[error("`{}` has no `{file}`", dir.display())]
    MissingFile {
        /// The model's directory.
        dir: PathBuf,
        /// The file that should be there.
        file: &'static str,
    },
    /// A JSON file that is not what it should be.
    #[error("`{}` is not valid: {reason}", path.display())]
    InvalidJson {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A configuration this decoder does not implement, or that contradicts itself.
    #[error("`{}`: `{key}` is `{found}`, but {expected}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// A weight file that is damaged, truncated or of another format.
    #[error("weights in `{}` cannot be read: {reason}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        reason: String,
    },
    /// The index of sharded weights names a file outside its directory.
    #[error("`{}` points outside its directory: `{file}`", index.display())]
    IndexOutside {
        /// The index.
        index: PathBuf,
        /// The file name it gives.
        file: String,
    },
    /// A weight the configuration asks for is not in the files.
    #[error("`{}` has no weight `{name}`", path.display())]
    MissingWeight {
        /// The model.
        path: PathBuf,
        /// The weight, by its Hugging Face name.
        name: String,
    },
    /// A weight has another shape than the configuration says.
    #[error("weight `{name}` of `{}` has shape {found:?}, but the configuration says {expected:?}", path.display())]
    WeightShape {
        /// The model.
        path: PathBuf,
        /// The weight, by its Hugging Face name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that belongs.
        expected: Vec<usize>,
    },
    /// The tokenizer could not be read or built.
    #[error("the tokenizer of `{}` cannot be used: {reason}", path.display())]
    Tokenizer {
        /// The model.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Layers chosen for a depth-pruned start that the model does not have, or that do not ascend.
    #[error("`student.layers` must ascend and stay below the {available} layers of `{}`, but `{layer}` does not", path.display())]
    Layers {
        /// The model.
        path: PathBuf,
        /// The first layer that does not fit.
        layer: usize,
        /// How many layers there are.
        available: usize,
    },
    /// A student of an architecture that only runs.
    #[error("the student cannot be trained: {because}")]
    Unteachable {
        /// Why not.
        because: &'static str,
    },
    /// A device that does not exist here.
    #[error("device `{device}` cannot be used: {reason}")]
    Device {
        /// What was asked for.
        device: String,
        /// Why not.
        reason: String,
    },
    /// `dtype = "native"` for a model that is not quantised.
    #[error("`{}` is not a GGUF file, so `dtype = \"native\"` has no meaning for it", path.display())]
    NativeNeedsGguf {
        /// The model.
        path: PathBuf,
    },
    /// More tokens than the model's positions reach.
    #[error("a sequence of {tokens} tokens is longer than the model's context of {context}")]
    Context {
        /// How many tokens were asked for.
        tokens: usize,
        /// How many positions the model knows.
        context: usize,
    },
    /// A setting with which nothing could be generated.
    #[error("`{setting}` cannot be used: {problem}")]
    Generation {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Nothing to continue.
    #[error("a prompt has no tokens")]
    EmptyPrompt,
    /// A token for which the model has no embedding.
    #[error("token {token} is beyond the model's vocabulary of {vocabulary}")]
    TokenOutsideVocabulary {
        /// The token.
        token: u32,
        /// Rows of the embedding.
        vocabulary: usize,
    },
    /// What the model computes is not finite.
    #[error("the model's scores are no numbers")]
    NonFiniteLogits,
    /// A pass was asked to stop before its end. What it had added to gradients is part of a sum.
    #[error("the pass was stopped before its end")]
    Stopped,
    /// The tensor library failed.
    #[error("the tensor library failed")]
    Tensor(#[from] candle_core::Error),
}

impl Diagnosis for ModelError {
    fn is_unexpected(&self) -> bool {
        matches!(self, Self::Tensor(_))
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => {
                Some("give a directory in the Hugging Face layout (with `config.json`), a `.gguf` file, or the id of a downloaded Hub model".into())
            }
            Self::NotInHubCache {
                id,
                revision,
                available,
                ..
            } => {
                let of_revision = revision
                    .as_ref()
                    .map_or_else(String::new, |revision| format!(" --revision {revision}"));
                let there = match &**available {
                    [] => String::new(),
                    commits => format!(", or name a revision that is there: `{}`", commits.join("`, `")),
                };
                Some(format!(
                    "give a directory in the Hugging Face layout or a `.gguf` file, download the model with `hf download \
                     {id}{of_revision}`{there}"
                ))
            }
            Self::RevisionOfNoHubModel { .. } => Some("leave `revision` out, or give the id of a Hub model".into()),
            Self::MissingFile { file, .. } if *file == "tokenizer.json" => {
                Some("save the model with a fast tokenizer: `tokenizer.save_pretrained(DIR)` in transformers".into())
            }
            Self::Weights { .. } => Some("the file may be truncated: compare its size with the original's".into()),
            Self::Unteachable { .. } => Some(
                "choose a dense student of the same tokenizer, as a directory in the Hugging Face layout".into(),
            ),
            Self::NativeNeedsGguf { .. } => Some("use `dtype = \"f32\"`, or \"bf16\" on a GPU".into()),
            Self::Context { .. } => Some("lower `data.max_tokens`".into()),
            Self::TokenOutsideVocabulary { .. } => Some("the tokenizer is not the model's: copy the right one beside it".into()),
            Self::NonFiniteLogits => Some("its weights may be damaged; in half precision, try `dtype = \"f32\"`".into()),
            Self::Device { device, .. } if device.starts_with("cuda") => {
                Some("build with `--features cuda`, or set `device = \"cpu\"`".into())
            }
            _ => None,
        }
    }
}
