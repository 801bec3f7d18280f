//! The model's own chat template: Jinja as the transformers library runs it.
//!
//! Same engine settings (`trim_blocks`, `lstrip_blocks`, loop controls, Python methods), same extra names
//! (`raise_exception`, `strftime_now`, `tojson`, `bos_token`, `eos_token`). A template comes with a model, from anywhere, so
//! it is held to what its conversation is worth: work and text in the engine's fuel, the size and depth of values by
//! [`bounds`]. The engine is built without the statements that name other templates, so a template reaches no file. Where the
//! template comes from, and where it would read the clock, is not decided here: see [`python`].

mod bounds;
mod python;

use std::{collections::BTreeMap, thread};

use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, machinery, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

use self::bounds::Allowance;
use crate::{CorpusError, Message};

/// The name under which errors mention the template.
const NAME: &str = "chat_template";

/// The most bytes of a template. Those of models have some ten thousand; longer ones the engine may not even compile, since
/// it counts lines and arguments in 16 bits.
const SOURCE_BYTES: usize = u16::MAX as usize;

/// Address space for the stack that templates are compiled on. Only what is used of it takes memory.
const STACK_BYTES: usize = 256 << 20;

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
    /// Compiles `source`; a token that the model lacks is undefined in the template, which prints as nothing.
    ///
    /// # Errors
    ///
    /// Where the source is not a template.
    pub fn new(source: &str, bos_token: Option<&str>, eos_token: Option<&str>) -> Result<Self, CorpusError> {
        let invalid = |source| CorpusError::InvalidTemplate { source };
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(invalid)?;
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(bounds::FUEL));
        bounds::add_filters(&mut environment);
        environment.set_unknown_method_callback(python::method);
        environment.add_function("raise_exception", python::raise_exception);
        environment.add_function("strftime_now", python::strftime_now);
        environment.add_filter("format", python::format);
        environment.add_filter("tojson", python::tojson);
        for (name, token) in [("bos_token", bos_token), ("eos_token", eos_token)] {
            if let Some(token) = token {
                environment.add_global(name, token.to_owned());
            }
        }
        if source.len() > SOURCE_BYTES {
            let problem = format!("it has {} bytes; {SOURCE_BYTES} are the most", source.len());
            return Err(invalid(Error::new(ErrorKind::SyntaxError, problem)));
        }
        let source_as_run = python::without_generation_tags(source);
        on_a_large_stack(|| environment.add_template_owned(NAME, source_as_run)).map_err(invalid)?;
        Ok(Self {
            environment,
            reads_reasoning_content: source.contains("reasoning_content"),
        })
    }

    /// The text of a conversation; with the header of the model's next turn at its end where one is asked for.
    ///
    /// # Errors
    ///
    /// Where the template refuses the conversation, fails on it, or does more work than any template needs.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, CorpusError> {
        self.try_render(messages, add_generation_prompt)
            .map_err(|source| CorpusError::Template { source })
    }

    pub(crate) fn try_render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, minijinja::Error> {
        let context = Value::from(Serde(Context {
            messages,
            add_generation_prompt,
        }));
        let allowance = Allowance::of(&context)?;
        let template = self.environment.get_template(NAME)?;
        let compiled = machinery::get_compiled_template(&template);
        let instructions = bounds::checked(&compiled.instructions, allowance);
        let mut text = String::new();
        let mut output = machinery::make_string_output(&mut text);
        let blocks = BTreeMap::new();
        machinery::eval(
            &self.environment,
            &instructions,
            context,
            &blocks,
            &mut output,
            AutoEscape::None,
        )?;
        Ok(text)
    }

    /// Whether the template knows messages that keep their thinking apart from their content.
    pub(crate) fn reads_reasoning_content(&self) -> bool {
        self.reads_reasoning_content
    }
}

/// Reads and compiles a template where there is stack enough for any: the engine goes down a chain such as `a + a + a` by
/// recursion, and [`SOURCE_BYTES`] have room for thirty thousand links.
fn on_a_large_stack(compile: impl FnOnce() -> Result<(), Error> + Send) -> Result<(), Error> {
    let failed = |problem: String| Error::new(ErrorKind::SyntaxError, problem);
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        let compiling = thread
            .spawn_scoped(scope, compile)
            .map_err(|problem| failed(format!("no thread to compile it on: {problem}")))?;
        compiling
            .join()
            .unwrap_or_else(|_| Err(failed("the engine gave up on it".to_owned())))
    })
}

#[cfg(test)]
pub(crate) mod tests;
