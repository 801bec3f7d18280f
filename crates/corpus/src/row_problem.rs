//! What can be wrong with one row. The place of the row is not part of it.

/// The most fields of a row that a hint names.
const SHOWN_FIELDS: usize = 12;

/// Why a row cannot become a conversation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowProblem {
    /// The line is not valid UTF-8.
    #[error("the line is not valid UTF-8 at byte {byte}")]
    InvalidUtf8 {
        /// The first byte of the line, counted from 0, that is not part of a character.
        byte: usize,
    },
    /// The line is not valid JSON.
    #[error("the line is not valid JSON: {reason} at column {column}")]
    InvalidJson {
        /// What the parser says.
        reason: String,
        /// Where in the line, counted from 1.
        column: usize,
    },
    /// The line is JSON, but not an object.
    #[error("expected an object, found {found}")]
    NotAnObject {
        /// The kind of value that was found.
        found: &'static str,
    },
    /// The row has more bytes than `data.max_row_mib` allows.
    #[error("the row has more than {most_bytes} bytes")]
    TooLong {
        /// The most bytes that a row may have.
        most_bytes: u64,
    },
    /// The row lies in a page of a Parquet table that has too many bytes.
    #[error("the row lies in a page of {bytes} bytes, and at most {most_bytes} are read")]
    InLargePage {
        /// The bytes of the page.
        bytes: u64,
        /// The most bytes that a page of its file may have.
        most_bytes: u64,
    },
    /// A number inside a field is larger than any float of 64 bits.
    #[error("the field `{field}` holds the number {number}, which is larger than any float of 64 bits")]
    LargeNumber {
        /// The outermost field.
        field: String,
        /// The number, or its first digits.
        number: String,
    },
    /// An integer inside a field cannot be held as it is written.
    #[error("the field `{field}` holds the integer {number}, which has more than 64 bits")]
    LargeInteger {
        /// The outermost field.
        field: String,
        /// The integer, or its first digits.
        number: String,
    },
    /// A column of a table holds an infinite number.
    #[error("the field `{field}` is infinite")]
    Infinite {
        /// The outermost field.
        field: String,
    },
    /// A text that goes into the last turn has an end marker of its own, beside the one after the chain of thought.
    #[error("{field} holds `{marker}`, but the chain of thought gets that marker at its end")]
    SecondEndMarker {
        /// Where it is.
        field: String,
        /// The end marker.
        marker: String,
    },
    /// A thinking marker is in the answer.
    #[error("{field} holds `{marker}` after the chain of thought")]
    MarkerInAnswer {
        /// Where it is.
        field: String,
        /// The marker.
        marker: String,
    },
    /// A start marker is inside the chain of thought, behind its beginning.
    #[error("{field} holds `{marker}` inside the chain of thought, not at its beginning")]
    StartInside {
        /// Where it is.
        field: String,
        /// The start marker.
        marker: String,
    },
    /// The field of the chain of thought holds a final text, too, and the answer says something else.
    #[error("the field `{response}` has a final text after `{marker}` with another answer than the field `{answer}`")]
    TwoAnswers {
        /// The field of the chain of thought.
        response: String,
        /// The field of the answer.
        answer: String,
        /// The end marker.
        marker: String,
    },
    /// A message has its thinking twice.
    #[error("the fields `{first}` and `{second}` hold different thinking")]
    TwoReasonings {
        /// A field.
        first: String,
        /// Another field.
        second: String,
    },
    /// A row has two conversations.
    #[error("the fields `{first}` and `{second}` hold different conversations")]
    TwoConversations {
        /// The field that `data.format` names.
        first: String,
        /// The other field.
        second: String,
    },
    /// Two fields of a turn that mean the same say different things.
    #[error("the fields `{first}` and `{second}` contradict each other")]
    Contradiction {
        /// The field that is read.
        first: String,
        /// The other field.
        second: String,
    },
    /// A field that the format needs is missing.
    #[error("the field `{field}` is missing")]
    MissingField {
        /// The field's path inside the row.
        field: String,
    },
    /// The column of lead spans holds another number.
    #[error(
        "the field `{field}` is {found}, which is neither a proportion (a number with a fraction above 0 and at most 1, such as \
         0.5 or 1.0) nor a number of tokens (a whole number of at least 2)"
    )]
    LeadSpan {
        /// The field that `data.lead_span_column` names.
        field: String,
        /// The number, or its first digits.
        found: String,
    },
    /// A field holds another kind of value.
    #[error("the field `{field}` must be {expected}, found {found}")]
    WrongType {
        /// The field's path inside the row.
        field: String,
        /// The kind of value that is expected.
        expected: &'static str,
        /// The kind of value that was found.
        found: &'static str,
    },
    /// A field that must hold one answer is a list of several.
    #[error("the field `{field}` is a list of {count} answers: write one text, such as `3, 4`")]
    SeveralAnswers {
        /// The field.
        field: String,
        /// The elements of the list.
        count: usize,
    },
    /// A row lacks a required field. Probably its layout is another.
    #[error("the field `{field}` is missing")]
    NoSuchField {
        /// The field.
        field: String,
        /// The fields that the row has.
        row: Vec<String>,
    },
    /// A field is empty.
    #[error("the field `{field}` is empty")]
    EmptyField {
        /// The field's path inside the row.
        field: String,
    },
    /// A message has a role that the format does not know.
    #[error("the field `{field}` is `{role}`: expected `system`, `developer`, `user`, `assistant` or `tool`")]
    UnknownRole {
        /// The field's path inside the row.
        field: String,
        /// The role.
        role: String,
    },
    /// A part of a message's content is not text.
    #[error("the field `{field}` has type `{kind}`: only text is supported")]
    NotText {
        /// The field's path inside the row.
        field: String,
        /// The type it names.
        kind: String,
    },
    /// The conversation does not end with a turn of the assistant.
    #[error("the last message is from `{role}`: it must be from `assistant`")]
    LastMessageNotAssistant {
        /// The role of the last message.
        role: &'static str,
    },
    /// A problem has no turn for a model to answer.
    #[error("there is no turn before the assistant's")]
    NothingToAsk,
    /// A problem has no answer to compare with.
    #[error("the assistant's last turn has no answer")]
    NoReference,
    /// The chat template passes over something that the row says.
    #[error("the chat template makes no use of {part}")]
    NotShown {
        /// What it is, and where.
        part: String,
    },
    /// The text of a turn has the control tokens that the chat template writes around it.
    #[error(
        "turn {turn} from `{role}` {place} with `{token}` and is rendered already: the chat template writes that token around the \
         turn as well"
    )]
    RenderedAlready {
        /// The number of the turn, counted from 1.
        turn: usize,
        /// Who speaks.
        role: &'static str,
        /// Whether the turn begins or ends with the token.
        place: &'static str,
        /// The control token.
        token: String,
    },
    /// The row has tools, and the model has a template of its own for them.
    #[error("the conversation has `tools`, and the model's chat template for tools, `tool_use`, is not read")]
    ToolUseTemplate,
    /// A value for the template has the name of something else that the template is given.
    #[error("the field `{field}` sets `{name}`, which the template is given from elsewhere")]
    ReservedArgument {
        /// The field with the values.
        field: String,
        /// The name.
        name: String,
    },
    /// The chat template cannot render the conversation.
    #[error("the chat template refuses the conversation")]
    Template {
        /// What the template engine says.
        #[source]
        source: minijinja::Error,
    },
}

impl RowProblem {
    /// What helps if the row has another layout than the one that is set: a hint that names the keys of `table`, which is `data`
    /// or `evaluate`. `None` if no field of the row itself is missing.
    pub fn layout_hint(&self, table: &str) -> Option<String> {
        let row = match self {
            Self::NoSuchField { row, .. } => &row[..],
            Self::MissingField { field } if !field.contains('[') => &[],
            _ => return None,
        };
        let has = |name: &str| row.iter().any(|field| field == name);
        let format = if has("conversations") {
            Some(("conversations", "open-thoughts"))
        } else if has("messages") {
            Some(("messages", "messages"))
        } else {
            None
        };
        let layout = match format {
            Some((field, format)) => format!("set `{table}.format = \"{format}\"`, which reads `{field}`"),
            None => {
                format!("name the layout of the rows with `{table}.format`, or their fields with `{table}.columns`")
            }
        };
        if row.is_empty() {
            return Some(layout);
        }
        let more = if row.len() > SHOWN_FIELDS { " and more" } else { "" };
        Some(format!(
            "the row has {}{more}; {layout}",
            in_words(&row[..row.len().min(SHOWN_FIELDS)])
        ))
    }

    pub(crate) fn missing(field: impl Into<String>) -> Self {
        Self::MissingField { field: field.into() }
    }

    /// Whether it is found before conditions such as `data.where` can leave the row out.
    pub fn precedes_filter(&self) -> bool {
        matches!(
            self,
            Self::InvalidUtf8 { .. }
                | Self::InvalidJson { .. }
                | Self::NotAnObject { .. }
                | Self::TooLong { .. }
                | Self::InLargePage { .. }
                | Self::Infinite { .. }
        )
    }

    pub(crate) fn wrong_type(field: impl Into<String>, expected: &'static str, value: &serde_json::Value) -> Self {
        Self::WrongType {
            field: field.into(),
            expected,
            found: kind_of(value),
        }
    }
}

/// Names in backticks, with commas and `and`.
pub(crate) fn in_words(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => "none".to_owned(),
    }
}

/// The kind of a JSON value, with its article, for messages.
pub(crate) fn kind_of(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "a list",
        serde_json::Value::Object(_) => "an object",
    }
}
