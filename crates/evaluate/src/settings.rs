//! The settings of an evaluation: the `[evaluate]` table of a pipeline file.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use leadspan_corpus::{ChatTemplate, ColumnNames, DataSettings, Format, RowFilter, SectionSettings, SystemPrompt};
use leadspan_model::{GenerationSettings, Sampling, StoredDtype};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AnswerPattern, EvaluateError, grader::GraderCommand};

/// As much as of rows of `[data]`.
const MAX_ROW_MIB: u32 = 64;

/// The `[evaluate]` table: the model, the problems, and how answers are generated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateSettings {
    /// A directory, a `.gguf` file or the id of a downloaded Hub model; what `[train]` exports if it is not set.
    pub model: Option<PathBuf>,
    /// The branch, tag or commit of a Hub model; `main` if it is not set.
    pub revision: Option<String>,
    /// The folder of a LoRA adapter of `model`, as in `[teacher]`; `--model` evaluates a model without it.
    pub adapter: Option<PathBuf>,
    /// The folder of the results; `evaluation` in `train.dir` if it is not set.
    pub dir: Option<PathBuf>,
    /// Files of problems, as in `[data]`.
    pub files: Vec<String>,
    /// Instead of `files`, the folder of a data set, as in `[data]`.
    pub path: Option<String>,
    /// The split of the data set in `path`; `test` if it is not set.
    pub split: Option<String>,
    /// The configuration of the data set in `path`, if it has several.
    pub config: Option<String>,
    /// How a row becomes a problem; `columns` needs no chain of thought.
    pub format: Format,
    /// Which rows are read: `{ field = "value", other = [1, 2] }`.
    #[serde(rename = "where")]
    pub filter: RowFilter,
    /// The most mebibytes of a row as it is stored, once it is decompressed.
    #[schemars(range(min = 1))]
    pub max_row_mib: u32,
    /// What becomes of the system prompt, if the format has a field for it.
    pub system_prompt: SystemPrompt,
    /// The fields that `format = "columns"` reads; the chain of thought is not read here.
    pub columns: ColumnNames,
    /// The field of the correct answer; the answer field of the format if it is not set.
    pub answer: Option<String>,
    /// The regular expression that finds the answer in what the model writes.
    ///
    /// The usual places are searched if it is not set.
    pub answer_pattern: Option<String>,
    /// A program that grades the answers, and its arguments; the built-in rules if the list is empty.
    ///
    /// It is started in the folder of the pipeline file, and reads and writes JSON lines.
    pub grader: Vec<String>,
    /// The most seconds that the grader may take for one answer.
    #[schemars(range(min = 1))]
    pub grader_seconds: u64,
    /// Use only this many problems, from the first; all if it is not set.
    #[schemars(range(min = 1))]
    pub problems: Option<usize>,
    /// Texts or tokens that end an answer; it is cut before the first of them.
    ///
    /// The model's own stop tokens, and the token with which its chat template ends a turn, always do.
    pub stop: Vec<String>,
    /// A system prompt for problems that have none; `data.system` if it is not set, none if it is empty.
    pub system: Option<String>,
    /// The most tokens of an answer.
    #[schemars(range(min = 1))]
    pub max_new_tokens: usize,
    /// How many problems go through the model together; answers do not depend on it.
    #[schemars(range(min = 1))]
    pub batch_samples: usize,
    /// The sampling temperature; 0 takes the most probable token.
    #[schemars(range(min = 0))]
    pub temperature: f64,
    /// Draw only from the most probable tokens that together have this probability.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub top_p: f64,
    /// Draw only from this many of the most probable tokens.
    #[schemars(range(min = 1))]
    pub top_k: Option<usize>,
    /// Seed of the sampling.
    pub seed: u64,
    /// The number format in which weights are held.
    pub dtype: StoredDtype,
    /// `cpu` or `cuda:N`.
    #[schemars(regex(pattern = leadspan_model::DEVICE_PATTERN))]
    pub device: String,
}

impl Default for EvaluateSettings {
    fn default() -> Self {
        Self {
            model: None,
            revision: None,
            adapter: None,
            dir: None,
            files: Vec::new(),
            path: None,
            split: None,
            config: None,
            format: Format::default(),
            filter: RowFilter::default(),
            max_row_mib: MAX_ROW_MIB,
            system_prompt: SystemPrompt::default(),
            columns: ColumnNames::default(),
            answer: None,
            answer_pattern: None,
            grader: Vec::new(),
            grader_seconds: 60,
            problems: None,
            stop: Vec::new(),
            system: None,
            max_new_tokens: 512,
            batch_samples: 8,
            temperature: 0.0,
            top_p: 1.0,
            top_k: None,
            seed: 0,
            dtype: StoredDtype::F32,
            device: "cpu".into(),
        }
    }
}

impl EvaluateSettings {
    /// The settings for reading the files of problems.
    pub(crate) fn data(&self) -> Result<DataSettings, EvaluateError> {
        let invalid = |key, problem| Err(EvaluateError::InvalidSetting { key, problem });
        match (self.files.is_empty(), &self.path, &self.split) {
            (true, None, _) => return invalid("evaluate.files", "the list is empty: name a file of problems"),
            (false, Some(_), _) => return invalid("evaluate.path", "`evaluate.files` is set too"),
            (_, None, Some(_)) => {
                return invalid("evaluate.split", "only a folder that `evaluate.path` names has splits");
            }
            _ => {}
        }
        if self.path.is_none() && self.config.is_some() {
            return invalid(
                "evaluate.config",
                "only a folder that `evaluate.path` names has configurations",
            );
        }
        if self.stop.iter().any(String::is_empty) {
            return invalid("evaluate.stop", "a text is empty, so every answer would be");
        }
        if self.max_row_mib == 0 {
            return invalid("evaluate.max_row_mib", "a row needs at least 1 MiB");
        }
        if self.problems == Some(0) {
            return invalid("evaluate.problems", "there must be something to ask");
        }
        let split = self
            .path
            .as_ref()
            .map(|_| self.split.clone().unwrap_or_else(|| "test".into()));
        let mut data: DataSettings = serde_json::from_str("{}").expect("every key of `[data]` has a default");
        data.files.clone_from(&self.files);
        data.path.clone_from(&self.path);
        data.split = split;
        data.config.clone_from(&self.config);
        data.format = Some(self.format).filter(|format| *format != Format::default());
        data.filter = self.filter.clone();
        data.max_row_mib = self.max_row_mib;
        data.system_prompt = self.system_prompt;
        data.columns = self.columns.clone();
        Ok(data)
    }

    /// The settings that have no effect on prompts of this template, each with the reason.
    ///
    /// They are not refused, because `[sections]` is also that of another model's corpus.
    pub(crate) fn without_effect(
        &self,
        sections: &SectionSettings,
        template: &ChatTemplate,
    ) -> Vec<(String, &'static str)> {
        let arguments = sections.template_arguments.keys();
        let mut without: Vec<_> = arguments
            .filter(|name| !template.names(name))
            .map(|name| {
                let key = format!("sections.template_arguments.{name}");
                (key, "the chat template of the model does not name it")
            })
            .collect();
        if self.system_prompt == SystemPrompt::Keep && !self.format.has_system_field() {
            let because = "rows of this `evaluate.format` have their system prompt in their first turn or in `evaluate.system`, and \
                           no field for it is read";
            without.push(("evaluate.system_prompt".to_owned(), because));
        }
        without
    }

    /// The settings for generating answers.
    pub(crate) fn generation(&self) -> GenerationSettings {
        let sampling = if self.temperature == 0.0 {
            Sampling::Greedy
        } else {
            Sampling::Drawn {
                temperature: self.temperature,
                top_p: self.top_p,
                top_k: self.top_k,
                seed: self.seed,
            }
        };
        GenerationSettings {
            max_new_tokens: self.max_new_tokens,
            batch_samples: self.batch_samples,
            sampling,
        }
    }

    /// The grader outside the program, if one is set. It runs in `base`.
    pub(crate) fn grader(&self, base: &Path) -> Result<Option<GraderCommand>, EvaluateError> {
        let invalid = |key, problem| Err(EvaluateError::InvalidSetting { key, problem });
        if self.grader_seconds == 0 {
            return invalid("evaluate.grader_seconds", "no grader answers in no time");
        }
        if self.grader.first().is_some_and(String::is_empty) {
            return invalid("evaluate.grader", "its first item names no program");
        }
        Ok((!self.grader.is_empty()).then(|| GraderCommand {
            command: self.grader.clone(),
            base: base.to_owned(),
            limit: Duration::from_secs(self.grader_seconds),
        }))
    }

    /// The pattern that finds the answer, if it is set.
    pub(crate) fn pattern(&self) -> Result<Option<AnswerPattern>, EvaluateError> {
        let compile = |pattern: &String| {
            AnswerPattern::new(pattern).map_err(|source| EvaluateError::InvalidPattern {
                pattern: pattern.clone(),
                source,
            })
        };
        self.answer_pattern.as_ref().map(compile).transpose()
    }
}

#[cfg(test)]
mod tests {
    use leadspan_corpus::problems;
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    #[test]
    fn a_row_of_too_many_bytes_is_refused_and_the_key_that_bounds_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!(
            "{{\"question\": \"q\", \"answer\": \"1\", \"more\": \"{}\"}}\n",
            "a".repeat(2 << 20)
        );
        std::fs::write(folder.path().join("test.jsonl"), long).unwrap();
        let read = |max_row_mib| {
            let settings = EvaluateSettings {
                files: vec!["test.jsonl".into()],
                format: Format::Columns,
                max_row_mib,
                ..EvaluateSettings::default()
            };
            let (data, sections) = (settings.data()?, SectionSettings::default());
            Ok::<_, EvaluateError>(problems(folder.path(), &data, &sections, None)?.len())
        };
        assert_eq!(read(3).unwrap(), 1);
        let error = read(1).unwrap_err();
        assert!(error.to_string().ends_with("has more than 1048576 bytes"), "{error}");
        assert!(error.hint().unwrap().contains("raise `evaluate.max_row_mib`"));
        assert!(read(0).unwrap_err().to_string().contains("`evaluate.max_row_mib`"));
    }

    #[test]
    fn settings_without_an_effect_are_known() {
        let template = ChatTemplate::new("{{ messages[0].content }}{{ loud }}", None, None).unwrap();
        let of = |system_prompt, format, argument: &str| {
            let settings = EvaluateSettings {
                format,
                system_prompt,
                ..EvaluateSettings::default()
            };
            let mut sections = SectionSettings::default();
            sections.template_arguments.insert(argument.to_owned(), true.into());
            let without = settings.without_effect(&sections, &template);
            without.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert!(of(SystemPrompt::Keep, Format::OpenThoughts, "loud").is_empty());
        assert!(of(SystemPrompt::Drop, Format::Columns, "loud").is_empty());
        assert_eq!(
            of(SystemPrompt::Keep, Format::Columns, "enable_thinking"),
            ["sections.template_arguments.enable_thinking", "evaluate.system_prompt"]
        );
    }
}
