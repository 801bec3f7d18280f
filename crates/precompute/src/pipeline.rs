//! The tables of a pipeline file that stage one reads, and what its paths are relative to.

use std::path::PathBuf;

use leadspan_corpus::{DataSettings, SectionSettings};

use crate::{CacheSettings, TeacherSettings};

/// Everything that stage one is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// The folder that relative paths start from: the pipeline file's.
    pub base: PathBuf,
    /// The model that is run.
    pub teacher: TeacherSettings,
    /// The rows it is run on.
    pub data: DataSettings,
    /// How their sections are found.
    pub sections: SectionSettings,
    /// What is stored.
    pub cache: CacheSettings,
}

impl Pipeline {
    /// Where the teacher is.
    pub fn model_path(&self) -> PathBuf {
        self.base.join(&self.teacher.model)
    }

    /// Where the cache is, or will be.
    pub fn cache_dir(&self) -> PathBuf {
        self.base.join(&self.cache.dir)
    }
}
