//! The errors of this crate, in the terms of the person who configured the model.

use std::path::{Path, PathBuf};

use leadspan_diagnosis::Diagnosis;

/// A model that cannot be read, is not supported, or fails while it runs.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No directory or file is at the path.
    #[error("no model at `{}`", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The name is neither that of a directory or file nor the id of a downloaded Hub model.
    #[error(
        "no model at `{}`, and `{id}`{} is not in the Hub cache, at `{}`",
        path.display(),
        revision.as_ref().map_or_else(String::new, |revision| format!(" of revision `{revision}`")),
        repository.display()
    )]
    NotInHubCache {
        /// The path at which no directory or file is.
        path: PathBuf,
        /// The name, as a Hub id.
        id: Box<str>,
        /// The revision, if the configuration names one.
        revision: Option<Box<str>>,
        /// The folder in the Hub cache that a model of this id would have.
        repository: PathBuf,
        /// The commits of the model that were downloaded.
        available: Box<[String]>,
    },
    /// The configuration names a revision of a model that is not from the Hub.
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
    /// A directory lacks a file that every model has.
    #[error("`{}` has no `{file}`", dir.display())]
    MissingFile {
        /// The model's directory.
        dir: PathBuf,
        /// The missing file.
        file: &'static str,
    },
    /// A JSON file is not valid.
    #[error("`{}` is not valid: {reason}", path.display())]
    InvalidJson {
        /// The file.
        path: PathBuf,
        /// The rule that it breaks.
        reason: String,
    },
    /// A configuration is not supported by this decoder, or contradicts itself.
    #[error("`{}`: `{key}` is `{found}`, but {expected}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// The rule that the value breaks.
        expected: String,
    },
    /// The weights are quantised in a way that is not read.
    #[error("`{}`: `{key}` is `{found}`, but {expected}", path.display())]
    Quantization {
        /// The configuration.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// The rule that the value breaks.
        expected: &'static str,
    },
    /// A weight is stored in a form that is not read, or its scale is missing or does not fit.
    #[error("weight `{name}` of `{}` cannot be read: {reason}", path.display())]
    WeightFormat {
        /// The model.
        path: PathBuf,
        /// The weight, as the file names it.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A file has a weight that a model of its architecture does not have.
    #[error("weight `{name}` of `{}` cannot be read: a model of this architecture has no such weight", path.display())]
    UnknownWeight {
        /// The file.
        path: PathBuf,
        /// The weight, as the file names it.
        name: String,
    },
    /// A LoRA adapter cannot be read, or belongs to another model.
    #[error("the adapter `{}` cannot be used: {reason}", path.display())]
    Adapter {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// How to mend it.
        hint: &'static str,
    },
    /// A setting of the adapters that a student learns is out of range, or does not fit the student.
    #[error("`student.lora.{key}` is `{found}`, but {expected}")]
    Lora {
        /// The key.
        key: &'static str,
        /// Its value, or the part of it that does not fit.
        found: String,
        /// The rule that the value breaks.
        expected: String,
    },
    /// The configuration says that the head is the embedding, but the files have a head of its own.
    #[error("`{}` has a weight `lm_head.weight` that differs from the embedding, but its `tie_word_embeddings` is on", path.display())]
    TiedHead {
        /// The model.
        path: PathBuf,
    },
    /// A file is given as a model, and is no GGUF file.
    #[error("`{}` is not a GGUF file", path.display())]
    NotGguf {
        /// The file.
        path: PathBuf,
    },
    /// A GGUF file is one of several that hold a model together, and they are not all there or do not belong together.
    #[error("`{}` is a piece of a model: {reason}", path.display())]
    SplitGguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// How to mend it.
        hint: String,
    },
    /// A weight file is damaged, truncated or of another format.
    #[error("weights in `{}` cannot be read: {reason}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// The reader's message.
        reason: String,
    },
    /// The index of sharded weights names a file outside its directory.
    #[error("`{}` points outside its directory: `{file}`", index.display())]
    IndexOutside {
        /// The index.
        index: PathBuf,
        /// The file name in the index.
        file: String,
    },
    /// The index of sharded weights names a file that holds no weights.
    #[error("`{}` says that the weight `{weight}` is in `{file}`, which is no safetensors file", index.display())]
    IndexEntry {
        /// The index.
        index: PathBuf,
        /// The weight.
        weight: String,
        /// The file name in the index.
        file: String,
    },
    /// A weight of the architecture is not in the files.
    #[error("`{}` has no weight `{name}`", path.display())]
    MissingWeight {
        /// The model.
        path: PathBuf,
        /// The weight, by its Hugging Face name.
        name: String,
    },
    /// The shape of a weight differs from the configuration's.
    #[error("weight `{name}` of `{}` has shape {found:?}, but the configuration says {expected:?}", path.display())]
    WeightShape {
        /// The model.
        path: PathBuf,
        /// The weight, by its Hugging Face name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the configuration gives.
        expected: Vec<usize>,
    },
    /// The tokenizer cannot be read or is not supported.
    #[error("the tokenizer of `{}` cannot be used: {reason}", path.display())]
    Tokenizer {
        /// The model.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file to be written beside a model as part of its tokenizer has another file's name.
    #[error("`{}` is not the name of a tokenizer file", name.escape_debug())]
    NotATokenizerFile {
        /// The name.
        name: String,
    },
    /// The layers of a depth-pruned start do not all exist, or do not ascend.
    #[error("`student.layers` must ascend and stay below the {available} layers of `{}`, but `{layer}` does not", path.display())]
    Layers {
        /// The model.
        path: PathBuf,
        /// The first layer that breaks the rule.
        layer: usize,
        /// How many layers the model has.
        available: usize,
    },
    /// The architecture is supported for teachers only.
    #[error("the student cannot be trained: {because}")]
    CannotBeTrained {
        /// Why not.
        because: &'static str,
    },
    /// The decoder cannot generate text.
    #[error("the model cannot generate text here: {because}")]
    CannotGenerate {
        /// Why not.
        because: &'static str,
    },
    /// The device does not exist.
    #[error("device `{device}` cannot be used: {reason}")]
    Device {
        /// The device that the configuration names.
        device: String,
        /// Why not.
        reason: String,
    },
    /// `dtype = "native"` is set for a model that is not quantised.
    #[error("`{}` is not a GGUF file, so `dtype = \"native\"` has no meaning for it", path.display())]
    NativeNeedsGguf {
        /// The model.
        path: PathBuf,
    },
    /// A sequence is longer than the model's context.
    #[error("a sequence of {tokens} tokens is longer than the model's context of {context}")]
    Context {
        /// The length of the sequence.
        tokens: usize,
        /// The model's context in tokens.
        context: usize,
    },
    /// A setting of generation is out of range.
    #[error("`{setting}` cannot be used: {problem}")]
    Generation {
        /// The setting.
        setting: &'static str,
        /// The rule that it breaks.
        problem: &'static str,
    },
    /// A prompt has no tokens.
    #[error("a prompt has no tokens")]
    EmptyPrompt,
    /// The model has no embedding for a token.
    #[error("token {token} is beyond the model's vocabulary of {vocabulary}")]
    TokenOutsideVocabulary {
        /// The token.
        token: u32,
        /// The number of rows of the embedding.
        vocabulary: usize,
    },
    /// The model computes logits that are not finite.
    #[error("the model's logits are not finite")]
    NonFiniteLogits,
    /// The caller stopped a pass before its end. The gradients then hold part of a sum.
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
            Self::Io { path, source, .. } => leadspan_files::hint(source, path),
            Self::Quantization { .. } | Self::WeightFormat { .. } => Some(
                "use the model's original weights (f32, f16 or bf16), weights in FP8, or a GGUF file with the types F32, F16, \
                 BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q8_K; a teacher can also run on vLLM or SGLang (`teacher.server`)"
                    .into(),
            ),
            Self::UnknownWeight { .. } => Some(
                "the configuration may be that of another model, or of fewer layers: take both from one place (`student.layers` \
                 starts a student from some layers). If nothing uses the weight, remove it from the file"
                    .into(),
            ),
            Self::TiedHead { .. } => Some(
                "set `tie_word_embeddings` to `false` if the model was trained with a head of its own, or remove `lm_head.weight`"
                    .into(),
            ),
            Self::NotGguf { path } if path.extension().is_some_and(|name| name.eq_ignore_ascii_case("gguf")) => {
                Some("download it again: it does not begin as a GGUF file does".into())
            }
            Self::NotGguf { .. } => Some(
                "give the folder that has `config.json`, `tokenizer.json` and the weights: only a GGUF file is a model by itself"
                    .into(),
            ),
            Self::SplitGguf { hint, .. } => Some(hint.clone()),
            Self::Adapter { hint, .. } => Some((*hint).to_owned()),
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
            Self::MissingFile { dir, file } if *file == "config.json" && dir.join("adapter_config.json").exists() => Some(
                "it is a LoRA adapter: name its base as the model, and this folder as `teacher.adapter` or `evaluate.adapter`"
                    .into(),
            ),
            Self::MissingFile { dir, file } if *file == "model.safetensors" && has_pickled_weights(dir) => Some(format!(
                "its weights are in PyTorch's own format, which is a program. Convert them: `python3 -c \"import sys, transformers; \
                 transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], torch_dtype='auto').save_pretrained(sys.argv[1])\" {}`",
                dir.display()
            )),
            Self::Weights { .. } => {
                Some("the file may be truncated, or of another format: compare its size with the original's".into())
            }
            Self::IndexEntry { .. } | Self::IndexOutside { .. } => Some(
                "every file of the index must end with `.safetensors` and lie beside it: download the index again, or save \
                 the model again with `save_pretrained`"
                    .into(),
            ),
            Self::CannotBeTrained { .. } => Some(
                "choose a dense student of the same tokenizer, as a directory in the Hugging Face layout".into(),
            ),
            Self::CannotGenerate { .. } => Some("evaluate it with vLLM or another program".into()),
            Self::NativeNeedsGguf { .. } => Some("use `dtype = \"f32\"`, or \"bf16\" on a GPU".into()),
            Self::Context { .. } => Some("lower `data.max_tokens`".into()),
            Self::TokenOutsideVocabulary { .. } => Some("the tokenizer belongs to another model: copy the right one beside the weights".into()),
            Self::NonFiniteLogits => Some("its weights may be damaged; in half precision, try `dtype = \"f32\"`".into()),
            Self::Device { device, .. } if device.starts_with("cuda") => {
                Some("build with `--features cuda`, or set `device = \"cpu\"`".into())
            }
            _ => None,
        }
    }
}

/// Whether a model's directory has weights as `torch.save` writes them.
fn has_pickled_weights(dir: &Path) -> bool {
    ["pytorch_model.bin", "pytorch_model.bin.index.json"]
        .iter()
        .any(|name| dir.join(name).exists())
}
