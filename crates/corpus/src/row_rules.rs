//! Which rules make rows into conversations.

use serde::{Deserialize, Serialize};

/// The rules by which rows become conversations.
///
/// Samples of a corpus never change, so a corpus is extended by the rules that it was prepared with. New corpora follow
/// [`RowRules::CURRENT`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowRules {
    /// Those of corpora that do not name their rules: numbers are written as floats of 64 bits are; only a message's
    /// `reasoning_content` is its thinking, and a row's `tools` are not read; a chain of thought in a column of its own is
    /// taken as it is, even if it holds an end marker.
    #[default]
    First,
    /// Numbers are written as they are in the row; a message's thinking has several names, and a row's `tools` are read; no
    /// conversation gets a second end marker.
    Second,
    /// The second rules, and: every layout reads a row's `tools`, `documents` and `chat_template_kwargs`; what the chat template
    /// leaves out is refused; a turn that only calls tools has a null content for the template if it has one in the row; the last turn has each thinking marker once; a final text
    /// in the chain of thought need not contain the row's answer, but must not give another number; thinking that is no text is refused.
    Third,
    /// The third rules, and: a row is refused if its `messages` and `conversations` are different conversations, or if a turn
    /// with `from` and `value` has another `role` or `content`.
    Fourth,
    /// The fourth rules, and: a row is refused if a turn begins or ends with a control token that the chat template writes, too; a row
    /// may have other `conversations` if the pipeline file names the format `messages`.
    Fifth,
    /// The fifth rules, and: what is null in the row is no field for the chat template, also the content of a turn that only calls
    /// tools.
    Sixth,
}

impl RowRules {
    /// The rules for new corpora.
    pub const CURRENT: Self = Self::Sixth;
}
