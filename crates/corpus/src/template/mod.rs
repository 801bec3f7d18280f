//! The model's own chat template: Jinja as the transformers library runs it.
//!
//! The engine has the same settings (`trim_blocks`, `lstrip_blocks`, loop controls, Python methods) and the same extra names
//! (`raise_exception`, `strftime_now`, `tojson`, `bos_token`, `eos_token`). A template comes with a model, from anybody, so
//! [`bounds`] limits what it may use. The engine is built without the statements that name other templates, so a template
//! reaches no file. This folder does not decide where the template comes from; the date is fixed in [`python`].

mod bounds;
mod python;

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, State, Value, escape_formatter, filters,
    syntax::SyntaxConfig,
    value::{Serde, ValueKind},
};
use serde::Serialize;

use self::bounds::Allowance;
pub(crate) use self::bounds::rendering_pool;
use crate::{CorpusError, Message};

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
    reads_reasoning_content: bool,
}

#[derive(Serialize)]
struct Context<'a> {
    messages: &'a [Message],
    add_generation_prompt: bool,
}

impl ChatTemplate {
    /// Compiles `source`. A token that the model lacks is undefined in the template and prints as nothing.
    ///
    /// # Errors
    ///
    /// If the source is not a template, or is longer than 65,535 bytes.
    pub fn new(source: &str, bos_token: Option<&str>, eos_token: Option<&str>) -> Result<Self, CorpusError> {
        let invalid = |source| CorpusError::InvalidTemplate { source };
        if source.len() > SOURCE_BYTES {
            let problem = format!("it has {} bytes; {SOURCE_BYTES} are the most", source.len());
            return Err(invalid(Error::new(ErrorKind::SyntaxError, problem)));
        }
        let mut environment = environment().map_err(invalid)?;
        for (name, token) in [("bos_token", bos_token), ("eos_token", eos_token)] {
            if let Some(token) = token {
                environment.add_global(name, token.to_owned());
            }
        }
        let source_as_run = python::without_generation_tags(source);
        bounds::on_a_stack(COMPILING_STACK_BYTES, || {
            environment.add_template_owned(NAME, source_as_run)
        })
        .map_err(invalid)?;
        Ok(Self {
            environment,
            reads_reasoning_content: source.contains("reasoning_content"),
        })
    }

    /// The text of a conversation; with `add_generation_prompt`, the header of the model's next turn follows it.
    ///
    /// # Errors
    ///
    /// If the template refuses the conversation, fails on it, or uses more than any template needs.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, CorpusError> {
        self.try_render(messages, add_generation_prompt)
            .map_err(|source| CorpusError::Template { source })
    }

    pub(crate) fn try_render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, minijinja::Error> {
        let allowance = Allowance::of(messages);
        bounds::on_a_stack(allowance.stack_bytes(), || {
            self.render_within(allowance, messages, add_generation_prompt)
        })
    }

    /// Renders on this thread, whose stack must be that of the allowance.
    fn render_within(
        &self,
        allowance: Allowance,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, minijinja::Error> {
        // A copy shares the compiled template; only the fuel is its own.
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(allowance.fuel));
        let context = Value::from(Serde(Context {
            messages,
            add_generation_prompt,
        }));
        environment.get_template(NAME)?.render(context)
    }

    /// Whether the template knows messages that keep their thinking apart from their content.
    pub(crate) fn reads_reasoning_content(&self) -> bool {
        self.reads_reasoning_content
    }
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
    environment.add_filter("tojson", python::tojson);
    // A part of a list is a sequence in Python. The engine has it as an iterable whose length is known.
    environment.add_test("sequence", |value: &Value| match value.kind() {
        ValueKind::Seq => true,
        ValueKind::Iterable => value.len().is_some(),
        _ => false,
    });
    // Printing a value is paid for before it is done.
    environment.set_formatter(|output, state, value| {
        if value.as_object().is_some() {
            bounds::charge(state, value)?;
        }
        escape_formatter(output, state, value)
    });
    environment.add_filter("string", |state: &State, value: &Value| {
        bounds::charge(state, value)?;
        filters::string(state, value)
    });
    environment.add_filter("pprint", |state: &State, value: &Value| {
        bounds::charge(state, value)?;
        Ok::<String, Error>(filters::pprint(value))
    });
    // Python has no such function. It prints everything that the template can see, without a limit.
    environment.remove_global("debug");
    Ok(environment)
}

#[cfg(test)]
mod nesting_tests;
#[cfg(test)]
pub(crate) mod tests;
