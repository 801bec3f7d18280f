//! The `[replay]` table: which complete samples go into every step of training, beside those that are distilled.

use std::{error::Error, fmt};

use leadspan_cache::REPLAY;
use leadspan_corpus::{
    BadRow, ColumnNames, DataSettings, Format, RowFilter, SectionSettings, SystemPrompt, ValidationSize, WithoutMarkers,
};
use leadspan_diagnosis::Diagnosis;
use leadspan_precompute::{PrecomputeError, TextPipeline};
use serde::{Deserialize, Serialize};

use crate::keys::is_key;

/// The `[replay]` table. All but `share` is as in `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ReplaySettings {
    /// The share of each step's samples.
    pub(crate) share: f64,
    files: Vec<String>,
    path: Option<String>,
    split: Option<String>,
    format: Format,
    #[serde(rename = "where")]
    filter: RowFilter,
    system_prompt: SystemPrompt,
    max_tokens: usize,
    on_bad_row: BadRow,
    columns: ColumnNames,
}

impl Default for ReplaySettings {
    fn default() -> Self {
        Self {
            share: 0.0,
            files: Vec::new(),
            path: None,
            split: None,
            format: Format::default(),
            filter: RowFilter::default(),
            system_prompt: SystemPrompt::default(),
            max_tokens: 4096,
            on_bad_row: BadRow::default(),
            columns: ColumnNames::default(),
        }
    }
}

impl ReplaySettings {
    /// Whether it names any samples.
    pub(crate) fn has_samples(&self) -> bool {
        !self.files.is_empty() || self.path.is_some()
    }

    /// How its samples are prepared: in a cache inside that of `text`, with its tokenizer.
    ///
    /// No sample is left out for want of a chain of thought: all sections are supervised, whatever they are.
    pub(crate) fn pipeline(&self, text: TextPipeline) -> TextPipeline {
        let settings = self.clone();
        let data = DataSettings {
            files: settings.files,
            path: settings.path,
            split: settings.split,
            format: settings.format,
            filter: settings.filter,
            system_prompt: settings.system_prompt,
            max_tokens: settings.max_tokens,
            training: None,
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

/// Why the samples to replay could not be prepared. The libraries know their rows as those of `[data]`; here every key has the
/// name that it has in the pipeline file.
#[derive(Debug)]
pub(crate) struct ReplayError(pub(crate) PrecomputeError);

impl Diagnosis for ReplayError {
    fn is_unexpected(&self) -> bool {
        self.0.is_unexpected()
    }

    fn hint(&self) -> Option<String> {
        Some(with_keys_of_replay(&self.0.hint()?))
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&with_keys_of_replay(&self.0.to_string()))
    }
}

impl Error for ReplayError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// The text with each `data.KEY` that begins a quotation as `replay.KEY`, where there is such a key.
fn with_keys_of_replay(text: &str) -> String {
    const BEGINNING: &str = "`data.";
    let mut parts = text.split(BEGINNING);
    let mut renamed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'));
        let name = &part[..end.unwrap_or(part.len())];
        let is_known = name == "columns" || is_key("replay", name);
        renamed += if is_known { "`replay." } else { BEGINNING };
        renamed += part;
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_table_and_files_keep_their_names() {
        for (text, expected) in [
            ("raise `data.max_tokens`", "raise `replay.max_tokens`"),
            (
                "name `data.files` or `data.path`: `data.jsonl` is none",
                "name `replay.files` or `replay.path`: `data.jsonl` is none",
            ),
            (
                "leave them out with `data.on_bad_row = \"skip\"`",
                "leave them out with `replay.on_bad_row = \"skip\"`",
            ),
            (
                "`data.columns.answer` and `data.columns`",
                "`replay.columns.answer` and `replay.columns`",
            ),
            (
                "`data.files.jsonl` in `my.data.files`",
                "`data.files.jsonl` in `my.data.files`",
            ),
            ("`data.", "`data."),
        ] {
            assert_eq!(with_keys_of_replay(text), expected);
        }
    }
}
