//! What a server says about one position, checked and turned into a stored distribution. Pure.

use leadspan_distribution::{Distributions, EntrySettings, MIN_TAIL_LOGPROB, Position};

use crate::server_error::WrongAnswer;

/// How far a probability, and the sum of all, may exceed one: servers round log-probabilities, to 16 bits at worst.
const ROUNDING: f64 = 1e-3;

/// What servers write for the logarithm of 0, which JSON does not have.
const NEVER: f32 = -9999.0;

/// What a server says about one position, as it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PositionAnswer {
    /// Tokens with their log-probabilities, in any order: the most probable ones and, in some forms, the target.
    pub(super) entries: Vec<(u32, f32)>,
    /// The log-probability of the target, if it is written apart.
    pub(super) target: Option<f32>,
}

/// Adds what `settings` ask for of an answer to `into`. `target` is the token that follows, `vocabulary` the number of tokens.
///
/// The tail is what is left of one: the difference between one and the sum of the entries, in double precision, within the bounds
/// that are known without a difference. It is at least the probability of known tokens outside of the entries, and at most as if
/// every unknown token were as probable as the least probable entry.
///
/// # Errors
///
/// The first thing that is wrong with the answer.
pub(super) fn push_answer(
    answer: PositionAnswer,
    target: u32,
    vocabulary: usize,
    settings: &EntrySettings,
    into: &mut Distributions,
) -> Result<(), WrongAnswer> {
    let PositionAnswer {
        mut entries,
        target: target_logprob,
    } = answer;
    let k = (settings.top_k as usize).min(vocabulary);
    check(&entries, vocabulary)?;
    let target_listed = entries
        .iter()
        .find(|(token, _)| *token == target)
        .map(|&(_, logprob)| logprob);
    let target_logprob = target_listed
        .or(target_logprob)
        .ok_or(WrongAnswer::NoTarget { token: target })?;
    check(&[(target, target_logprob)], vocabulary)?;
    if entries.len() < k || entries.len() > k + 1 {
        let (expected, found) = (k, entries.len());
        return Err(WrongAnswer::Count { expected, found });
    }
    entries.sort_unstable_by(|(one, a), (other, b)| b.total_cmp(a).then(one.cmp(other)));
    let probability = |logprob: f32| {
        if logprob <= NEVER {
            0.0
        } else {
            f64::from(logprob).exp().min(1.0)
        }
    };
    let all: Vec<f64> = entries.iter().map(|&(_, logprob)| probability(logprob)).collect();
    let outside = if target_listed.is_some() {
        0.0
    } else {
        probability(target_logprob)
    };
    let sum = all.iter().sum::<f64>() + outside;
    if sum > 1.0 + ROUNDING {
        return Err(WrongAnswer::Sum { sum });
    }
    // Tokens of probability 0 are no entries.
    let possible = all[..k].iter().take_while(|&&probability| probability > 0.0).count();
    if possible == 0 {
        return Err(WrongAnswer::Sum { sum });
    }
    let kept = settings.entries_of(all[..possible].iter().copied());
    let unknown = vocabulary - entries.len() - usize::from(target_listed.is_none());
    let least = all[kept..].iter().sum::<f64>() + outside;
    let most = least + unknown as f64 * all[k - 1];
    let left = 1.0 - all[..kept].iter().sum::<f64>();
    let tail_logprob = if kept == vocabulary {
        f32::NEG_INFINITY
    } else {
        (left.clamp(least, most).ln() as f32).max(MIN_TAIL_LOGPROB)
    };
    let (token_ids, logprobs): (Vec<u32>, Vec<f32>) = entries[..kept]
        .iter()
        .map(|&(token, logprob)| (token, logprob.min(0.0)))
        .unzip();
    into.push(Position {
        token_ids: &token_ids,
        logprobs: &logprobs,
        tail_logprob,
        target_logprob: target_logprob.clamp(NEVER, 0.0),
        ..Position::default()
    });
    Ok(())
}

/// Checks tokens and log-probabilities each by itself, and that no token is there twice.
fn check(entries: &[(u32, f32)], vocabulary: usize) -> Result<(), WrongAnswer> {
    for &(token, logprob) in entries {
        if token as usize >= vocabulary {
            return Err(WrongAnswer::BeyondVocabulary { token, vocabulary });
        }
        if logprob.is_nan() {
            return Err(WrongAnswer::NotANumber { token, logprob });
        }
        if f64::from(logprob) > ROUNDING {
            return Err(WrongAnswer::AboveOne { token, logprob });
        }
    }
    let mut tokens: Vec<u32> = entries.iter().map(|&(token, _)| token).collect();
    tokens.sort_unstable();
    match tokens.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(WrongAnswer::Repeated { token: pair[0] }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(
        entries: &[(u32, f64)],
        apart: Option<f64>,
        target: u32,
        settings: &EntrySettings,
    ) -> Result<Distributions, WrongAnswer> {
        let answer = PositionAnswer {
            entries: entries.iter().map(|&(token, p)| (token, p.ln() as f32)).collect(),
            target: apart.map(|p| p.ln() as f32),
        };
        let mut into = Distributions::new();
        push_answer(answer, target, 8, settings, &mut into)?;
        Ok(into)
    }

    fn is_close(found: f32, probability: f64) {
        assert!(
            (f64::from(found) - probability.ln()).abs() < 1e-6,
            "{found} is not log {probability}"
        );
    }

    #[test]
    fn entries_are_ordered_and_the_tail_is_what_is_left() {
        // The target is listed beside the two most probable tokens.
        let two = EntrySettings::top_k(2);
        let told_two = told(&[(7, 0.125), (3, 0.25), (1, 0.5)], None, 7, &two).unwrap();
        let position = told_two.get(0);
        assert_eq!(position.token_ids, [1, 3]);
        is_close(position.logprobs[0], 0.5);
        is_close(position.tail_logprob, 0.25);
        is_close(position.target_logprob, 0.125);
        // Or written apart; equal ones are ordered by their ids.
        let apart = told(&[(5, 0.25), (3, 0.25)], Some(0.25), 0, &two).unwrap();
        assert_eq!(apart.get(0).token_ids, [3, 5]);
        is_close(apart.get(0).tail_logprob, 0.5);
        // Fewer entries may be wanted than were asked for.
        let top_p = EntrySettings {
            top_p: Some(0.4),
            ..two
        };
        let fewer = told(&[(3, 0.25), (1, 0.5)], None, 3, &top_p).unwrap();
        assert_eq!(fewer.get(0).token_ids, [1]);
        is_close(fewer.get(0).tail_logprob, 0.5);
    }

    #[test]
    fn a_tail_that_rounding_swallows_stays_within_its_bounds() {
        let two = EntrySettings::top_k(2);
        // The entries round to a sum of one, and each of the six others has at most 1e-9.
        let of = |sure: f64, target: u32, apart| told(&[(1, sure), (3, 1e-9)], apart, target, &two).unwrap();
        let tail = |told: &Distributions| f64::from(told.get(0).tail_logprob).exp();
        assert!(
            tail(&of(0.999_999, 1, None)) <= 6.1e-9,
            "at most what the others can have"
        );
        let known = of(1.0, 5, Some(4e-10));
        assert!((tail(&known) / 4e-10 - 1.0).abs() < 1e-6, "at least what is known");
        // Nothing else is possible.
        let one = EntrySettings::top_k(1);
        assert_eq!(
            told(&[(1, 1.0)], None, 1, &one).unwrap().get(0).tail_logprob.max(-29.0),
            -29.0
        );
        let all = EntrySettings::top_k(8);
        let eight: Vec<(u32, f64)> = (0..8).map(|token| (token, 0.125)).collect();
        assert_eq!(
            told(&eight, None, 1, &all).unwrap().get(0).tail_logprob,
            f32::NEG_INFINITY
        );
    }

    #[test]
    fn tokens_of_probability_0_are_no_entries() {
        let mut into = Distributions::new();
        let answer = PositionAnswer {
            entries: vec![(2, -0.0), (4, -9999.0), (6, f32::NEG_INFINITY)],
            target: None,
        };
        push_answer(answer, 4, 8, &EntrySettings::top_k(3), &mut into).unwrap();
        let position = into.get(0);
        assert_eq!(
            (position.token_ids, position.tail_logprob),
            (&[2][..], MIN_TAIL_LOGPROB)
        );
        assert_eq!(position.target_logprob, -9999.0);
    }

    #[test]
    fn wrong_answers_are_named() {
        let two = EntrySettings::top_k(2);
        let wrong = |entries: &[(u32, f64)], target| told(entries, None, target, &two).unwrap_err().to_string();
        assert!(wrong(&[(1, f64::NAN), (2, 0.5)], 1).contains("NaN"));
        assert!(wrong(&[(1, 2.0), (2, 0.5)], 1).contains("no logarithm of a probability"));
        assert_eq!(wrong(&[(1, 0.75), (2, 0.5)], 1), "the probabilities sum to 1.2500");
        assert_eq!(wrong(&[(1, 0.25), (1, 0.25)], 1), "token 1 is listed twice");
        assert_eq!(
            wrong(&[(1, 0.5), (8, 0.25)], 1),
            "token 8 is not in the vocabulary of 8"
        );
        assert_eq!(
            wrong(&[(1, 0.5), (2, 0.25)], 3),
            "token 3, which follows, has no log-probability"
        );
        assert!(wrong(&[(1, 0.5)], 1).contains("1 tokens are listed, where the 2 most probable"));
        assert!(wrong(&[(1, 0.4), (2, 0.3), (3, 0.2), (4, 0.1)], 1).contains("4 tokens are listed"));
        assert!(wrong(&[(1, 0.0), (2, 0.0)], 1).contains("sum to 0"));
    }
}
