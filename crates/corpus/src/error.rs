//! The errors of reading data sets and preparing a corpus.

use std::{
    io,
    path::{Path, PathBuf},
};

use arrow::error::ArrowError;
use leadspan_diagnosis::Diagnosis;

use crate::{DropReason, PrepareReport, RowProblem};

/// Why a corpus could not be prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// A key of the configuration holds a value that cannot work.
    #[error("`{key}` cannot be used: {problem}")]
    InvalidSetting {
        /// The key, with its table.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file pattern cannot be read.
    #[error("`{pattern}` is not a file pattern")]
    InvalidPattern {
        /// The pattern as it was written.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: glob::PatternError,
    },
    /// A file pattern matches no file.
    #[error("no file matches `{pattern}` in `{}`", if base.as_os_str().is_empty() { std::path::Path::new(".") } else { base }.display())]
    NoMatch {
        /// The pattern as it was written.
        pattern: String,
        /// The directory it is relative to.
        base: PathBuf,
    },
    /// A file does not exist.
    #[error("there is no file `{}`", path.display())]
    MissingFile {
        /// The path that was looked at.
        path: PathBuf,
    },
    /// A path does not name a file.
    #[error("`{}` is not a file", path.display())]
    NotAFile {
        /// The path that was looked at.
        path: PathBuf,
    },
    /// A path names something without an end or a size, such as a pipe or a device.
    #[error("`{}` is not a regular file", path.display())]
    NotARegularFile {
        /// The path that was looked at.
        path: PathBuf,
    },
    /// A data set's folder does not exist.
    #[error("there is no folder `{}`", path.display())]
    MissingFolder {
        /// The path that was looked at.
        path: PathBuf,
    },
    /// A data set's path does not name a folder.
    #[error("`{}` is not a folder", path.display())]
    NotAFolder {
        /// The path that was looked at.
        path: PathBuf,
    },
    /// A folder has no files of rows.
    #[error("`{}` has no JSON-lines, Parquet or Arrow files", path.display())]
    NoDataInFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A folder does not have the requested split.
    #[error("`{}` has no split `{split}`: it has {}", path.display(), in_words(known))]
    NoSuchSplit {
        /// The folder.
        path: PathBuf,
        /// The requested split.
        split: String,
        /// The splits that it has, sorted.
        known: Vec<String>,
    },
    /// A split of a folder is in files of several kinds, so it is probably there twice.
    #[error("`{}` and `{}` are of different kinds", first.display(), second.display())]
    MixedFolder {
        /// A file.
        first: PathBuf,
        /// One of another kind.
        second: PathBuf,
    },
    /// The file that lists the contents of a saved data set is not valid.
    #[error("`{}` cannot be read", path.display())]
    UnreadableFolderState {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A file cannot be opened.
    #[error("could not open `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read to its end; damaged and truncated compressed files are of this kind.
    #[error("could not read `{}` after line {line}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The last line that was read completely.
        line: u64,
        /// What the system or the decompressor says.
        #[source]
        source: io::Error,
    },
    /// A line of a JSON-lines file is longer than a row may be.
    #[error("line {line} of `{}` has more than {most_bytes} bytes", path.display())]
    LongLine {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The most bytes that a line may have once it is decompressed.
        most_bytes: u64,
    },
    /// A Parquet table or Arrow stream is damaged, truncated, or not what its name says.
    #[error("could not read `{}` after row {row}", path.display())]
    DamagedTable {
        /// The file.
        path: PathBuf,
        /// The last row that was read.
        row: u64,
        /// What the decoder says.
        #[source]
        source: ArrowError,
    },
    /// A file with the name of an Arrow stream is truncated or not one.
    #[error("`{}` is not a whole Arrow stream", path.display())]
    NotAnArrowStream {
        /// The file.
        path: PathBuf,
    },
    /// A column of a table has values that are neither text, numbers, booleans, nor lists or structures of these.
    #[error("the column `{column}` of `{}` has the type {data_type}, which cannot be read", path.display())]
    UnreadableColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type, in Arrow's words.
        data_type: String,
    },
    /// A row is malformed.
    #[error("bad row at `{file}:{line}`")]
    BadRow {
        /// The file, relative to the pipeline file.
        file: String,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with the row.
        #[source]
        problem: RowProblem,
    },
    /// Two rows have the same id.
    #[error("the id `{id}` is at `{first}` and again at `{second}`")]
    DuplicateId {
        /// The id.
        id: String,
        /// The file and line that has it first.
        first: String,
        /// The file and line that repeats it.
        second: String,
    },
    /// A sample has no closed chain of thought, and the configuration makes that an error.
    #[error("`{file}:{line}` has no chain of thought closed by `{thinking_end}` in its last assistant turn")]
    WithoutMarkers {
        /// The file, relative to the pipeline file.
        file: String,
        /// The line, counted from 1.
        line: u64,
        /// The marker that is missing.
        thinking_end: String,
    },
    /// The tokenizer cannot encode a text.
    #[error("the tokenizer cannot encode `{file}:{line}`")]
    Tokenize {
        /// The file, relative to the pipeline file.
        file: String,
        /// The line, counted from 1.
        line: u64,
        /// What the tokenizer says.
        #[source]
        source: tokenizers::Error,
    },
    /// The tokenizer cannot be prepared for encoding without truncation.
    #[error("the tokenizer's settings cannot be changed")]
    TokenizerSettings {
        /// What the tokenizer says.
        #[source]
        source: tokenizers::Error,
    },
    /// The chat template is not valid.
    #[error("the chat template cannot be parsed")]
    InvalidTemplate {
        /// What the template engine says.
        #[source]
        source: minijinja::Error,
    },
    /// The chat template cannot render a conversation.
    #[error("the chat template refuses the conversation")]
    Template {
        /// What the template engine says.
        #[source]
        source: minijinja::Error,
    },
    /// Holding out so many samples leaves none for training.
    #[error("`data.validation` holds out {asked} samples, but there are only {samples}")]
    ValidationTooLarge {
        /// The count that was asked for.
        asked: usize,
        /// The number of samples.
        samples: usize,
    },
    /// The data now gives different samples for rows that a corpus already has.
    #[error("sample `{id}`{} has changed in the data since the corpus was prepared", and_others(*others))]
    ChangedSamples {
        /// The first such id in the order of the corpus.
        id: String,
        /// The number of further samples.
        others: u64,
    },
    /// The data no longer gives samples that a corpus already has.
    #[error("sample `{id}`{} is gone from the data since the corpus was prepared", and_others(*others))]
    RemovedSamples {
        /// The first such id in the order of the corpus.
        id: String,
        /// The number of further samples.
        others: u64,
    },
    /// No sample is left for training.
    #[error("no training sample is left: {}", report.losses())]
    NoTrainingSamples {
        /// Counts of the rows by outcome.
        report: Box<PrepareReport>,
    },
}

/// The error of a file or folder that cannot be opened.
pub(crate) fn open_error(path: &Path, source: io::Error) -> CorpusError {
    match source.kind() {
        io::ErrorKind::NotFound => CorpusError::MissingFile { path: path.to_owned() },
        _ => CorpusError::Open {
            path: path.to_owned(),
            source,
        },
    }
}

/// Names in backticks, with commas and `and`.
fn in_words(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => "none".to_owned(),
    }
}

fn and_others(others: u64) -> String {
    match others {
        0 => String::new(),
        _ => format!(" (and {others} more)"),
    }
}

impl Diagnosis for CorpusError {
    fn is_unexpected(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } => !matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::Other // what the zstd decoder reports of damaged frames
            ),
            Self::TokenizerSettings { .. } => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::BadRow { problem: RowProblem::Template { .. }, .. } => Some(
                "change the conversation to what the model's chat template accepts, \
                 or leave such rows out with `data.on_bad_row = \"skip\"`"
                    .into(),
            ),
            Self::BadRow { .. } => {
                Some("correct the row, or leave such rows out with `data.on_bad_row = \"skip\"`".into())
            }
            Self::MissingFile { .. } | Self::NoMatch { .. } => {
                Some("paths in `data.files` are relative to the pipeline file".into())
            }
            Self::LongLine { .. } => Some("write the rows on lines of their own, one JSON object a line".into()),
            Self::DamagedTable { .. } => Some("copy or download the file again".into()),
            Self::NotAnArrowStream { .. } => Some(
                "`save_to_disk` of Hugging Face's datasets writes such streams; copy the file again, or give Parquet"
                    .into(),
            ),
            Self::UnreadableColumn { .. } => {
                Some("columns must hold text, numbers, booleans, or lists and structures of these".into())
            }
            Self::NotAFile { path } => Some(format!(
                "name the files inside it (`{}/*.jsonl`), or give a data set's folder as `data.path`",
                path.display()
            )),
            Self::NotARegularFile { .. } => Some("give a file on disk: data is read more than once".into()),
            Self::MissingFolder { .. } => Some("`data.path` is relative to the pipeline file".into()),
            Self::NotAFolder { .. } => Some("name files with `data.files`".into()),
            Self::NoDataInFolder { .. } | Self::MixedFolder { .. } => {
                Some("name the files to read with `data.files` instead of `data.path`".into())
            }
            Self::NoSuchSplit { .. } => Some("choose one with `data.split`, or name files with `data.files`".into()),
            Self::UnreadableFolderState { .. } => Some("save the data set again, or name its files with `data.files`".into()),
            Self::DuplicateId { .. } => Some("give every row its own `id`, or leave the field out".into()),
            Self::WithoutMarkers { .. } => Some(
                "set `sections.thinking_start` and `sections.thinking_end` to the markers of the data, or \
                 `sections.without_markers` to `skip` or `answer`"
                    .into(),
            ),
            Self::ValidationTooLarge { samples, .. } => {
                Some(format!("hold out fewer than {samples} samples, or a share such as `data.validation = 0.05`"))
            }
            Self::ChangedSamples { .. } | Self::RemovedSamples { .. } => Some(
                "restore the row and add new rows only at the end of a file or in a file of their own (a row without \
                 `id` is known by its file and line), or point `cache.dir` at a new folder"
                    .into(),
            ),
            Self::NoTrainingSamples { report } => match report.main_loss()? {
                DropReason::TooLong => Some("raise `data.max_tokens`".into()),
                DropReason::WithoutMarkers => Some(
                    "set `sections.thinking_start` and `sections.thinking_end` to the markers of the data, or keep such \
                     samples with `sections.without_markers = \"answer\"`"
                        .into(),
                ),
                DropReason::ThinkingRemoved => Some(
                    "the model's chat template cuts the thinking out of the last assistant turn; give the model a \
                     template that keeps it"
                        .into(),
                ),
                DropReason::FilteredOut => Some("compare the fields and values of `data.where` with those of the rows".into()),
                DropReason::TooShort
                | DropReason::EmptyContent
                | DropReason::ContentNotFound
                | DropReason::NotDrawn => None,
            },
            _ => None,
        }
    }
}
