//! The `[replay]` table: which complete samples go into every step of training, beside those that are distilled.

use leadspan_cache::REPLAY;
use leadspan_corpus::{
    BadRow, ColumnNames, DataSettings, Format, RowFilter, SectionSettings, SystemPrompt, ValidationSize, WithoutMarkers,
};
use leadspan_precompute::TextPipeline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[replay]` table. All but `share` is as in `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ReplaySettings {
    /// The share of each step's samples that are replayed: complete, by cross-entropy alone.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub(crate) share: f64,
    /// Files of conversations to replay, as in `[data]`.
    files: Vec<String>,
    /// Instead of `files`, the folder of a data set, as in `[data]`.
    path: Option<String>,
    /// The split of the data set in `path`; `train` if it is not set.
    split: Option<String>,
    /// The configuration of the data set in `path`, if it has several.
    config: Option<String>,
    /// How a row becomes a conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Format", extend("default" = "messages"))]
    format: Option<Format>,
    /// Which rows are read, as in `[data]`.
    #[serde(rename = "where")]
    filter: RowFilter,
    /// What becomes of the system prompt, if the format has a field for it.
    system_prompt: SystemPrompt,
    /// The system prompt of conversations that have none.
    system: Option<String>,
    /// The most tokens of a sample, as in `[data]`.
    #[schemars(range(min = 2))]
    max_tokens: Option<usize>,
    /// Whether a malformed row stops the run, or is counted and left out.
    on_bad_row: BadRow,
    /// The fields that `format = "columns"` reads.
    columns: ColumnNames,
}

impl Default for ReplaySettings {
    fn default() -> Self {
        Self {
            share: 0.0,
            files: Vec::new(),
            path: None,
            split: None,
            config: None,
            format: None,
            filter: RowFilter::default(),
            system_prompt: SystemPrompt::default(),
            system: None,
            max_tokens: None,
            on_bad_row: BadRow::default(),
            columns: ColumnNames::default(),
        }
    }
}

impl ReplaySettings {
    /// Whether it names files or a folder.
    pub(crate) fn has_samples(&self) -> bool {
        !self.files.is_empty() || self.path.is_some()
    }

    /// The files and the folder that it names.
    pub(crate) fn sources(&self) -> (&[String], Option<&str>) {
        (&self.files, self.path.as_deref())
    }

    /// The settings for preparing its samples: in a cache inside that of `text`, with the same tokenizer.
    ///
    /// Samples without a chain of thought are kept, because all sections are supervised.
    pub(crate) fn pipeline(&self, text: TextPipeline) -> TextPipeline {
        let settings = self.clone();
        let data = DataSettings {
            files: settings.files,
            path: settings.path,
            split: settings.split,
            config: settings.config,
            format: settings.format,
            filter: settings.filter,
            system_prompt: settings.system_prompt,
            system: settings.system,
            max_tokens: settings.max_tokens,
            max_row_mib: text.data.max_row_mib,
            training: None,
            lead_span_column: None,
            validation: ValidationSize::default(),
            seed: 0,
            on_bad_row: settings.on_bad_row,
            columns: settings.columns,
        };
        let sections = SectionSettings {
            without_markers: WithoutMarkers::Answer,
            ..text.sections
        };
        let mut cache = text.cache;
        cache.dir.push(REPLAY);
        TextPipeline {
            data,
            sections,
            cache,
            ..text
        }
    }
}
