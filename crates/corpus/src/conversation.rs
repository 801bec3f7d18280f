//! A row as a conversation, and what the chat template is given beside its turns.

use serde_json::{Map, Value};

use crate::Message;

/// What a row gives to the chat template beside its turns, as transformers takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The tools that the model may call: a list of objects.
    pub tools: Option<Value>,
    /// Texts that the model may refer to: a list of objects.
    pub documents: Option<Value>,
    /// Values for the template by their names: a row's `chat_template_kwargs`. They precede `sections.template_arguments`.
    pub arguments: Map<String, Value>,
}

/// A row as a conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conversation {
    /// Its turns.
    pub(crate) messages: Vec<Message>,
    /// What the template is given beside them.
    pub(crate) given: Given,
}
