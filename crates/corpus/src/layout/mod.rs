//! How a row becomes a conversation.
//!
//! A layout is one file with a [`Layout`] in it, and one entry in the list of [`layouts`] below. Its conversation ends
//! with the turn of the assistant that is learnt. What all layouts share is here: the system prompt of `data.system`, what a
//! row gives to the chat template beside its turns, and the rule that a conversation has each thinking marker once.

mod beside;
mod columns;
mod conversations;
mod fields;
mod given;
mod held;
mod markers;
mod messages;
mod nemotron;
mod options;
mod own_answer;
mod problem;
mod prompt_completion;
mod row;
mod synthetic_1;
mod thinking;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::options::{ColumnNames, SystemPrompt};
pub(crate) use self::{
    options::LayoutOptions,
    row::{Row, within_floats},
    thinking::with_thinking,
};
use crate::{Given, Message, Role, RowProblem, RowRules, conversation::Conversation};

/// The parts of a layout.
struct Layout {
    /// The fields that the layout reads.
    fields: fn(&ColumnNames) -> Vec<&str>,
    /// The turns in a row.
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
    pub(crate) fn conversation(self, row: Row, options: LayoutOptions) -> Result<Conversation, RowProblem> {
        self.conversation_checked_by(options.rules, row, options)
    }

    /// The conversation in `row`. These rules say which thinking markers its last turn may have.
    fn conversation_checked_by(
        self,
        rules: RowRules,
        mut row: Row,
        options: LayoutOptions,
    ) -> Result<Conversation, RowProblem> {
        let given = self.given(&mut row, options)?;
        let is_meant = options.format_is_named && rules >= RowRules::Fifth;
        let beside = self.beside(rules).and_then(|field| row.remove(field));
        let mut messages = (self.layout().conversation)(row, options)?;
        if let Some(other) = beside.filter(|_| !is_meant) {
            beside::check(other, &messages, options)?;
        }
        if let Some(last) = messages.last_mut() {
            markers::check(last, options.sections, rules)?;
        }
        add_system(&mut messages, options.system);
        Ok(Conversation { messages, given })
    }

    /// Whether rows may have a system prompt in a field of its own, which `data.system_prompt` is about.
    pub const fn has_system_field(self) -> bool {
        matches!(
            self,
            Self::OpenThoughts | Self::BespokeStratos | Self::SkyT1 | Self::Nemotron
        )
    }

    /// Takes out of the row what it gives to the chat template, and checks that the fields that are read are what is written.
    fn given(self, row: &mut Row, options: LayoutOptions) -> Result<Given, RowProblem> {
        if options.rules < RowRules::Second {
            return Ok(Given::default());
        }
        let given_fields = self.given_fields(options.columns, options.rules);
        for field in (self.layout().fields)(options.columns)
            .into_iter()
            .chain(given_fields.iter().copied())
        {
            row.check_integers(field)?;
        }
        given::given(row, &given_fields)
    }

    /// The fields that are read by these rules.
    pub(crate) fn fields(self, columns: &ColumnNames, rules: RowRules) -> Vec<&str> {
        let mut fields = (self.layout().fields)(columns);
        fields.extend(self.given_fields(columns, rules));
        fields.extend(self.beside(rules));
        fields
    }

    /// The field that may hold another conversation.
    fn beside(self, rules: RowRules) -> Option<&'static str> {
        (self == Self::Messages && rules >= RowRules::Fourth).then_some(beside::FIELD)
    }

    /// The fields with what the chat template is given beside the turns, without those that the layout reads as something else.
    fn given_fields(self, columns: &ColumnNames, rules: RowRules) -> Vec<&'static str> {
        let has_tools_by_second_rules = !matches!(self, Self::Columns | Self::Synthetic1 | Self::Nemotron);
        let fields = match rules {
            RowRules::First | RowRules::Second if !has_tools_by_second_rules => &[][..],
            RowRules::First | RowRules::Second => &[given::TOOLS][..],
            RowRules::Third | RowRules::Fourth | RowRules::Fifth | RowRules::Sixth => &given::FIELDS[..],
        };
        let own = (self.layout().fields)(columns);
        fields.iter().copied().filter(|name| !own.contains(name)).collect()
    }
}

/// Whether a column of a table with these fields need not be read: one that is only compared with another.
pub(crate) fn is_optional(column: &str, fields: &[String]) -> bool {
    column == beside::FIELD && fields.iter().any(|field| field == "messages")
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
            format_is_named: false,
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
            let name = serde_json::Value::from(name);
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
            "tools": [{"name": "t"}], "documents": [{"text": "t"}], "chat_template_kwargs": {"shout": true}}"#,
        );
        let (columns, sections) = (ColumnNames::default(), SectionSettings::default());
        let options = LayoutOptions {
            system_prompt: SystemPrompt::Keep,
            ..options(&columns, &sections)
        };
        for &(name, format) in Format::ALL {
            let named = format.fields(&columns, RowRules::CURRENT);
            let mut of_named = Row::default();
            for (name, value) in whole.iter().filter(|(name, _)| named.contains(&name.as_str())) {
                of_named.insert(name.clone(), value.clone());
            }
            let of = |row: Row| format.conversation(row, options).unwrap();
            assert_eq!(of(of_named.clone()), of(whole.clone()), "{name}");
            assert!(of_named.iter().count() == named.len(), "{name}");
        }
    }

    #[test]
    fn every_layout_reads_what_the_template_is_given() {
        let rows = [
            ("columns", r#""question": "q", "chain_of_thought": "c""#),
            ("synthetic-1", r#""prompt": "q", "llm_response": "a""#),
            (
                "nemotron",
                r#""input": [{"role": "user", "content": "q"}], "output": "a""#,
            ),
            ("messages", r#""messages": [{"role": "assistant", "content": "a"}]"#),
            ("open-thoughts", r#""conversations": [{"from": "gpt", "value": "a"}]"#),
            ("prompt-completion", r#""prompt": "q", "completion": "a""#),
        ];
        for (format, fields) in rows {
            let json = format!(
                r#"{{{fields}, "tools": [{{"name": "t"}}], "documents": [{{"text": "d"}}], "chat_template_kwargs": {{"a": 1}}}}"#
            );
            let given = conversation(format, &json, None).unwrap().given;
            assert!(given.tools.is_some() && given.documents.is_some(), "{format}");
            assert_eq!(given.arguments["a"], 1, "{format}");
        }
        // A column of that name that the layout reads as something else.
        let columns = ColumnNames {
            answer: "tools".into(),
            ..ColumnNames::default()
        };
        let sections = SectionSettings::default();
        let json = r#"{"question": "q", "chain_of_thought": "c", "tools": "a saw"}"#;
        let read = Format::Columns
            .conversation(row(json), options(&columns, &sections))
            .unwrap();
        assert_eq!(read.given, Given::default());
        assert_eq!(read.messages[1].content, "<think>\nc\n</think>\n\na saw");
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
