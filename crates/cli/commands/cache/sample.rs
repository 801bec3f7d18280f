//! `leadspan cache inspect --sample`: one sample as text, with the teacher's distribution at each position.

use std::fmt;

use leadspan_cache::{Cache, Coverage, Missing, Reader, SampleRef};
use leadspan_distribution::Position;
use leadspan_model::TokenizerBundle;
use serde::Serialize;

use crate::{
    amounts::grouped,
    commands::{Ending, Showing},
    failure::{Context as _, Result},
};

pub(super) fn run(cache: &Cache, id: &str, top: usize, showing: Showing) -> Result<Ending> {
    let doing = || format!("could not show sample `{id}` of `{}`", cache.dir().display());
    let reader = Reader::open_largest(cache, Missing::Allowed).with_context(doing)?;
    let index = cache.find_sample(id).with_context(doing)?;
    let sample = reader.corpus().sample(index as usize);
    let of_sample = reader.corpus().tokens(index as usize).with_context(doing)?;
    let span = reader.span(index).with_context(doing)?;
    // Compared with their hashes before they are parsed.
    let files = cache.tokenizer_contents().with_context(doing)?;
    let tokens = Tokens(TokenizerBundle::from_files(&cache.tokenizer_dir(), files).with_context(doing)?);
    let stored = span.positions.iter().zip(span.distributions.iter());
    let positions = stored
        .map(|(&position, distribution)| tokens.shown(sample, of_sample, position, &distribution, top))
        .collect();
    showing.result(&ShownSample {
        id,
        split: sample.split.as_str(),
        tokens: sample.token_count(),
        positions,
        coverage: *reader.coverage(),
    })?;
    Ok(Ending::Done)
}

/// The result of the command.
#[derive(Serialize)]
struct ShownSample<'a> {
    id: &'a str,
    split: &'static str,
    tokens: usize,
    positions: Vec<ShownPosition>,
    #[serde(skip)]
    coverage: Coverage,
}

/// A stored position. Log-probabilities are natural.
#[derive(Serialize)]
struct ShownPosition {
    position: u32,
    /// The section of the next token.
    section: &'static str,
    /// The next token.
    token_id: u32,
    text: String,
    target_logprob: f64,
    tail_logprob: f64,
    /// The most probable entries.
    entries: Vec<ShownEntry>,
}

#[derive(Serialize)]
struct ShownEntry {
    token_id: u32,
    text: String,
    logprob: f64,
}

impl fmt::Display for ShownSample<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} ({}): {} tokens, {} stored positions of {}\n",
            self.id,
            self.split,
            grouped(self.tokens as u64),
            grouped(self.positions.len() as u64),
            self.coverage
        )?;
        write!(
            formatter,
            "position  section           next token         p      the teacher's most probable, and the rest"
        )?;
        for position in &self.positions {
            write!(formatter, "\n{position}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ShownPosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let best = self.entries.iter();
        let best: Vec<String> = best
            .map(|entry| format!("{} {}", entry.text, percent(entry.logprob)))
            .collect();
        write!(
            formatter,
            "{:>8}  {:<16}  {:<16} {:>6}   {}  … tail {}",
            self.position,
            self.section,
            self.text,
            percent(self.target_logprob),
            best.join("  "),
            percent(self.tail_logprob)
        )
    }
}

/// Shows token ids as text.
struct Tokens(TokenizerBundle);

impl Tokens {
    /// The text of one token, quoted, with its white space visible.
    fn text(&self, token: u32) -> String {
        let decoded = self.0.tokenizer.decode(&[token], false).unwrap_or_default();
        // If the token is a part of a character, its form in the vocabulary says more.
        let text = if decoded.is_empty() || decoded.contains('\u{fffd}') {
            self.0
                .tokenizer
                .id_to_token(token)
                .unwrap_or_else(|| format!("<{token}>"))
        } else {
            decoded
        };
        format!("{text:?}")
    }

    fn shown(
        &self,
        sample: SampleRef<'_>,
        tokens: &[u32],
        position: u32,
        distribution: &Position<'_>,
        top: usize,
    ) -> ShownPosition {
        let target = tokens[position as usize + 1];
        let entries = distribution.token_ids.iter().zip(distribution.logprobs).take(top);
        ShownPosition {
            position,
            section: sample.bounds.section_of(position + 1).as_str(),
            token_id: target,
            text: self.text(target),
            target_logprob: f64::from(distribution.target_logprob),
            tail_logprob: f64::from(distribution.tail_logprob),
            entries: entries
                .map(|(&token_id, &logprob)| ShownEntry {
                    token_id,
                    text: self.text(token_id),
                    logprob: f64::from(logprob),
                })
                .collect(),
        }
    }
}

/// A probability in percent.
fn percent(logprob: f64) -> String {
    let percent = 100.0 * (logprob as f32).exp();
    if percent >= 0.1 || percent == 0.0 {
        format!("{percent:.1}%")
    } else {
        "<0.1%".to_owned()
    }
}
