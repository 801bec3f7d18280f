//! How a row becomes a conversation.
//!
//! A layout is one file with a [`Layout`] in it, and one entry in the list of [`layouts`] below. Its conversation ends
//! with the assistant's turn that is learnt.

mod columns;
mod conversations;
mod fields;
mod messages;
mod nemotron;
mod problem;
mod synthetic_1;
mod thinking;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use self::thinking::with_thinking;
use crate::{ColumnNames, DataSettings, Message, RowProblem, SectionSettings};

/// A row's fields, in the order in which they are written.
pub(crate) type Row = Map<String, Value>;

/// What a layout consists of.
struct Layout {
    /// The fields that the layout reads.
    fields: fn(&ColumnNames) -> Vec<&str>,
    /// The conversation in a row.
    conversation: fn(Row, &DataSettings, &SectionSettings) -> Result<Vec<Message>, RowProblem>,
}

macro_rules! layouts {
    ($($(#[$attribute:meta])* $variant:ident = $name:literal => $layout:path,)+) => {
        /// The layout of a data set's rows: `data.format`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum Format {
            $($(#[$attribute])* #[serde(rename = $name)] $variant,)+
        }

        impl Format {
            #[cfg(test)]
            const ALL: &[(&str, Self)] = &[$(($name, Self::$variant)),+];

            const fn layout(self) -> &'static Layout {
                match self {
                    $(Self::$variant => &$layout,)+
                }
            }
        }
    };
}

layouts! {
    /// `messages`: a list of {role, content} with `OpenAI`'s roles, with or without `reasoning_content`.
    #[default]
    Messages = "messages" => messages::LAYOUT,
    /// A question, a chain of thought and an answer in three fields.
    Columns = "columns" => columns::LAYOUT,
    /// OpenThoughts: `conversations`, a list of {from, value}, with thought and solution between markers of their own.
    OpenThoughts = "open-thoughts" => conversations::LAYOUT,
    /// Bespoke-Stratos: the same as OpenThoughts.
    BespokeStratos = "bespoke-stratos" => conversations::LAYOUT,
    /// Sky-T1: the same as OpenThoughts.
    SkyT1 = "sky-t1" => conversations::LAYOUT,
    /// Synthetic-1: `prompt` and `llm_response`.
    Synthetic1 = "synthetic-1" => synthetic_1::LAYOUT,
    /// Nemotron's post-training data: `input`, a list of {role, content}, and `output`.
    Nemotron = "nemotron" => nemotron::LAYOUT,
}

impl Format {
    /// The conversation in `row`.
    pub(crate) fn conversation(
        self,
        row: Row,
        data: &DataSettings,
        sections: &SectionSettings,
    ) -> Result<Vec<Message>, RowProblem> {
        (self.layout().conversation)(row, data, sections)
    }

    /// The fields that the layout reads.
    pub(crate) fn fields(self, columns: &ColumnNames) -> Vec<&str> {
        (self.layout().fields)(columns)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(json: &str) -> Row {
        let Value::Object(row) = serde_json::from_str(json).unwrap() else {
            panic!("not an object")
        };
        row
    }

    #[test]
    fn formats_are_written_with_hyphens() {
        for (name, format) in [
            ("messages", Format::Messages),
            ("columns", Format::Columns),
            ("open-thoughts", Format::OpenThoughts),
            ("bespoke-stratos", Format::BespokeStratos),
            ("sky-t1", Format::SkyT1),
            ("synthetic-1", Format::Synthetic1),
            ("nemotron", Format::Nemotron),
        ] {
            let name = Value::from(name);
            assert_eq!(serde_json::to_value(format).unwrap(), name);
            assert_eq!(serde_json::from_value::<Format>(name).unwrap(), format);
        }
    }

    #[test]
    fn no_layout_reads_a_field_that_it_does_not_name() {
        // Of a table, only the named columns are read.
        let whole = row(
            r#"{"messages": [{"role": "assistant", "content": "a"}], "question": "q", "chain_of_thought": "c", "answer": "a",
            "system": "s", "conversations": [{"from": "gpt", "value": "a"}], "prompt": "q", "llm_response": "a",
            "system_prompt": "s", "input": [{"role": "user", "content": "q"}], "output": "a"}"#,
        );
        let sections = SectionSettings::default();
        for &(format, _) in Format::ALL {
            let settings = serde_json::json!({"files": ["a"], "format": format, "system_prompt": "keep"});
            let data: DataSettings = serde_json::from_value(settings).unwrap();
            let named = data.format.fields(&data.columns);
            let of_named: Row = whole
                .iter()
                .filter(|(name, _)| named.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            let of = |row: Row| data.format.conversation(row, &data, &sections).unwrap();
            assert_eq!(of(of_named.clone()), of(whole.clone()), "{format}");
            assert!(of_named.len() == named.len(), "{format}");
        }
    }
}
