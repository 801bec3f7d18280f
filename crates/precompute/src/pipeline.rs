//! The tables of a pipeline file that stage one reads, or that preparing reads, and what their paths are relative to.

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

/// Everything that preparing a corpus is told where there is no teacher.
#[derive(Clone, Debug, PartialEq)]
pub struct TextPipeline {
    /// The folder that relative paths start from: the pipeline file's.
    pub base: PathBuf,
    /// Whose tokenizer and chat template are used: a directory, which need not have weights, or a GGUF file.
    pub tokenizer: PathBuf,
    /// The rows.
    pub data: DataSettings,
    /// How their sections are found.
    pub sections: SectionSettings,
    /// Where the corpus goes.
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
