//! Checks that a rendered conversation shows what the row says in places that chat templates may pass over.
//!
//! A template that does not know a field leaves it out without a word, as transformers does, and a student would learn from a
//! conversation with a hole in it. A part is not shown if the text is the same without it. To find that out with few
//! renderings, a mark is put into all parts that the text does not hold as they are. Only parts whose mark is not in the text
//! are left out one by one. A template that fails without a part makes use of it.
//!
//! Thinking of earlier turns is no such part: templates cut it out on purpose. Nor are fields that describe a turn, such as
//! `name` and `tool_call_id`.

use serde_json::{Map, Value};

use crate::{ChatTemplate, CorpusError, Given, Message, Role, RowProblem};

/// The field of a turn with its calls of tools: a list.
const CALLS: &str = "tool_calls";

/// Other fields of a turn whose values belong into the text.
const FIELDS: [&str; 4] = ["function_call", "tools", "functions", "documents"];

/// Bytes of a text that is not in another one by chance.
const LONG: usize = 24;

/// A conversation and its text.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) template: &'a ChatTemplate,
    pub(crate) messages: &'a [Message],
    pub(crate) given: &'a Given,
    /// Whether the text ends with the header of the model's next turn.
    pub(crate) add_generation_prompt: bool,
    /// The marker before which a turn's content is thinking.
    pub(crate) thinking_end: &'a str,
    pub(crate) text: &'a str,
}

/// A part of a turn.
#[derive(Clone, Copy)]
enum Part {
    Content,
    /// The call of that index.
    Call(usize),
    /// Its arguments.
    Arguments(usize),
    Field(&'static str),
}

impl ChatTemplate {
    /// The text of a conversation that the model is to continue.
    ///
    /// # Errors
    ///
    /// If the template refuses the conversation, fails on it, uses more than any template needs, or passes over a part of it.
    pub fn render_prompt(
        &self,
        messages: &[Message],
        given: &Given,
        thinking_end: &str,
    ) -> Result<String, CorpusError> {
        let rendered = self.try_render(messages, given, true);
        let text = rendered.map_err(|source| CorpusError::Template { source })?;
        let shown = Shown {
            template: self,
            messages,
            given,
            add_generation_prompt: true,
            thinking_end,
            text: &text,
        };
        shown
            .check()
            .map_err(|problem| CorpusError::UnsuitedTemplate { problem })?;
        Ok(text)
    }
}

impl Shown<'_> {
    /// # Errors
    ///
    /// The first part that is not shown, and tools for which the model has another template.
    pub(crate) fn check(self) -> Result<(), RowProblem> {
        self.check_given()?;
        let unseen = self.unseen();
        if unseen.is_empty() {
            return Ok(());
        }
        let marked = self.with_marks(&unseen);
        for (number, &(turn, part)) in unseen.iter().enumerate() {
            if marked.as_ref().is_some_and(|(text, mark)| text.contains(&mark(number))) {
                continue;
            }
            let mut messages = self.messages.to_vec();
            remove(&mut messages[turn], part);
            if self.is_the_same(&messages, self.given) {
                return Err(RowProblem::NotShown {
                    part: self.name_of(turn, part),
                });
            }
        }
        Ok(())
    }

    fn is_the_same(&self, messages: &[Message], given: &Given) -> bool {
        let rendered = self.template.try_render(messages, given, self.add_generation_prompt);
        rendered.is_ok_and(|text| text == self.text)
    }

    fn check_given(&self) -> Result<(), RowProblem> {
        let not_shown = |part: String| Err(RowProblem::NotShown { part });
        if self.given.tools.is_some() {
            if self.template.tool_use_is_apart() {
                return Err(RowProblem::ToolUseTemplate);
            }
            let mut without = self.given.clone();
            without.tools = None;
            if self.is_the_same(self.messages, &without) {
                return not_shown("the field `tools`".into());
            }
        }
        if self.given.documents.is_some() {
            let mut without = self.given.clone();
            without.documents = None;
            if self.is_the_same(self.messages, &without) {
                return not_shown("the field `documents`".into());
            }
        }
        // A value may be the template's default, so the text does not tell.
        let mut names = self.given.arguments.keys();
        match names.find(|name| !self.template.names(name)) {
            Some(name) => not_shown(format!("`{name}` of the field `chat_template_kwargs`")),
            None => Ok(()),
        }
    }

    /// The parts that the text does not hold as they are.
    fn unseen(&self) -> Vec<(usize, Part)> {
        let mut unseen = Vec::new();
        for (turn, message) in self.messages.iter().enumerate() {
            let is_answer =
                turn + 1 == self.messages.len() && message.role == Role::Assistant && !self.add_generation_prompt;
            let said = match message.role {
                Role::Assistant => message.content.rsplit(self.thinking_end).next().unwrap_or_default(),
                _ => message.content.as_str(),
            };
            let said = said.trim();
            let may_be_there_by_chance =
                said.len() < LONG && matches!(message.role, Role::Tool | Role::System | Role::Developer);
            let is_seen = said.is_empty() || !may_be_there_by_chance && self.text.contains(said);
            if !is_answer && !is_seen {
                unseen.push((turn, Part::Content));
            }
            match message.other.get(CALLS) {
                Some(Value::Array(calls)) => {
                    for (index, call) in calls.iter().enumerate() {
                        unseen.push((turn, Part::Call(index)));
                        if has_arguments(call) {
                            unseen.push((turn, Part::Arguments(index)));
                        }
                    }
                }
                Some(calls) if says_something(calls) => unseen.push((turn, Part::Field(CALLS))),
                _ => {}
            }
            let fields = FIELDS.into_iter();
            let fields = fields.filter(|&name| message.other.get(name).is_some_and(says_something));
            unseen.extend(fields.map(|name| (turn, Part::Field(name))));
        }
        unseen
    }

    /// The text of the conversation with a mark in each of these parts, and the mark of each.
    fn with_marks(&self, parts: &[(usize, Part)]) -> Option<(String, impl Fn(usize) -> String)> {
        let start = (0..=self.text.len())
            .map(|n| format!("leadspan{n}mark"))
            .find(|start| !self.text.contains(start))?;
        let mark = move |number: usize| format!("{start}{number}x");
        let mut messages = self.messages.to_vec();
        for (number, &(turn, part)) in parts.iter().enumerate() {
            put_mark(&mut messages[turn], part, &mark(number));
        }
        let rendered = self
            .template
            .try_render(&messages, self.given, self.add_generation_prompt);
        Some((rendered.ok()?, mark))
    }

    fn name_of(&self, turn: usize, part: Part) -> String {
        let has_system = self
            .messages
            .first()
            .is_some_and(|first| matches!(first.role, Role::System | Role::Developer));
        let role = self.messages[turn].role.as_str();
        let place = match (has_system, turn) {
            (true, 0) => "the system prompt".to_owned(),
            (true, turn) => format!("turn {turn} after the system prompt, from `{role}`"),
            (false, turn) => format!("turn {} from `{role}`", turn + 1),
        };
        match part {
            Part::Content => format!("the content of {place}"),
            Part::Call(index) => format!("`{CALLS}[{index}]` of {place}"),
            Part::Arguments(index) => format!("the arguments in `{CALLS}[{index}]` of {place}"),
            Part::Field(name) => format!("`{name}` of {place}"),
        }
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn has_arguments(call: &Value) -> bool {
    let function = call.get("function").filter(|function| function.is_object());
    let arguments = function.unwrap_or(call).get("arguments");
    arguments.is_some_and(|arguments| says_something(arguments) && arguments.as_str().is_none_or(|text| text != "{}"))
}

/// The name and the arguments of a call, which stand in it or in its `function`.
fn function_of(message: &mut Message, index: usize) -> Option<&mut Map<String, Value>> {
    let call = message.other.get_mut(CALLS)?.as_array_mut()?.get_mut(index)?;
    let call = call.as_object_mut()?;
    if call.get("function").is_some_and(Value::is_object) {
        call.get_mut("function")?.as_object_mut()
    } else {
        Some(call)
    }
}

/// Puts a mark into a part, if there is a place for one.
fn put_mark(message: &mut Message, part: Part, mark: &str) {
    match part {
        Part::Content => message.content += mark,
        Part::Call(index) => {
            if let Some(Value::String(name)) = function_of(message, index).and_then(|call| call.get_mut("name")) {
                *name += mark;
            }
        }
        Part::Arguments(index) => match function_of(message, index).and_then(|call| call.get_mut("arguments")) {
            Some(Value::String(text)) => *text += mark,
            Some(Value::Object(arguments)) => drop(arguments.insert(mark.to_owned(), mark.into())),
            _ => {}
        },
        Part::Field(_) => {}
    }
}

fn remove(message: &mut Message, part: Part) {
    match part {
        Part::Content => message.content.clear(),
        Part::Call(index) => {
            if let Some(Value::Array(calls)) = message.other.get_mut(CALLS)
                && index < calls.len()
            {
                calls.remove(index);
            }
        }
        Part::Arguments(index) => {
            if let Some(call) = function_of(message, index) {
                call.shift_remove("arguments");
            }
        }
        Part::Field(name) => drop(message.other.shift_remove(name)),
    }
}

#[cfg(test)]
mod tests;
