//! The settings of layouts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{RowRules, SectionSettings};

/// The settings that a layout is given with each row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayoutOptions<'a> {
    /// The names of the fields of the `columns` layout.
    pub(crate) columns: &'a ColumnNames,
    /// What becomes of a system prompt in a field of its own.
    pub(crate) system_prompt: SystemPrompt,
    /// The system prompt of conversations that have none.
    pub(crate) system: Option<&'a str>,
    /// The configured thinking markers.
    pub(crate) sections: &'a SectionSettings,
    /// The rules of the corpus that the row is for.
    pub(crate) rules: RowRules,
    /// Whether the pipeline file names the format, so that its fields are those that are meant.
    pub(crate) format_is_named: bool,
}

/// What becomes of a system prompt in a field of its own (`system` of `open-thoughts`, `bespoke-stratos` and `sky-t1`,
/// `system_prompt` of `nemotron`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SystemPrompt {
    /// It is left out: it tells the models that the data were made with how to mark their thinking.
    #[default]
    Drop,
    /// It is the first turn.
    Keep,
}

/// The names of the fields that `format = "columns"` reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnNames {
    /// The field of the user's turn.
    pub question: String,
    /// The field of the chain of thought, which goes between the thinking markers.
    pub chain_of_thought: String,
    /// The field of the answer, which follows the thinking-end marker; rows may lack it.
    pub answer: String,
}

impl Default for ColumnNames {
    fn default() -> Self {
        Self {
            question: "question".into(),
            chain_of_thought: "chain_of_thought".into(),
            answer: "answer".into(),
        }
    }
}
