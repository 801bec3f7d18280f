//! How a row becomes a conversation.
//!
//! A layout is one function from a row's fields to messages, in a file of its own; a further one is a variant of
//! [`Format`] and an arm of `conversation`. Whatever it returns ends with the assistant's turn that is learnt.

mod columns;
mod messages;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ColumnNames, Message, RowProblem, SectionSettings};

/// The layout of a data set's rows: `data.format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `messages`: a list of {role, content} with `OpenAI`'s roles, with or without `reasoning_content`.
    #[default]
    Messages,
    /// A question, a chain of thought and an answer in three fields.
    Columns,
}

/// A row's fields, in the order in which they are written.
pub(crate) type Row = Map<String, Value>;

impl Format {
    /// The conversation in `row`.
    pub(crate) fn conversation(
        self,
        row: Row,
        columns: &ColumnNames,
        sections: &SectionSettings,
    ) -> Result<Vec<Message>, RowProblem> {
        match self {
            Self::Messages => messages::conversation(row),
            Self::Columns => columns::conversation(&row, columns, sections),
        }
    }
}

/// The assistant's text with its chain of thought inside the thinking markers, as reasoning models write it.
pub(crate) fn with_thinking(sections: &SectionSettings, chain_of_thought: &str, answer: &str) -> String {
    let SectionSettings {
        thinking_start,
        thinking_end,
        ..
    } = sections;
    let thinking = format!("{thinking_start}\n{chain_of_thought}\n{thinking_end}");
    if answer.is_empty() {
        thinking
    } else {
        format!("{thinking}\n\n{answer}")
    }
}
