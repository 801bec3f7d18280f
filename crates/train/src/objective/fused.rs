//! The objective on the CPU: each row of logits becomes its gradient in place, in two passes over memory.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, bail};
use leadspan_distribution::exponentiate;
use rayon::prelude::*;
use std::{ops::Range, sync::Mutex};

use super::{LossSums, Rows};

/// Turns logits `[C, V]` of the rows `range` into their gradients in place, and adds up the losses.
pub(super) struct Fused<'a> {
    pub(super) rows: &'a Rows,
    pub(super) range: Range<usize>,
    pub(super) distillation_weight: f32,
    pub(super) sums: &'a Mutex<LossSums>,
}

impl InplaceOp1 for Fused<'_> {
    fn name(&self) -> &'static str {
        "leadspan-objective"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (Some((start, end)), CpuStorage::F32(values)) = (layout.contiguous_offsets(), storage) else {
            bail!("the objective works on contiguous single-precision logits");
        };
        let vocabulary = layout.dims()[1];
        let partial: Vec<LossSums> = values[start..end]
            .par_chunks_mut(vocabulary)
            .zip(self.range.clone().into_par_iter())
            .map_init(Vec::new, |scratch, (logits, row)| {
                loss_and_gradient(logits, self.rows, row, self.distillation_weight, scratch)
            })
            .collect();
        // Added up in the order of the rows, whatever thread made them.
        let mut sums = self.sums.lock().expect("no thread panicked while adding");
        for row in &partial {
            sums.add(row);
        }
        Ok(())
    }
}

/// One row: `logits` become the gradient of weight · ((1 − α) CE + α D).
fn loss_and_gradient(
    logits: &mut [f32],
    rows: &Rows,
    row: usize,
    distillation_weight: f32,
    entry_logits: &mut Vec<f32>,
) -> LossSums {
    let (token_ids, probabilities) = rows.entries(row);
    let (target, weight, tail) = (rows.targets[row] as usize, rows.weights[row], rows.tails[row]);
    let target_logit = logits[target];

    // Entries are set aside, so that what remains is the tail.
    entry_logits.clear();
    entry_logits.extend(token_ids.iter().map(|&token| logits[token as usize]));
    for &token in token_ids {
        logits[token as usize] = f32::NEG_INFINITY;
    }
    let tail_max = max(logits);
    let (tail_sum, tail_lse) = if tail_max > f32::NEG_INFINITY {
        let sum = exponentiate(logits, tail_max);
        (sum, f64::from(tail_max) + sum.ln())
    } else {
        (0.0, f64::NEG_INFINITY)
    };
    let entry_max = max(entry_logits);
    let all_max = f64::from(tail_max.max(entry_max));
    let entry_sum: f64 = entry_logits
        .iter()
        .map(|&logit| (f64::from(logit) - all_max).exp())
        .sum();
    let lse = all_max + (entry_sum + (tail_lse - all_max).exp()).ln();

    let mut soft_cross_entropy = if tail > 0.0 {
        -f64::from(tail) * (tail_lse - lse)
    } else {
        0.0
    };
    for (&logit, &probability) in entry_logits.iter().zip(probabilities) {
        soft_cross_entropy -= f64::from(probability) * (f64::from(logit) - lse);
    }
    let cross_entropy = lse - f64::from(target_logit);

    // Outside the entries: e^(z − tail_max) times one factor.
    if tail_sum > 0.0 {
        let factor = (f64::from(tail_max) - lse).exp() - f64::from(distillation_weight) * f64::from(tail) / tail_sum;
        let factor = (factor * f64::from(weight)) as f32;
        for value in logits.iter_mut() {
            *value *= factor;
        }
    }
    for ((&token, &logit), &probability) in token_ids.iter().zip(entry_logits.iter()).zip(probabilities) {
        let student = (f64::from(logit) - lse).exp() as f32;
        logits[token as usize] = weight * (student - distillation_weight * probability);
    }
    logits[target] -= weight * (1.0 - distillation_weight);

    // Entries run from the most probable down, so the first is the teacher's choice.
    let agrees = entry_logits
        .first()
        .is_some_and(|&first| first >= entry_max.max(tail_max));
    let weight = f64::from(weight);
    LossSums {
        cross_entropy: weight * cross_entropy,
        forward_kl: weight * (soft_cross_entropy + rows.negative_entropies[row]),
        soft_cross_entropy: weight * soft_cross_entropy,
        weight,
        top_1_agreement: if agrees { weight } else { 0.0 },
    }
}

/// The largest value, −∞ of none.
fn max(values: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (lanes, rest) = values.as_chunks::<LANES>();
    let mut largest = [f32::NEG_INFINITY; LANES];
    for chunk in lanes {
        for lane in 0..LANES {
            largest[lane] = largest[lane].max(chunk[lane]);
        }
    }
    rest.iter().chain(&largest).copied().fold(f32::NEG_INFINITY, f32::max)
}
