//! The `[data]` table of a pipeline file: which rows are read and how they become samples.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BadRow, ColumnNames, CorpusError, Format, RowFilter, RowRules, SectionSettings, SystemPrompt, ValidationSize,
    bad_row::RowLimit, layout::LayoutOptions,
};

/// Which rows to read and how to turn them into samples: the `[data]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// Files of JSON lines or JSON arrays (plain, `.gz` or `.zst`), `.parquet` or `.arrow`, or glob patterns.
    ///
    /// They are relative to the pipeline file.
    #[serde(default)]
    pub files: Vec<String>,
    /// Instead of `files`, the folder of a data set in the layout of the Hub or of `save_to_disk`.
    #[serde(default)]
    pub path: Option<String>,
    /// The split of the data set in `path`; `train` if it is not set.
    #[serde(default)]
    pub split: Option<String>,
    /// The configuration of the data set in `path`, if it has several.
    ///
    /// The head of the folder's README.md names them; without it, names of folders and files tell them.
    #[serde(default)]
    pub config: Option<String>,
    /// How a row becomes a conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Format", extend("default" = "messages"))]
    pub format: Option<Format>,
    /// Which rows are read: `{ field = "value", other = [1, 2] }`.
    ///
    /// Other rows are counted and left out before anything else.
    #[serde(default, rename = "where")]
    pub filter: RowFilter,
    /// What becomes of the system prompt, if the format has a field for it.
    #[serde(default)]
    pub system_prompt: SystemPrompt,
    /// The system prompt of conversations that have none.
    #[serde(default)]
    pub system: Option<String>,
    /// The most tokens of a sample, longer ones are dropped; 4096 or the model's context, whichever is less, if it is not set.
    #[serde(default)]
    #[schemars(range(min = MIN_TOKENS))]
    pub max_tokens: Option<usize>,
    /// The most mebibytes of a row as it is stored, once it is decompressed.
    #[serde(default = "default_max_row_mib")]
    #[schemars(range(min = 1))]
    pub max_row_mib: u32,
    /// The most training samples, chosen at random by `seed`; all if it is not set.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub training: Option<usize>,
    /// The field of a row that says how much of its sample `train.lead_span = { column = … }` keeps, which is stored with it.
    ///
    /// A number with a fraction above 0 and at most 1, such as 0.5 or 1.0, is a proportion; a whole number of at least 2 is a
    /// number of tokens.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub lead_span_column: Option<String>,
    /// Samples that are held out for validation: a share below 1, a count, or 0.
    ///
    /// Rows that are appended later are never held out.
    #[serde(default)]
    pub validation: ValidationSize,
    /// Seed of the choice of held-out samples and of the order of all samples.
    #[serde(default)]
    pub seed: u64,
    /// Whether a malformed row stops the run, or is counted and left out.
    #[serde(default)]
    pub on_bad_row: BadRow,
    /// The fields that `format = "columns"` reads.
    #[serde(default)]
    pub columns: ColumnNames,
}

/// The most tokens of a sample if `data.max_tokens` is not set and the model's context is not shorter.
const DEFAULT_MAX_TOKENS: usize = 4096;

/// Twenty times the longest conversation that anybody learns from, and few enough bytes to hold as values.
const DEFAULT_MAX_ROW_MIB: u32 = 64;

fn default_max_row_mib() -> u32 {
    DEFAULT_MAX_ROW_MIB
}

/// The fewest tokens of a usable sample: with one there is nothing to predict.
pub(crate) const MIN_TOKENS: usize = 2;

impl DataSettings {
    /// The fields of a row that the format, the filter and the id need by these rules.
    pub(crate) fn fields(&self, rules: RowRules) -> Vec<String> {
        let of_format = self.format().fields(&self.columns, rules);
        let all = ["id"].into_iter().chain(of_format).chain(self.filter.fields());
        let all = all.chain(self.lead_span_column.as_deref());
        all.map(str::to_owned).collect()
    }

    /// The settings that the layout is given with each row.
    pub(crate) fn layout_options<'a>(&'a self, sections: &'a SectionSettings, rules: RowRules) -> LayoutOptions<'a> {
        LayoutOptions {
            columns: &self.columns,
            system_prompt: self.system_prompt,
            system: self.system.as_deref(),
            sections,
            rules,
            format_is_named: self.format.is_some(),
        }
    }

    /// How a row becomes a conversation: as `format` says, or by the default.
    pub fn format(&self) -> Format {
        self.format.unwrap_or_default()
    }

    /// The most bytes of a row, and what becomes of a longer one.
    pub(crate) fn row_limit(&self) -> RowLimit {
        RowLimit {
            most_bytes: u64::from(self.max_row_mib) << 20,
            on_bad_row: self.on_bad_row,
        }
    }

    /// The most tokens of a sample.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS)
    }

    /// Sets the most tokens of a sample, if they are not set, for a model with a context of so many tokens.
    pub fn fit_max_tokens(&mut self, context: Option<usize>) {
        let most = context.unwrap_or(usize::MAX).min(DEFAULT_MAX_TOKENS);
        self.max_tokens.get_or_insert(most);
    }

    pub(crate) fn check(&self) -> Result<(), CorpusError> {
        let invalid = |key, problem| Err(CorpusError::InvalidSetting { key, problem });
        match (self.files.is_empty(), &self.path, &self.split) {
            (true, None, _) => {
                return invalid(
                    "data.files",
                    "the list is empty: name a file, or a folder with `data.path`",
                );
            }
            (false, Some(_), _) => {
                return invalid(
                    "data.path",
                    "`data.files` is set too, and the rows come from one of them",
                );
            }
            (_, None, Some(_)) => return invalid("data.split", "only a folder that `data.path` names has splits"),
            _ => {}
        }
        if self.path.is_none() && self.config.is_some() {
            return invalid("data.config", "only a folder that `data.path` names has configurations");
        }
        if self.system.as_ref().is_some_and(|system| system.trim().is_empty()) {
            return invalid("data.system", "the system prompt is empty");
        }
        if self.max_row_mib == 0 {
            return invalid("data.max_row_mib", "a row needs at least 1 MiB");
        }
        if self.max_tokens() < MIN_TOKENS {
            return invalid("data.max_tokens", "a sample needs at least 2 tokens");
        }
        if self.training == Some(0) {
            return invalid("data.training", "a run needs at least one training sample");
        }
        if self.lead_span_column.as_deref() == Some("") {
            return invalid("data.lead_span_column", "the name of the field is empty");
        }
        let ColumnNames {
            question,
            chain_of_thought,
            answer,
        } = &self.columns;
        if question == chain_of_thought || question == answer || chain_of_thought == answer {
            return invalid("data.columns", "two columns have the same name");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_only_files_takes_the_documented_defaults() {
        let data: DataSettings = serde_json::from_str(r#"{"files": ["a.jsonl"]}"#).unwrap();
        assert_eq!((&data.path, &data.split, data.format), (&None, &None, None));
        assert_eq!(data.format(), Format::Messages);
        assert_eq!((data.max_tokens(), data.seed, data.on_bad_row), (4096, 0, BadRow::Stop));
        assert_eq!((&data.config, &data.system, data.max_row_mib), (&None, &None, 64));
        assert_eq!((data.validation, data.training), (ValidationSize::Count(0), None));
        assert_eq!(
            (data.filter, data.system_prompt),
            (RowFilter::default(), SystemPrompt::Drop)
        );
        assert_eq!(data.columns.chain_of_thought, "chain_of_thought");
    }

    #[test]
    fn the_most_tokens_are_those_of_the_context_only_if_they_are_not_set() {
        let fitted = |set: Option<usize>, context| {
            let mut data: DataSettings = serde_json::from_str("{}").unwrap();
            data.max_tokens = set;
            data.fit_max_tokens(context);
            data.max_tokens
        };
        assert_eq!(fitted(None, Some(1000)), Some(1000));
        assert_eq!(fitted(None, Some(131_072)), Some(4096));
        assert_eq!(fitted(None, None), Some(4096));
        assert_eq!(fitted(Some(8192), Some(1000)), Some(8192));
    }

    #[test]
    fn settings_survive_being_stored_and_read_back() {
        let stored = r#"{"files":["a.jsonl"],"format":"columns","max_tokens":99,"validation":0.25,"seed":7,
            "training":5,"where":{"a":["b",1]},"system_prompt":"keep","on_bad_row":"skip","columns":{"answer":"final"}}"#;
        let data: DataSettings = serde_json::from_str(stored).unwrap();
        let again: DataSettings = serde_json::from_str(&serde_json::to_string(&data).unwrap()).unwrap();
        assert_eq!(again, data);
        assert_eq!(data.columns.answer, "final");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_lists_the_known_ones() {
        let problem = serde_json::from_str::<DataSettings>(r#"{"files": [], "max_token": 5}"#)
            .unwrap_err()
            .to_string();
        assert!(
            problem.contains("max_token") && problem.contains("max_tokens"),
            "{problem}"
        );
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_key() {
        let data: DataSettings = serde_json::from_str(r#"{"files": ["a"]}"#).unwrap();
        assert!(data.check().is_ok());
        let key = |result: Result<(), CorpusError>| match result.unwrap_err() {
            CorpusError::InvalidSetting { key, .. } => key,
            other => panic!("{other}"),
        };
        assert_eq!(
            key(DataSettings {
                files: vec![],
                ..data.clone()
            }
            .check()),
            "data.files"
        );
        let with = |path: Option<&str>, split: Option<&str>| DataSettings {
            path: path.map(str::to_owned),
            split: split.map(str::to_owned),
            ..data.clone()
        };
        assert_eq!(key(with(Some("folder"), None).check()), "data.path");
        assert_eq!(key(with(None, Some("test")).check()), "data.split");
        let folder = DataSettings {
            files: vec![],
            ..with(Some("folder"), Some("test"))
        };
        assert!(folder.check().is_ok());
        assert_eq!(
            key(DataSettings {
                max_tokens: Some(1),
                ..data.clone()
            }
            .check()),
            "data.max_tokens"
        );
        assert_eq!(
            key(DataSettings {
                training: Some(0),
                ..data.clone()
            }
            .check()),
            "data.training"
        );
        let config = Some("main".to_owned());
        assert_eq!(key(DataSettings { config, ..data.clone() }.check()), "data.config");
        let system = Some(" ".to_owned());
        assert_eq!(key(DataSettings { system, ..data.clone() }.check()), "data.system");
        let max_row_mib = 0;
        assert_eq!(
            key(DataSettings {
                max_row_mib,
                ..data.clone()
            }
            .check()),
            "data.max_row_mib"
        );
        let lead_span_column = Some(String::new());
        assert_eq!(
            key(DataSettings {
                lead_span_column,
                ..data.clone()
            }
            .check()),
            "data.lead_span_column"
        );
        let columns = ColumnNames {
            answer: "question".into(),
            ..ColumnNames::default()
        };
        assert_eq!(key(DataSettings { columns, ..data }.check()), "data.columns");
    }
}
