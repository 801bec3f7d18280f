//! The list of what is in the folder of an export: `export.json`. An import compares every file with it.

use std::path::Path;

use leadspan_files::is_plain_name;
use leadspan_sequence::Split;
use serde::{Deserialize, Serialize};

use crate::{CacheError, Coverage, Identity, json};

/// The version of the list.
const FORMAT: u32 = 1;

/// The contents of `export.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExportList {
    format: u32,
    /// [`DATASET`](Self::DATASET) or [`DISTILLKIT`](Self::DISTILLKIT).
    pub(crate) layout: String,
    /// The program that wrote it, with its version.
    pub(crate) program: String,
    /// Whether the cache had every sample's positions.
    pub(crate) complete: bool,
    /// The positions that are exported.
    pub(crate) coverage: Coverage,
    /// The identity of the cache.
    pub(crate) identity: Identity,
    pub(crate) samples: u64,
    /// The rows in [`POSITIONS`](Self::POSITIONS).
    pub(crate) rows: u64,
    pub(crate) files: Vec<ListedFile>,
}

/// One Parquet file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ListedFile {
    /// The folder that it is in, and its name there.
    pub(crate) folder: String,
    pub(crate) path: String,
    pub(crate) split: Split,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
}

impl ExportList {
    pub(crate) const NAME: &str = "export.json";
    /// One row for each position, and the samples' tokens apart.
    pub(crate) const DATASET: &str = "dataset";
    /// One row for each sample, packed as DistillKit packs it.
    pub(crate) const DISTILLKIT: &str = "distillkit";
    /// The folder of positions, or of DistillKit's rows.
    pub(crate) const POSITIONS: &str = "data";
    /// The folder of the samples' tokens.
    pub(crate) const SAMPLES: &str = "samples";

    pub(crate) fn new(layout: &str, complete: bool, coverage: Coverage, identity: &Identity) -> Self {
        Self {
            format: FORMAT,
            layout: layout.to_owned(),
            program: concat!("leadspan ", env!("CARGO_PKG_VERSION")).to_owned(),
            complete,
            coverage,
            identity: identity.clone(),
            samples: 0,
            rows: 0,
            files: Vec::new(),
        }
    }

    /// The list in a folder, and the blake3 of its bytes; `None` if there is no list.
    ///
    /// # Errors
    ///
    /// [`CacheError::BadJson`], [`CacheError::UnsupportedVersion`] or [`CacheError::Inconsistent`] if it is damaged or names
    /// files outside the folder; [`CacheError::Io`] if it cannot be read.
    pub(crate) fn read(dir: &Path) -> Result<Option<(Self, String)>, CacheError> {
        let path = dir.join(Self::NAME);
        let Some(bytes) = json::read(&path)? else {
            return Ok(None);
        };
        let list: Self = json::from_bytes_of(&bytes, &path, &[FORMAT])?;
        let is_inside = |file: &ListedFile| {
            [Self::POSITIONS, Self::SAMPLES].contains(&file.folder.as_str())
                && file
                    .path
                    .split_once('/')
                    .is_some_and(|(folder, name)| folder == file.folder && is_plain_name(name))
        };
        if let Some(file) = list.files.iter().find(|file| !is_inside(file)) {
            let problem = format!("`{}` is no file of an export", file.path.escape_debug());
            return Err(CacheError::Inconsistent { path, problem });
        }
        Ok(Some((list, blake3::hash(&bytes).to_hex().to_string())))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        json::to_bytes(self)
    }
}
