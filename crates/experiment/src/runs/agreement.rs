//! Whether the summary of a training is that of its steps.

use super::{
    Metrics, TrainingSummary,
    ranges::{at_least, of_losses},
};

/// Checks the summary of a training against the losses of its steps. Metrics without steps say nothing about them.
///
/// # Errors
///
/// What cannot be right in the summary.
pub(super) fn of_training(summary: &TrainingSummary, metrics: &Metrics) -> Result<(), String> {
    at_least(0.0, "seconds", Some(summary.seconds))?;
    at_least(0.0, "training_flops", summary.training_flops)?;
    for held_out in [summary.held_out_before, summary.held_out_after].iter().flatten() {
        of_losses(held_out)?;
    }
    if let Some(after) = summary.held_out_after
        && !metrics.held_out.is_empty()
        && !metrics.held_out.iter().any(|(_, measured)| *measured == after)
    {
        return Err("has `held_out_after`, which `metrics.jsonl` has after no step".to_owned());
    }
    let Some(last) = metrics.steps.last() else {
        return Ok(());
    };
    let is_whole = metrics.steps.len() as u64 == summary.steps;
    for (name, stored, measured) in [
        ("steps", Some(summary.steps), Some(last.step)),
        ("tokens", Some(summary.tokens), metrics.tokens.filter(|_| is_whole)),
        ("cache_bytes_read", summary.cache_bytes_read, metrics.cache_bytes_read),
    ] {
        same(name, stored, measured)?;
    }
    same("training_flops", summary.training_flops, metrics.training_flops)
}

/// Checks what two files say about `name`, if both do.
fn same<T: PartialEq + std::fmt::Display>(name: &str, stored: Option<T>, measured: Option<T>) -> Result<(), String> {
    match (stored, measured) {
        (Some(stored), Some(measured)) if stored != measured => Err(format!(
            "says that `{name}` is {stored}, and `metrics.jsonl` says {measured}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HeldOut, StepLoss};

    #[test]
    fn a_summary_that_its_steps_contradict_is_told() {
        let losses = HeldOut {
            cross_entropy: Some(2.0),
            forward_kl: Some(-1e-6),
            top_1_agreement: Some(0.5),
        };
        let metrics = Metrics {
            steps: [1, 2].map(|step| StepLoss { step, loss: 1.0 }).to_vec(),
            held_out: vec![(0, HeldOut::default()), (2, losses)],
            all_steps: Some(2),
            tokens: Some(30),
            training_flops: Some(1e9),
            cache_bytes_read: Some(7),
        };
        let summary = TrainingSummary {
            steps: 2,
            tokens: 30,
            seconds: 1.0,
            training_flops: Some(1e9),
            cache_bytes_read: Some(7),
            held_out_after: Some(losses),
            ..TrainingSummary::default()
        };
        assert_eq!(of_training(&summary, &metrics), Ok(()));
        assert_eq!(
            of_training(&summary, &Metrics::default()),
            Ok(()),
            "nothing to compare with"
        );
        let other = |change: fn(&mut TrainingSummary)| {
            let mut other = summary.clone();
            change(&mut other);
            of_training(&other, &metrics).unwrap_err()
        };
        for (said, expected) in [
            (
                other(|summary| summary.steps = 3),
                "`steps` is 3, and `metrics.jsonl` says 2",
            ),
            (
                other(|summary| summary.tokens = 31),
                "`tokens` is 31, and `metrics.jsonl` says 30",
            ),
            (
                other(|summary| summary.cache_bytes_read = Some(8)),
                "`cache_bytes_read` is 8",
            ),
            (
                other(|summary| summary.training_flops = Some(2e9)),
                "`training_flops` is 2000000000",
            ),
            (
                other(|summary| summary.training_flops = Some(-1.0)),
                "`training_flops` is -1",
            ),
            (other(|summary| summary.seconds = -1.0), "`seconds` is -1"),
            (
                other(|summary| {
                    summary.held_out_after = Some(HeldOut {
                        forward_kl: Some(0.0),
                        ..HeldOut::default()
                    });
                }),
                "`held_out_after`, which",
            ),
            (
                other(|summary| {
                    summary.held_out_before = Some(HeldOut {
                        top_1_agreement: Some(1.5),
                        ..HeldOut::default()
                    });
                }),
                "`top_1_agreement` is 1.5",
            ),
            (
                other(|summary| {
                    summary.held_out_before = Some(HeldOut {
                        cross_entropy: Some(-2.0),
                        ..HeldOut::default()
                    });
                }),
                "`cross_entropy` is -2",
            ),
        ] {
            assert!(said.contains(expected), "{said}");
        }
    }
}
