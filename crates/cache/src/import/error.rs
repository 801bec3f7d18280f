//! Why files cannot be imported.

use std::path::{Path, PathBuf};

use leadspan_diagnosis::Diagnosis;
use leadspan_parquet_guard::Claim;
use parquet::errors::ParquetError;

use crate::{CacheError, distillkit::WrongSettings};

/// An error of importing teacher distributions that another program or an export wrote.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The cache could not be made or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A file cannot be read.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was attempted, such as `open`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// A file is no Parquet file that can be read.
    #[error("`{}` cannot be read as a Parquet file", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// The error of the library, or the claim that does not hold.
        #[source]
        source: ParquetError,
    },
    /// There is no file to import.
    #[error("`{}` has no Parquet files", path.display())]
    Nothing {
        /// The folder.
        path: PathBuf,
        /// The first folder inside it that has some.
        inside: Option<PathBuf>,
    },
    /// All samples have one token.
    #[error("`{}` has no row with two tokens, so there is no position to import", path.display())]
    NoPositions {
        /// The first file or folder that was named.
        path: PathBuf,
    },
    /// Settings were named for files that are not packed.
    #[error("`{}` is not needed: the values of `{}` are not packed", path.display(), file.display())]
    UnusedSettings {
        /// The file of the settings.
        path: PathBuf,
        /// The file or folder that is imported.
        file: PathBuf,
    },
    /// The files have no rows.
    #[error("`{}` has no rows to import", path.display())]
    NoRows {
        /// The first file or folder that was named.
        path: PathBuf,
    },
    /// A file is named twice, so that its samples would be there twice.
    #[error("`{}` is named twice", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
    },
    /// The columns are those of no layout that is read.
    #[error("`{}` has {found}, but {wanted}", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// The columns that it has, in words.
        found: String,
        /// What is missing or wrong.
        wanted: String,
    },
    /// There are no settings that say how the values are packed.
    #[error("`{}` has packed values, but there is no `compression_config.yaml` beside it", path.display())]
    NoSettings {
        /// The first file.
        path: PathBuf,
    },
    /// The settings cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Settings {
        /// The file of the settings.
        path: PathBuf,
        /// Why.
        #[source]
        source: SettingsProblem,
    },
    /// A row says what cannot be.
    #[error("row {row} of `{}`: {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, counted from 1.
        row: u64,
        /// What cannot be.
        problem: String,
    },
    /// A file of an export is not the one that was written.
    #[error("`{}` is not the file that `{}` lists: {problem}", path.display(), list.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The list of the export's files.
        list: PathBuf,
        /// The difference.
        problem: String,
    },
    /// An export cannot be imported.
    #[error("the export `{}` cannot be imported: {problem}", path.display())]
    Export {
        /// The folder of the export.
        path: PathBuf,
        /// Why.
        problem: String,
        /// What the user can do.
        hint: &'static str,
    },
    /// The tokenizer is not the one with which an export was made.
    #[error("`{}` was made with the tokenizer {stored}, but the given one is {given}", path.display())]
    OtherTokenizer {
        /// The folder of the export.
        path: PathBuf,
        /// The fingerprint of the export's tokenizer.
        stored: String,
        /// The fingerprint of the given one.
        given: String,
    },
}

/// What is wrong with settings.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SettingsProblem(#[from] WrongSettings);

impl ImportError {
    /// Converts an I/O error into one that names the file.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(super) fn unused(settings: &Path, file: &Path) -> Self {
        Self::UnusedSettings {
            path: settings.to_owned(),
            file: file.to_owned(),
        }
    }

    /// Whether the files that are imported are at fault: the same import never succeeds.
    pub(super) fn is_of_the_files(&self) -> bool {
        matches!(
            self,
            Self::Table { .. }
                | Self::Columns { .. }
                | Self::Row { .. }
                | Self::NoPositions { .. }
                | Self::Changed { .. }
                | Self::Export { .. }
        )
    }
}

impl Diagnosis for ImportError {
    fn is_unexpected(&self) -> bool {
        match self {
            Self::Cache(error) => error.is_unexpected(),
            Self::Io { source, .. } => leadspan_files::is_unexpected(source),
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Cache(CacheError::IdentityMismatch { path, .. } | CacheError::Imported { path, .. }) => Some(format!(
                "choose another folder: `{}` holds what was imported from other files or with other settings",
                path.display()
            )),
            Self::Cache(error) => error.hint(),
            Self::Io { source, path, .. } => leadspan_files::hint(source, path),
            Self::Table { source, .. } if Claim::behind(source).is_some() => {
                Some("write the file again with smaller pages".to_owned())
            }
            Self::Table { source, .. } if source.to_string().contains("Disabled feature") => {
                Some("write the file again with the compression `zstd` or `snappy`".to_owned())
            }
            Self::Table { .. } => Some("download or copy the file again".to_owned()),
            Self::Nothing {
                inside: Some(inside), ..
            } => Some(format!(
                "folders inside a folder are not searched: name `{}`",
                inside.display()
            )),
            Self::UnusedSettings { .. } => Some("leave `--compression-config` out".to_owned()),
            Self::Nothing { .. } | Self::NoRows { .. } | Self::NoPositions { .. } => {
                Some("name the Parquet files with the captured rows, or the folder that they are in".to_owned())
            }
            Self::Twice { .. } => Some("name a folder or its files, and each file once".to_owned()),
            Self::Columns { .. } => Some(
                "DistillKit's captures (`input_ids` with `compressed_logprobs` and `bytepacked_indices`, or with `token_ids` \
                 and `top_values`) and the folders of `leadspan cache export --format dataset` can be imported"
                    .to_owned(),
            ),
            Self::NoSettings { .. } => Some(
                "download the file of settings that DistillKit wrote beside the data, and name it with \
                 `--compression-config`"
                    .to_owned(),
            ),
            Self::Settings { .. } => Some(
                "correct it, or name with `--compression-config` the file of settings with which DistillKit wrote the data"
                    .to_owned(),
            ),
            Self::Changed { .. } => Some("download or copy the files again".to_owned()),
            Self::Row { problem, .. } if problem.contains("vocabulary") => Some(
                "name the teacher's own tokenizer with `--tokenizer`; if the teacher has more tokens than its tokenizer, \
                 give their number with `--vocabulary`"
                    .to_owned(),
            ),
            Self::Row { .. } => Some("the file is damaged, or its settings are those of other files".to_owned()),
            Self::Export { hint, .. } => Some((*hint).to_owned()),
            Self::OtherTokenizer { .. } => Some("name the teacher's own tokenizer with `--tokenizer`".to_owned()),
        }
    }
}
