//! `leadspan cache inspect --sample`: one sample as text, with the teacher's distribution at each position.

use std::fmt::Write as _;

use leadspan_cache::{Cache, Missing, Reader, SampleRef};
use leadspan_distribution::Position;
use leadspan_model::TokenizerBundle;
use serde_json::{Value, json};

use crate::{
    amounts::grouped,
    commands::{Ending, Showing},
    failure::{Context as _, Result},
    output,
};

pub(super) fn run(cache: &Cache, id: &str, top: usize, showing: Showing) -> Result<Ending> {
    let doing = || format!("could not show sample `{id}` of `{}`", cache.dir().display());
    let reader = Reader::open_largest(cache, Missing::Allowed).with_context(doing)?;
    let index = cache.find_sample(id).with_context(doing)?;
    let sample = reader.corpus().sample(index as usize);
    let of_sample = reader.corpus().tokens(index as usize).with_context(doing)?;
    let span = reader.span(index).with_context(doing)?;
    let tokens = Tokens(TokenizerBundle::from_dir(&cache.tokenizer_dir()).with_context(doing)?);
    let stored = || span.positions.iter().copied().zip(span.distributions.iter());
    if showing.json {
        let positions: Vec<Value> = stored()
            .map(|(position, distribution)| tokens.as_json(sample, of_sample, position, &distribution, top))
            .collect();
        let split = sample.split.as_str();
        output::json(&json!({ "id": id, "split": split, "tokens": sample.token_count(), "positions": positions }))?;
        return Ok(Ending::Done);
    }
    let mut text = format!(
        "{id} ({}): {} tokens, {} stored positions of {}\n\n",
        sample.split.as_str(),
        grouped(sample.token_count() as u64),
        grouped(span.positions.len() as u64),
        reader.coverage()
    );
    let _ = writeln!(
        text,
        "position  section           next token         p      the teacher's most probable, and the rest"
    );
    for (position, distribution) in stored() {
        let _ = writeln!(
            text,
            "{}",
            tokens.as_line(sample, of_sample, position, &distribution, top)
        );
    }
    output::text(text.trim_end())?;
    Ok(Ending::Done)
}

/// Shows token ids as text.
struct Tokens(TokenizerBundle);

impl Tokens {
    /// The text of one token, quoted, with visible white space.
    fn text(&self, token: u32) -> String {
        let decoded = self.0.tokenizer.decode(&[token], false).unwrap_or_default();
        // A token may be a part of a character. Then its form in the vocabulary is shown.
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

    fn as_line(
        &self,
        sample: SampleRef<'_>,
        tokens: &[u32],
        position: u32,
        distribution: &Position<'_>,
        top: usize,
    ) -> String {
        let target = tokens[position as usize + 1];
        let entries = distribution.token_ids.iter().zip(distribution.logprobs).take(top);
        let best: Vec<String> = entries
            .map(|(&token, &logprob)| format!("{} {}", self.text(token), percent(logprob)))
            .collect();
        format!(
            "{position:>8}  {:<16}  {:<16} {:>6}   {}  … tail {}",
            sample.bounds.section_of(position + 1).as_str(),
            self.text(target),
            percent(distribution.target_logprob),
            best.join("  "),
            percent(distribution.tail_logprob)
        )
    }

    fn as_json(
        &self,
        sample: SampleRef<'_>,
        tokens: &[u32],
        position: u32,
        distribution: &Position<'_>,
        top: usize,
    ) -> Value {
        let target = tokens[position as usize + 1];
        let entry = |(&token, &logprob): (&u32, &f32)| json!({ "token_id": token, "text": self.text(token), "logprob": logprob });
        let entries = distribution
            .token_ids
            .iter()
            .zip(distribution.logprobs)
            .take(top)
            .map(entry);
        json!({
            "position": position,
            "section": sample.bounds.section_of(position + 1).as_str(),
            "token_id": target,
            "text": self.text(target),
            "target_logprob": distribution.target_logprob,
            "tail_logprob": distribution.tail_logprob,
            "entries": entries.collect::<Vec<_>>(),
        })
    }
}

/// A probability as people read it.
fn percent(logprob: f32) -> String {
    let percent = 100.0 * logprob.exp();
    if percent >= 0.1 || percent == 0.0 {
        format!("{percent:.1}%")
    } else {
        "<0.1%".to_owned()
    }
}
