//! The errors of this crate.

use std::{
    io,
    path::{Path, PathBuf},
};

use leadspan_distribution::codec::CodecError;
use leadspan_files::FileError;
use leadspan_sequence::{LeadSpanProportion, SectionSet};
use parquet::errors::ParquetError;

use crate::{
    Coverage,
    identity::{Difference, Identity},
};

mod hints;

/// An error of creating, reading, extending, checking or exporting a cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file system refused.
    #[error("could not {action} `{path}`")]
    Io {
        /// What was attempted, such as `open`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The folder holds no cache.
    #[error("`{path}` is not a cache: it has no `identity.json`")]
    NotACache {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds no cache, but what a cache would replace or take for its own.
    #[error("`{path}` is not a cache, but it has `{found}`, which a cache would replace")]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// What it has.
        found: PathBuf,
    },
    /// The folder of a layer has a file that is named like a shard, but no work unit has its name.
    #[error("`{path}` is no shard of this cache: no work unit of the corpus has its name")]
    StrayShard {
        /// The file.
        path: PathBuf,
    },
    /// The cache has no prepared corpus yet.
    #[error("the cache `{path}` has no prepared corpus")]
    NotPrepared {
        /// The cache.
        path: PathBuf,
    },
    /// The cache already has a prepared corpus, which its shards depend on.
    #[error("the cache `{path}` already has a prepared corpus")]
    AlreadyPrepared {
        /// The cache.
        path: PathBuf,
    },
    /// A part of the prepared corpus is missing, but later parts exist.
    #[error("`{path}` is missing, but later parts of the prepared corpus exist")]
    MissingPart {
        /// The part's description.
        path: PathBuf,
    },
    /// A part of the prepared corpus was not appended to the part before it.
    #[error("`{path}` does not belong here: {}", match before {
        Some(before) => format!("it was not appended to `{}`", before.display()),
        None => "it was appended to another part, but it is the first".to_owned(),
    })]
    ForeignPart {
        /// The part's description.
        path: PathBuf,
        /// The description of the part before it; `None` if it is the first part.
        before: Option<PathBuf>,
    },
    /// A file has a version of the format that this program does not know.
    #[error(
        "`{path}` has format version {found}, but this program reads {}",
        versions(supported)
    )]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// The version it states.
        found: u32,
        /// The versions that this program reads, the newest last.
        supported: Vec<u32>,
    },
    /// The stored distributions mean something else than those that are asked for.
    #[error("the cache `{path}` was made with {field} `{stored}`, but `{asked}` is asked for")]
    IdentityMismatch {
        /// The cache.
        path: PathBuf,
        /// The first field of the identity that differs, such as `teacher.dtype`.
        field: String,
        /// Its value in the cache.
        stored: String,
        /// The value that is asked for.
        asked: String,
    },
    /// The distributions of the cache were imported, and something else is asked for.
    #[error("the cache `{path}` was imported: its teacher is unknown, so it is neither extended nor compared with one")]
    Imported {
        /// The cache.
        path: PathBuf,
    },
    /// A JSON file of the cache is damaged.
    #[error("`{path}` is damaged: it does not hold the expected JSON")]
    BadJson {
        /// The file.
        path: PathBuf,
        /// The error of the JSON parser.
        #[source]
        source: serde_json::Error,
    },
    /// The file is not a shard of leadspan.
    #[error("`{path}` is not a leadspan shard")]
    NotAShard {
        /// The file.
        path: PathBuf,
    },
    /// The size of a file is not the size that was committed.
    #[error("`{path}` has {found} bytes, but {expected} were committed")]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The size that was committed, in bytes.
        expected: u64,
    },
    /// The bytes of a file do not match their checksum.
    #[error("`{path}` is damaged: the checksum of its {part} does not match")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The part of the file: `index and footer`, `head of row group 3`, `block 17`, `contents`.
        part: String,
    },
    /// A shard belongs to another cache, corpus, layer or work unit.
    #[error("the shard `{path}` does not belong here: its {field} is `{found}`, not `{expected}`")]
    ForeignShard {
        /// The shard.
        path: PathBuf,
        /// The property that differs.
        field: &'static str,
        /// Its value in the shard.
        found: String,
        /// The expected value.
        expected: String,
    },
    /// A file is not what the inventory of the cache says.
    #[error("`{path}` {problem} `{inventory}`")]
    Unlisted {
        /// The file.
        path: PathBuf,
        /// The difference, such as `is not the file that is listed in`.
        problem: &'static str,
        /// The inventory.
        inventory: PathBuf,
    },
    /// A file whose checksums match contradicts the corpus, its schema or itself.
    #[error("`{path}` contradicts itself: {problem}")]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        problem: String,
    },
    /// A block of a shard cannot be decoded.
    #[error("`{path}` has blocks that cannot be decoded")]
    NotDistributions {
        /// The shard.
        path: PathBuf,
        /// The error of the codec.
        #[source]
        source: CodecError,
    },
    /// The Parquet library failed on a file whose checksums match.
    #[error("could not {action} the Parquet file `{path}`")]
    Parquet {
        /// What was attempted, such as `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the library.
        #[source]
        source: ParquetError,
    },
    /// No layer has been started yet.
    #[error("the cache `{path}` holds no distributions yet")]
    NothingCaptured {
        /// The cache.
        path: PathBuf,
    },
    /// The layers do not reach the proportion that is asked for.
    #[error(
        "the cache `{path}` holds lead spans up to proportion {largest} of `{sections}`, but proportion {asked} is asked for"
    )]
    ProportionNotCaptured {
        /// The cache.
        path: PathBuf,
        /// The proportion asked for.
        asked: LeadSpanProportion,
        /// The largest proportion that is captured of all these sections.
        largest: LeadSpanProportion,
        /// The sections asked for.
        sections: SectionSet,
    },
    /// The layers do not hold all sections that are asked for.
    #[error("the cache `{path}` holds the sections {captured}, but `{asked}` is asked for")]
    SectionsNotCaptured {
        /// The cache.
        path: PathBuf,
        /// The sections asked for.
        asked: SectionSet,
        /// The sections that the layers hold, such as `chain_of_thought+answer`.
        captured: String,
    },
    /// A layer lacks work units.
    #[error("the cache `{path}` is incomplete: {missing} of {units} work units are missing, the first is `{first}`")]
    IncompleteLayer {
        /// The layer's folder.
        path: PathBuf,
        /// The number of missing units.
        missing: usize,
        /// The number of all units.
        units: usize,
        /// The first missing unit.
        first: String,
    },
    /// A part of what is to be captured belongs to an unfinished layer that reaches further.
    #[error("{asked} cannot be captured without an unfinished layer that reaches further")]
    UnfinishedLayer {
        /// What is to be captured.
        asked: Coverage,
        /// The error of the unfinished layer.
        #[source]
        unfinished: Box<CacheError>,
    },
    /// No sample of the corpus has this id.
    #[error("the cache `{path}` has no sample `{id}`")]
    UnknownSample {
        /// The cache.
        path: PathBuf,
        /// The id asked for.
        id: String,
        /// The id of its first sample.
        first: Option<String>,
    },
    /// An index is not that of a sample of the corpus.
    #[error("there is no sample {index}: the corpus has {samples}")]
    NoSuchSample {
        /// The index asked for.
        index: u32,
        /// The number of samples.
        samples: usize,
    },
    /// A shard writer was not given the next sample of its unit with exactly its positions.
    #[error("sample {index} cannot be written to `{path}`: {problem}")]
    WrongSample {
        /// The shard.
        path: PathBuf,
        /// The sample's index in the corpus.
        index: u32,
        /// What is wrong with it.
        problem: String,
    },
    /// The folder holds a cache that was not made in this way.
    #[error("`{path}` is not the cache that this command makes: {problem}")]
    OtherOrigin {
        /// The folder.
        path: PathBuf,
        /// How it was made.
        problem: String,
    },
    /// Two caches do not fit together.
    #[error("the caches `{one}` and `{other}` cannot be merged: {problem}")]
    Unmergeable {
        /// One of them.
        one: PathBuf,
        /// The other one.
        other: PathBuf,
        /// The difference.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
    /// More entries are to be kept than are stored, or none.
    #[error("the cache `{path}` stores {stored} entries of a position, but {asked} are to be kept")]
    TopKNotCaptured {
        /// The cache.
        path: PathBuf,
        /// The number of entries to keep.
        asked: u32,
        /// The number of entries that are stored.
        stored: u32,
    },
    /// Fewer entries are to be kept beside drawn tokens.
    #[error(
        "the cache `{path}` stores tokens that were drawn from the tail, and they stand for no larger tail, as fewer entries leave it"
    )]
    DrawsOfSmallerTail {
        /// The cache.
        path: PathBuf,
    },
    /// No samples are named.
    #[error("no sample of the cache `{path}` is named")]
    NoSamples {
        /// The cache.
        path: PathBuf,
    },
    /// The prepared corpus cannot be stored.
    #[error("the prepared corpus cannot be stored: {problem}")]
    UnstorableCorpus {
        /// The reason.
        problem: String,
    },
    /// A file that is to be stored as part of the tokenizer has another file's name.
    #[error("`{}` is not the name of a tokenizer file", name.escape_debug())]
    NotATokenizerFile {
        /// The name.
        name: String,
    },
}

/// Versions of a format in words.
fn versions(supported: &[u32]) -> String {
    let texts: Vec<String> = supported.iter().map(u32::to_string).collect();
    match texts.split_last() {
        Some((last, before)) if !before.is_empty() => format!("versions {} and {last}", before.join(", ")),
        _ => format!("version {}", texts.concat()),
    }
}

impl From<FileError> for CacheError {
    fn from(error: FileError) -> Self {
        let FileError { action, path, source } = error;
        Self::Io { action, path, source }
    }
}

impl CacheError {
    /// The error of a cache in `path` whose identity `stored` differs from what is asked for.
    pub(crate) fn other_identity(path: &Path, stored: &Identity, difference: Difference) -> Self {
        let path = path.to_owned();
        if stored
            .teacher
            .as_ref()
            .is_some_and(|teacher| teacher.imported.is_some())
        {
            return Self::Imported { path };
        }
        let Difference { field, stored, asked } = difference;
        Self::IdentityMismatch {
            path,
            field,
            stored,
            asked,
        }
    }

    /// Converts an I/O error into one that names the file.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Converts an error of the Parquet library into one that names the file.
    ///
    /// I/O errors inside the library become [`CacheError::Io`].
    pub(crate) fn parquet(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(ParquetError) -> Self {
        let path = path.into();
        move |source| match source {
            ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                Ok(source) => Self::Io {
                    action,
                    path,
                    source: *source,
                },
                Err(cause) => Self::Parquet {
                    action,
                    path,
                    source: ParquetError::External(cause),
                },
            },
            source => Self::Parquet { action, path, source },
        }
    }
}
