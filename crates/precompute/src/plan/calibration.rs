//! A few seconds with the real teacher: its speed and its distributions.
//!
//! Samples are captured whole, so they predict the size of shards at any proportion. Layers and head are timed apart, because
//! an extension feeds tokens through the layers whose positions are stored already.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use leadspan_cache::{Coverage, Layer, PreparedCorpus, WorkUnit};
use leadspan_distribution::Distributions;
use leadspan_model::ForwardFlops;
use leadspan_sequence::LeadSpanProportion;
use serde::Serialize;

use super::Clock;
use crate::{
    CacheSettings, PrecomputeError, ServerWait,
    batches::{CapturedSpan, plan_batches, spans_of},
    teacher::{Heard, Part, Teacher},
};

/// The most positions that are captured: all of them are in memory.
const MOST_POSITIONS: u64 = 100_000;

/// The measured speed of the teacher.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Time to load the teacher.
    pub load_seconds: f64,
    /// Time of the batches.
    pub seconds: f64,
    /// The number of timed batches.
    pub batches: usize,
    /// Their samples.
    pub samples: usize,
    /// Their tokens that went through the teacher.
    pub tokens: u64,
    /// Captured positions.
    pub positions: u64,
    /// Operations of the layers per second.
    pub layer_flops_per_second: f64,
    /// Time for each position beside the layers: head, choice of entries, tail.
    pub position_seconds: f64,
}

impl Calibration {
    /// The time to capture this much on this device, without loading.
    pub(super) fn seconds(&self, layer_flops: f64, positions: u64) -> f64 {
        layer_flops / self.layer_flops_per_second + self.position_seconds * positions as f64
    }
}

/// The captured samples, with the distributions at all positions of the asked sections.
pub(super) struct Captured {
    pub(super) layer: Layer,
    pub(super) samples: Vec<(u32, Distributions)>,
}

/// Runs `teacher` on batches of `units`, spread over all lengths, until `budget` is spent or no batch is left. Returns `None`
/// if it is told to stop between batches.
///
/// # Errors
///
/// Fails if the teacher fails, with [`ModelError::Stopped`] if it is told to stop within a batch.
#[expect(clippy::too_many_arguments, reason = "each is one thing, used once")]
pub(super) fn calibrate(
    teacher: &dyn Teacher,
    flops: &ForwardFlops,
    load_seconds: f64,
    corpus: &PreparedCorpus,
    units: &[WorkUnit],
    settings: &CacheSettings,
    budget: Duration,
    clock: Clock<'_>,
    stop: &AtomicBool,
    waiting: &dyn Fn(ServerWait),
) -> Result<Option<(Calibration, Captured)>, PrecomputeError> {
    let layer = Layer::from(Coverage {
        proportion: LeadSpanProportion::WHOLE,
        sections: settings.supervised_sections,
    });
    let batches = units
        .iter()
        .flat_map(|unit| {
            let spans = spans_of(&layer, corpus, unit);
            let batches = plan_batches(&spans, teacher.trial_tokens(settings));
            batches.into_iter().map(<[CapturedSpan]>::to_vec).collect::<Vec<_>>()
        })
        .collect();
    let batches = spread(batches, flops);
    // The first pass loads what later passes find in memory, unless every pass reads the weights.
    let shortest = batches.iter().flatten().min_by_key(|span| (span.tokens, span.sample));
    if let (Some(shortest), None) = (shortest, teacher.streaming()) {
        teacher.capture(&[*shortest], &layer, corpus, stop, &mut |_| Ok(()))?;
        teacher.synchronize()?;
    }
    let (began, mut layer_time, mut head_time) = (clock(), Duration::ZERO, Duration::ZERO);
    let (mut calibration, mut layer_flops) = (Calibration::new(load_seconds), 0.0);
    let mut captured = Captured {
        layer: layer.clone(),
        samples: Vec::new(),
    };
    for batch in &batches {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if calibration.batches > 0
            && (clock().saturating_sub(began) >= budget || calibration.positions >= MOST_POSITIONS)
        {
            break;
        }
        let mut since = clock();
        let found = teacher.capture(batch, &layer, corpus, stop, &mut |heard| {
            let part = match heard {
                Heard::Done(part) => part,
                Heard::Sample | Heard::Further => return Ok(()),
                Heard::Waiting(wait) => {
                    waiting(wait);
                    return Ok(());
                }
            };
            teacher.synchronize()?;
            let now = clock();
            let time = match part {
                Part::Layers => &mut layer_time,
                Part::Head => &mut head_time,
            };
            *time += now.saturating_sub(since);
            since = now;
            Ok(())
        })?;
        layer_flops += flops_of(batch, flops);
        calibration.batches += 1;
        calibration.samples += batch.len();
        for span in batch {
            calibration.tokens += u64::from(span.tokens);
            calibration.positions += u64::from(span.positions);
        }
        captured.take(batch, &teacher.finish(found)?);
    }
    calibration.seconds = (layer_time + head_time).as_secs_f64();
    calibration.layer_flops_per_second = layer_flops / layer_time.as_secs_f64().max(1e-9);
    calibration.position_seconds = head_time.as_secs_f64() / calibration.positions.max(1) as f64;
    Ok(Some((calibration, captured)))
}

impl Calibration {
    fn new(load_seconds: f64) -> Self {
        Self {
            load_seconds,
            seconds: 0.0,
            batches: 0,
            samples: 0,
            tokens: 0,
            positions: 0,
            layer_flops_per_second: 0.0,
            position_seconds: 0.0,
        }
    }
}

impl Captured {
    fn take(&mut self, batch: &[CapturedSpan], distributions: &Distributions) {
        let mut rest = distributions.iter();
        for span in batch {
            let count = span.positions as usize;
            let mut of_sample = Distributions::with_capacity(count, 0);
            rest.by_ref().take(count).for_each(|position| of_sample.push(position));
            self.samples.push((span.sample, of_sample));
        }
    }
}

fn flops_of(batch: &[CapturedSpan], flops: &ForwardFlops) -> f64 {
    batch.iter().map(|span| flops.layers(u64::from(span.tokens))).sum()
}

/// Orders batches so that the first few, however many, are spread over all lengths in proportion to the work.
fn spread(mut batches: Vec<Vec<CapturedSpan>>, flops: &ForwardFlops) -> Vec<Vec<CapturedSpan>> {
    batches.sort_by_key(|batch| (batch.iter().map(|span| span.tokens).max(), batch[0].sample));
    let total: f64 = batches.iter().map(|batch| flops_of(batch, flops)).sum();
    let mut before = 0.0;
    let ends: Vec<f64> = batches
        .iter()
        .map(|batch| {
            before += flops_of(batch, flops);
            before / total
        })
        .collect();
    let mut left: Vec<Option<Vec<CapturedSpan>>> = batches.into_iter().map(Some).collect();
    let mut chosen = Vec::new();
    // Batches that none of the first few thousand places fell on follow in their order.
    for number in 1..4096 {
        let at = ends.partition_point(|&end| end < halving(number));
        chosen.extend(left.get_mut(at).and_then(Option::take));
    }
    chosen.extend(left.into_iter().flatten());
    chosen
}

/// The binary digits of a number, mirrored at the point: 1/2, 1/4, 3/4, 1/8, 5/8, …
fn halving(number: u32) -> f64 {
    f64::from(number.reverse_bits()) / 2f64.powi(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_comes_once_and_the_first_are_of_all_lengths() {
        let flops = ForwardFlops {
            token: 1.0,
            ..ForwardFlops::default()
        };
        let batches: Vec<Vec<CapturedSpan>> = (0..100)
            .map(|sample| {
                vec![CapturedSpan {
                    sample,
                    tokens: 100 + sample,
                    positions: 1,
                }]
            })
            .collect();
        let spread = spread(batches, &flops);
        let mut seen: Vec<u32> = spread.iter().map(|batch| batch[0].sample).collect();
        let first: Vec<u32> = seen[..4].to_vec();
        // A half, a quarter and three quarters, an eighth of the work.
        assert!(
            (54..62).contains(&first[0]) && (27..35).contains(&first[1]),
            "{first:?}"
        );
        assert!(
            (77..85).contains(&first[2]) && (13..20).contains(&first[3]),
            "{first:?}"
        );
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }
}
