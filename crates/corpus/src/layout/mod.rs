//! How a row becomes a conversation.
//!
//! A layout is one file with a [`Layout`] in it, and one entry in the list of [`layouts`] below. Its conversation ends
//! with the turn of the assistant that is learnt.

mod columns;
mod conversations;
mod fields;
mod messages;
mod nemotron;
mod options;
mod problem;
mod synthetic_1;
mod thinking;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::options::{ColumnNames, SystemPrompt};
pub(crate) use self::{options::LayoutOptions, thinking::with_thinking};
use crate::{Message, RowProblem};

/// A row's fields, in the order in which they are written.
pub(crate) type Row = Map<String, Value>;

/// The parts of a layout.
struct Layout {
    /// The fields that the layout reads.
    fields: fn(&ColumnNames) -> Vec<&str>,
    /// The conversation in a row.
    conversation: fn(Row, LayoutOptions) -> Result<Vec<Message>, RowProblem>,
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
    pub(crate) fn conversation(self, row: Row, options: LayoutOptions) -> Result<Vec<Message>, RowProblem> {
        (self.layout().conversation)(row, options)
    }

    /// The fields that the layout reads.
    pub(crate) fn fields(self, columns: &ColumnNames) -> Vec<&str> {
        (self.layout().fields)(columns)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::SectionSettings;

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
        // A table is read by the named columns only.
        let whole = row(
            r#"{"messages": [{"role": "assistant", "content": "a"}], "question": "q", "chain_of_thought": "c", "answer": "a",
            "system": "s", "conversations": [{"from": "gpt", "value": "a"}], "prompt": "q", "llm_response": "a",
            "system_prompt": "s", "input": [{"role": "user", "content": "q"}], "output": "a"}"#,
        );
        let (columns, sections) = (ColumnNames::default(), SectionSettings::default());
        let options = LayoutOptions {
            columns: &columns,
            system_prompt: SystemPrompt::Keep,
            sections: &sections,
        };
        for &(name, format) in Format::ALL {
            let named = format.fields(&columns);
            let of_named: Row = whole
                .iter()
                .filter(|(name, _)| named.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            let of = |row: Row| format.conversation(row, options).unwrap();
            assert_eq!(of(of_named.clone()), of(whole.clone()), "{name}");
            assert!(of_named.len() == named.len(), "{name}");
        }
    }
}
