//! Turns problems into prompts, and generated tokens into graded answers.

use leadspan_corpus::{ChatTemplate, Message, Problem, Role, SectionSettings, TokenBytes};
use leadspan_files::guarded;
use leadspan_model::{End, Generated, TokenizerBundle};

use crate::{
    AnswerEnd, AnswerPattern, Answered, EvaluateError, EvaluationEvent, answer::answer_of_reference, answer_of_text,
    is_sentence, same_answer,
};

/// Tokens before a text that are looked at with it, so that it is decoded as in the whole answer.
const TOKENS_BEFORE: usize = 8;

/// Renders prompts and grades answers.
pub(crate) struct Asking {
    tokenizer: TokenizerBundle,
    /// `None` if nothing is known of the bytes of a token.
    token_bytes: Option<TokenBytes>,
    template: ChatTemplate,
    thinking_end: String,
    pattern: Option<AnswerPattern>,
    /// Special tokens that are not part of an answer's text.
    unwritten: Vec<u32>,
    /// Texts before which an answer is cut.
    stops: Vec<String>,
}

impl Asking {
    pub(crate) fn new(
        tokenizer: TokenizerBundle,
        template: ChatTemplate,
        sections: &SectionSettings,
        pattern: Option<AnswerPattern>,
        stops: Vec<String>,
    ) -> Self {
        // The markers stay, because the answer is looked for behind the thinking.
        let kept = |content: &str| {
            let markers = [&sections.thinking_start, &sections.thinking_end];
            markers.into_iter().chain(&stops).any(|text| text.contains(content))
        };
        let added = tokenizer.tokenizer.get_added_tokens_decoder();
        let unwritten = added
            .into_iter()
            .filter(|(_, token)| token.special && !kept(&token.content))
            .map(|(id, _)| id)
            .collect();
        Self {
            token_bytes: TokenBytes::of(&tokenizer.tokenizer),
            tokenizer,
            template,
            thinking_end: sections.thinking_end.clone(),
            pattern,
            unwritten,
            stops,
        }
    }

    pub(crate) fn tokenizer(&self) -> &TokenizerBundle {
        &self.tokenizer
    }

    /// The tokens of the prompt, if they are fewer than `context`.
    pub(crate) fn prompt(&self, problem: &Problem, context: usize) -> Result<Option<Vec<u32>>, EvaluateError> {
        let text = self
            .template
            .render_prompt(&problem.messages, &problem.given, &self.thinking_end);
        let text = text.map_err(|source| {
            let id = problem.id.clone();
            EvaluateError::Prompt {
                id,
                source: Box::new(source),
            }
        })?;
        // The memory that tokenizing takes is hundreds of times the text.
        let bound = self.token_bytes.as_ref();
        if bound.is_some_and(|bytes| bytes.fewest_tokens(&text) >= context) {
            return Ok(None);
        }
        // The library panics when a regular expression takes too many steps.
        let encoded = guarded(|| self.tokenizer.tokenizer.encode(text, false));
        let encoded = encoded
            .unwrap_or_else(|problem| Err(problem.into()))
            .map_err(|source| {
                let id = problem.id.clone();
                EvaluateError::Tokenizer { id, source }
            })?;
        let tokens = encoded.get_ids();
        Ok((tokens.len() < context).then(|| tokens.to_vec()))
    }

    /// Whether there are texts that end an answer.
    pub(crate) fn has_stop_texts(&self) -> bool {
        !self.stops.is_empty()
    }

    /// Whether an answer, of which these are the tokens so far, has just come to a text that ends it.
    pub(crate) fn ends(&self, tokens: &[u32]) -> bool {
        // A token gives at least a byte of text.
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let newest = &tokens[tokens.len().saturating_sub(longest + TOKENS_BEFORE)..];
        let text = self.text_of(newest).unwrap_or_default();
        self.stops.iter().any(|stop| text.contains(stop.as_str()))
    }

    /// The text of tokens, without special tokens other than thinking markers.
    fn text_of(&self, tokens: &[u32]) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let written: Vec<u32> = (tokens.iter().copied())
            .filter(|token| !self.unwritten.contains(token))
            .collect();
        self.tokenizer.tokenizer.decode(&written, false)
    }

    /// The graded answer to a problem.
    pub(crate) fn graded(&self, problem: &Problem, generated: &Generated) -> Result<Answered, EvaluateError> {
        let mut text = self.text_of(&generated.tokens).map_err(|source| {
            let id = problem.id.clone();
            EvaluateError::Tokenizer { id, source }
        })?;
        if let Some(end) = self.stops.iter().filter_map(|stop| text.find(stop.as_str())).min() {
            text.truncate(end);
        }
        let end = match generated.end {
            End::Stopped => AnswerEnd::Stopped,
            End::Cut => AnswerEnd::Cut,
        };
        Ok(self.answered(problem, (generated.index, generated.tokens.len()), text, end))
    }

    /// The result of a problem whose prompt fills the model's context.
    pub(crate) fn not_asked(&self, problem: &Problem, index: u64) -> Answered {
        self.answered(problem, (index, 0), String::new(), AnswerEnd::PromptTooLong)
    }

    /// The right answer to a problem.
    pub(crate) fn expected(&self, problem: &Problem) -> String {
        answer_of_reference(&problem.reference, &self.thinking_end, self.pattern.as_ref())
    }

    /// Refuses an empty right answer, and tells of those that are sentences.
    pub(crate) fn check_answers(
        &self,
        problems: &[Problem],
        events: &mut dyn FnMut(EvaluationEvent),
    ) -> Result<(), EvaluateError> {
        if let Some(empty) = problems.iter().find(|problem| is_empty(&self.expected(problem))) {
            return Err(EvaluateError::EmptyAnswer { id: empty.id.clone() });
        }
        let mut sentences = problems.iter().filter(|problem| is_sentence(&self.expected(problem)));
        if let Some(first) = sentences.next() {
            events(EvaluationEvent::Sentences {
                count: 1 + sentences.count() as u64,
                first: first.id.clone(),
            });
        }
        Ok(())
    }

    /// Grades an answer that was stored, as if it had just been generated.
    pub(crate) fn regrade(&self, problem: &Problem, answer: &mut Answered) {
        let text = std::mem::take(&mut answer.text);
        *answer = self.answered(problem, (answer.index, answer.tokens), text, answer.end);
    }

    fn answered(&self, problem: &Problem, (index, tokens): (u64, usize), text: String, end: AnswerEnd) -> Answered {
        let pattern = self.pattern.as_ref();
        let expected = self.expected(problem);
        let found = answer_of_text(&text, &self.thinking_end, pattern);
        Answered {
            index,
            id: problem.id.clone(),
            correct: found.as_deref().is_some_and(|found| same_answer(&expected, found)),
            ungraded: None,
            expected,
            found,
            end,
            tokens,
            question: problem
                .messages
                .last()
                .map_or_else(String::new, |turn| turn.content.clone()),
            text,
        }
    }
}

/// Puts a system prompt before a problem that has none.
pub(crate) fn add_system(problem: &mut Problem, system: &str) {
    let first = problem.messages.first().map(|message| message.role);
    if !matches!(first, Some(Role::System | Role::Developer)) {
        problem.messages.insert(0, Message::new(Role::System, system));
    }
}

/// Whether a right answer is nothing, or a mark with nothing behind or in it: `####`, `\boxed{}`.
fn is_empty(expected: &str) -> bool {
    let written: String = expected.split_whitespace().collect();
    written.trim_matches(['#', '$', '*']).is_empty() || written.contains("\\boxed{}")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use leadspan_corpus::Given;
    use leadspan_diagnosis::Diagnosis as _;
    use serde_json::json;

    use super::*;

    /// The fixture's tokenizer, whose thinking markers are special tokens.
    fn tokenizer() -> TokenizerBundle {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tokenizer/tokenizer.json");
        let special = |content: &str| json!({"content": content, "special": true, "normalized": false});
        let config = json!({
            "added_tokens_decoder": {
                "300": special("<think>"), "301": special("</think>"), "302": special("<tool>"),
            },
        });
        let files = [
            ("tokenizer.json", fs::read(fixture).unwrap()),
            ("tokenizer_config.json", serde_json::to_vec(&config).unwrap()),
        ];
        let files = files
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect();
        TokenizerBundle::from_files(Path::new("model"), files).unwrap()
    }

    fn asking(stops: &[&str]) -> Asking {
        let template = ChatTemplate::new("{{ messages[0].content }}", None, None).unwrap();
        let stops = stops.iter().map(|&stop| stop.to_owned()).collect();
        Asking::new(tokenizer(), template, &SectionSettings::default(), None, stops)
    }

    fn problem_of(messages: Vec<Message>) -> Problem {
        Problem {
            id: "one".to_owned(),
            messages,
            given: Given::default(),
            reference: "<think>\n6\n</think>\n\n5".to_owned(),
        }
    }

    fn graded(asking: &Asking, text: &str) -> Answered {
        let tokens = asking
            .tokenizer
            .tokenizer
            .encode(text, false)
            .unwrap()
            .get_ids()
            .to_vec();
        let problem = problem_of(Vec::new());
        let (index, end) = (0, End::Stopped);
        asking.graded(&problem, &Generated { index, tokens, end }).unwrap()
    }

    #[test]
    fn an_answer_is_looked_for_behind_a_marker_that_is_a_special_token() {
        let answered = graded(&asking(&[]), "<think>\nmaybe \\boxed{7}\n</think>\n\nIt is 5.<tool>");
        assert_eq!(answered.text, "<think>\nmaybe \\boxed{7}\n</think>\n\nIt is 5.");
        assert_eq!((answered.found.as_deref(), answered.correct), (Some("5"), true));
    }

    #[test]
    fn a_prompt_that_certainly_fills_the_context_is_not_tokenized() {
        let prompt = |text: &str, context| {
            let (asking, problem) = (asking(&[]), problem_of(vec![Message::new(Role::User, text)]));
            asking.prompt(&problem, context).unwrap()
        };
        let tokens = prompt("one and two", usize::MAX).unwrap();
        assert_eq!(prompt("one and two", tokens.len() + 1), Some(tokens.clone()));
        assert_eq!(prompt("one and two", tokens.len()), None);
        let bound = asking(&[]).token_bytes.expect("the tokenizer is one of bytes");
        // Tokenizing this would take some 2 GB.
        let long = " and so on".repeat(1 << 20);
        assert!(bound.fewest_tokens(&long) > 100_000);
        assert_eq!(prompt(&long, 4096), None);
    }

    #[test]
    fn an_answer_is_cut_before_the_first_text_that_ends_it() {
        let asking = asking(&["\n\nQuestion", "User:"]);
        let answered = graded(&asking, "It is 5. User: and 7?\n\nQuestion 8");
        assert_eq!(answered.text, "It is 5. ");
        assert!(answered.correct);
        let tokens = |text: &str| {
            asking
                .tokenizer
                .tokenizer
                .encode(text, false)
                .unwrap()
                .get_ids()
                .to_vec()
        };
        assert!(asking.has_stop_texts() && asking.ends(&tokens("It is 5. User:")));
        assert!(asking.ends(&tokens("5\n\nQuestion")) && !asking.ends(&tokens("It is 5. User")));
        // What ended earlier is not looked at again.
        assert!(!asking.ends(&tokens(&format!("User:{}", " and so on".repeat(20)))));
    }

    #[test]
    fn an_empty_right_answer_is_refused_by_its_problem() {
        let problem = |id: &str, reference: &str| Problem {
            id: id.to_owned(),
            messages: Vec::new(),
            given: Given::default(),
            reference: reference.to_owned(),
        };
        let check = |asking: &Asking, reference: &str| {
            asking.check_answers(&[problem("one", "5"), problem("two", reference)], &mut |_| {})
        };
        let without = asking(&[]);
        let mut with_pattern = asking(&[]);
        with_pattern.pattern = Some(AnswerPattern::new("Final:(.*)").unwrap());
        assert!(check(&without, "Final: 5").is_ok() && check(&with_pattern, "Final: 5").is_ok());
        let (nothing_behind, nothing_found) = ("<think>\n5\n</think>\n\n", "Final: ");
        for refused in [
            check(&without, nothing_behind),
            check(&with_pattern, nothing_found),
            check(&without, "#### "),
            check(&without, "It is $\\boxed{ }$"),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.to_string(), "the right answer to problem `two` is empty");
            assert!(
                error.hint().is_some_and(|hint| hint.contains("`evaluate.answer`")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_system_prompt_is_put_before_problems_that_have_none() {
        let roles = |messages: Vec<Message>| {
            let mut problem = problem_of(messages);
            add_system(&mut problem, "Be brief.");
            problem
                .messages
                .into_iter()
                .map(|message| (message.role, message.content))
                .collect::<Vec<_>>()
        };
        let user = || Message::new(Role::User, "q");
        let (brief, question) = ((Role::System, "Be brief.".to_owned()), (Role::User, "q".to_owned()));
        assert_eq!(roles(vec![user()]), [brief, question.clone()]);
        for role in [Role::System, Role::Developer] {
            let own = (role, "Be long.".to_owned());
            assert_eq!(
                roles(vec![Message::new(role, "Be long."), user()]),
                [own, question.clone()]
            );
        }
    }
}
