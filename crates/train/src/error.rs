//! The errors of stage two.

use std::path::PathBuf;

use leadspan_cache::CacheError;
use leadspan_diagnosis::Diagnosis;
use leadspan_files::FileError;
use leadspan_model::ModelError;
use leadspan_workers::Holder;

use crate::{Loss, PolicyError, TailPolicy, checkpoint_hint, parallel::ParallelError};

/// A training run that could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting out of range.
    #[error("`train.{key}` is `{found}`, but it must be {expected}")]
    Setting {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The accepted values.
        expected: &'static str,
    },
    /// A temperature for which the cache has no tail terms.
    #[error(
        "`train.temperature` is `{temperature}`, but the cache stores the tail only at {}",
        temperatures(declared)
    )]
    UndeclaredTemperature {
        /// The temperature.
        temperature: f64,
        /// Those declared at capture, beside 1.
        declared: Vec<f32>,
    },
    /// A loss that has no meaning under the tail policy.
    #[error("`train.tail_policy` is `{policy}`, which cannot be combined with `train.loss = \"{loss}\"`: {because}")]
    LossOfPolicy {
        /// The loss.
        loss: Loss,
        /// The tail policy.
        policy: TailPolicy,
        /// Why not.
        because: &'static str,
    },
    /// The tail policy is `sampled`, but the cache holds no drawn tokens.
    #[error("`train.tail_policy` is `sampled`, but the cache holds no draws from the tail")]
    NoTailSamples,
    /// The tail policy is `sampled`, and the temperature is not the one of the draws.
    #[error(
        "`train.tail_policy` is `sampled` and `train.temperature` is `{temperature}`, but the cache's draws from \
         the tail are at temperature 1"
    )]
    SampledTemperature {
        /// The temperature.
        temperature: f64,
    },
    /// Neither or both of `student.model` and `student.config`, or layers of a configuration.
    #[error("`[student]` must have either `model` (with or without `layers`) or `config`")]
    StudentStart,
    /// `student.lora` beside another key that leaves its adapter without a base.
    #[error("`student.lora` and `{key}` are both set, but {because}")]
    LoraBase {
        /// The other key.
        key: &'static str,
        /// Why they do not go together.
        because: &'static str,
    },
    /// The student's tokenizer is not the teacher's.
    #[error(
        "the student `{}` has another tokenizer than the cache: fingerprint {found}, but the cache was made with {expected}",
        student.display()
    )]
    OtherTokenizer {
        /// The student's start.
        student: PathBuf,
        /// Its tokenizer's fingerprint.
        found: String,
        /// The fingerprint in the cache's identity.
        expected: String,
    },
    /// The student's vocabulary does not reach a token of the corpus.
    #[error("the student's vocabulary has {vocabulary} tokens, but sample `{sample}` has token {token}")]
    TokenOutsideVocabulary {
        /// Rows of the student's embedding.
        vocabulary: usize,
        /// The sample's id.
        sample: String,
        /// The token.
        token: u32,
    },
    /// A sample longer than the student's context.
    #[error("sample `{sample}` has {tokens} tokens, more than the student's context of {context}")]
    Context {
        /// The sample's id.
        sample: String,
        /// Tokens that would be fed.
        tokens: usize,
        /// Positions the student knows.
        context: usize,
    },
    /// No training sample has a supervised position.
    #[error("no training sample has a supervised position at {lead_span} with sections {sections}")]
    NothingToLearn {
        /// The lead span asked for.
        lead_span: String,
        /// The sections asked for.
        sections: String,
    },
    /// A supervision policy that has no meaning, or that the cache cannot serve.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The run's folder holds a run with other settings.
    #[error("`{}` holds a run that differs in `{key}`: it has `{stored}`, but now `{asked}` is asked for", dir.display())]
    OtherRun {
        /// The run's folder.
        dir: PathBuf,
        /// The first key that differs.
        key: String,
        /// Its stored value.
        stored: String,
        /// The value asked for.
        asked: String,
    },
    /// The run's folder has what a run would replace or remove, but no `run.json`.
    #[error("`{}` is not the folder of a run: it has `{found}`, but no `run.json`", dir.display())]
    NotARun {
        /// The folder.
        dir: PathBuf,
        /// What it has.
        found: &'static str,
    },
    /// A file of the run is not JSON, or lacks what such a file has.
    #[error("could not understand `{}`", path.display())]
    NotUnderstood {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The folder has the `run.json` of another program.
    #[error("`{}` is not that of a run of leadspan", path.display())]
    OtherPrograms {
        /// The file.
        path: PathBuf,
    },
    /// A finished run whose student is not there, or not whole.
    #[error("the run in `{}` is finished, but its student is not there, or not whole: {problem}", dir.display())]
    StudentGone {
        /// The run's folder.
        dir: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// The best student is to be exported, but there are no validation samples to choose it by.
    #[error(
        "`train.export` is `best`, but the cache holds no supervised position of validation samples to choose the best student by"
    )]
    NothingHeldOut,
    /// The run is to stop by held-out losses, but there are no validation samples.
    #[error(
        "`train.patience` is {patience}, but the cache holds no supervised position of validation samples to measure the student by"
    )]
    NothingToWaitFor {
        /// The setting.
        patience: usize,
    },
    /// The checkpoint of the best student cannot be used.
    #[error("the checkpoint of the best student, `{}`, cannot be used: {because}", path.display())]
    BestLost {
        /// Its path.
        path: PathBuf,
        /// The reason.
        because: String,
    },
    /// A share of samples to replay that is invalid, or leaves none to distil.
    #[error(
        "`replay.share` is `{share}`, but it must be a number from 0 to below 1 that leaves at least one of \
         `train.batch_samples = {batch_samples}` to distil"
    )]
    ReplayShare {
        /// The share.
        share: f64,
        /// Samples of a step.
        batch_samples: usize,
    },
    /// There is nothing to replay.
    #[error("`replay.share` is `{share}`, but the cache `{}` holds no samples to replay", cache.display())]
    NoReplay {
        /// The share.
        share: f64,
        /// The cache.
        cache: PathBuf,
    },
    /// Nothing to replay is left without the copies of held-out samples.
    #[error("all samples to replay in `{}` are copies of held-out samples ({copies})", path.display())]
    ReplayHeldOut {
        /// The cache of the samples to replay.
        path: PathBuf,
        /// How many there are.
        copies: usize,
    },
    /// The samples to replay have another tokenizer or chat template than the distilled ones.
    #[error("the samples to replay, `{}`, have another tokenizer or chat template than the cache around them", path.display())]
    ReplayOfOtherText {
        /// Their folder.
        path: PathBuf,
    },
    /// Another process trains in the same folder.
    #[error("{} is training in `{}`", holder.as_ref().map_or_else(|| "another process".to_owned(), ToString::to_string), dir.display())]
    Busy {
        /// The run's folder.
        dir: PathBuf,
        /// The process, which is known on file systems without locks.
        holder: Option<Holder>,
    },
    /// Another process took the run's folder over, on a file system without locks.
    #[error("another process has taken over `{}`: this one could not renew its claim in time", dir.display())]
    Displaced {
        /// The run's folder.
        dir: PathBuf,
    },
    /// A file of the run could not be read or written.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was attempted, such as `open`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A loss or gradient that is not finite.
    #[error("the {what} of step {step} is not finite (samples {})", samples.join(", "))]
    NotFinite {
        /// `loss` or `gradient`.
        what: &'static str,
        /// The step, counted from 1.
        step: usize,
        /// The ids of its samples.
        samples: Vec<String>,
    },
    /// A weight or moment that is not finite after an update. Nothing is saved or exported of it.
    #[error("`{tensor}` is not finite after step {step}, whose learning rate was {learning_rate:e}")]
    WeightsNotFinite {
        /// The tensor: a weight, `NAME.first_moment`, `NAME.second_moment`, or a weight rounded to the student's dtype.
        tensor: String,
        /// Steps done.
        step: usize,
        /// The learning rate of the last of them.
        learning_rate: f64,
    },
    /// A weight of the student is not finite before the first step.
    #[error("the student starts with a weight that is not finite: `{tensor}`")]
    StartNotFinite {
        /// The weight.
        tensor: String,
    },
    /// A held-out loss that is not finite.
    #[error("the held-out loss after step {step} is not finite")]
    HeldOutNotFinite {
        /// Steps done.
        step: usize,
    },
    /// A parameter received no gradient.
    #[error("parameter `{name}` receives no gradient")]
    NoGradient {
        /// The parameter.
        name: String,
    },
    /// The thread that reads ahead ended without a reason.
    #[error("the thread that reads the cache ahead ended unexpectedly")]
    ReaderGone,
    /// Several processes could not train together.
    #[error(transparent)]
    Parallel(#[from] ParallelError),
    /// The cache could not be read.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The student could not be read or run.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl From<candle_core::Error> for TrainError {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(ModelError::Tensor(error))
    }
}

/// `temperature 1`, or `temperatures 1, 2, 0.5`.
fn temperatures(declared: &[f32]) -> String {
    let mut all = vec!["1".to_owned()];
    all.extend(declared.iter().map(ToString::to_string));
    let plural = if declared.is_empty() { "" } else { "s" };
    format!("temperature{plural} {}", all.join(", "))
}

impl From<FileError> for TrainError {
    fn from(error: FileError) -> Self {
        Self::Cache(error.into())
    }
}

impl Diagnosis for TrainError {
    fn is_unexpected(&self) -> bool {
        match self {
            Self::Parallel(error) => error.is_unexpected(),
            Self::Cache(error) => error.is_unexpected(),
            Self::Model(error) => error.is_unexpected(),
            Self::NoGradient { .. } | Self::ReaderGone => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Parallel(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Policy(error) => error.hint(),
            Self::UndeclaredTemperature { temperature, .. } => Some(format!(
                "precompute a new cache with `cache.temperatures = [{temperature:?}]`, or set `train.temperature = 1.0` or \
                 `train.tail_policy = \"renormalize_both\"`, which needs no tail"
            )),
            Self::LossOfPolicy { .. } => Some(
                "set `train.loss = \"forward_kl\"`, or `train.tail_policy` to `bucket` or `renormalize_both`, which work with \
                 every loss"
                    .into(),
            ),
            Self::NoTailSamples => Some(
                "precompute a new cache with, for example, `cache.tail_samples = 32`, or set `train.tail_policy = \"bucket\"`"
                    .into(),
            ),
            Self::SampledTemperature { .. } => {
                Some("set `train.temperature = 1.0`, or `train.tail_policy = \"renormalize_teacher\"`".into())
            }
            Self::OtherTokenizer { .. } => {
                Some("teacher and student must share a tokenizer: choose a student of the teacher's family".into())
            }
            Self::LoraBase { key: "student.config", .. } => {
                Some("set `student.model` to a model with trained weights, or leave `student.lora` out".into())
            }
            Self::LoraBase { .. } => {
                Some("set `student.lora.merged = true`, which exports a whole student".into())
            }
            Self::NothingToLearn { .. } => {
                Some("raise `train.lead_span_proportion` or add sections to `train.supervised_sections`".into())
            }
            Self::ReplayHeldOut { path, .. } => Some(format!(
                "name other samples in `replay.files`, remove `{}` and run `leadspan prepare`, or set `replay.share = 0`",
                path.display()
            )),
            Self::NoReplay { .. } => Some("set `replay.files` and run `leadspan prepare`, or `replay.share = 0`".into()),
            Self::ReplayOfOtherText { .. } => Some("remove that folder and run `leadspan prepare`".into()),
            Self::NothingHeldOut => {
                Some("set `train.export = \"last\"`, or prepare a cache with `data.validation` above 0".into())
            }
            Self::NothingToWaitFor { .. } => {
                Some("remove `train.patience`, or prepare a cache with `data.validation` above 0".into())
            }
            Self::BestLost { .. } => Some("remove the run's folder to train it again".into()),
            Self::NotARun { .. } => Some("set `train.dir` to a folder that is new or empty".into()),
            Self::NotUnderstood { path, .. } | Self::OtherPrograms { path } => Some(format!(
                "set `train.dir` to a folder that is new or empty; if leadspan made this one, restore `{}` from a copy, or remove \
                 the folder to train again",
                path.display()
            )),
            Self::StudentGone { .. } => {
                Some("restore the student from a copy, or remove the run's folder to train it again".into())
            }
            Self::OtherRun { .. } => {
                Some("set it back to continue that run, choose another `train.dir`, or remove this folder".into())
            },
            Self::NotFinite { .. } => Some("lower `train.learning_rate`, or look at the named samples".into()),
            Self::WeightsNotFinite { .. } => {
                Some("lower `train.learning_rate`; nothing was exported, and earlier checkpoints are as they were".into())
            }
            Self::StartNotFinite { .. } => {
                Some("the model is damaged, or beyond the range of `train.dtype`: compare it with its original".into())
            }
            Self::HeldOutNotFinite { step: 0 } => {
                Some("the student cannot be used as it is: compare it with its original, or set `train.dtype = \"f32\"`".into())
            }
            Self::HeldOutNotFinite { .. } => Some("lower `train.learning_rate`, or set `train.dtype = \"f32\"`".into()),
            Self::Busy { .. } => Some("wait for it, or choose another `train.dir`".into()),
            Self::Displaced { .. } => Some(
                "the other process continues from the last checkpoint: this one need not be started again".into(),
            ),
            Self::Io { source, path, .. } => {
                leadspan_files::hint(source, path).or_else(|| checkpoint_hint::hint(source, path))
            }
            Self::StudentStart => Some("for a depth-pruned start, give `model` and `layers`".into()),
            _ => None,
        }
    }
}
