//! What a server says about one position, checked and turned into a stored distribution. Pure.

use leadspan_distribution::{Distributions, EntrySettings, MIN_TAIL_LOGPROB, Position};

use crate::server_error::WrongAnswer;

/// How far a probability, and the sum of all, may exceed one: servers round log-probabilities, to 16 bits at worst.
const ROUNDING: f64 = 1e-3;

/// How far a log-probability may be rounded, as a share of it: bfloat16 has 8 bits.
const SHARE: f64 = 1.0 / 256.0;

/// What servers write for the logarithm of 0, which JSON does not have.
const NEVER: f32 = -9999.0;

/// Whether a log-probability is larger than another by more than servers round both.
pub(super) fn is_above(one: f32, other: f32) -> bool {
    let (one, other) = (f64::from(one.max(NEVER)), f64::from(other.max(NEVER)));
    one - other > ROUNDING + SHARE * one.abs().max(other.abs())
}

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
/// every unknown token were as probable as the least probable entry. A difference that exceeds the second bound by more than rounding
/// shows that these are no log-probabilities of the most probable tokens.
///
/// # Errors
///
/// The first thing that is wrong with the answer, or contradicts itself in it.
pub(super) fn push_answer(
    answer: PositionAnswer,
    target: u32,
    vocabulary: usize,
    settings: &EntrySettings,
    into: &mut Distributions,
) -> Result<(), WrongAnswer> {
    let PositionAnswer {
        mut entries,
        target: apart,
    } = answer;
    let k = (settings.top_k as usize).min(vocabulary);
    check(&entries, vocabulary)?;
    let target_listed = entries
        .iter()
        .find(|(token, _)| *token == target)
        .map(|&(_, logprob)| logprob);
    let target_logprob = target_listed.or(apart).ok_or(WrongAnswer::NoTarget { token: target })?;
    check_target(target, target_listed, apart)?;
    if entries.len() < k || entries.len() > k + usize::from(target_listed.is_some()) {
        let (expected, found) = (k, entries.len());
        return Err(WrongAnswer::Count { expected, found });
    }
    if target_listed.is_none() || entries.len() > k {
        let others = entries.iter().filter(|(token, _)| *token != target);
        let least = others.fold(f32::INFINITY, |least, (_, logprob)| least.min(*logprob));
        if is_above(target_logprob, least) {
            return Err(WrongAnswer::AboveLeast {
                token: target,
                logprob: target_logprob,
                least,
            });
        }
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
    let others = unknown as f64 * all[k - 1];
    let most = least + others;
    let nats = |logprob: f32| f64::from(logprob.clamp(NEVER, 0.0).abs());
    let listed = all.iter().zip(&entries).map(|(p, (_, logprob))| p * nats(*logprob));
    let rounding = ROUNDING + SHARE * (listed.sum::<f64>() + others * nats(entries[k - 1].1));
    if 1.0 - sum > others + rounding {
        return Err(WrongAnswer::Missing { sum, others });
    }
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

/// Checks the log-probability of the target, which may be written twice: in the list and apart.
fn check_target(token: u32, listed: Option<f32>, apart: Option<f32>) -> Result<(), WrongAnswer> {
    let Some(apart) = apart else { return Ok(()) };
    check_value(token, apart)?;
    match listed {
        Some(listed) if is_above(listed, apart) || is_above(apart, listed) => {
            Err(WrongAnswer::Twofold { token, listed, apart })
        }
        _ => Ok(()),
    }
}

/// Checks a log-probability by itself.
fn check_value(token: u32, logprob: f32) -> Result<(), WrongAnswer> {
    if logprob.is_nan() {
        return Err(WrongAnswer::NotANumber { token, logprob });
    }
    if f64::from(logprob) > ROUNDING {
        return Err(WrongAnswer::AboveOne { token, logprob });
    }
    Ok(())
}

/// Checks tokens and log-probabilities each by itself, and that no token is there twice.
fn check(entries: &[(u32, f32)], vocabulary: usize) -> Result<(), WrongAnswer> {
    for &(token, logprob) in entries {
        if token as usize >= vocabulary {
            return Err(WrongAnswer::BeyondVocabulary { token, vocabulary });
        }
        check_value(token, logprob)?;
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

    /// 320 tokens of which `sure` has the probability ½, and the others share the rest: the 8 most probable.
    fn peaked(sure: u32) -> Vec<(u32, f32)> {
        let share = (0.5f64 / 319.0).ln() as f32;
        let others = (0..320).filter(|&token| token != sure).map(|token| (token, share));
        let mut all: Vec<(u32, f32)> = [(sure, 0.5f32.ln())].into_iter().chain(others).collect();
        all.truncate(8);
        all
    }

    fn of_320(entries: Vec<(u32, f32)>, target: Option<f32>, about: u32, k: u32) -> Result<Distributions, WrongAnswer> {
        let mut into = Distributions::new();
        let answer = PositionAnswer { entries, target };
        push_answer(answer, about, 320, &EntrySettings::top_k(k), &mut into)?;
        Ok(into)
    }

    #[test]
    fn probabilities_that_no_other_tokens_can_complete_are_refused() {
        let less = |entries: &[(u32, f32)], by: f32| -> Vec<(u32, f32)> {
            entries.iter().map(|&(token, logprob)| (token, logprob - by)).collect()
        };
        let right = peaked(5);
        of_320(right.clone(), None, 5, 8).unwrap();
        // All of them 3 nats too low: e⁻³ altogether, of which 312 tokens have at most 312/638·e⁻³ = 0.0243.
        let error = of_320(less(&right, 3.0), None, 5, 8).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the probabilities sum to 0.0254, and the tokens that are not listed have at most 0.0243 together"
        );
        // Without the most probable token.
        let dropped: Vec<(u32, f32)> = peaked(5).split_off(1).into_iter().chain([(100, right[7].1)]).collect();
        assert!(of_320(dropped, None, 0, 8).is_err());
        // All tokens are listed.
        let whole: Vec<(u32, f32)> = (0..320).map(|token| (token, -(320f32.ln()))).collect();
        of_320(whole.clone(), None, 5, 320).unwrap();
        let error = of_320(less(&whole, 3.0), None, 5, 320).unwrap_err();
        assert!(
            error.to_string().starts_with("the probabilities sum to 0.0498"),
            "{error}"
        );
        // Raw logits, the largest of them −8.
        let raw = [
            (7, -8.0),
            (3, -9.0),
            (4, -9.5),
            (1, -10.0),
            (2, -11.0),
            (6, -12.0),
            (0, -13.0),
            (9, -14.0),
        ];
        assert!(of_320(raw.to_vec(), None, 7, 8).is_err());
        // What servers round to 8 bits stays an answer, also where every other token is as probable as the last.
        let rounded = |entries: &[(u32, f32)]| -> Vec<(u32, f32)> {
            let bf16 = |value: f32| f32::from_bits((value.to_bits() + 0x8000) & 0xffff_0000);
            entries.iter().map(|&(token, logprob)| (token, bf16(logprob))).collect()
        };
        for k in [1u32, 8, 64, 319] {
            of_320(rounded(&whole[..k as usize]), None, 0, k).unwrap();
        }
        of_320(rounded(&right), None, 5, 8).unwrap();
    }

    #[test]
    fn a_target_that_contradicts_the_list_is_refused() {
        let list = [(1, 0.5f32.ln()), (2, 0.25f32.ln())];
        let with = |target: u32, apart: f32| -> Vec<(u32, f32)> { list.into_iter().chain([(target, apart)]).collect() };
        let two = EntrySettings::top_k(2);
        let told = |entries: Vec<(u32, f32)>, target: Option<f32>, about: u32| {
            let answer = PositionAnswer { entries, target };
            push_answer(answer, about, 8, &two, &mut Distributions::new()).map_err(|wrong| wrong.to_string())
        };
        // Beside the list, or written apart: at most as probable as the least of the list, up to rounding.
        for logprob in [0.2f32.ln(), 0.25f32.ln(), 0.2504f32.ln()] {
            told(with(3, logprob), None, 3).unwrap();
            told(list.to_vec(), Some(logprob), 3).unwrap();
        }
        let above = "token 3, which follows, is not among the most probable, but has the log-probability -1.0498221, above that of \
                     the least of them, -1.3862944";
        assert_eq!(told(with(3, 0.35f32.ln()), None, 3).unwrap_err(), above);
        assert_eq!(told(list.to_vec(), Some(0.35f32.ln()), 3).unwrap_err(), above);
        // One more than was asked for is the target.
        assert!(
            told(with(3, 0.125f32.ln()), None, 1)
                .unwrap_err()
                .contains("above that of the least")
        );
        assert!(
            told(with(3, 0.125f32.ln()), Some(0.1f32.ln()), 4)
                .unwrap_err()
                .contains("3 tokens are listed")
        );
        // What is written twice agrees.
        told(list.to_vec(), Some(0.25f32.ln() + 1e-4), 2).unwrap();
        let twofold = told(list.to_vec(), Some(0.25f32.ln() - 4.0), 2).unwrap_err();
        assert!(
            twofold.starts_with("token 2, which follows, has the log-probability -1.3862944 in the list, and -5.3862"),
            "{twofold}"
        );
        assert!(told(list.to_vec(), Some(f32::NAN), 2).unwrap_err().contains("NaN"));
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
