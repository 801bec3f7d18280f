//! One turn of a conversation, as chat templates see it.

use serde::{Deserialize, Serialize, Serializer};
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

/// One turn of a conversation.
///
/// It serializes to what a chat template expects of an element of `messages`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// Thinking that the data has in a field of its own. If there is none, the field is absent for templates, not null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The message's other fields (`name`, `tool_calls`, …), handed to the template as they are. Null is no field.
    #[serde(flatten, serialize_with = "without_nulls")]
    pub other: Map<String, Value>,
}

impl Message {
    /// A turn of plain text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            reasoning_content: None,
            other: Map::new(),
        }
    }

    /// Whether the turn says nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        let reasoning = self.reasoning_content.as_deref().unwrap_or_default();
        self.content.trim().is_empty() && reasoning.trim().is_empty()
    }
}

/// Writes the fields that are not null, because templates ask whether a field is there. transformers leaves them out, too.
fn without_nulls<S: Serializer>(fields: &Map<String, Value>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().filter(|(_, value)| !value.is_null()))
}
