//! Turns problems into prompts, and generated tokens into graded answers.

use leadspan_corpus::{ChatTemplate, Problem};
use leadspan_model::{End, Generated, TokenizerBundle};

use crate::{
    AnswerEnd, AnswerPattern, Answered, EvaluateError, answer::answer_of_reference, answer_of_text, same_answer,
};

/// Renders prompts and grades answers.
pub(crate) struct Asking {
    pub(crate) tokenizer: TokenizerBundle,
    pub(crate) template: ChatTemplate,
    pub(crate) thinking_end: String,
    pub(crate) pattern: Option<AnswerPattern>,
}

impl Asking {
    /// The tokens of the prompt.
    pub(crate) fn prompt(&self, problem: &Problem) -> Result<Vec<u32>, EvaluateError> {
        let text = self.template.render(&problem.messages, true).map_err(|source| {
            let id = problem.id.clone();
            EvaluateError::Prompt { id, source }
        })?;
        let encoded = self.tokenizer.tokenizer.encode(text, false).map_err(|source| {
            let id = problem.id.clone();
            EvaluateError::Tokenizer { id, source }
        })?;
        Ok(encoded.get_ids().to_vec())
    }

    /// The graded answer to a problem.
    pub(crate) fn graded(&self, problem: &Problem, generated: &Generated) -> Result<Answered, EvaluateError> {
        let text = self
            .tokenizer
            .tokenizer
            .decode(&generated.tokens, true)
            .map_err(|source| {
                let id = problem.id.clone();
                EvaluateError::Tokenizer { id, source }
            })?;
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
