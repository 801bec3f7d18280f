//! How a row becomes a conversation.
//!
//! A layout is one file with a [`Layout`] in it, and one entry in the list of [`layouts`] below. Its conversation ends
//! with the turn of the assistant that is learnt. What all layouts share is here: the system prompt of `data.system`, a row's
//! `tools`, and the rule that a conversation has one end marker.

mod columns;
mod conversations;
mod fields;
mod messages;
mod nemotron;
mod options;
mod problem;
mod prompt_completion;
mod row;
mod synthetic_1;
mod thinking;
mod tools;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::options::{ColumnNames, SystemPrompt};
pub(crate) use self::{options::LayoutOptions, row::Row, thinking::with_thinking};
use crate::{Message, Role, RowProblem, RowRules};

/// A row as a conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conversation {
    /// Its turns.
    pub(crate) messages: Vec<Message>,
    /// The tools that the model may call, as the chat template takes them: a list of objects.
    pub(crate) tools: Option<Value>,
}

/// The parts of a layout.
struct Layout {
    /// The fields that the layout reads.
    fields: fn(&ColumnNames) -> Vec<&str>,
    /// The turns in a row.
    conversation: fn(Row, LayoutOptions) -> Result<Vec<Message>, RowProblem>,
    /// Whether the field `tools` holds the tools that the model may call.
    has_tools: bool,
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
    /// `messages`: a list of {role, content} with `OpenAI`'s roles, with or without thinking in a field of its own.
    #[default]
    Messages = "messages" => messages::LAYOUT,
    /// A question, a chain of thought and an answer in three fields.
    Columns = "columns" => columns::LAYOUT,
    /// OpenThoughts: `conversations`, a list of {from, value} or {role, content}, with thought and solution between markers of
    /// their own.
    OpenThoughts = "open-thoughts" => conversations::LAYOUT,
    /// Bespoke-Stratos: the same as OpenThoughts.
    BespokeStratos = "bespoke-stratos" => conversations::LAYOUT,
    /// Sky-T1: the same as OpenThoughts.
    SkyT1 = "sky-t1" => conversations::LAYOUT,
    /// Synthetic-1: `prompt` and `llm_response`.
    Synthetic1 = "synthetic-1" => synthetic_1::LAYOUT,
    /// Nemotron's post-training data: `input`, a list of {role, content}, and `output`.
    Nemotron = "nemotron" => nemotron::LAYOUT,
    /// `prompt` and `completion`: two texts, or two lists of {role, content}.
    PromptCompletion = "prompt-completion" => prompt_completion::LAYOUT,
}

impl Format {
    /// The conversation in `row`.
    pub(crate) fn conversation(self, mut row: Row, options: LayoutOptions) -> Result<Conversation, RowProblem> {
        let tools = self.tools(&mut row, options)?;
        let mut messages = (self.layout().conversation)(row, options)?;
        if options.rules >= RowRules::Second
            && let Some(last) = messages.last_mut()
        {
            thinking::check_one_end(last, options.sections)?;
        }
        add_system(&mut messages, options.system);
        Ok(Conversation { messages, tools })
    }

    /// Takes the tools out of the row, and checks that the fields that the layout reads are what is written.
    fn tools(self, row: &mut Row, options: LayoutOptions) -> Result<Option<Value>, RowProblem> {
        if options.rules < RowRules::Second {
            return Ok(None);
        }
        for field in self.fields(options.columns) {
            row.check_integers(field)?;
        }
        if self.layout().has_tools {
            tools::tools(row)
        } else {
            Ok(None)
        }
    }

    /// The fields that the layout reads.
    pub(crate) fn fields(self, columns: &ColumnNames) -> Vec<&str> {
        let layout = self.layout();
        let mut fields = (layout.fields)(columns);
        fields.extend(layout.has_tools.then_some(tools::FIELD));
        fields
    }
}

/// Puts a system prompt before turns that have none.
fn add_system(messages: &mut Vec<Message>, system: Option<&str>) {
    let has_one = |first: &Message| matches!(first.role, Role::System | Role::Developer);
    if let Some(system) = system
        && !messages.first().is_some_and(has_one)
    {
        messages.insert(0, Message::new(Role::System, system));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::SectionSettings;

    pub(crate) fn row(json: &str) -> Row {
        Row::of_json(serde_json::from_str(json).unwrap(), json)
    }

    /// The options of a file that sets none.
    pub(crate) fn options<'a>(columns: &'a ColumnNames, sections: &'a SectionSettings) -> LayoutOptions<'a> {
        LayoutOptions {
            columns,
            system_prompt: SystemPrompt::default(),
            system: None,
            sections,
            rules: RowRules::CURRENT,
        }
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
            ("prompt-completion", Format::PromptCompletion),
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
            "system_prompt": "s", "input": [{"role": "user", "content": "q"}], "output": "a", "completion": "a",
            "tools": [{"name": "t"}]}"#,
        );
        let (columns, sections) = (ColumnNames::default(), SectionSettings::default());
        let options = LayoutOptions {
            system_prompt: SystemPrompt::Keep,
            ..options(&columns, &sections)
        };
        for &(name, format) in Format::ALL {
            let named = format.fields(&columns);
            let mut of_named = Row::default();
            for (name, value) in whole.iter().filter(|(name, _)| named.contains(&name.as_str())) {
                of_named.insert(name.clone(), value.clone());
            }
            let of = |row: Row| format.conversation(row, options).unwrap();
            assert_eq!(of(of_named.clone()), of(whole.clone()), "{name}");
            assert!(of_named.iter().count() == named.len(), "{name}");
        }
    }

    fn conversation(format: &str, json: &str, system: Option<&str>) -> Result<Conversation, String> {
        let format: Format = serde_json::from_value(format.into()).unwrap();
        let (columns, sections) = (ColumnNames::default(), SectionSettings::default());
        let options = LayoutOptions {
            system,
            ..options(&columns, &sections)
        };
        format
            .conversation(row(json), options)
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_system_prompt_is_put_before_conversations_without_one() {
        let columns = r#"{"question": "q", "chain_of_thought": "c", "answer": "a"}"#;
        let turns = |format, json| conversation(format, json, Some("S")).unwrap().messages;
        let asked = turns("columns", columns);
        assert_eq!(
            asked[..2],
            [Message::new(Role::System, "S"), Message::new(Role::User, "q")]
        );
        assert_eq!(conversation("columns", columns, None).unwrap().messages.len(), 2);
        let own = r#"{"messages": [{"role": "system", "content": "own"}, {"role": "assistant", "content": "a"}]}"#;
        assert_eq!(turns("messages", own)[0], Message::new(Role::System, "own"));
    }

    #[test]
    fn integers_that_would_be_rounded_are_refused_in_fields_that_are_read() {
        let messages = |number: &str| {
            format!(
                r#"{{"messages": [{{"role": "assistant", "content": "a", "tool_calls": [{{"x": {number}}}]}}], "x": [{number}]}}"#
            )
        };
        assert!(conversation("messages", &messages("18446744073709551615"), None).is_ok());
        assert_eq!(
            conversation("messages", &messages("18446744073709551616"), None).unwrap_err(),
            "the field `messages` holds the integer 18446744073709551616, which has more than 64 bits"
        );
    }
}
