//! One turn of a conversation, as chat templates see it.

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value};

/// Who speaks, by the names of the `OpenAI` chat format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions to the model.
    System,
    /// Instructions to the model, by their newer name.
    Developer,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
    /// The result of a tool that the model called.
    Tool,
}

impl Role {
    /// The name that data sets and templates use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::System, Self::Developer, Self::User, Self::Assistant, Self::Tool]
            .into_iter()
            .find(|role| role.as_str() == name)
    }
}

/// What templates see of an empty content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmptyContent {
    /// An empty text.
    #[default]
    Text,
    /// Null.
    Null,
    /// A turn without this field.
    Absent,
}

/// One turn of a conversation.
///
/// It serializes to what a chat template expects of an element of `messages`. Null fields are left out, as transformers does it,
/// because templates ask whether a field is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// What templates see if the content is empty.
    pub empty_content: EmptyContent,
    /// Thinking that the data has in a field of its own. If there is none, the field is absent for templates, not null.
    pub reasoning_content: Option<String>,
    /// The message's other fields (`name`, `tool_calls`, …), handed to the template as they are. Null is no field.
    pub other: Map<String, Value>,
}

impl Message {
    /// A turn of plain text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            empty_content: EmptyContent::Text,
            reasoning_content: None,
            other: Map::new(),
        }
    }

    /// Whether the turn says nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        let reasoning = self.reasoning_content.as_deref().unwrap_or_default();
        self.content.trim().is_empty() && reasoning.trim().is_empty()
    }

    /// Whether the turn calls tools.
    pub(crate) fn calls_tools(&self) -> bool {
        let calls = self.other.get("tool_calls").and_then(Value::as_array);
        calls.is_some_and(|calls| !calls.is_empty())
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("role", &self.role)?;
        match self.empty_content {
            EmptyContent::Absent if self.content.is_empty() => {}
            EmptyContent::Null if self.content.is_empty() => fields.serialize_entry("content", &None::<&str>)?,
            _ => fields.serialize_entry("content", &self.content)?,
        }
        if let Some(reasoning) = &self.reasoning_content {
            fields.serialize_entry("reasoning_content", reasoning)?;
        }
        for (name, value) in self.other.iter().filter(|(_, value)| !value.is_null()) {
            fields.serialize_entry(name, value)?;
        }
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_turn_is_written_without_nulls_but_for_a_content_of_earlier_rules() {
        let mut turn = Message::new(Role::Assistant, "");
        let of = |turn: &Message| serde_json::to_string(turn).unwrap();
        turn.other.insert("name".into(), Value::Null);
        turn.other.insert("tool_calls".into(), json!([{"name": "f"}]));
        assert_eq!(
            of(&turn),
            r#"{"role":"assistant","content":"","tool_calls":[{"name":"f"}]}"#
        );
        turn.empty_content = EmptyContent::Absent;
        assert_eq!(of(&turn), r#"{"role":"assistant","tool_calls":[{"name":"f"}]}"#);
        turn.empty_content = EmptyContent::Null;
        assert_eq!(
            of(&turn),
            r#"{"role":"assistant","content":null,"tool_calls":[{"name":"f"}]}"#
        );
        turn.content = "a".into();
        turn.reasoning_content = Some("r".into());
        assert_eq!(
            of(&turn),
            r#"{"role":"assistant","content":"a","reasoning_content":"r","tool_calls":[{"name":"f"}]}"#
        );
    }
}
