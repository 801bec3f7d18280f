//! The objective on the CPU: each row of logits becomes its gradient in place, in two passes over memory.
//!
//! A temperature other than 1 takes a second row of exponentials, in scratch memory of the thread.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, bail};
use leadspan_distribution::exponentiate;
use rayon::prelude::*;
use std::{ops::Range, sync::Mutex};

use super::{
    LossSums, SupervisedRows,
    divergence::Probability,
    outcomes::{divergence_and_slopes, softmax},
};

/// Turns logits `[C, V]` of the rows `range` into their gradients in place, and adds up the losses.
pub(super) struct FusedObjective<'a> {
    pub(super) rows: &'a SupervisedRows,
    pub(super) range: Range<usize>,
    pub(super) distillation_weight: f32,
    pub(super) sums: &'a Mutex<LossSums>,
}

impl InplaceOp1 for FusedObjective<'_> {
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
            .map_init(Scratch::default, |scratch, (logits, row)| {
                scratch.loss_and_gradient(logits, self.rows, row, f64::from(self.distillation_weight))
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

/// Exponentials exp(z/τ − max) of the tokens outside the entries: their greatest exponent and sum.
#[derive(Clone, Copy)]
struct Tail {
    max: f64,
    sum: f64,
}

impl Tail {
    fn log_sum_exp(self) -> f64 {
        self.max + self.sum.ln()
    }
}

/// Memory for one row.
#[derive(Default)]
struct Scratch {
    entry_logits: Vec<f32>,
    drawn_logits: Vec<f32>,
    scaled: Vec<f32>,
    scores: Vec<f64>,
    student: Vec<Probability>,
    slopes: Vec<f64>,
    /// The gradient with respect to the scores of the outcomes at temperature 1.
    gradient: Vec<f64>,
}

impl Scratch {
    /// One row: `logits` become the gradient of weight · ((1 − α) CE + α τ² D).
    fn loss_and_gradient(&mut self, logits: &mut [f32], rows: &SupervisedRows, row: usize, alpha: f64) -> LossSums {
        let distillation = &rows.distillation;
        let temperature = distillation.temperature();
        let (token_ids, (drawn_ids, drawn)) = (rows.token_ids(row), rows.drawn(row));
        let (target, weight) = (rows.targets[row] as usize, f64::from(rows.weights[row]));
        let target_logit = f64::from(logits[target]);
        let of_tokens = |kept: &mut Vec<f32>, ids: &[u32], logits: &[f32]| {
            kept.clear();
            kept.extend(ids.iter().map(|&token| logits[token as usize]));
        };
        of_tokens(&mut self.entry_logits, token_ids, logits);
        of_tokens(&mut self.drawn_logits, drawn_ids, logits);

        // Entries are set aside, so that what remains is the tail.
        for &token in token_ids {
            logits[token as usize] = f32::NEG_INFINITY;
        }
        let tail_max = max(logits);
        let other_tail = (temperature != 1.0).then(|| self.other_tail(logits, tail_max, temperature));
        let tail = Tail {
            max: f64::from(tail_max),
            sum: if tail_max > f32::NEG_INFINITY {
                exponentiate(logits, tail_max)
            } else {
                0.0
            },
        };

        self.score(1.0, tail.log_sum_exp());
        let lse = softmax(&self.scores, &mut self.student);
        let (mut forward_kl, mut soft_cross_entropy) = (0.0, 0.0);
        for (p, q) in rows.measured(row).iter().zip(&self.student) {
            if p.value > 0.0 {
                forward_kl += p.value * (p.log - q.log);
                soft_cross_entropy -= p.value * q.log;
            }
        }
        // With the weight taken into the coefficients, what is written is final.
        let (hard, soft) = (weight * (1.0 - alpha), weight * alpha * temperature);
        self.gradient.clear();
        self.gradient.extend(self.student.iter().map(|q| hard * q.value));

        let taught_tail = other_tail.unwrap_or(tail);
        let mut taught_lse = lse;
        if temperature != 1.0 || distillation.is_on_entries_alone() {
            let bucket = if distillation.is_on_entries_alone() {
                f64::NEG_INFINITY
            } else {
                taught_tail.log_sum_exp()
            };
            self.score(temperature, bucket);
            taught_lse = softmax(&self.scores, &mut self.student);
        }
        let mut divergence = divergence_and_slopes(
            distillation.divergence(),
            rows.taught(row),
            &self.student,
            -drawn.iter().sum::<f64>(),
            &mut self.slopes,
        );
        for (&logit, probability) in self.drawn_logits.iter().zip(drawn) {
            divergence -= probability * (f64::from(logit) / temperature - taught_lse);
        }

        let (entries, bucket) = (token_ids.len(), self.gradient.len() - 1);
        if other_tail.is_some() {
            spread_two(
                logits,
                share(self.gradient[bucket], tail.sum),
                &self.scaled,
                share(soft * self.slopes[bucket], taught_tail.sum),
            );
        } else {
            let factor = share(self.gradient[bucket] + soft * self.slopes[bucket], tail.sum);
            for value in logits.iter_mut() {
                *value *= factor;
            }
        }
        let slopes = self.gradient[..entries].iter().zip(&self.slopes);
        for (&token, (at_one, slope)) in token_ids.iter().zip(slopes) {
            logits[token as usize] = (at_one + soft * slope) as f32;
        }
        for (&token, probability) in drawn_ids.iter().zip(drawn) {
            logits[token as usize] -= (soft * probability) as f32;
        }
        logits[target] -= hard as f32;

        // Entries run from the most probable down, so the first is the teacher's choice.
        let entry_max = max(&self.entry_logits);
        let agrees = self
            .entry_logits
            .first()
            .is_some_and(|&first| first >= entry_max.max(tail_max));
        LossSums {
            cross_entropy: weight * (lse - target_logit),
            distillation: weight * divergence,
            forward_kl: weight * forward_kl,
            soft_cross_entropy: weight * soft_cross_entropy,
            weight,
            top_1_agreement: if agrees { weight } else { 0.0 },
        }
    }

    /// Scores of the outcomes: the entries' logits over the temperature, and the bucket's.
    fn score(&mut self, temperature: f64, bucket: f64) {
        self.scores.clear();
        let of = |&logit: &f32| f64::from(logit) / temperature;
        self.scores.extend(self.entry_logits.iter().map(of));
        self.scores.push(bucket);
    }

    /// The tail's exponentials at another temperature, into `scaled`.
    fn other_tail(&mut self, logits: &[f32], max: f32, temperature: f64) -> Tail {
        self.scaled.clear();
        if max == f32::NEG_INFINITY {
            self.scaled.resize(logits.len(), 0.0);
            return Tail {
                max: f64::NEG_INFINITY,
                sum: 0.0,
            };
        }
        let inverse = (1.0 / temperature) as f32;
        self.scaled.extend(logits.iter().map(|logit| (logit - max) * inverse));
        Tail {
            max: f64::from(max) / temperature,
            sum: exponentiate(&mut self.scaled, 0.0),
        }
    }
}

/// What each unit of the tail's exponentials gets of the bucket's gradient.
fn share(gradient: f64, sum: f64) -> f32 {
    if sum > 0.0 { (gradient / sum) as f32 } else { 0.0 }
}

/// value · factor + other · other factor, in place.
fn spread_two(values: &mut [f32], factor: f32, others: &[f32], other_factor: f32) {
    for (value, other) in values.iter_mut().zip(others) {
        *value = *value * factor + other * other_factor;
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
