//! The pipeline file as the settings of each stage: read, completed with defaults, checked against each other.
//!
//! Nothing is opened or made here beyond reading the file itself.

use std::path::{Path, PathBuf};

use leadspan_evaluate::Evaluation;
use leadspan_precompute::{DataCheck, Pipeline, TextPipeline};
use leadspan_sequence::LeadSpanProportion;
use leadspan_train::{StudentSettings, TrainSettings};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    configuration_error::ConfigurationError,
    keys,
    overrides::{Override, Texts},
    pipeline_file::PipelineFile,
    sweep_table::SweepSettings,
    tables::Tables,
};

/// A pipeline file whose every table makes sense by itself.
#[derive(Debug)]
pub(crate) struct Configuration {
    file: PathBuf,
    tables: Tables,
}

/// What a corpus is prepared for.
#[derive(Debug)]
pub(crate) enum PreparedFor {
    /// For a teacher to be run over.
    Teacher(Pipeline),
    /// To be learnt from as it is.
    Text(TextOfModel),
}

/// A corpus that is tokenized as a model does.
#[derive(Debug)]
pub(crate) struct TextOfModel {
    pub(crate) pipeline: TextPipeline,
    /// Which revision of the model, if it is the Hub's.
    pub(crate) revision: Option<String>,
}

/// What stage two needs: a cache, and the student to train from it.
#[derive(Debug)]
pub(crate) struct StageTwo {
    /// The folder of the pipeline file.
    pub(crate) base: PathBuf,
    pub(crate) cache_dir: PathBuf,
    pub(crate) student: StudentSettings,
    pub(crate) train: TrainSettings,
    pub(crate) replay_share: f64,
    /// The tables that decide the result, defaults filled in and paths as written.
    pub(crate) resolved: Value,
}

impl Configuration {
    /// Reads the file and checks every table that it has, whichever the command needs.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read or anything in it is wrong; the error says where.
    pub(crate) fn load(file: &Path, overrides: &[Override]) -> Result<Self, ConfigurationError> {
        let text = std::fs::read_to_string(file).map_err(|source| ConfigurationError::Unreadable {
            path: file.to_owned(),
            source,
        })?;
        Self::parse(file, &text, overrides)
    }

    fn parse(file: &Path, text: &str, overrides: &[Override]) -> Result<Self, ConfigurationError> {
        let texts = Texts::new(file, text, overrides);
        let written = PipelineFile::parse(&texts)?;
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
        Ok(Self {
            file: file.to_owned(),
            tables,
        })
    }

    /// The settings of stage one; `proportion` replaces `cache.lead_span_proportion`.
    ///
    /// # Errors
    ///
    /// Where a table is missing, or training would ask for more than is captured.
    pub(crate) fn stage_one(mut self, proportion: Option<LeadSpanProportion>) -> Result<Pipeline, ConfigurationError> {
        if let (Some(proportion), Some(cache)) = (proportion, &mut self.tables.cache) {
            cache.lead_span_proportion = proportion;
        }
        self.check_stages_agree()?;
        let base = self.base();
        let teacher = self.tables.teacher.take().ok_or_else(|| self.missing("teacher"))?;
        let data = self.tables.data.take().ok_or_else(|| self.missing("data"))?;
        let cache = self.tables.cache.take().ok_or_else(|| self.missing("cache"))?;
        Ok(Pipeline {
            base,
            teacher,
            data,
            sections: self.tables.sections,
            cache,
            data_check: DataCheck::default(),
        })
    }

    /// How the samples to replay are prepared, with the tokenizer of the teacher or, where there is none, of the student;
    /// nothing where there are none.
    ///
    /// # Errors
    ///
    /// Where it is not said whose tokenizer that is.
    pub(crate) fn replayed(&self) -> Result<Option<TextOfModel>, ConfigurationError> {
        if !self.tables.replay.has_samples() {
            return Ok(None);
        }
        let TextOfModel { pipeline, revision } = self.text()?;
        let pipeline = self.tables.replay.pipeline(pipeline);
        Ok(Some(TextOfModel { pipeline, revision }))
    }

    /// The settings of preparing, for which a student can take the teacher's place where there is none.
    ///
    /// # Errors
    ///
    /// Where a table is missing, or training would ask for more than is captured.
    pub(crate) fn preparing(self) -> Result<PreparedFor, ConfigurationError> {
        if self.tables.teacher.is_some() {
            return self.stage_one(None).map(PreparedFor::Teacher);
        }
        self.text().map(PreparedFor::Text)
    }

    /// The data as text alone, tokenized as the teacher does, or as the student does where there is none.
    fn text(&self) -> Result<TextOfModel, ConfigurationError> {
        let student = self.tables.student.clone().unwrap_or_default();
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
    /// Where a table is missing, or the student's start is not one. What the cache covers is the cache's to say: it may have
    /// been extended beyond what the file asks for.
    pub(crate) fn stage_two(self) -> Result<StageTwo, ConfigurationError> {
        let resolved = self.resolved();
        let base = self.base();
        let cache = self.tables.cache.as_ref().ok_or_else(|| self.missing("cache"))?;
        let mut student = self.tables.student.clone().unwrap_or_default();
        let mut train = self.tables.train.clone().ok_or_else(|| self.missing("train"))?;
        self.check_student(&student)?;
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

    /// What is evaluated; `model` replaces `evaluate.model`, and is relative to where the program runs.
    ///
    /// # Errors
    ///
    /// Where the table is missing, or neither it nor `[train]` says which model, or where the results go.
    pub(crate) fn evaluation(self, model: Option<&Path>) -> Result<Evaluation, ConfigurationError> {
        let settings = self
            .tables
            .evaluate
            .clone()
            .ok_or_else(|| self.missing("evaluate.files"))?;
        let base = self.base();
        let run = |key| match &self.tables.train {
            Some(train) => Ok(base.join(&train.dir)),
            None => Err(self.missing(key)),
        };
        let model = match (model, &settings.model) {
            (Some(model), _) => model.to_owned(),
            (None, Some(model)) => base.join(model),
            (None, None) => run("evaluate.model")?.join("model"),
        };
        let dir = match &settings.dir {
            Some(dir) => base.join(dir),
            None => run("evaluate.dir")?.join("evaluation"),
        };
        Ok(Evaluation {
            model,
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
    /// Where the file does not name one.
    pub(crate) fn cache_dir(&self) -> Result<PathBuf, ConfigurationError> {
        let cache = self.tables.cache.as_ref().ok_or_else(|| self.missing("cache"))?;
        Ok(self.base().join(&cache.dir))
    }

    /// What is swept over, and whether students are evaluated.
    ///
    /// # Errors
    ///
    /// Where the table is missing.
    pub(crate) fn sweep(&self) -> Result<(&SweepSettings, bool), ConfigurationError> {
        let sweep = self.tables.sweep.as_ref().ok_or_else(|| self.missing("sweep"))?;
        Ok((sweep, sweep.own.evaluate.unwrap_or(self.tables.evaluate.is_some())))
    }

    /// The folder of the pipeline file, to which its paths are relative.
    pub(crate) fn base(&self) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).to_owned()
    }

    /// That `table` is missing, or the key if one is named.
    fn missing(&self, table: &str) -> ConfigurationError {
        let (table, named) = table
            .split_once('.')
            .map_or((table, None), |(table, key)| (table, Some(key)));
        // A table without a required key has alternatives, the usual one first.
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

    fn check_stages_agree(&self) -> Result<(), ConfigurationError> {
        let (Some(cache), Some(train)) = (&self.tables.cache, &self.tables.train) else {
            return Ok(());
        };
        if train.distillation_weight == 0.0 {
            // Tokens are there of all proportions and sections.
            return Ok(());
        }
        if train.lead_span_proportion > cache.lead_span_proportion {
            return Err(ConfigurationError::ProportionBeyondCache {
                train: train.lead_span_proportion,
                cache: cache.lead_span_proportion,
            });
        }
        if !cache.supervised_sections.is_superset(train.supervised_sections) {
            return Err(ConfigurationError::SectionsBeyondCache {
                train: train.supervised_sections,
                cache: cache.supervised_sections,
            });
        }
        Ok(())
    }

    fn check_student(&self, student: &StudentSettings) -> Result<(), ConfigurationError> {
        let contradiction = |first, second, because| {
            Err(ConfigurationError::Contradiction {
                file: self.file.clone(),
                first,
                second,
                because,
            })
        };
        match (&student.model, &student.config) {
            (Some(_), Some(_)) => contradiction(
                "student.model",
                "student.config",
                "a student starts from one of them, not both",
            ),
            (None, Some(_)) if student.layers.is_some() => contradiction(
                "student.config",
                "student.layers",
                "layers are chosen from a model, and there is none",
            ),
            (None, Some(_)) if student.revision.is_some() => contradiction(
                "student.config",
                "student.revision",
                "a revision is one of a model, and there is none",
            ),
            (Some(_), None) if student.tokenizer.is_some() => contradiction(
                "student.model",
                "student.tokenizer",
                "a model has a tokenizer of its own",
            ),
            (None, None) => Err(ConfigurationError::NoStudent {
                file: self.file.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The tables, defaults filled in and paths as written.
    pub(crate) fn resolved(&self) -> Value {
        serde_json::to_value(&self.tables).expect("settings have text keys; a number that is not finite becomes null")
    }
}

fn present<T: DeserializeOwned>(written: &PipelineFile<'_>, name: &str) -> Result<Option<T>, ConfigurationError> {
    written.has(name).then(|| written.settings(name)).transpose()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::keys::{self, Unset};

    const WHOLE: &str = r#"
        [teacher]
        model = "models/teacher"
        [data]
        files = ["*.jsonl"]
        [cache]
        dir = "cache"
        [student]
        model = "/students/one"
        layers = [0, 2]
        [train]
        dir = "runs/half"
        [evaluate]
        [sweep]
        dir = "sweep"
    "#;

    fn parse(text: &str, overrides: &[&str]) -> Result<Configuration, ConfigurationError> {
        let overrides: Vec<_> = overrides.iter().map(|given| Override::parse(given).unwrap()).collect();
        Configuration::parse(Path::new("some/where/pipeline.toml"), text, &overrides)
    }

    fn stage_two_message(overrides: &[&str]) -> String {
        parse(WHOLE, overrides)
            .and_then(Configuration::stage_two)
            .unwrap_err()
            .to_string()
    }

    fn leaves(prefix: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(entries) if prefix.is_empty() || !entries.is_empty() => {
                for (name, value) in entries {
                    let full = if prefix.is_empty() {
                        name.clone()
                    } else {
                        format!("{prefix}.{name}")
                    };
                    leaves(&full, value, found);
                }
            }
            value => drop(found.insert(prefix.to_owned(), value.clone())),
        }
    }

    #[test]
    fn the_keys_agree_with_the_settings_in_names_and_defaults() {
        let minimal = WHOLE
            .replace("model = \"/students/one\"", "")
            .replace("layers = [0, 2]", "")
            .replace("files = [\"*.jsonl\"]", "");
        let mut settings = BTreeMap::new();
        leaves("", &parse(&minimal, &[]).unwrap().resolved(), &mut settings);
        let mut documented = BTreeMap::new();
        for key in keys::all() {
            let full = format!("{}.{}", key.table, key.name);
            // A default goes through the setting's own type, so that `1.0` and `"1.0"` are the same proportion.
            let value = match &key.default {
                Unset::Required => settings.get(&full).cloned().unwrap_or_default(),
                Unset::Absent => Value::Null,
                Unset::Is(default) => {
                    let mut given = BTreeMap::new();
                    leaves(
                        "",
                        &parse(&minimal, &[&format!("{full}={default}")]).unwrap().resolved(),
                        &mut given,
                    );
                    given.get(&full).cloned().unwrap_or_default()
                }
            };
            documented.insert(full, value);
        }
        assert_eq!(documented, settings);
    }

    #[test]
    fn every_key_of_the_reference_is_accepted() {
        for key in keys::all() {
            let full = format!("{}.{}", key.table, key.name);
            // A key without a default takes any value of its type.
            let value = match (&key.default, key.kind.as_str()) {
                (Unset::Is(default), _) => default.as_str(),
                (_, "string") => "'text'",
                (_, "integer") => "1",
                (_, "number") => "0.5",
                (_, "boolean") => "true",
                (_, "[integer, …]") => "[0, 1]",
                (_, kind) => panic!("`{full}` is of the type {kind}"),
            };
            let given = format!("{full}={value}");
            parse(WHOLE, &[&given]).unwrap_or_else(|error| panic!("{given}: {error}"));
        }
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let one = parse(WHOLE, &[]).unwrap().stage_one(None).unwrap();
        assert_eq!(one.base, Path::new("some/where"));
        assert_eq!(one.model_path(), Path::new("some/where/models/teacher"));
        assert_eq!(one.cache_dir(), Path::new("some/where/cache"));
        let two = parse(WHOLE, &[]).unwrap().stage_two().unwrap();
        assert_eq!(two.student.model.as_deref(), Some(Path::new("/students/one")));
        assert_eq!(two.train.dir, Path::new("some/where/runs/half"));
        assert_eq!(two.resolved["train"]["dir"], "runs/half");
    }

    #[test]
    fn capturing_less_than_the_file_trains_on_is_refused_before_anything_runs() {
        let stage_one = |overrides: &[&str], proportion: Option<&str>| {
            parse(WHOLE, overrides)
                .unwrap()
                .stage_one(proportion.map(|proportion| proportion.parse().unwrap()))
        };
        let shorter = ["cache.lead_span_proportion=0.25"];
        assert_eq!(
            stage_one(&shorter, None).unwrap_err().to_string(),
            "`train.lead_span_proportion` is 0.5, but `cache.lead_span_proportion` is only 0.25"
        );
        let extended = stage_one(&shorter, Some("0.75")).unwrap();
        assert_eq!(extended.cache.lead_span_proportion.to_string(), "0.75");
        let other_sections = [
            "cache.supervised_sections=[\"answer\"]",
            "train.supervised_sections=[\"prompt\"]",
        ];
        assert_eq!(
            stage_one(&other_sections, None).unwrap_err().to_string(),
            "`train.supervised_sections` is `prompt`, but `cache.supervised_sections` is only `answer`"
        );
        // The cache may hold more than the file says: it is the cache that refuses.
        assert!(parse(WHOLE, &shorter).unwrap().stage_two().is_ok());
    }

    #[test]
    fn training_on_tokens_alone_may_ask_for_all_of_them() {
        let overrides = ["cache.lead_span_proportion=0.25", "train.distillation_weight=0"];
        assert!(parse(WHOLE, &overrides).unwrap().stage_one(None).is_ok());
    }

    #[test]
    fn without_a_teacher_the_students_tokenizer_is_prepared_with() {
        let without = WHOLE.replace("[teacher]", "").replace("model = \"models/teacher\"", "");
        let tokenizer = |text: &str| match parse(text, &[]).and_then(Configuration::preparing) {
            Ok(PreparedFor::Text(text)) => Ok(text.pipeline.tokenizer),
            Ok(PreparedFor::Teacher(_)) => panic!("there is no teacher"),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(tokenizer(&without).unwrap(), Path::new("/students/one"));
        let random = without.replace("model = \"/students/one\"", "config = 'c.json'\ntokenizer = 'text'");
        assert_eq!(tokenizer(&random).unwrap(), Path::new("text"));
        let message = tokenizer(&random.replace("tokenizer = 'text'", "")).unwrap_err();
        assert!(message.contains("does not say whose tokenizer"), "{message}");
        assert!(matches!(
            parse(WHOLE, &[]).unwrap().preparing(),
            Ok(PreparedFor::Teacher(_))
        ));
    }

    #[test]
    fn what_is_replayed_goes_into_a_cache_inside_the_cache() {
        assert!(parse(WHOLE, &[]).unwrap().replayed().unwrap().is_none());
        let replayed = parse(WHOLE, &["replay.files=['chats.jsonl']", "replay.format=columns"]);
        let TextOfModel { pipeline, .. } = replayed.unwrap().replayed().unwrap().unwrap();
        assert_eq!(pipeline.cache.dir, Path::new("cache/replay"));
        assert_eq!(pipeline.tokenizer, Path::new("models/teacher"));
        assert_eq!(pipeline.data.files, ["chats.jsonl"]);
        assert_eq!(
            pipeline.sections.without_markers,
            leadspan_corpus::WithoutMarkers::Answer
        );
    }

    #[test]
    fn a_proportion_outside_its_range_is_refused_at_its_line() {
        for (given, shown) in [("0", "0"), ("1.5", "1.5"), ("-0.1", "-0.1")] {
            let text = WHOLE.replace(
                "dir = \"cache\"",
                &format!("dir = \"cache\"\nlead_span_proportion = {given}"),
            );
            let message = parse(&text, &[]).unwrap_err().to_string();
            let expected = format!(
                "`some/where/pipeline.toml`, line 8: `cache.lead_span_proportion` cannot be used: `{shown}` is not a \
                 lead-span proportion"
            );
            assert!(message.starts_with(&expected), "{message}");
        }
    }

    #[test]
    fn a_student_starts_from_exactly_one_thing() {
        assert!(stage_two_message(&["student.config=c.json"]).contains("one of them, not both"));
        let without = WHOLE.replace("model = \"/students/one\"", "");
        let refused = |text: &str| {
            parse(text, &[])
                .and_then(Configuration::stage_two)
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&without).contains("does not say what the student starts from"));
        assert!(refused(&without.replace("layers", "config = 'c.json'\nlayers")).contains("layers are chosen from"));
        let revision = without.replace("layers = [0, 2]", "config = 'c.json'\nrevision = 'main'");
        assert!(refused(&revision).contains("a revision is one of a model"));
        assert!(stage_two_message(&["student.tokenizer=t"]).contains("a model has a tokenizer of its own"));
    }

    #[test]
    fn a_command_names_the_key_that_it_misses() {
        let text = "[cache]\ndir = 'cache'\n";
        let message = parse(text, &[])
            .and_then(|read| read.stage_one(None))
            .unwrap_err()
            .to_string();
        assert_eq!(message, "`some/where/pipeline.toml` does not set `teacher.model`");
        assert_eq!(
            parse(text, &[]).unwrap().cache_dir().unwrap(),
            Path::new("some/where/cache")
        );
    }
}
