//! Distributions from what another device has found in rows of logits.

use rayon::prelude::*;

use crate::{
    Distributions, EntrySettings, Position, select,
    top_k::{ROWS_A_TASK, Reduced},
};

/// What another device has computed about a row of logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<'a> {
    /// The tokens with the largest logits, in any order; at least as many as there will be entries.
    pub token_ids: &'a [u32],
    /// Their logits.
    pub logits: &'a [f32],
    /// log Σ exp(z) over all other tokens; −∞ if there are none.
    pub others: f64,
    /// log Σ exp(z/τ) over all other tokens, for each temperature τ of the settings.
    pub others_at: &'a [f64],
    /// The logit of the token that follows.
    pub target_logit: f32,
}

/// The distributions of `count` rows, each from what [`push_found`] takes, on all threads.
///
/// # Panics
///
/// As [`push_found`].
pub fn collect_found<'a>(
    count: usize,
    found: impl Fn(usize) -> Found<'a> + Sync,
    vocabulary: usize,
    settings: &EntrySettings,
) -> Distributions {
    let entries = |rows: usize| rows * (settings.top_k as usize).min(vocabulary);
    let tasks = (0..count.div_ceil(ROWS_A_TASK)).into_par_iter();
    let parts: Vec<Distributions> = tasks
        .map(|task| {
            let rows = task * ROWS_A_TASK..count.min((task + 1) * ROWS_A_TASK);
            let mut part = Distributions::with_capacity(rows.len(), entries(rows.len()));
            for row in rows {
                push_found(found(row), vocabulary, settings, &mut part);
            }
            part
        })
        .collect();
    let mut all = Distributions::with_capacity(count, entries(count));
    for part in &parts {
        all.append(part);
    }
    all
}

/// Appends the distribution that [`top_k`](crate::top_k()) would give for the row, up to rounding in `others`.
///
/// Ties at the last entry go to the lower id among the given tokens.
///
/// # Panics
///
/// If fewer tokens are given than the settings ask for, if there is not one sum over the others for each temperature, or if
/// the settings ask for draws from the tail.
pub fn push_found(found: Found<'_>, vocabulary: usize, settings: &EntrySettings, into: &mut Distributions) {
    let k = (settings.top_k as usize).min(vocabulary);
    assert!(
        found.token_ids.len() >= k
            && found.others_at.len() == settings.temperatures.len()
            && settings.tail_samples == 0,
        "what was found is enough for what is asked for"
    );
    let pairs = found.token_ids.iter().zip(found.logits);
    let mut candidates: Vec<select::Candidate> = pairs
        .map(|(&token, &logit)| select::Candidate {
            logit: logit + 0.0,
            token,
        })
        .collect();
    candidates.sort_unstable_by(select::by_rank);
    let max = candidates.first().map_or(found.others as f32, |first| first.logit);
    let beyond = candidates[k..]
        .iter()
        .map(|candidate| f64::from(candidate.logit - max).exp())
        .sum::<f64>()
        + (found.others - f64::from(max)).exp();
    let reduced = Reduced::of(&candidates[..k], max, beyond, vocabulary, settings);
    let (mut token_ids, mut logprobs) = (Vec::with_capacity(k), Vec::with_capacity(k));
    reduced.entries(&mut token_ids, &mut logprobs);
    let left_out = &candidates[reduced.kept.len()..];
    let temperature_tails: Vec<f32> = (settings.temperatures.iter().zip(found.others_at))
        .map(|(&temperature, &others)| {
            let temperature = f64::from(temperature);
            let terms = || {
                left_out
                    .iter()
                    .map(|candidate| f64::from(candidate.logit) / temperature)
            };
            let max = terms().fold(others, f64::max);
            if max == f64::NEG_INFINITY {
                return f32::NEG_INFINITY;
            }
            let sum = (others - max).exp() + terms().map(|term| (term - max).exp()).sum::<f64>();
            (max + sum.ln() - reduced.log_sum_exp / temperature) as f32
        })
        .collect();
    into.push(Position {
        token_ids: &token_ids,
        logprobs: &logprobs,
        tail_logprob: reduced.tail_logprob,
        target_logprob: reduced.logprob(found.target_logit),
        temperature_tails: &temperature_tails,
        ..Position::default()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Row, reduce};

    #[test]
    fn what_another_device_found_gives_what_the_row_gives() {
        let logits = [0.5f32, 2.0, -1.0, 0.25, 2.0, -3.0, 1.5];
        for (k, top_p) in [(3, None), (7, None), (4, Some(0.6))] {
            let settings = EntrySettings {
                top_p,
                temperatures: vec![2.0, 0.5],
                ..EntrySettings::top_k(k)
            };
            let expected = reduce(&logits, 7, &[Row { target: 3, seed: 0 }], &settings).unwrap();
            let mut order: Vec<u32> = (0..7).collect();
            order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
            let (found_ids, others) = order.split_at(k as usize);
            let log_sum = |temperature: f64| {
                let sum: f64 = others
                    .iter()
                    .map(|&id| (f64::from(logits[id as usize]) / temperature).exp())
                    .sum();
                sum.ln()
            };
            let mut found = Distributions::new();
            push_found(
                Found {
                    token_ids: found_ids,
                    logits: &found_ids.iter().map(|&id| logits[id as usize]).collect::<Vec<_>>(),
                    others: log_sum(1.0),
                    others_at: &[log_sum(2.0), log_sum(0.5)],
                    target_logit: logits[3],
                },
                7,
                &settings,
                &mut found,
            );
            let (found, expected) = (found.get(0), expected.get(0));
            assert_eq!(
                (found.token_ids, found.logprobs),
                (expected.token_ids, expected.logprobs)
            );
            let close = |a: f32, b: f32| a == b || (a - b).abs() < 1e-6;
            assert!(
                close(found.tail_logprob, expected.tail_logprob),
                "{found:?} {expected:?}"
            );
            let terms = found.temperature_tails.iter().zip(expected.temperature_tails);
            assert!(
                terms.clone().count() == 2 && terms.into_iter().all(|(&a, &b)| close(a, b)),
                "{found:?} {expected:?}"
            );
        }
    }
}
