//! The objective in stock tensor operations, for devices without a fused kernel and as the reference for tests.
//!
//! Tensors as wide as the vocabulary are in single precision. Outcomes are few, and in double precision.

use candle_core::{D, DType, Device, Result, Tensor};
use std::ops::Range;

use super::{
    LossSums, SupervisedRows,
    losses::Divergence,
    probability::Probability,
    tensor_probabilities::{OUT, TensorProbabilities},
};

/// The gradient `[C, V]` of the weighted loss of the rows `range` with respect to `logits` `[C, V]`, and the losses.
pub(super) fn loss_and_gradient(
    logits: &Tensor,
    rows: &SupervisedRows,
    range: Range<usize>,
    distillation_weight: f32,
) -> Result<(Tensor, LossSums)> {
    let device = logits.device();
    let distillation = &rows.distillation;
    let (temperature, alpha) = (distillation.temperature(), f64::from(distillation_weight));
    let entries = Entries::new(rows, range.clone(), device)?;
    let measured = teacher(rows, range.clone(), SupervisedRows::measured, OUT, &entries)?;
    let targets = Tensor::from_slice(&rows.targets[range.clone()], (range.len(), 1), device)?;
    let weights = Tensor::from_slice(&rows.weights[range.clone()], (range.len(), 1), device)?;

    // The largest logit is subtracted first, so that rounding is relative to the differences and not to the logits.
    let logits = logits.broadcast_sub(&logits.max_keepdim(1)?)?;
    let at_one = Student::new(&logits, &entries)?;
    let probabilities = at_one.over_vocabulary()?;
    let wide = |tensor: Tensor| tensor.to_dtype(DType::F64);
    let cross_entropy = (&probabilities.log_sum_exp - wide(logits.gather(&targets, 1)?)?)?;
    let (forward_kl, _) = Divergence::FORWARD_KL.of_rows(&measured, &probabilities.outcomes)?;
    let (soft_cross_entropy, _) = Divergence::SOFT_CROSS_ENTROPY.of_rows(&measured, &probabilities.outcomes)?;

    let divergence = distillation.divergence();
    let nothing = divergence.log_of_nothing();
    let taught = teacher(rows, range.clone(), SupervisedRows::taught, nothing, &entries)?;
    let other = (temperature != 1.0)
        .then(|| Student::new(&(&logits / temperature)?, &entries))
        .transpose()?;
    let student = other.as_ref().unwrap_or(&at_one);
    let learnt = if distillation.is_on_entries_alone() {
        student.over_entries(&entries)?
    } else {
        student.over_vocabulary()?
    };
    let (mut value, derivative) = divergence.of_rows(&taught, &learnt.outcomes)?;
    let mut sum = derivative.sum_keepdim(1)?;
    let drawn = Drawn::new(rows, range.clone(), device)?;
    if let Some(Drawn { token_ids, p }) = &drawn {
        let log_q = wide(student.logits.gather(token_ids, 1)?)?.broadcast_sub(&learnt.log_sum_exp)?;
        value = (value - (p * log_q)?.sum_keepdim(1)?)?;
        sum = (sum - p.sum_keepdim(1)?)?;
    }
    let slopes = (derivative - learnt.outcomes.value.broadcast_mul(&sum)?)?;

    let at_scores = (&probabilities.outcomes.value * (1.0 - alpha))?;
    let soft = alpha * temperature;
    let gradient = match &other {
        None => at_one.gradient(&entries, &(at_scores + (slopes * soft)?)?)?,
        Some(other) => (at_one.gradient(&entries, &at_scores)? + other.gradient(&entries, &(slopes * soft)?)?)?,
    };
    let gradient = match &drawn {
        Some(Drawn { token_ids, p }) => gradient.scatter_add(token_ids, &(p * -soft)?.to_dtype(DType::F32)?, 1)?,
        None => gradient,
    };
    let hard = Tensor::full(distillation_weight - 1.0, (range.len(), 1), device)?;
    let gradient = gradient.scatter_add(&targets, &hard, 1)?.broadcast_mul(&weights)?;

    let sums = Tensor::cat(&[cross_entropy, value, forward_kl, soft_cross_entropy], 1)?.to_vec2::<f64>()?;
    let chosen = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let mut total = LossSums::default();
    for ((row, values), chosen) in range.zip(&sums).zip(&chosen) {
        let weight = f64::from(rows.weights[row]);
        let agrees = rows.token_ids(row).first() == Some(chosen);
        total.add(&LossSums {
            cross_entropy: weight * values[0],
            distillation: weight * values[1],
            forward_kl: weight * values[2],
            soft_cross_entropy: weight * values[3],
            weight,
            top_1_agreement: if agrees { weight } else { 0.0 },
        });
    }
    Ok((gradient, total))
}

/// KL(teacher ‖ student) at temperature 1 over entries and bucket of the rows `range`, whose logits are `logits` `[C, V]`.
pub(super) fn forward_kls(logits: &Tensor, rows: &SupervisedRows, range: Range<usize>) -> Result<Vec<f64>> {
    let entries = Entries::new(rows, range.clone(), logits.device())?;
    let measured = teacher(rows, range, SupervisedRows::measured, OUT, &entries)?;
    let logits = logits.broadcast_sub(&logits.max_keepdim(1)?)?;
    let student = Student::new(&logits, &entries)?.over_vocabulary()?;
    let (forward_kl, _) = Divergence::FORWARD_KL.of_rows(&measured, &student.outcomes)?;
    forward_kl.flatten_all()?.to_vec1()
}

/// The entropy of the softmax of each row of `logits` `[C, V]`.
pub(super) fn entropies(logits: &Tensor) -> Result<Vec<f64>> {
    let logits = logits.broadcast_sub(&logits.max_keepdim(1)?)?;
    let mean = (candle_nn::ops::softmax(&logits, D::Minus1)? * &logits)?.sum(D::Minus1)?;
    (logits.log_sum_exp(D::Minus1)? - mean)?.to_dtype(DType::F64)?.to_vec1()
}

/// The rows' ragged entries as a rectangle `[C, W]`; spare places repeat token 0 with nothing to add.
struct Entries {
    token_ids: Tensor,
    /// 0 at entries and [`OUT`] at spare places, with a column of 0 for the bucket, `[C, W + 1]`.
    out_unless_present: Tensor,
    /// [`OUT`] at entries and 0 at spare places, `[C, W]`; `None` if no row has entries.
    out_if_present: Option<Tensor>,
    width: usize,
}

impl Entries {
    fn new(rows: &SupervisedRows, range: Range<usize>, device: &Device) -> Result<Self> {
        let most = range.clone().map(|row| rows.token_ids(row).len()).max().unwrap_or(0);
        let (count, width) = (range.len(), most.max(1));
        let mut token_ids = vec![0u32; count * width];
        let mut out_if_present = vec![0f32; count * width];
        let mut out_unless_present = vec![OUT; count * (width + 1)];
        for (index, row) in range.enumerate() {
            let ids = rows.token_ids(row);
            token_ids[index * width..][..ids.len()].copy_from_slice(ids);
            out_if_present[index * width..][..ids.len()].fill(OUT as f32);
            let outcomes = &mut out_unless_present[index * (width + 1)..][..=width];
            outcomes[..ids.len()].fill(0.0);
            outcomes[width] = 0.0;
        }
        let out_if_present = (most > 0)
            .then(|| Tensor::from_vec(out_if_present, (count, width), device))
            .transpose()?;
        Ok(Self {
            token_ids: Tensor::from_vec(token_ids, (count, width), device)?,
            out_unless_present: Tensor::from_vec(out_unless_present, (count, width + 1), device)?,
            out_if_present,
            width,
        })
    }
}

/// The teacher's probabilities of the outcomes, the bucket in the last column; `nothing` stands for the logarithm of 0.
fn teacher<'a>(
    rows: &'a SupervisedRows,
    range: Range<usize>,
    outcomes: fn(&'a SupervisedRows, usize) -> &'a [Probability],
    nothing: f64,
    entries: &Entries,
) -> Result<TensorProbabilities> {
    let (count, width) = (range.len(), entries.width + 1);
    let mut values = vec![0f64; count * width];
    let mut logs = vec![nothing; count * width];
    for (index, row) in range.enumerate() {
        let outcomes = outcomes(rows, row);
        let last = outcomes.len() - 1;
        for (place, outcome) in (0..last).chain([width - 1]).zip(outcomes) {
            if outcome.log > f64::NEG_INFINITY {
                values[index * width + place] = outcome.value;
                logs[index * width + place] = outcome.log;
            }
        }
    }
    let device = entries.token_ids.device();
    Ok(TensorProbabilities {
        value: Tensor::from_vec(values, (count, width), device)?,
        log: Tensor::from_vec(logs, (count, width), device)?,
    })
}

/// Drawn tokens and their probabilities as a rectangle `[C, D]`.
struct Drawn {
    token_ids: Tensor,
    p: Tensor,
}

impl Drawn {
    /// `None` if no row has drawn tokens.
    fn new(rows: &SupervisedRows, range: Range<usize>, device: &Device) -> Result<Option<Self>> {
        let width = range.clone().map(|row| rows.drawn(row).0.len()).max().unwrap_or(0);
        if width == 0 {
            return Ok(None);
        }
        let shape = (range.len(), width);
        let (mut token_ids, mut p) = (vec![0u32; shape.0 * width], vec![0f64; shape.0 * width]);
        for (index, row) in range.enumerate() {
            let (ids, probabilities) = rows.drawn(row);
            token_ids[index * width..][..ids.len()].copy_from_slice(ids);
            p[index * width..][..ids.len()].copy_from_slice(probabilities);
        }
        Ok(Some(Self {
            token_ids: Tensor::from_vec(token_ids, shape, device)?,
            p: Tensor::from_vec(p, shape, device)?,
        }))
    }
}

/// The student's probabilities of the outcomes.
struct StudentProbabilities {
    outcomes: TensorProbabilities,
    /// Of the scores, `[C, 1]`.
    log_sum_exp: Tensor,
}

impl StudentProbabilities {
    fn of_scores(scores: &Tensor) -> Result<Self> {
        let log_sum_exp = scores.log_sum_exp(D::Minus1)?.unsqueeze(1)?;
        let log_q = scores.broadcast_sub(&log_sum_exp)?;
        // If all outcomes are out, each would get a share of 1.
        let present = scores.gt(OUT / 2.0)?.to_dtype(DType::F64)?;
        let value = (log_q.exp()? * present)?;
        Ok(Self {
            outcomes: TensorProbabilities { value, log: log_q },
            log_sum_exp,
        })
    }
}

/// The student at one temperature.
struct Student {
    /// `[C, V]`.
    logits: Tensor,
    /// The same with entries taken out.
    tail_logits: Tensor,
    /// Scores of entries and bucket, `[C, W + 1]`.
    scores: Tensor,
}

impl Student {
    fn new(logits: &Tensor, entries: &Entries) -> Result<Self> {
        let tail_logits = match &entries.out_if_present {
            Some(out) => (logits + logits.zeros_like()?.scatter_add(&entries.token_ids, out, 1)?)?,
            None => logits.clone(),
        };
        let tail = tail_logits.log_sum_exp(D::Minus1)?.unsqueeze(1)?;
        let scores = Tensor::cat(&[logits.gather(&entries.token_ids, 1)?, tail], 1)?;
        Ok(Self {
            logits: logits.clone(),
            tail_logits,
            scores: (scores.to_dtype(DType::F64)? + &entries.out_unless_present)?,
        })
    }

    fn over_vocabulary(&self) -> Result<StudentProbabilities> {
        StudentProbabilities::of_scores(&self.scores)
    }

    /// Conditioned on the entries: the bucket has probability 0.
    fn over_entries(&self, entries: &Entries) -> Result<StudentProbabilities> {
        let scores = self.scores.narrow(1, 0, entries.width)?;
        let bucket = scores.narrow(1, 0, 1)?.zeros_like()?.affine(0.0, OUT)?;
        StudentProbabilities::of_scores(&Tensor::cat(&[scores, bucket], 1)?)
    }

    /// The gradient with respect to the logits, `[C, V]`, given that with respect to the scores: an entry has one logit,
    /// the bucket's is shared by the tail's tokens in proportion to their probabilities.
    fn gradient(&self, entries: &Entries, at_scores: &Tensor) -> Result<Tensor> {
        let at_scores = at_scores.to_dtype(DType::F32)?;
        let bucket = at_scores.narrow(1, entries.width, 1)?;
        let shared = candle_nn::ops::softmax(&self.tail_logits, D::Minus1)?.broadcast_mul(&bucket)?;
        shared.scatter_add(
            &entries.token_ids,
            &at_scores.narrow(1, 0, entries.width)?.contiguous()?,
            1,
        )
    }
}
