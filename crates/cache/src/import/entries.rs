//! Making a position of entries that somebody else wrote, and refusing what no distribution has.

use leadspan_distribution::{Distributions, MIN_TAIL_LOGPROB, Position};

/// By how much a log-probability may exceed 0 because of rounding.
const ROUNDING: f32 = 1e-5;

/// By how much the probabilities of a position that states its tail may differ from one.
const STATED_SUM: f64 = 1e-3;

/// By how much the sum of numbers of single precision may exceed one.
const SINGLE: f64 = 1e-5;

/// What is known of the probability outside the entries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outside {
    /// The log-probabilities of the tail and of the target, as stated.
    Stated { tail: f32, target: f32 },
    /// Nothing: the tail is what the entries leave of one, whose sum may exceed it by `excess` because of rounding. Of a
    /// target outside the entries only a bound is known.
    Unknown { excess: f64 },
}

/// What was found in positions so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Found {
    /// Positions.
    pub(super) positions: u64,
    /// Positions whose entries summed to more than one by more than single precision explains. They were scaled down.
    pub(super) above_one: u64,
    /// Positions whose target is not among the entries, so that only a bound of its log-probability is known.
    pub(super) bounded_targets: u64,
}

/// Collects the positions of a sample.
#[derive(Debug, Default)]
pub(super) struct Positions {
    pub(super) distributions: Distributions,
    pub(super) found: Found,
    entries: Vec<(f32, u32)>,
    ids: Vec<u32>,
    logprobs: Vec<f32>,
}

impl Positions {
    /// Adds the position with these entries, whose target is `target`. Entries are put in order. An entry of probability 0
    /// stands for no token if the tail is unknown: a capture fills places with it.
    ///
    /// # Errors
    ///
    /// What no distribution over `vocabulary` tokens has.
    pub(super) fn push(
        &mut self,
        ids: &[u32],
        logprobs: &[f32],
        outside: Outside,
        target: u32,
        vocabulary: u32,
    ) -> Result<(), String> {
        if ids.len() != logprobs.len() {
            return Err(format!("{} ids, but {} log-probabilities", ids.len(), logprobs.len()));
        }
        self.entries.clear();
        for (&id, &logprob) in ids.iter().zip(logprobs) {
            let most = match outside {
                Outside::Stated { .. } => ROUNDING,
                Outside::Unknown { excess } => (excess.ln_1p() as f32).max(ROUNDING),
            };
            if logprob == f32::NEG_INFINITY && matches!(outside, Outside::Unknown { .. }) {
                continue;
            }
            if !logprob.is_finite() || logprob > most {
                return Err(format!("`{logprob}` of token {id} is no log-probability"));
            }
            if id >= vocabulary {
                return Err(format!("token {id} is not in a vocabulary of {vocabulary}"));
            }
            self.entries.push((logprob.min(0.0), id));
        }
        self.entries
            .sort_by(|(a, first), (b, second)| b.total_cmp(a).then(first.cmp(second)));
        self.ids.clear();
        self.ids.extend(self.entries.iter().map(|&(_, id)| id));
        self.logprobs.clear();
        self.logprobs.extend(self.entries.iter().map(|&(logprob, _)| logprob));
        let mut distinct = self.ids.clone();
        distinct.sort_unstable();
        if let Some(&[twice, _]) = distinct.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("token {twice} is there twice"));
        }
        let mut mass = self.mass();
        if matches!(outside, Outside::Unknown { excess } if (1.0 + SINGLE..=1.0 + excess).contains(&mass)) {
            // Rounding made them exceed one.
            let excess = mass.ln();
            for logprob in &mut self.logprobs {
                *logprob = (f64::from(*logprob) - excess) as f32;
            }
            self.found.above_one += 1;
            mass = 1.0;
        }
        let (tail_logprob, target_logprob) = match outside {
            Outside::Stated { tail, target } => stated(tail, target, mass)?,
            Outside::Unknown { excess } => self.unknown(excess, target, vocabulary, mass)?,
        };
        self.found.positions += 1;
        self.distributions.push(Position {
            token_ids: &self.ids,
            logprobs: &self.logprobs,
            tail_logprob,
            target_logprob,
            ..Position::default()
        });
        Ok(())
    }

    /// The probability of the entries.
    fn mass(&self) -> f64 {
        self.logprobs.iter().map(|&logprob| f64::from(logprob).exp()).sum()
    }

    fn unknown(&mut self, excess: f64, target: u32, vocabulary: u32, mass: f64) -> Result<(f32, f32), String> {
        let Some(&last) = self.logprobs.last() else {
            return Err("it has no entry".to_owned());
        };
        if mass > 1.0 + excess {
            return Err(format!("its entries sum to {mass:.4}, which is more than one"));
        }
        let tail = if self.ids.len() == vocabulary as usize {
            if mass < 1.0 - excess {
                return Err(format!(
                    "its entries are the whole vocabulary of {vocabulary}, but sum to {mass:.4}"
                ));
            }
            f32::NEG_INFINITY
        } else {
            ((1.0 - mass).max(0.0).ln() as f32).max(MIN_TAIL_LOGPROB)
        };
        let target = if let Some(entry) = self.ids.iter().position(|&id| id == target) {
            self.logprobs[entry]
        } else {
            self.found.bounded_targets += 1;
            last.min(tail.max(MIN_TAIL_LOGPROB))
        };
        Ok((tail, target))
    }
}

/// The tail and the target of a position that states them.
fn stated(tail: f32, target: f32, mass: f64) -> Result<(f32, f32), String> {
    for (name, value) in [("tail", tail), ("target", target)] {
        if value.is_nan() || value > ROUNDING {
            return Err(format!("`{value}` of the {name} is no log-probability"));
        }
    }
    let sum = mass + f64::from(tail).exp();
    if (sum - 1.0).abs() > STATED_SUM {
        return Err(format!("its entries and its tail sum to {sum:.4}, not to one"));
    }
    Ok((tail.min(0.0), target.min(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: Outside = Outside::Unknown { excess: 0.1 };

    fn pushed(ids: &[u32], logprobs: &[f32], outside: Outside) -> Result<Positions, String> {
        let mut positions = Positions::default();
        positions.push(ids, logprobs, outside, 5, 100)?;
        Ok(positions)
    }

    #[test]
    fn entries_are_ordered_and_the_tail_is_what_they_leave() {
        let halves = [0.25f32.ln(), 0.5f32.ln(), 0.125f32.ln(), 0.0625f32.ln()];
        let positions = pushed(&[5, 9, 2, 7], &halves, UNKNOWN).unwrap();
        let position = positions.distributions.get(0);
        assert_eq!(position.token_ids, [9, 5, 2, 7]);
        assert!((position.tail_logprob - 0.0625f32.ln()).abs() < 1e-5, "{position:?}");
        assert_eq!(position.target_logprob, halves[0]);
        // Equal ones are ordered by their ids. The target is no entry, so it is at most as probable as the last one.
        let positions = pushed(&[9, 8], &[0.25f32.ln(); 2], UNKNOWN).unwrap();
        let position = positions.distributions.get(0);
        assert_eq!(
            (position.token_ids, position.target_logprob),
            (&[8, 9][..], 0.25f32.ln())
        );
        assert_eq!((positions.found.bounded_targets, positions.found.above_one), (1, 0));
    }

    #[test]
    fn sums_above_one_are_rounding_up_to_a_bound() {
        // Both are one to three digits, as numbers of 16 bits are.
        let positions = pushed(&[5, 2], &[0.75f32.ln(), 0.26f32.ln()], UNKNOWN).unwrap();
        let position = positions.distributions.get(0);
        assert_eq!(
            (position.tail_logprob, positions.found.above_one),
            (MIN_TAIL_LOGPROB, 1)
        );
        for (found, scaled) in position.logprobs.iter().zip([0.75 / 1.01, 0.26 / 1.01]) {
            assert!((found.exp() - scaled).abs() < 1e-6, "{position:?}");
        }
        assert_eq!(position.target_logprob, position.logprobs[0]);
        let error = pushed(&[5, 2], &[0.75f32.ln(), 0.5f32.ln()], UNKNOWN).unwrap_err();
        assert!(error.contains("sum to 1.2500"), "{error}");
        // A fitted value may be above 0; it counts as 0.
        let positions = pushed(&[5], &[0.01], UNKNOWN).unwrap();
        assert_eq!(positions.distributions.get(0).logprobs, [0.0]);
    }

    #[test]
    fn places_of_probability_zero_hold_no_token() {
        let positions = pushed(
            &[5, 4_000_000_000, 5],
            &[-1.0, f32::NEG_INFINITY, f32::NEG_INFINITY],
            UNKNOWN,
        )
        .unwrap();
        assert_eq!(positions.distributions.get(0).token_ids, [5]);
        let error = pushed(&[5], &[f32::NEG_INFINITY], UNKNOWN).unwrap_err();
        assert!(error.contains("no entry"), "{error}");
    }

    #[test]
    fn a_vocabulary_that_is_stored_whole_has_no_tail() {
        let mut positions = Positions::default();
        positions.push(&[0, 1], &[0.5f32.ln(); 2], UNKNOWN, 1, 2).unwrap();
        assert_eq!(positions.distributions.get(0).tail_logprob, f32::NEG_INFINITY);
        // One that does not sum to one was given the wrong size.
        let error = positions.push(&[0, 1], &[0.25f32.ln(); 2], UNKNOWN, 1, 2).unwrap_err();
        assert!(error.contains("whole vocabulary of 2, but sum to 0.5000"), "{error}");
    }

    #[test]
    fn what_no_distribution_has_is_refused() {
        let stated = |tail: f32, target: f32| Outside::Stated { tail, target };
        let half = 0.5f32.ln();
        for (ids, logprobs, outside, said) in [
            (&[1, 2][..], &[half][..], UNKNOWN, "2 ids, but 1 log-probabilities"),
            (&[1], &[f32::NAN], UNKNOWN, "`NaN` of token 1"),
            (&[1], &[f32::INFINITY], UNKNOWN, "`inf` of token 1"),
            (&[1], &[0.2], UNKNOWN, "`0.2` of token 1"),
            (&[1], &[0.01], Outside::Unknown { excess: 1e-3 }, "`0.01` of token 1"),
            (&[100], &[half], UNKNOWN, "token 100 is not in a vocabulary of 100"),
            (&[1, 1], &[half, -2.0], UNKNOWN, "token 1 is there twice"),
            (&[1], &[half], stated(-2.0, half), "sum to 0.6353"),
            (&[1], &[half], stated(half, 0.5), "`0.5` of the target"),
            (&[1], &[half], stated(f32::NAN, half), "`NaN` of the tail"),
            (
                &[1, 2],
                &[half, f32::NEG_INFINITY],
                stated(half, half),
                "`-inf` of token 2",
            ),
        ] {
            let error = pushed(ids, logprobs, outside).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        pushed(&[1], &[half], stated(half, half)).unwrap();
    }
}
