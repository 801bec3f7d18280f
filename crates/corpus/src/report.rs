//! Counts of the rows by outcome: every row is counted once.

use std::collections::BTreeMap;

use leadspan_sequence::SectionBounds;
use serde::{Deserialize, Serialize};

/// Why a well-formed row is not among the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// Does not meet the conditions of `data.where`.
    FilteredOut,
    /// The assistant's last turn is empty.
    EmptyContent,
    /// The rendered text does not show where the last turn's content begins.
    ContentNotFound,
    /// The row has thinking, but the chat template leaves it out of the rendered text.
    ThinkingRemoved,
    /// No chain of thought is closed in the last turn's content.
    WithoutMarkers,
    /// More than `data.max_tokens` tokens.
    TooLong,
    /// Fewer than two tokens.
    TooShort,
    /// More samples than `data.training` asks for, and others were drawn.
    NotDrawn,
    /// An appended row with the text of a held-out sample.
    CopyOfHeldOut,
}

impl DropReason {
    /// The name used in reports and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FilteredOut => "filtered_out",
            Self::EmptyContent => "empty_content",
            Self::ContentNotFound => "content_not_found",
            Self::ThinkingRemoved => "thinking_removed",
            Self::WithoutMarkers => "without_markers",
            Self::TooLong => "too_long",
            Self::TooShort => "too_short",
            Self::NotDrawn => "not_drawn",
            Self::CopyOfHeldOut => "copy_of_held_out",
        }
    }
}

/// Tokens of the kept samples, section by section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionTokens {
    /// Tokens of prompts.
    pub prompt: u64,
    /// Tokens of chains of thought.
    pub chain_of_thought: u64,
    /// Tokens of answers.
    pub answer: u64,
}

impl SectionTokens {
    pub(crate) fn add(&mut self, bounds: SectionBounds) {
        self.prompt += u64::from(bounds.prompt_end());
        self.chain_of_thought += u64::from(bounds.chain_of_thought_end() - bounds.prompt_end());
        self.answer += u64::from(bounds.tokens() - bounds.chain_of_thought_end());
    }

    pub(crate) fn subtract(&mut self, bounds: SectionBounds) {
        self.prompt -= u64::from(bounds.prompt_end());
        self.chain_of_thought -= u64::from(bounds.chain_of_thought_end() - bounds.prompt_end());
        self.answer -= u64::from(bounds.tokens() - bounds.chain_of_thought_end());
    }

    /// All tokens.
    pub const fn total(&self) -> u64 {
        self.prompt + self.chain_of_thought + self.answer
    }
}

/// Counts of the rows by outcome.
///
/// `rows = kept_train + kept_validation + bad_rows + Σ dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareReport {
    /// Lines that were not blank.
    pub rows: u64,
    /// Training samples.
    pub kept_train: u64,
    /// Held-out samples.
    pub kept_validation: u64,
    /// Well-formed rows that were dropped, by reason; reasons that did not occur are absent.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Malformed rows that were left out.
    pub bad_rows: u64,
    /// The first few malformed rows: their places and problems.
    pub bad_row_examples: Vec<String>,
    /// Rows without a closed chain of thought, whether dropped or kept as answer.
    pub without_markers: u64,
    /// Samples with the same tokens as an earlier one under another id, before any are left out by number.
    #[serde(default)]
    pub duplicates: u64,
    /// How many samples `data.validation` asked for, if another number was held out, because copies are held out together or a
    /// share is met by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_asked: Option<u64>,
    /// Tokens of the kept samples.
    pub tokens: SectionTokens,
}

/// Bad rows that are shown in full.
const BAD_ROW_EXAMPLES: usize = 5;

impl PrepareReport {
    pub(crate) fn add_bad_row(&mut self, place: &str, problem: &dyn std::error::Error) {
        self.bad_rows += 1;
        if self.bad_row_examples.len() < BAD_ROW_EXAMPLES {
            let mut text = format!("{place}: {problem}");
            let mut cause = problem.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            self.bad_row_examples.push(text);
        }
    }

    /// Moves samples from the kept to the dropped, given their bounds.
    pub(crate) fn leave_out(&mut self, reason: DropReason, samples: impl ExactSizeIterator<Item = SectionBounds>) {
        if samples.len() == 0 {
            return;
        }
        *self.dropped.entry(reason).or_default() += samples.len() as u64;
        samples.for_each(|bounds| self.tokens.subtract(bounds));
    }

    /// The reason for which most rows were dropped.
    pub(crate) fn main_loss(&self) -> Option<DropReason> {
        self.dropped
            .iter()
            .max_by_key(|&(_, count)| count)
            .map(|(&reason, _)| reason)
    }

    /// The losses as a text for messages.
    pub(crate) fn losses(&self) -> String {
        let mut parts = vec![format!("of {} rows", self.rows)];
        parts.extend(
            self.dropped
                .iter()
                .map(|(reason, count)| format!("{count} dropped as {}", reason.as_str())),
        );
        if self.bad_rows > 0 {
            parts.push(format!("{} bad", self.bad_rows));
        }
        if self.kept_validation > 0 {
            parts.push(format!("{} held out", self.kept_validation));
        }
        let text = parts.join(", ");
        match self.bad_row_examples.first() {
            Some(example) => format!("{text} (the first bad one is {example})"),
            None => text,
        }
    }
}

/// The progress of preparation, reported after each chunk of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrepareProgress {
    /// Rows read so far.
    pub rows: u64,
    /// Samples kept so far.
    pub kept: u64,
    /// Bytes read so far, counted on disk.
    pub bytes_read: u64,
    /// Bytes of all files on disk.
    pub bytes_total: u64,
}
