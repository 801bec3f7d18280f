//! The objective on the CPU: each row of logits becomes its gradient in place, in two passes over memory.
//!
//! A row's buffer holds, one after the other, the logits, the exponentials of the tail (the tokens outside the entries), and
//! the gradient. A temperature other than 1 takes a second row of exponentials, in scratch memory of the thread.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, bail};
use leadspan_simd::exponentiate;
use rayon::prelude::*;
use std::{ops::Range, sync::Mutex};

use super::{LossSums, SupervisedRows, outcomes::softmax, probability::Probability};

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
        let alpha = f64::from(self.distillation_weight);
        let partial: Vec<LossSums> = values[start..end]
            .par_chunks_mut(vocabulary)
            .zip(self.range.clone().into_par_iter())
            .map_init(Scratch::default, |scratch, (buffer, row)| {
                scratch.loss_and_gradient(buffer, &Row::new(self.rows, row, alpha))
            })
            .collect();
        // Summed in the order of the rows, whichever thread computed them.
        let mut sums = self.sums.lock().expect("no thread panicked while adding");
        for row in &partial {
            sums.add(row);
        }
        Ok(())
    }
}

/// The target, weights and outcomes of one position.
struct Row<'a> {
    rows: &'a SupervisedRows,
    index: usize,
    target: usize,
    token_ids: &'a [u32],
    drawn_ids: &'a [u32],
    drawn: &'a [f64],
    weight: f64,
    /// w · (1 − α): the factor of the gradient of cross-entropy.
    hard: f64,
    /// w · α · τ: the factor of the slopes of the divergence.
    soft: f64,
    temperature: f64,
}

impl<'a> Row<'a> {
    fn new(rows: &'a SupervisedRows, index: usize, alpha: f64) -> Self {
        let (drawn_ids, drawn) = rows.drawn(index);
        let (weight, temperature) = (f64::from(rows.weights[index]), rows.distillation.temperature());
        Self {
            rows,
            index,
            target: rows.targets[index] as usize,
            token_ids: rows.token_ids(index),
            drawn_ids,
            drawn,
            weight,
            hard: weight * (1.0 - alpha),
            soft: weight * alpha * temperature,
            temperature,
        }
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

/// The tail of a row.
#[derive(Clone, Copy)]
struct Tails {
    /// The largest logit outside the entries.
    max_logit: f32,
    at_one: Tail,
    /// `None` if the temperature is 1.
    at_temperature: Option<Tail>,
}

/// Memory for one row.
#[derive(Default)]
struct Scratch {
    entry_logits: Vec<f32>,
    drawn_logits: Vec<f32>,
    /// The exponentials of the tail at the temperature, if that is not 1.
    scaled: Vec<f32>,
    scores: Vec<f64>,
    student: Vec<Probability>,
    slopes: Vec<f64>,
    /// The gradient with respect to the scores of the outcomes at temperature 1.
    gradient: Vec<f64>,
}

impl Scratch {
    /// One row: the logits in `buffer` become the gradient of w · ((1 − α) CE + α τ² D).
    fn loss_and_gradient(&mut self, buffer: &mut [f32], row: &Row) -> LossSums {
        let target_logit = f64::from(buffer[row.target]);
        self.gather_logits(buffer, row);
        let tails = self.exponentiate_tail(buffer, row);
        let log_sum_exp = self.score_at_one(tails.at_one, row.hard);
        let (forward_kl, soft_cross_entropy) = measure(row.rows.measured(row.index), &self.student);
        let divergence = self.distil(row, tails, log_sum_exp);
        self.write_gradient(buffer, row, tails);
        LossSums {
            cross_entropy: row.weight * (log_sum_exp - target_logit),
            distillation: row.weight * divergence,
            forward_kl: row.weight * forward_kl,
            soft_cross_entropy: row.weight * soft_cross_entropy,
            weight: row.weight,
            top_1_agreement: if self.agrees(tails.max_logit) { row.weight } else { 0.0 },
        }
    }

    /// Copies the logits of entries and drawn tokens.
    fn gather_logits(&mut self, logits: &[f32], row: &Row) {
        let of_tokens = |into: &mut Vec<f32>, ids: &[u32]| {
            into.clear();
            into.extend(ids.iter().map(|&token| logits[token as usize]));
        };
        of_tokens(&mut self.entry_logits, row.token_ids);
        of_tokens(&mut self.drawn_logits, row.drawn_ids);
    }

    /// Turns the logits in `buffer` into the exponentials of the tail at temperature 1, with 0 at the entries.
    fn exponentiate_tail(&mut self, buffer: &mut [f32], row: &Row) -> Tails {
        // Without the entries, what remains is the tail.
        for &token in row.token_ids {
            buffer[token as usize] = f32::NEG_INFINITY;
        }
        let max_logit = max(buffer);
        let at_temperature = (row.temperature != 1.0).then(|| self.scale_tail(buffer, max_logit, row.temperature));
        let at_one = Tail {
            max: f64::from(max_logit),
            sum: if max_logit > f32::NEG_INFINITY {
                exponentiate(buffer, max_logit)
            } else {
                0.0
            },
        };
        Tails {
            max_logit,
            at_one,
            at_temperature,
        }
    }

    /// Puts the exponentials of the tail at `temperature` into `scaled`.
    fn scale_tail(&mut self, tail_logits: &[f32], max: f32, temperature: f64) -> Tail {
        self.scaled.clear();
        if max == f32::NEG_INFINITY {
            self.scaled.resize(tail_logits.len(), 0.0);
            return Tail {
                max: f64::NEG_INFINITY,
                sum: 0.0,
            };
        }
        let inverse = (1.0 / temperature) as f32;
        self.scaled
            .extend(tail_logits.iter().map(|logit| (logit - max) * inverse));
        Tail {
            max: f64::from(max) / temperature,
            sum: exponentiate(&mut self.scaled, 0.0),
        }
    }

    /// Makes `student` the probabilities of the outcomes at temperature 1, and `gradient` that of the weighted cross-entropy
    /// with respect to the scores, without the target. Returns the log-sum-exp of the logits.
    fn score_at_one(&mut self, tail: Tail, hard: f64) -> f64 {
        let log_sum_exp = self.score(1.0, tail.log_sum_exp());
        self.gradient.clear();
        // With the weight in the factor, what is written is final.
        self.gradient.extend(self.student.iter().map(|q| hard * q.value));
        log_sum_exp
    }

    /// The divergence that is learnt; its gradient with respect to the scores at the temperature goes into `slopes`.
    /// `log_sum_exp` is that at temperature 1, of which `student` is.
    fn distil(&mut self, row: &Row, tails: Tails, mut log_sum_exp: f64) -> f64 {
        let distillation = &row.rows.distillation;
        let on_entries_alone = distillation.is_on_entries_alone();
        if row.temperature != 1.0 || on_entries_alone {
            let bucket = if on_entries_alone {
                f64::NEG_INFINITY
            } else {
                tails.at_temperature.unwrap_or(tails.at_one).log_sum_exp()
            };
            log_sum_exp = self.score(row.temperature, bucket);
        }
        let mut divergence = distillation.divergence().of_row(
            row.rows.taught(row.index),
            &self.student,
            -row.drawn.iter().sum::<f64>(),
            &mut self.slopes,
        );
        for (&logit, probability) in self.drawn_logits.iter().zip(row.drawn) {
            divergence -= probability * (f64::from(logit) / row.temperature - log_sum_exp);
        }
        divergence
    }

    /// Scores the outcomes, the entries' logits over the temperature and `bucket`, and makes `student` their softmax. Returns
    /// their log-sum-exp.
    fn score(&mut self, temperature: f64, bucket: f64) -> f64 {
        self.scores.clear();
        let of = |&logit: &f32| f64::from(logit) / temperature;
        self.scores.extend(self.entry_logits.iter().map(of));
        self.scores.push(bucket);
        softmax(&self.scores, &mut self.student)
    }

    /// Turns the exponentials of the tail in `buffer` into the gradient with respect to the logits.
    fn write_gradient(&self, buffer: &mut [f32], row: &Row, tails: Tails) {
        let (entries, bucket) = (row.token_ids.len(), self.gradient.len() - 1);
        let (at_one, slope) = (self.gradient[bucket], row.soft * self.slopes[bucket]);
        if let Some(tail) = tails.at_temperature {
            let (factor, scaled_factor) = (share(at_one, tails.at_one.sum), share(slope, tail.sum));
            for (value, scaled) in buffer.iter_mut().zip(&self.scaled) {
                *value = *value * factor + scaled * scaled_factor;
            }
        } else {
            let factor = share(at_one + slope, tails.at_one.sum);
            for value in buffer.iter_mut() {
                *value *= factor;
            }
        }
        let slopes = self.gradient[..entries].iter().zip(&self.slopes);
        for (&token, (at_one, slope)) in row.token_ids.iter().zip(slopes) {
            buffer[token as usize] = (at_one + row.soft * slope) as f32;
        }
        for (&token, probability) in row.drawn_ids.iter().zip(row.drawn) {
            buffer[token as usize] -= (row.soft * probability) as f32;
        }
        buffer[row.target] -= row.hard as f32;
    }

    /// Whether the student's most probable token is the teacher's: entries run from the most probable down.
    fn agrees(&self, tail_max: f32) -> bool {
        let largest = max(&self.entry_logits).max(tail_max);
        self.entry_logits.first().is_some_and(|&first| first >= largest)
    }
}

/// KL(teacher ‖ student) at temperature 1 over entries and bucket of the rows `range`, whose logits `values` hold, row by row. The
/// values are not logits any more afterwards.
pub(super) fn forward_kls(
    values: &mut [f32],
    vocabulary: usize,
    rows: &SupervisedRows,
    range: Range<usize>,
) -> Vec<f64> {
    let of_rows = values.par_chunks_mut(vocabulary).zip(range.into_par_iter());
    let forward_kl = |scratch: &mut Scratch, (buffer, row): (&mut [f32], usize)| {
        let row = Row::new(rows, row, 0.0);
        scratch.gather_logits(buffer, &row);
        let tails = scratch.exponentiate_tail(buffer, &row);
        scratch.score_at_one(tails.at_one, 0.0);
        measure(rows.measured(row.index), &scratch.student).0
    };
    of_rows.map_init(Scratch::default, forward_kl).collect()
}

/// The entropy of the softmax of each row of logits: lse z − Σ q z.
pub(super) fn entropies(values: &[f32], vocabulary: usize) -> Vec<f64> {
    let entropy = |exponentials: &mut Vec<f32>, logits: &[f32]| {
        let max = max(logits);
        exponentials.clear();
        exponentials.extend_from_slice(logits);
        let sum = exponentiate(exponentials, max);
        let below = |(&logit, &exponential): (&f32, &f32)| f64::from(max - logit) * f64::from(exponential);
        // With d = max − z, lse z − Σ q z is ln Σ exp(−d) + Σ q d.
        sum.ln() + logits.iter().zip(exponentials.iter()).map(below).sum::<f64>() / sum
    };
    values.par_chunks(vocabulary).map_init(Vec::new, entropy).collect()
}

/// Forward KL and soft cross-entropy of the student from the teacher.
fn measure(teacher: &[Probability], student: &[Probability]) -> (f64, f64) {
    let (mut forward_kl, mut soft_cross_entropy) = (0.0, 0.0);
    for (p, q) in teacher.iter().zip(student) {
        if p.value > 0.0 {
            forward_kl += p.value * (p.log - q.log);
            soft_cross_entropy -= p.value * q.log;
        }
    }
    (forward_kl, soft_cross_entropy)
}

/// The factor from the tail's exponentials to their part of the bucket's gradient.
fn share(gradient: f64, sum: f64) -> f32 {
    if sum > 0.0 { (gradient / sum) as f32 } else { 0.0 }
}

/// The largest value; −∞ if there are none.
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
