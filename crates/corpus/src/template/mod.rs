//! The model's own chat template: Jinja as the transformers library runs it.
//!
//! The engine has the same settings (`trim_blocks`, `lstrip_blocks`, loop controls, Python methods) and the same extra names
//! (`raise_exception`, `strftime_now`, `tojson`, the special tokens). [`source`] changes what the engine reads differently from
//! Jinja2. A template comes with a model, from anybody, so [`bounds`] limits what it may use. The engine is built without the
//! statements that name other templates, so a template reaches no file. This folder does not decide where the template comes
//! from; the date is fixed in [`python`].

mod arguments;
mod bounds;
mod conversions;
mod globals;
mod json;
mod numbers;
mod ordering;
mod printing;
mod python;
mod source;
mod strings;

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Value, escape_formatter,
    syntax::SyntaxConfig,
    value::{Serde, ValueKind},
};
use serde::Serialize;

use self::bounds::Allowance;
pub(crate) use self::bounds::rendering_pool;
use crate::{CorpusError, Given, Message};

/// The name under which errors mention the template.
const NAME: &str = "chat_template";

/// The most bytes of a template. Those of models have some ten thousand; the engine counts lines and arguments in 16 bits,
/// so it may not compile longer ones.
const SOURCE_BYTES: usize = u16::MAX as usize;

/// Stack for compiling a template, in bytes: the engine goes down a chain such as `a + a + a` by recursion, and
/// [`SOURCE_BYTES`] have room for thirty thousand links.
const COMPILING_STACK_BYTES: usize = 256 << 20;

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    tool_use_is_apart: bool,
}

/// What a template is given, as transformers gives it: without tools and documents, their names are none, not undefined.
#[derive(Serialize)]
struct Context<'a> {
    messages: &'a [Message],
    tools: Option<&'a serde_json::Value>,
    documents: Option<&'a serde_json::Value>,
    add_generation_prompt: bool,
}

/// Names that neither `sections.template_arguments` nor a row's `chat_template_kwargs` can set, because every rendering sets them.
pub(crate) const SET_BY_RENDERING: [&str; 4] = ["messages", "tools", "documents", "add_generation_prompt"];

impl ChatTemplate {
    /// Compiles the template of a model that has at most two special tokens; see [`of_model`](Self::of_model).
    ///
    /// # Errors
    ///
    /// Those of [`of_model`](Self::of_model).
    pub fn new(source: &str, bos_token: Option<&str>, eos_token: Option<&str>) -> Result<Self, CorpusError> {
        let tokens = [("bos_token", bos_token), ("eos_token", eos_token)];
        let tokens = tokens.into_iter().filter_map(|(name, token)| Some((name, token?)));
        Self::of_model(source, tokens, &serde_json::Map::new())
    }

    /// Compiles `source`. The template sees the special tokens by their names, such as `eos_token`, and `arguments`, which
    /// replace tokens of the same name. A token that the model lacks is undefined in the template and prints as nothing.
    ///
    /// # Errors
    ///
    /// If the source is not a template, or is longer than 65,535 bytes.
    pub fn of_model<'a>(
        source: &str,
        special_tokens: impl IntoIterator<Item = (&'a str, &'a str)>,
        arguments: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, CorpusError> {
        let invalid = |source| CorpusError::InvalidTemplate { source };
        if source.len() > SOURCE_BYTES {
            let problem = format!("it has {} bytes; {SOURCE_BYTES} are the most", source.len());
            return Err(invalid(Error::new(ErrorKind::SyntaxError, problem)));
        }
        if let Some(escaped) = source::unknown_escape(source) {
            let escaped = escaped.escape_default();
            let problem =
                format!("a text has the escape `\\{escaped}`, which is not supported: write the characters themselves");
            return Err(invalid(Error::new(ErrorKind::SyntaxError, problem)));
        }
        if let Some(name) = source::extra_arguments(source) {
            let problem = format!("macros and call blocks that use `{name}` are not supported: name the arguments");
            return Err(invalid(Error::new(ErrorKind::SyntaxError, problem)));
        }
        let mut environment = environment().map_err(invalid)?;
        for (name, token) in special_tokens {
            environment.add_global(name.to_owned(), token.to_owned());
        }
        for (name, value) in arguments {
            environment.add_global(name.clone(), Value::from(Serde(value)));
        }
        bounds::on_a_stack(COMPILING_STACK_BYTES, || {
            environment.add_template_owned(NAME, source::adapted(source))
        })
        .map_err(invalid)?;
        Ok(Self {
            environment,
            source: source.to_owned(),
            tool_use_is_apart: false,
        })
    }

    /// States whether the model has another template, `tool_use`, for conversations with tools. Such conversations are then
    /// refused, because transformers would render them with that template.
    #[must_use]
    pub fn beside_tool_use(self, tool_use_is_apart: bool) -> Self {
        Self {
            tool_use_is_apart,
            ..self
        }
    }

    /// The text of a conversation; with `add_generation_prompt`, the header of the model's next turn follows it.
    ///
    /// # Errors
    ///
    /// If the template refuses the conversation, fails on it, or uses more than any template needs.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, CorpusError> {
        self.render_with(messages, &Given::default(), add_generation_prompt)
    }

    /// The same for a conversation whose template is given more than its turns.
    ///
    /// # Errors
    ///
    /// Those of [`render`](Self::render), and if there are tools that the template does not write.
    pub fn render_with(
        &self,
        messages: &[Message],
        given: &Given,
        add_generation_prompt: bool,
    ) -> Result<String, CorpusError> {
        self.try_render(messages, given, add_generation_prompt)
            .map_err(|source| CorpusError::Template { source })
    }

    pub(crate) fn try_render(
        &self,
        messages: &[Message],
        given: &Given,
        add_generation_prompt: bool,
    ) -> Result<String, minijinja::Error> {
        if given.tools.is_some() && !self.source.contains("tools") {
            let problem = "the template does not write `tools`, which the conversation has";
            return Err(Error::new(ErrorKind::InvalidOperation, problem));
        }
        let allowance = Allowance::of(messages, given);
        bounds::on_a_stack(allowance.stack_bytes(), || {
            self.render_within(allowance, messages, given, add_generation_prompt)
        })
    }

    /// Renders on this thread, whose stack must be that of the allowance.
    fn render_within(
        &self,
        allowance: Allowance,
        messages: &[Message],
        given: &Given,
        add_generation_prompt: bool,
    ) -> Result<String, minijinja::Error> {
        // A copy shares the compiled template; only the fuel and the row's own values are its own.
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(allowance.fuel));
        for (name, value) in &given.arguments {
            environment.add_global(name.clone(), Value::from(Serde(value)));
        }
        let named;
        let messages = if self.reads_thinking() {
            named = messages.iter().map(with_thinking_field).collect::<Vec<_>>();
            &named
        } else {
            messages
        };
        let context = Value::from(Serde(Context {
            messages,
            tools: given.tools.as_ref(),
            documents: given.documents.as_ref(),
            add_generation_prompt,
        }));
        environment.get_template(NAME)?.render(context)
    }

    /// The template's text, as the engine reads it.
    pub(crate) fn source(&self) -> String {
        let template = self.environment.get_template(NAME);
        template.map_or_else(|_| String::new(), |template| template.source().to_owned())
    }

    /// Whether the template knows messages that keep their thinking apart from their content.
    pub(crate) fn reads_reasoning_content(&self) -> bool {
        self.source.contains("reasoning_content") || self.reads_thinking()
    }

    /// Whether it knows them by the name `thinking` alone, as that of gpt-oss does.
    fn reads_thinking(&self) -> bool {
        let mut fields = self
            .source
            .match_indices(".thinking")
            .map(|(at, field)| &self.source[at + field.len()..]);
        !self.source.contains("reasoning_content")
            && fields.any(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
    }

    /// Whether the template's source holds a name as a whole word.
    pub fn names(&self, name: &str) -> bool {
        let is_word = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
        self.source.match_indices(name).any(|(at, _)| {
            let (before, after) = (&self.source[..at], &self.source[at + name.len()..]);
            !is_word(before.chars().next_back()) && !is_word(after.chars().next())
        })
    }

    /// Whether the model has another template for conversations with tools.
    pub(crate) fn tool_use_is_apart(&self) -> bool {
        self.tool_use_is_apart
    }
}

/// The message with its thinking also in the field `thinking`, where transformers puts it.
fn with_thinking_field(message: &Message) -> Message {
    let mut message = message.clone();
    if let Some(thinking) = &message.reasoning_content {
        let field = message.other.entry("thinking");
        field.or_insert_with(|| thinking.as_str().into());
    }
    message
}

/// An engine with the settings and names of transformers, and no template yet.
fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(python::method);
    environment.add_function("raise_exception", python::raise_exception);
    environment.add_function("strftime_now", python::strftime_now);
    environment.add_filter("format", python::format);
    environment.add_filter("tojson", json::tojson);
    environment.add_filter(source::MODULO, python::modulo);
    environment.add_filter("indent", python::indent);
    environment.add_filter("int", conversions::int);
    environment.add_filter("float", conversions::float);
    ordering::add_filters(&mut environment);
    globals::add(&mut environment);
    // In Python it finds no fields of maps. No template means that.
    environment.remove_filter("attr");
    // What has a length and items is a sequence in Jinja2. The engine has a part of a list as an iterable whose length is known.
    environment.add_test("sequence", |value: &Value| match value.kind() {
        ValueKind::Seq | ValueKind::Map | ValueKind::String => true,
        ValueKind::Iterable => value.len().is_some(),
        _ => false,
    });
    // Printing a value is paid for before it is done.
    environment.set_formatter(|output, state, value| {
        if let Some(text) = printing::python_text(state, value)? {
            return output.write_str(&text).map_err(Error::from);
        }
        escape_formatter(output, state, value)
    });
    printing::add_filters(&mut environment);
    // Python has no such function. It prints everything that the template can see, without a limit.
    environment.remove_global("debug");
    Ok(environment)
}

#[cfg(test)]
mod expression_tests;
#[cfg(test)]
mod nesting_tests;
#[cfg(test)]
pub(crate) mod tests;
