//! The pipeline file as the settings of each stage: read, completed with defaults, and checked against each other.
//!
//! Only the pipeline file itself is read here. No other file is opened or created. The names of folders are looked at, and
//! links in them are followed.

mod agreement;
mod folders;
mod own_outputs;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
};

use leadspan_evaluate::Evaluation;
use leadspan_files::read_regular;
use leadspan_precompute::{DataCheck, Pipeline, ServerAuthorities, TextPipeline};
use leadspan_sequence::LeadSpanProportion;
use leadspan_train::{StudentSettings, TrainSettings};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    configuration_error::ConfigurationError,
    given, keys,
    overrides::{Override, Texts},
    pipeline_file::PipelineFile,
    place::Place,
    sweep_table::SweepSettings,
    tables::Tables,
};

/// The most bytes of a pipeline file.
const MOST_BYTES: u64 = 16 << 20;

/// A pipeline file whose tables are each valid by themselves.
#[derive(Debug)]
pub(crate) struct Configuration {
    file: PathBuf,
    tables: Tables,
}

/// The purpose of a prepared corpus.
#[derive(Debug)]
pub(crate) enum PreparedFor {
    /// A teacher is run over it.
    Teacher(Box<Pipeline>),
    /// A student learns from its text alone.
    Text(Box<TextOfModel>),
}

/// A corpus that is tokenized with the tokenizer of a model.
#[derive(Debug)]
pub(crate) struct TextOfModel {
    pub(crate) pipeline: TextPipeline,
    /// The revision of the model, if it is a Hub model.
    pub(crate) revision: Option<String>,
}

/// The settings of stage two: a cache, and the student to train from it.
#[derive(Debug)]
pub(crate) struct StageTwo {
    /// The folder of the pipeline file.
    pub(crate) base: PathBuf,
    pub(crate) cache_dir: PathBuf,
    pub(crate) student: StudentSettings,
    pub(crate) train: TrainSettings,
    pub(crate) replay_share: f64,
    /// All tables, with defaults filled in and paths as they were written.
    pub(crate) resolved: Value,
}

impl Configuration {
    /// Reads the file and checks every table in it, also those that the command does not need.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or anything in it is wrong. The error names the place.
    pub(crate) fn load(file: &Path, overrides: &[Override]) -> Result<Self, ConfigurationError> {
        let text = |bytes| String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        let text = read_regular(file, MOST_BYTES).and_then(text).map_err(|source| {
            let path = file.to_owned();
            ConfigurationError::Unreadable { path, source }
        })?;
        Self::parse(file, &text, overrides)
    }

    fn parse(file: &Path, text: &str, overrides: &[Override]) -> Result<Self, ConfigurationError> {
        let texts = Texts::new(file, text, overrides);
        let written = PipelineFile::parse(&texts)?;
        let places = written.places();
        given::note_first(places.clone());
        let tables = Tables {
            teacher: present(&written, "teacher")?,
            data: present(&written, "data")?,
            sections: written.settings("sections")?,
            cache: present(&written, "cache")?,
            student: present(&written, "student")?,
            train: present(&written, "train")?,
            replay: written.settings("replay")?,
            evaluate: present(&written, "evaluate")?,
            sweep: written.sweep()?,
        };
        if let Some(train) = &tables.train {
            let given = |key: &str| places.iter().any(|(given, _)| given == key);
            agreement::check_alternatives(train, given)?;
        }
        Ok(Self {
            file: file.to_owned(),
            tables,
        })
    }

    /// The settings of stage one; `proportion` replaces `cache.lead_span_proportion`.
    ///
    /// # Errors
    ///
    /// If a table is missing, training asks for more than is captured, or the cache's folder is not apart from the run's, from
    /// what is read, or from another cache, or what is read is in a folder that is written.
    pub(crate) fn stage_one(mut self, proportion: Option<LeadSpanProportion>) -> Result<Pipeline, ConfigurationError> {
        if let (Some(proportion), Some(cache)) = (proportion, &mut self.tables.cache) {
            cache.lead_span_proportion = proportion;
            let flag = Place::Flag(format!("--proportion {proportion}"));
            given::note("cache.lead_span_proportion", flag);
        }
        agreement::check_stages(&self.tables, proportion.is_some())?;
        let base = self.base();
        folders::check_places(&base, &self.tables)?;
        agreement::check_folders(&base, &self.tables)?;
        folders::check_cache(&base, &self.tables)?;
        own_outputs::check_rows(&base, &self.tables)?;
        let teacher = self.tables.teacher.take().ok_or_else(|| self.missing("teacher"))?;
        let data = self.tables.data.take().ok_or_else(|| self.missing("data"))?;
        let cache = self.tables.cache.take().ok_or_else(|| self.missing("cache"))?;
        Ok(Pipeline {
            base,
            teacher,
            server_key: None,
            server_authorities: ServerAuthorities::default(),
            data,
            sections: self.tables.sections,
            cache,
            data_check: DataCheck::default(),
            available_memory: leadspan_memory::available_memory_bytes(),
        })
    }

    /// The settings for preparing the samples to replay; `None` if there are none. The tokenizer is the teacher's or, without a
    /// teacher, the student's.
    ///
    /// # Errors
    ///
    /// If the file names no tokenizer.
    pub(crate) fn replayed(&self) -> Result<Option<TextOfModel>, ConfigurationError> {
        if !self.tables.replay.has_samples() {
            return Ok(None);
        }
        let TextOfModel { pipeline, revision } = self.text()?;
        let pipeline = self.tables.replay.pipeline(pipeline);
        Ok(Some(TextOfModel { pipeline, revision }))
    }

    /// The settings for preparing. Without a teacher, the student's tokenizer is used.
    ///
    /// # Errors
    ///
    /// If a table is missing, or training asks for more than is captured.
    pub(crate) fn preparing(self) -> Result<PreparedFor, ConfigurationError> {
        if self.tables.teacher.is_some() {
            return self
                .stage_one(None)
                .map(|pipeline| PreparedFor::Teacher(Box::new(pipeline)));
        }
        folders::check_cache(&self.base(), &self.tables)?;
        own_outputs::check_rows(&self.base(), &self.tables)?;
        self.text().map(|text| PreparedFor::Text(Box::new(text)))
    }

    /// The data as text alone, with the tokenizer of the teacher or, without a teacher, of the student.
    fn text(&self) -> Result<TextOfModel, ConfigurationError> {
        let student = self.tables.student.clone().unwrap_or_default();
        let is_served = self
            .tables
            .teacher
            .as_ref()
            .is_some_and(|teacher| teacher.server.is_some());
        let (tokenizer, revision) = match (self.tables.teacher.clone(), student.tokenizer, student.model) {
            (Some(teacher), ..) => (teacher.model, teacher.revision),
            (None, Some(tokenizer), _) => (tokenizer, None),
            (None, None, Some(model)) => (model, student.revision),
            (None, None, None) => {
                return Err(ConfigurationError::NoTokenizer {
                    file: self.file.clone(),
                });
            }
        };
        let pipeline = TextPipeline {
            base: self.base(),
            tokenizer,
            is_served,
            data: self.tables.data.clone().ok_or_else(|| self.missing("data"))?,
            sections: self.tables.sections.clone(),
            cache: self.tables.cache.clone().ok_or_else(|| self.missing("cache"))?,
            data_check: DataCheck::default(),
        };
        Ok(TextOfModel { pipeline, revision })
    }

    /// The settings of stage two.
    ///
    /// # Errors
    ///
    /// If a table is missing, the run's folder is not apart from a cache or from what is read, or the student starts from nothing or from
    /// contradicting keys. Whether the cache covers what is
    /// asked for is checked later, because it may have been extended beyond what the file says.
    pub(crate) fn stage_two(self) -> Result<StageTwo, ConfigurationError> {
        let resolved = self.resolved();
        let base = self.base();
        let cache = self.tables.cache.as_ref().ok_or_else(|| self.missing("cache"))?;
        let mut student = self.tables.student.clone().unwrap_or_default();
        let mut train = self.tables.train.clone().ok_or_else(|| self.missing("train"))?;
        folders::check_places(&base, &self.tables)?;
        agreement::check_folders(&base, &self.tables)?;
        folders::check_run(&base, &self.tables)?;
        agreement::check_student(&self.file, &student)?;
        student.model = student.model.map(|path| base.join(path));
        student.config = student.config.map(|path| base.join(path));
        student.tokenizer = student.tokenizer.map(|path| base.join(path));
        train.dir = base.join(&train.dir);
        Ok(StageTwo {
            base: base.clone(),
            cache_dir: base.join(&cache.dir),
            student,
            train,
            replay_share: self.tables.replay.share,
            resolved,
        })
    }

    /// The settings of an evaluation. `model` replaces `evaluate.model`, and is relative to the current folder. If it or the run of
    /// `[train]` has an adapter, `student.model` is its base.
    ///
    /// # Errors
    ///
    /// If the table is missing, neither it nor `[train]` names the model or the folder of the results, or that folder holds
    /// something else.
    pub(crate) fn evaluation(self, model: Option<&Path>) -> Result<Evaluation, ConfigurationError> {
        let mut settings = self
            .tables
            .evaluate
            .clone()
            .ok_or_else(|| self.missing("evaluate.files"))?;
        if settings.system.is_none() {
            settings.system = self.tables.data.as_ref().and_then(|data| data.system.clone());
        }
        let base = self.base();
        let run = |key| match &self.tables.train {
            Some(train) => Ok(base.join(&train.dir)),
            None => Err(self.missing(key)),
        };
        let (model, may_be_adapter) = match (model, &settings.model) {
            (Some(model), _) => {
                settings.adapter = None;
                (model.to_owned(), true)
            }
            (None, Some(model)) => (base.join(model), false),
            (None, None) => {
                let run = run("evaluate.model")?;
                agreement::check_evaluated(&settings)?;
                (run.join("model"), true)
            }
        };
        let dir = match &settings.dir {
            Some(dir) => base.join(dir),
            None => run("evaluate.dir")?.join("evaluation"),
        };
        folders::check_evaluation(&base, &self.tables, &dir, &model)?;
        own_outputs::check_problems(&base, &self.tables)?;
        // A run that learns adapters exports one without the model that it belongs to.
        let start = self
            .tables
            .student
            .as_ref()
            .filter(|_| may_be_adapter && is_adapter(&model));
        let (model, exported) = match start.and_then(|student| Some((student, student.model.as_ref()?))) {
            Some((student, start)) => {
                settings.revision.clone_from(&student.revision);
                (base.join(start), Some(model))
            }
            None => (model, None),
        };
        Ok(Evaluation {
            model,
            exported,
            dir,
            cache_dir: self.tables.cache.as_ref().map(|cache| base.join(&cache.dir)),
            base: base.clone(),
            sections: self.tables.sections,
            settings,
        })
    }

    /// The folder of the cache.
    ///
    /// # Errors
    ///
    /// If the file does not name it.
    pub(crate) fn cache_dir(&self) -> Result<PathBuf, ConfigurationError> {
        let cache = self.tables.cache.as_ref().ok_or_else(|| self.missing("cache"))?;
        Ok(self.base().join(&cache.dir))
    }

    /// The settings of the sweep, and whether students are evaluated.
    ///
    /// # Errors
    ///
    /// If the table is missing, or the folder of the runs is not apart from a cache or from what is read.
    pub(crate) fn sweep(&self) -> Result<(&SweepSettings, bool), ConfigurationError> {
        let sweep = self.tables.sweep.as_ref().ok_or_else(|| self.missing("sweep"))?;
        folders::check_sweep(&self.base(), &self.tables, &sweep.own.dir)?;
        Ok((sweep, sweep.own.evaluate.unwrap_or(self.tables.evaluate.is_some())))
    }

    /// The folder of the pipeline file, to which its paths are relative.
    pub(crate) fn base(&self) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).to_owned()
    }

    /// The error for a missing `table`, or for a missing key if `table` is of the form `table.key`.
    fn missing(&self, table: &str) -> ConfigurationError {
        let (table, named) = table
            .split_once('.')
            .map_or((table, None), |(table, key)| (table, Some(key)));
        // A table without a required key has alternative keys, and the usual one comes first.
        let key = keys::keys_of(table)
            .find(|key| named.map_or(key.default == keys::Unset::Required, |named| key.name == named))
            .or_else(|| keys::keys_of(table).next())
            .expect("tables have keys");
        ConfigurationError::MissingKey {
            file: self.file.clone(),
            key: format!("{table}.{}", key.name),
            about: &key.about,
        }
    }

    /// All tables, with defaults filled in and paths as they were written.
    pub(crate) fn resolved(&self) -> Value {
        serde_json::to_value(&self.tables).expect("settings have text keys; a number that is not finite becomes null")
    }
}

/// Whether a folder has an adapter and no model.
fn is_adapter(folder: &Path) -> bool {
    folder.join("adapter_config.json").exists() && !folder.join("config.json").exists()
}

fn present<T: DeserializeOwned>(written: &PipelineFile<'_>, name: &str) -> Result<Option<T>, ConfigurationError> {
    written.has(name).then(|| written.settings(name)).transpose()
}
