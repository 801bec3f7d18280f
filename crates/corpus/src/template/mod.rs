//! The model's own chat template: Jinja as the transformers library runs it.
//!
//! Same engine settings (`trim_blocks`, `lstrip_blocks`, loop controls, Python methods), same extra names
//! (`raise_exception`, `strftime_now`, `tojson`, `bos_token`, `eos_token`), with a limit on the work one rendering may
//! do. Where the template comes from, and where it would read the clock, is not decided here: see [`python`].

mod python;

use minijinja::{Environment, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

use crate::{CorpusError, Message};

/// The name under which errors mention the template.
const NAME: &str = "chat_template";

/// Work one rendering may do, in the engine's fuel: ten million instructions, or 640 MB of text handled.
const FUEL: u64 = 10_000_000;

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
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", python::raise_exception);
        environment.add_function("strftime_now", python::strftime_now);
        environment.add_filter("tojson", python::tojson);
        for (name, token) in [("bos_token", bos_token), ("eos_token", eos_token)] {
            if let Some(token) = token {
                environment.add_global(name, token.to_owned());
            }
        }
        environment
            .add_template_owned(NAME, python::without_generation_tags(source))
            .map_err(invalid)?;
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
        self.environment.get_template(NAME)?.render(Serde(Context {
            messages,
            add_generation_prompt,
        }))
    }

    /// Whether the template knows messages that keep their thinking apart from their content.
    pub(crate) fn reads_reasoning_content(&self) -> bool {
        self.reads_reasoning_content
    }
}

#[cfg(test)]
pub(crate) mod tests;
