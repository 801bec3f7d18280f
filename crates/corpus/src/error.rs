//! The errors of reading data sets and preparing a corpus.

mod diagnosis;

use std::{
    io,
    path::{Path, PathBuf},
};

use arrow::error::ArrowError;
use leadspan_files::Refusal;

use crate::{PrepareReport, RowProblem, row_problem::in_words};

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
    /// A value for the chat template cannot be given.
    #[error("`sections.template_arguments` cannot be used: it sets `{name}`, {problem}")]
    TemplateArgument {
        /// The name of the value.
        name: String,
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
    /// A file is of a kind that is not read: another compression, an archive, another kind of table.
    #[error("`{}` cannot be read: it is {what}", path.display())]
    UnsupportedFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// A file stands for one that Git's large file storage has.
    #[error("`{}` is a pointer of Git LFS and not the file itself", path.display())]
    GitLfsPointer {
        /// The pointer.
        path: PathBuf,
    },
    /// A folder has several configurations, and none is chosen.
    #[error("`{}` has several configurations: {}", path.display(), in_words(known))]
    SeveralConfigurations {
        /// The folder.
        path: PathBuf,
        /// Their names.
        known: Vec<String>,
    },
    /// A folder does not have the requested configuration.
    #[error("`{}` has no configuration `{config}`: it has {}", path.display(), in_words(known))]
    NoSuchConfiguration {
        /// The folder.
        path: PathBuf,
        /// The requested configuration.
        config: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// The list of configurations in a data set's README.md is not valid, or uses what is not read of YAML.
    #[error("the list of configurations in `{}` cannot be read: {problem}", path.display())]
    UnreadableHead {
        /// The README.md.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The files that a configuration names are not there.
    #[error("no file in `{}` matches `{pattern}`, which its README.md names", path.display())]
    NoFilesOfConfiguration {
        /// The folder.
        path: PathBuf,
        /// The pattern.
        pattern: String,
    },
    /// A folder has no files of rows.
    #[error("`{}` has no JSON, Parquet or Arrow files with rows", path.display())]
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
    /// Two files have names that differ only in the version or the format, so the same rows are probably there twice.
    #[error("`{}` and `{}` probably hold the same rows, by their names", first.display(), second.display())]
    SameRows {
        /// A file.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// One of the pieces that the names of the others count is missing.
    #[error("there is no `{}`, which the names of the other pieces count", path.display())]
    MissingPiece {
        /// The file that is missing, perhaps with more in its name.
        path: PathBuf,
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
    /// A row is longer than a row may be.
    #[error("row {row} of `{}` has more than {most_bytes} bytes", path.display())]
    LongRow {
        /// The file.
        path: PathBuf,
        /// The line, the element of the array, or the row of the table, counted from 1.
        row: u64,
        /// The most bytes that a row may have once it is decompressed.
        most_bytes: u64,
    },
    /// Rows of a Parquet table lie in a page of more bytes than room is made for: a row is too long, or a long text is repeated.
    #[error(
        "rows {first} to {last} of `{}` are too long to be read together: {place} has a page of {bytes} bytes, and at most \
         {most_bytes} are read",
        path.display()
    )]
    LargePage {
        /// The file.
        path: PathBuf,
        /// The first of the rows that need the page, counted from 1.
        first: u64,
        /// The last of them.
        last: u64,
        /// The column and the row group.
        place: String,
        /// The bytes of the page once it is decompressed.
        bytes: u64,
        /// The most bytes that a page of this file may have.
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
    /// The chat template leaves out a part of a conversation, or is not the one for it.
    #[error("the chat template does not suit the conversation")]
    UnsuitedTemplate {
        /// The part.
        #[source]
        problem: RowProblem,
    },
    /// Holding out so many samples leaves none for training.
    #[error("`data.validation` holds out {asked} samples, but there are only {samples}")]
    ValidationTooLarge {
        /// The count that was asked for.
        asked: usize,
        /// The number of samples.
        samples: usize,
    },
    /// There are more copies of every sample than are held out, and copies are held out together or not at all.
    #[error(
        "`data.validation` holds out {asked} samples, but every sample is there more often than that under other ids"
    )]
    CopiesDoNotFit {
        /// The count that was asked for.
        asked: usize,
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
    match (source.kind(), Refusal::of(&source)) {
        (io::ErrorKind::NotFound, _) => CorpusError::MissingFile { path: path.to_owned() },
        (_, Some(Refusal::LfsPointer)) => CorpusError::GitLfsPointer { path: path.to_owned() },
        (_, Some(Refusal::NotRegular("a folder"))) => CorpusError::NotAFile { path: path.to_owned() },
        _ if leadspan_files::is_link_to_itself(&source) => CorpusError::NotARegularFile { path: path.to_owned() },
        (_, Some(Refusal::NotRegular(_))) => CorpusError::NotARegularFile { path: path.to_owned() },
        _ => CorpusError::Open {
            path: path.to_owned(),
            source,
        },
    }
}

fn and_others(others: u64) -> String {
    match others {
        0 => String::new(),
        _ => format!(" (and {others} more)"),
    }
}
