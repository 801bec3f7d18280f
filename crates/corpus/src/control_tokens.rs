//! Rows whose texts are rendered already: a turn begins or ends with a control token of the tokenizer, and the chat template writes
//! that token around the turn once more.
//!
//! Tokens in the middle of a turn are left alone: people write about them.

use tokenizers::Tokenizer;

use crate::{Message, RowProblem, SectionSettings};

/// The control tokens of a tokenizer: the added tokens that it calls special or that are written like `<|user|>`, without the
/// thinking markers.
pub(crate) struct ControlTokens(Vec<String>);

/// A turn that begins or ends with a control token.
pub(crate) struct Edge {
    problem: RowProblem,
    token: String,
    /// How often the token is in all turns.
    count: usize,
}

impl ControlTokens {
    pub(crate) fn of(tokenizer: &Tokenizer, sections: &SectionSettings) -> Self {
        let markers = [&sections.thinking_start, &sections.thinking_end];
        let added = tokenizer.get_added_tokens_decoder().into_values();
        let is_written_as_one = |text: &str| {
            let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
            inner.is_some_and(|inner| {
                ['|', '｜']
                    .iter()
                    .any(|&bar| inner.len() > 1 && inner.starts_with(bar) && inner.ends_with(bar))
            })
        };
        let tokens = added.filter(|token| token.special || is_written_as_one(&token.content));
        let tokens = tokens.map(|token| token.content);
        let mut tokens: Vec<String> = tokens
            .filter(|token| !token.trim().is_empty() && !markers.contains(&token))
            .collect();
        // The longest token counts if one begins with another.
        tokens.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        Self(tokens)
    }

    /// The turns that begin or end with a control token.
    pub(crate) fn edges(&self, messages: &[Message]) -> Vec<Edge> {
        let count = |token: &str| {
            let texts = messages
                .iter()
                .flat_map(|message| [Some(message.content.as_str()), message.reasoning_content.as_deref()]);
            texts.flatten().map(|text| text.matches(token).count()).sum()
        };
        let mut edges = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let content = message.content.trim();
            let begins = self.0.iter().find(|token| content.starts_with(token.as_str()));
            let ends = self.0.iter().find(|token| content.ends_with(token.as_str()));
            for (token, place) in [(begins, "begins"), (ends, "ends")] {
                let Some(token) = token else { continue };
                edges.push(Edge {
                    problem: RowProblem::RenderedAlready {
                        turn: index + 1,
                        role: message.role.as_str(),
                        place,
                        token: token.clone(),
                    },
                    token: token.clone(),
                    count: count(token),
                });
            }
        }
        edges
    }
}

impl Edge {
    /// Checks that the rendered conversation has the token no more often than its turns.
    pub(crate) fn check(self, rendered: &str) -> Result<(), RowProblem> {
        if rendered.matches(&self.token).count() > self.count {
            return Err(self.problem);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::AddedToken;

    use super::*;
    use crate::{ChatTemplate, Role, template::tests::SMOLLM2, test_tokenizers::byte_level};

    #[test]
    fn turns_that_are_rendered_already_are_refused_where_the_template_writes_the_tokens_again() {
        let mut tokenizer = byte_level(false);
        let token = |text: &str| AddedToken::from(text, true);
        tokenizer
            .add_special_tokens(["<|im_start|>", "<|im_end|>", "<think>", "<image>"].map(token))
            .unwrap();
        // As in DeepSeek's tokenizers.
        tokenizer.add_tokens([AddedToken::from("<｜User｜>", false)]).unwrap();
        let tokens = ControlTokens::of(&tokenizer, &SectionSettings::default());
        let template = ChatTemplate::new(SMOLLM2, None, None).unwrap();
        let check = |prompt: &str, completion: &str| {
            let messages = [
                Message::new(Role::User, prompt),
                Message::new(Role::Assistant, completion),
            ];
            let text = template.render(&messages, false).unwrap();
            let mut edges = tokens.edges(&messages).into_iter();
            edges.try_for_each(|edge| edge.check(&text).map_err(|problem| problem.to_string()))
        };
        let already = |turn| {
            Err(format!(
                "turn {turn} is rendered already: the chat template writes that token around the turn as well"
            ))
        };
        assert_eq!(
            check("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n", "4"),
            already("1 from `user` begins with `<|im_start|>` and")
        );
        assert_eq!(
            check("<image>q", "4<|im_end|>\n"),
            already("2 from `assistant` ends with `<|im_end|>` and")
        );
        for (prompt, completion) in [
            ("what is <|im_start|> for?", "a turn begins with <|im_start|>."),
            // The template does not write these.
            ("<image>\nwhat is this?", "<think>r</think>4"),
            ("q", "4"),
        ] {
            assert_eq!(check(prompt, completion), Ok(()), "{prompt} {completion}");
        }
        let edges = tokens.edges(&[Message::new(Role::User, "<｜User｜>q")]);
        assert_eq!(edges.len(), 1);
        assert!(
            edges
                .into_iter()
                .all(|edge| edge.check("<｜User｜><｜User｜>q").is_err())
        );
    }
}
