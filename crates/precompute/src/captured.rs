//! What a batch gives: distributions, or selections that the device is still making.

use leadspan_distribution::{Distributions, EntrySettings, Found, NonFiniteLogit, collect_found};
use leadspan_model::{ModelError, Selected, Selecting};

use crate::PrecomputeError;

/// The positions of a batch, chunk after chunk.
#[derive(Default)]
pub(crate) struct Captured {
    chunks: Vec<Chunk>,
}

/// Some positions of a batch.
struct Chunk {
    /// The id of the sample and the position of each row.
    places: Vec<(String, u32)>,
    content: Content,
}

enum Content {
    Ready(Box<Distributions>),
    Selecting(Selecting),
}

impl Captured {
    /// Adds positions whose distributions are known.
    pub(crate) fn push(&mut self, distributions: Distributions) {
        self.chunks.push(Chunk {
            places: Vec::new(),
            content: Content::Ready(Box::new(distributions)),
        });
    }

    /// Adds positions at `places`, about which the device is finding what is needed.
    pub(crate) fn push_selecting(&mut self, places: Vec<(String, u32)>, selecting: Selecting) {
        self.chunks.push(Chunk {
            places,
            content: Content::Selecting(selecting),
        });
    }

    /// Adds the positions of another batch.
    pub(crate) fn append(&mut self, other: Self) {
        self.chunks.extend(other.chunks);
    }

    /// The distributions of all positions, once the device has found them. `vocabulary` and `settings` are the teacher's.
    ///
    /// # Errors
    ///
    /// If the device fails, or a logit is not finite.
    pub(crate) fn finish(self, vocabulary: usize, settings: &EntrySettings) -> Result<Distributions, PrecomputeError> {
        let mut all = Distributions::new();
        for Chunk { places, content } in self.chunks {
            match content {
                Content::Ready(distributions) => all.append(&distributions),
                Content::Selecting(selecting) => {
                    let selected = selecting.wait().map_err(ModelError::from)?;
                    if let Some((row, token)) = selected.not_finite {
                        return Err(not_finite(&places, NonFiniteLogit { row, token }));
                    }
                    all.append(&distributions(&selected, vocabulary, settings));
                }
            }
        }
        Ok(all)
    }
}

/// The error of a logit that is not finite, of rows at `places`.
pub(crate) fn not_finite(places: &[(String, u32)], bad: NonFiniteLogit) -> PrecomputeError {
    let (sample, position) = places.get(bad.row).cloned().unwrap_or_default();
    PrecomputeError::NonFiniteLogits {
        sample,
        position,
        token: bad.token,
    }
}

/// The distributions of selected rows.
fn distributions(selected: &Selected, vocabulary: usize, settings: &EntrySettings) -> Distributions {
    let temperatures = settings.temperatures.len();
    let found = |row: usize| {
        let entries = row * selected.k..(row + 1) * selected.k;
        let others = &selected.others[row * selected.sums..];
        Found {
            token_ids: &selected.token_ids[entries.clone()],
            logits: &selected.logits[entries],
            others: others[0],
            others_at: &others[1..=temperatures],
            target_logit: selected.target_logits[row],
        }
    };
    collect_found(selected.target_logits.len(), found, vocabulary, settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selected_rows_become_distributions_in_their_order() {
        // Two rows of probabilities 1/2, 1/4, 1/8, 1/8, of which two tokens are found; then seventy more of the second.
        let logit = |p: f32| p.ln();
        let selected = Selected {
            k: 2,
            token_ids: [[3, 1], [0, 2]].concat().into_iter().chain([0, 2].repeat(70)).collect(),
            logits: [logit(0.5), logit(0.25)].repeat(72),
            sums: 2,
            others: [0.25f64.ln(), 0.0].repeat(72),
            target_logits: vec![logit(0.125); 72],
            not_finite: None,
        };
        let all = distributions(&selected, 4, &EntrySettings::top_k(2));
        assert_eq!(all.len(), 72);
        let first = all.get(0);
        assert_eq!((first.token_ids, all.get(71).token_ids), (&[3, 1][..], &[0, 2][..]));
        let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
        assert!(close(first.logprobs[0], logit(0.5)) && close(first.tail_logprob, logit(0.25)));
        assert!(close(first.target_logprob, logit(0.125)));
    }

    #[test]
    fn a_logit_that_is_not_finite_is_named_by_its_sample_and_position() {
        let places = [("a".to_owned(), 4), ("b".to_owned(), 0)];
        let error = not_finite(&places, NonFiniteLogit { row: 1, token: 9 });
        assert!(matches!(
            error,
            PrecomputeError::NonFiniteLogits { sample, position: 0, token: 9 } if sample == "b"
        ));
    }
}
