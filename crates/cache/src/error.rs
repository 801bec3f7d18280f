//! What can go wrong with a cache, said in the cache's own terms.

use std::{io, path::PathBuf};

use leadspan_distribution::codec::CodecError;
use leadspan_files::FileError;
use leadspan_sequence::{LeadSpanProportion, SectionSet};
use parquet::errors::ParquetError;

use crate::Coverage;

mod hints;

/// Why a cache could not be made, read, extended or exported.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file system refused.
    #[error("could not {action} `{path}`")]
    Io {
        /// What was attempted, such as `open`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The folder holds no cache.
    #[error("`{path}` is not a cache: it has no `identity.json`")]
    NotACache {
        /// The folder.
        path: PathBuf,
    },
    /// The cache holds no prepared corpus yet.
    #[error("the cache `{path}` has no prepared corpus")]
    NotPrepared {
        /// The cache.
        path: PathBuf,
    },
    /// The cache holds a prepared corpus already, and its shards stand on it.
    #[error("the cache `{path}` has a prepared corpus already")]
    AlreadyPrepared {
        /// The cache.
        path: PathBuf,
    },
    /// A part of the prepared corpus is gone, though later ones are there.
    #[error("`{path}` is missing, but later parts of the prepared corpus are there")]
    MissingPart {
        /// The part's description.
        path: PathBuf,
    },
    /// A part of the prepared corpus was not appended to the parts before it.
    #[error("`{path}` does not belong here: {}", match before {
        Some(before) => format!("it was not appended to the `{}` that is there", before.display()),
        None => "it was appended to another part, but it is the first".to_owned(),
    })]
    ForeignPart {
        /// The part's description.
        path: PathBuf,
        /// The description before it; `None` where it is the first.
        before: Option<PathBuf>,
    },
    /// A file was written by a newer (or unknown) version of the format.
    #[error("`{path}` has format version {found}, but this program reads version {supported}")]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// The version it states.
        found: u32,
        /// The version this program knows.
        supported: u32,
    },
    /// Stored and asked distributions would not mean the same.
    #[error("the cache `{path}` was made with {field} `{stored}`, but `{asked}` is asked for")]
    IdentityMismatch {
        /// The cache.
        path: PathBuf,
        /// The first part of the identity that differs, such as `teacher.dtype`.
        field: String,
        /// Its value in the cache.
        stored: String,
        /// Its value now.
        asked: String,
    },
    /// A text file of the cache does not hold what belongs there.
    #[error("`{path}` is damaged: it does not hold the expected JSON")]
    BadJson {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The file is not one of leadspan's shards at all.
    #[error("`{path}` is not a leadspan shard")]
    NotAShard {
        /// The file.
        path: PathBuf,
    },
    /// The file is shorter or longer than it was when it was committed.
    #[error("`{path}` has {found} bytes, but {expected} were committed")]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its size now.
        found: u64,
        /// Its size when it was committed.
        expected: u64,
    },
    /// The bytes are not those that were written.
    #[error("`{path}` is damaged: the checksum of its {part} does not match")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part of it: `index and footer`, `head of row group 3`, `block 17`, `contents`.
        part: String,
    },
    /// The shard is sound but belongs to another cache, corpus, layer or unit.
    #[error("the shard `{path}` does not belong here: its {field} is `{found}`, not `{expected}`")]
    ForeignShard {
        /// The shard.
        path: PathBuf,
        /// What gives it away.
        field: &'static str,
        /// The shard's value.
        found: String,
        /// The value that belongs here.
        expected: String,
    },
    /// Rows of a sound file contradict the corpus, the schema or themselves.
    #[error("`{path}` contradicts itself: {problem}")]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// In what way.
        problem: String,
    },
    /// Blocks of a shard do not decode.
    #[error("`{path}` holds blocks that are no distributions")]
    NotDistributions {
        /// The shard.
        path: PathBuf,
        /// Why not.
        #[source]
        source: CodecError,
    },
    /// The Parquet library failed on a file whose bytes are as they were written.
    #[error("could not {action} the Parquet file `{path}`")]
    Parquet {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the library said.
        #[source]
        source: ParquetError,
    },
    /// No layer has been captured yet.
    #[error("the cache `{path}` holds no distributions yet")]
    NothingCaptured {
        /// The cache.
        path: PathBuf,
    },
    /// No layer reaches as far as is asked.
    #[error(
        "the cache `{path}` holds lead spans up to proportion {largest} of `{sections}`, but proportion {asked} is asked for"
    )]
    ProportionNotCaptured {
        /// The cache.
        path: PathBuf,
        /// The proportion asked for.
        asked: LeadSpanProportion,
        /// The largest proportion captured for these sections.
        largest: LeadSpanProportion,
        /// The sections asked for.
        sections: SectionSet,
    },
    /// No layer has all the sections asked for.
    #[error("the cache `{path}` holds the sections {captured}, but `{asked}` is asked for")]
    SectionsNotCaptured {
        /// The cache.
        path: PathBuf,
        /// The sections asked for.
        asked: SectionSet,
        /// What the layers hold, such as `chain_of_thought+answer`.
        captured: String,
    },
    /// Precomputing has not finished.
    #[error("the cache `{path}` is incomplete: {missing} of {units} work units are missing, the first is `{first}`")]
    IncompleteLayer {
        /// The layer's folder.
        path: PathBuf,
        /// How many units have no shard.
        missing: usize,
        /// How many units there are.
        units: usize,
        /// The first unit without a shard.
        first: String,
    },
    /// Part of what is to be captured is in a layer that reaches beyond it and was not finished.
    #[error("{asked} cannot be captured apart from a larger layer that was begun")]
    UnfinishedLayer {
        /// What is to be captured.
        asked: Coverage,
        /// The layer that is in the way.
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
    /// A sample that the corpus does not have was asked for.
    #[error("there is no sample {index}: the corpus has {samples}")]
    NoSuchSample {
        /// The index asked for.
        index: u32,
        /// How many samples there are.
        samples: usize,
    },
    /// A shard writer was handed something other than its unit's next sample and that sample's positions.
    #[error("sample {index} cannot be written to `{path}`: {problem}")]
    WrongSample {
        /// The shard.
        path: PathBuf,
        /// The sample's index in the corpus.
        index: u32,
        /// What is wrong with it.
        problem: String,
    },
    /// A prepared corpus that cannot be stored.
    #[error("the prepared corpus cannot be stored: {problem}")]
    UnstorableCorpus {
        /// What is wrong with it.
        problem: String,
    },
    /// A tokenizer file whose name would leave the cache.
    #[error("`{name}` is not a plain file name")]
    NotAFileName {
        /// The name.
        name: String,
    },
}

impl From<FileError> for CacheError {
    fn from(error: FileError) -> Self {
        let FileError { action, path, source } = error;
        Self::Io { action, path, source }
    }
}

impl CacheError {
    /// Turns an I/O error into one that names the file.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Turns an error of the Parquet library into one that names the file.
    ///
    /// What the file system refused beneath the library comes out as [`CacheError::Io`].
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
