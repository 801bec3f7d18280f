//! Losses on the validation samples, which are always whole.

use candle_core::Tensor;
use leadspan_cache::Reader;
use leadspan_model::{Decoder, ModelError, Stop};
use leadspan_sequence::Split;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    MicroBatch, TrainError,
    batches::Batching,
    comparison::has_right_objective,
    gradients::{head_weight, supervised_hidden_states},
    objective::{self, Distillation, HeadPass, LossSums, Losses},
    parallel::share::Share,
    policies::Supervision,
    student,
};

/// Mean losses over all supervised positions of the validation samples, in nats. Losses against the teacher are absent if the
/// cache has no distributions of these samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// −log probability of the real next token.
    #[serde(deserialize_with = "number")]
    pub cross_entropy: f64,
    /// KL(teacher ‖ student) at temperature 1 over the stored entries and the tail bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_kl: Option<f64>,
    /// That plus the teacher's entropy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_cross_entropy: Option<f64>,
    /// The share of positions where the student's most probable token is the teacher's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_1_agreement: Option<f64>,
    /// The number of positions that the means are taken over.
    pub positions: u64,
}

impl HeldOut {
    /// (1 − α)·CE + α·KL, α being the weight of the divergence. The best student has the lowest. The divergence is forward
    /// KL at temperature 1, whatever the loss.
    pub fn loss(&self, distillation_weight: f64) -> f64 {
        weighted(1.0 - distillation_weight, self.cross_entropy)
            + weighted(distillation_weight, self.forward_kl.unwrap_or(f64::NAN))
    }
}

impl HeldOut {
    /// The means of these sums over the samples of `reader`; `None` if there are no positions.
    pub(crate) fn of(sums: &LossSums, reader: &Reader) -> Option<Self> {
        let of_teacher = |sum: f64| reader.has_distributions().then_some(sum / sums.weight);
        (sums.weight > 0.0).then(|| Self {
            cross_entropy: sums.cross_entropy / sums.weight,
            forward_kl: of_teacher(sums.forward_kl),
            soft_cross_entropy: of_teacher(sums.soft_cross_entropy),
            top_1_agreement: of_teacher(sums.top_1_agreement),
            positions: sums.weight as u64,
        })
    }

    /// Whether the losses that count are finite, the divergence weighing `distillation_weight`.
    pub(crate) fn is_finite(&self, distillation_weight: f64) -> bool {
        let counts = |weight: f64, loss: f64| weight == 0.0 || loss.is_finite();
        counts(1.0 - distillation_weight, self.cross_entropy)
            && self.forward_kl.is_none_or(|loss| counts(distillation_weight, loss))
    }
}

/// A weighted part of a loss; 0 if the weight is 0, even if the loss is infinite.
fn weighted(weight: f64, loss: f64) -> f64 {
    if weight == 0.0 { 0.0 } else { weight * loss }
}

/// Reads a number. JSON has `null` for one that is not finite.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Samples that are read together.
const GROUP: usize = 32;

/// Tokens of one pass outside training.
const PASS_TOKENS: usize = 2048;

/// Measures any model on all validation samples of a cache, over the sections that `reader` covers, as a training run
/// measures its student. `None` if there are no such samples, or `stop` was requested before the end.
///
/// # Errors
///
/// If the model cannot be fed a sample, the cache cannot be read, or the device fails.
///
/// # Panics
///
/// If the model's head is quantised.
pub fn held_out_losses(model: &Decoder, reader: &Reader, stop: Stop<'_>) -> Result<Option<HeldOut>, TrainError> {
    student::check_samples(model.config(), reader)?;
    let batching = Batching {
        micro_batch_tokens: PASS_TOKENS,
        normalization: None,
        distillation: Distillation::default(),
        supervision: Supervision::default(),
        vocabulary: model.config().vocab_size,
    };
    let mut pass = HeadPass::of(model, 0.5);
    // A student's objective is compared when it is opened, that of another model here.
    if !has_right_objective(model) {
        pass = pass.in_stock_operations();
    }
    let alone = Share { rank: 0, count: 1 };
    let sums = sums((model, reader), batching, pass, alone, stop)?;
    Ok(sums.and_then(|sums| HeldOut::of(&sums, reader)))
}

/// The losses of `student` on the validation samples of one process's `share`; `None` if `stop` was requested before the end.
///
/// # Errors
///
/// If the cache cannot be read or the device fails.
pub(crate) fn sums(
    (student, reader): (&Decoder, &Reader),
    batching: Batching,
    pass: HeadPass,
    share: Share,
    stop: Stop<'_>,
) -> Result<Option<LossSums>, TrainError> {
    let batching = Batching {
        normalization: None,
        // The same for every loss and policy, so that held-out losses of different runs are comparable.
        distillation: Distillation::default(),
        supervision: Supervision::default(),
        ..batching
    };
    let head = head_weight(student, pass)?;
    // Samples of similar length share a pass.
    let mut samples: Vec<u32> = reader.corpus().of_split(Split::Validation).collect();
    samples.sort_by_key(|&sample| reader.corpus().sample(sample as usize).token_count());
    let mut sums = Losses::default();
    // Few samples are shared, too.
    let group = GROUP.min(samples.len().div_ceil(share.count)).max(1);
    for group in samples.chunks(group).skip(share.rank).step_by(share.count) {
        for batch in batching.whole(reader, group)?.micro_batches {
            match losses(student, &head, &batch, pass, stop) {
                Err(TrainError::Model(ModelError::Stopped)) => return Ok(None),
                found => sums.add(found?),
            }
        }
    }
    Ok(Some(sums.wait()?))
}

/// The losses of one pass.
fn losses(
    student: &Decoder,
    head: &Tensor,
    batch: &MicroBatch,
    pass: HeadPass,
    stop: Stop<'_>,
) -> Result<Losses, TrainError> {
    let hidden = supervised_hidden_states(student, batch, stop)?;
    Ok(objective::forward(pass, (&hidden, head), &batch.rows, stop)?)
}
