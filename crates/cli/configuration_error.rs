//! What can be wrong with a pipeline file or a `--set`, and where.

use std::{io, path::PathBuf};

use leadspan_diagnosis::Diagnosis;
use leadspan_files::Refusal;
use leadspan_sequence::{LeadSpanProportion, SectionSet};

use crate::{
    keys,
    place::{Place, without_secrets},
};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigurationError {
    /// The pipeline file cannot be read.
    #[error("could not read the pipeline file `{}`", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{place}: {problem}")]
    Syntax { place: Place, problem: String },
    /// A table that does not exist.
    #[error("{place}: `[{table}]` is not a table of the pipeline file")]
    UnknownTable {
        place: Place,
        table: String,
        nearest: Option<String>,
    },
    /// An override of a key inside a value that is no table.
    #[error("{place}: `{key}` is a value, and `{inner}` would be inside it")]
    InsideAValue { place: Place, key: String, inner: String },
    /// A value where a table belongs.
    #[error("{place}: `{table}` is a table, not a value")]
    NotATable { place: Place, table: String },
    /// A key that does not exist.
    #[error("{place}: `{key}` is not a key of the pipeline file")]
    UnknownKey {
        place: Place,
        key: String,
        nearest: Option<String>,
    },
    /// A key that cannot vary in a sweep.
    #[error("{place}: a sweep cannot be over `{key}`: {because}")]
    NotSwept {
        place: Place,
        key: String,
        because: &'static str,
    },
    /// A value its key cannot take.
    #[error("{place}: `{key}` cannot be used: {problem}")]
    Value { place: Place, key: String, problem: String },
    /// A key that the command needs is not set.
    #[error("`{}` does not set `{key}`", file.display())]
    MissingKey {
        file: PathBuf,
        key: String,
        about: &'static str,
    },
    /// A `--set` that is not of the form `table.key=value`.
    #[error("`--set {}` does not have the form `table.key=value`", without_secrets(given))]
    NotAnOverride { given: String },
    /// Two keys of which at most one may be set.
    #[error("`{first}` and `{second}` are both set, but {because}")]
    Contradiction {
        first: &'static str,
        second: &'static str,
        because: &'static str,
    },
    /// Neither `student.model` nor `student.config` is set.
    #[error("`{}` does not say what the student starts from", file.display())]
    NoStudent { file: PathBuf },
    /// Neither a teacher nor a student says which tokenizer to use.
    #[error("`{}` does not say whose tokenizer the corpus is prepared with", file.display())]
    NoTokenizer { file: PathBuf },
    /// Training asks for longer lead spans than the cache captures.
    #[error(
        "`{key}` is {}{train}, but {} is only {cache}",
        if *key == "train.lead_span" { "up to " } else { "" },
        if *by_flag { "`--proportion`" } else { "`cache.lead_span_proportion`" }
    )]
    ProportionBeyondCache {
        train: LeadSpanProportion,
        /// The key that asks for them.
        key: &'static str,
        cache: LeadSpanProportion,
        by_flag: bool,
    },
    /// The folder of the run is that of the cache, or one is inside the other.
    #[error(
        "`train.dir` is `{}` and `cache.dir` is `{}`, but a run and a cache need folders apart from each other",
        run.display(),
        cache.display()
    )]
    RunInCache { run: PathBuf, cache: PathBuf },
    /// A folder that is to be written is not apart from what is read.
    #[error(
        "`{output_key}` is `{}`, which {relation} `{input_key}` (`{}`)",
        output.display(),
        input.display()
    )]
    NotApart {
        output_key: &'static str,
        output: PathBuf,
        relation: &'static str,
        input_key: &'static str,
        input: PathBuf,
    },
    /// A pattern of files to read matches a file that leadspan wrote.
    #[error(
        "`{input_key}` (`{pattern}`) matches `{}`, which is in `{output_key}` (`{}`)",
        file.display(),
        output.display()
    )]
    OwnOutput {
        input_key: &'static str,
        pattern: String,
        file: PathBuf,
        output_key: &'static str,
        output: PathBuf,
    },
    /// A folder that is to be written belongs to something else.
    #[error("`{output_key}` is `{}`, which is {by}", output.display())]
    Taken {
        output_key: &'static str,
        output: PathBuf,
        by: String,
    },
    /// A folder that is to be written has in its name what only a shell replaces.
    #[error("`{output_key}` is `{}`, and nothing replaces `{part}` in a setting", output.display())]
    NotWrittenOut {
        output_key: &'static str,
        output: PathBuf,
        part: String,
    },
    /// Training asks for sections that the cache does not capture.
    #[error("`train.supervised_sections` is `{train}`, but `cache.supervised_sections` is only `{cache}`")]
    SectionsBeyondCache { train: SectionSet, cache: SectionSet },
}

impl Diagnosis for ConfigurationError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("name the pipeline file with `-c FILE`".to_owned())
            }
            Self::Unreadable { path, source } if Refusal::of(source) == Some(Refusal::NotRegular("a folder")) => {
                Some(format!("name the file in it, such as `{}`", path.join("pipeline.toml").display()))
            }
            Self::Unreadable { source, .. } if matches!(Refusal::of(source), Some(Refusal::NotRegular(_))) => {
                Some("a sweep reads the pipeline file more than once: save it as a file".to_owned())
            }
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
                Some("save it as UTF-8".to_owned())
            }
            Self::Syntax { problem, .. } if problem.contains("duplicate") => Some("keep one of them".to_owned()),
            Self::Syntax {
                place: Place::Line { .. },
                ..
            } => Some("text is written in quotes, lists as `[1, 2]`, one `key = value` a line".to_owned()),
            Self::UnknownTable {
                nearest: Some(nearest), ..
            }
            | Self::UnknownKey {
                nearest: Some(nearest), ..
            } => Some(format!("did you mean `{nearest}`?")),
            Self::UnknownTable { .. } => Some(format!("the tables are `[{}]`", keys::tables().join("]`, `["))),
            Self::UnknownKey { key, .. } if key.starts_with("sweep.") => Some(
                "the keys of `[sweep]` are `dir`, `baselines`, `evaluate`, those of `[train]`, and those of other tables \
                 with these in front, such as `\"replay.share\"`"
                    .to_owned(),
            ),
            Self::UnknownKey { key, .. } => {
                let table = key.split('.').next().unwrap_or_default();
                let keys: Vec<_> = keys::keys_of(table).map(|key| key.name.as_str()).collect();
                Some(format!("the keys of `[{table}]` are `{}`", keys.join("`, `")))
            }
            Self::InsideAValue { key, .. } => Some(format!("set `{key}` itself")),
            Self::NotSwept { .. } => Some("remove it from `[sweep]`".to_owned()),
            Self::NotATable { table, .. } => {
                Some(format!("begin it with a line `[{table}]`, or write `{table}.KEY = …`"))
            }
            Self::MissingKey { key, about, .. } => Some(format!("set `{key}`: {about}")),
            Self::NotAnOverride { .. } => Some("for example `--set train.learning_rate=1e-5`".to_owned()),
            Self::Contradiction { second, .. } => Some(format!("remove `{second}`")),
            Self::NoStudent { .. } => Some(
                "set `student.model` (with `student.layers` to keep only some of its layers) or `student.config`"
                    .to_owned(),
            ),
            Self::NoTokenizer { .. } => Some(
                "set `teacher.model`, or for training without a teacher `student.model`, or `student.tokenizer` beside \
                 `student.config`"
                    .to_owned(),
            ),
            Self::ProportionBeyondCache {
                train,
                key,
                cache,
                by_flag,
            } => Some(format!(
                "raise {} to {train} (precomputing again adds what is missing), or lower `{key}` to {cache}",
                if *by_flag { "`--proportion`" } else { "`cache.lead_span_proportion`" }
            )),
            Self::RunInCache { .. } => Some("set `train.dir` to a folder that is not inside the cache".to_owned()),
            Self::NotApart { output_key, .. } | Self::Taken { output_key, .. } => {
                Some(format!("set `{output_key}` to a folder of its own"))
            }
            Self::NotWrittenOut { output_key, part, .. } => Some(format!(
                "write the whole path in `{output_key}`, or make the folder `{part}` first if that is its name"
            )),
            Self::OwnOutput {
                input_key, output_key, ..
            } => Some(format!(
                "name the files more closely in `{input_key}`, or set `{output_key}` to a folder that the pattern does not reach"
            )),
            Self::SectionsBeyondCache { .. } => Some(
                "add the missing sections to `cache.supervised_sections`, or remove them from \
                 `train.supervised_sections`"
                    .to_owned(),
            ),
            Self::Value { key, .. } if !key.ends_with("lead_span_proportion") => {
                Some("`leadspan config` lists every key with its default and what it takes".to_owned())
            }
            Self::Unreadable { .. } | Self::Syntax { .. } | Self::Value { .. } => None,
        }
    }
}
