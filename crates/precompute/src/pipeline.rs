//! The tables of a pipeline file that stage one reads, and the folder that their paths are relative to.

use std::path::PathBuf;

use leadspan_corpus::{DataSettings, SectionSettings};
use leadspan_model::{ModelError, ModelSource};

use crate::{
    CacheSettings, TeacherSettings, data_hashes::DataCheck, server_authorities::ServerAuthorities,
    server_key::ServerKey,
};

/// The settings of stage one.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// The folder that relative paths start from: the pipeline file's.
    pub base: PathBuf,
    /// The teacher.
    pub teacher: TeacherSettings,
    /// The key for the server that runs the teacher, if there is one.
    pub server_key: Option<ServerKey>,
    /// The certificate authorities that an `https` server is trusted by, in place of the built-in ones.
    pub server_authorities: ServerAuthorities,
    /// The rows that it is run on.
    pub data: DataSettings,
    /// How their sections are found.
    pub sections: SectionSettings,
    /// What is stored.
    pub cache: CacheSettings,
    /// How changes of the data are noticed.
    pub data_check: DataCheck,
    /// The memory in bytes that the machine has for a teacher on the CPU if `teacher.memory` is not set; `None` if it is unknown.
    pub available_memory: Option<u64>,
}

/// The settings of preparing a corpus without a teacher.
#[derive(Clone, Debug, PartialEq)]
pub struct TextPipeline {
    /// The folder that relative paths start from: the pipeline file's.
    pub base: PathBuf,
    /// Where the tokenizer and the chat template are: a directory, which need not have weights, or a GGUF file.
    pub tokenizer: PathBuf,
    /// Whether it is the tokenizer of a served teacher, whose architecture may be unknown.
    pub is_served: bool,
    /// The rows.
    pub data: DataSettings,
    /// How their sections are found.
    pub sections: SectionSettings,
    /// Where the corpus goes.
    pub cache: CacheSettings,
    /// How changes of the data are noticed.
    pub data_check: DataCheck,
}

impl Pipeline {
    /// The path of the teacher.
    pub fn model_path(&self) -> PathBuf {
        self.base.join(&self.teacher.model)
    }

    /// Opens the teacher, with its adapter if it has one.
    ///
    /// # Errors
    ///
    /// If nothing is there, or model or adapter are damaged or not supported.
    pub fn open_teacher(&self) -> Result<ModelSource, ModelError> {
        let model = ModelSource::open(&self.model_path())?;
        match &self.teacher.adapter {
            Some(adapter) => model.with_adapter(&self.base.join(adapter)),
            None => Ok(model),
        }
    }

    /// The folder of the cache, which need not exist yet.
    pub fn cache_dir(&self) -> PathBuf {
        self.base.join(&self.cache.dir)
    }
}
