//! Losses on the validation samples, which are always whole.

use candle_core::Tensor;
use leadspan_cache::Reader;
use leadspan_model::{Decoder, ModelError, Stop};
use leadspan_sequence::Split;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    MicroBatch, TrainError,
    batches::Batching,
    gradients::{head_weight, supervised_hidden_states},
    objective::{self, Distillation, HeadPass, LossSums},
    student,
};

/// Mean losses over all supervised positions of the validation samples, in nats; without those that compare with the teacher
/// where the cache does not have what it says of them.
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
    /// How many positions these are means of.
    pub positions: u64,
}

impl HeldOut {
    /// (1 − α)·CE + α·KL, α being the weight of the divergence: what the best student has least of. The divergence is
    /// forward KL at temperature 1, whatever is learnt.
    pub fn loss(&self, distillation_weight: f64) -> f64 {
        weighted(1.0 - distillation_weight, self.cross_entropy)
            + weighted(distillation_weight, self.forward_kl.unwrap_or(f64::NAN))
    }
}

/// Part of a loss; one without weight may be anything, infinite too.
fn weighted(weight: f64, loss: f64) -> f64 {
    if weight == 0.0 { 0.0 } else { weight * loss }
}

/// A number, which JSON has as `null` where it is not finite.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Samples read at once.
const GROUP: usize = 32;

/// Tokens of one pass, where no training decides them.
const PASS_TOKENS: usize = 2048;

/// Bytes that the logits of one chunk may take, while training too.
pub(crate) const HEAD_CHUNK_BYTES: usize = 128 << 20;

/// Measures a model, whether it was trained here or not, on all validation samples of a cache, over the sections that
/// `reader` covers; `None` where there are none, or `stop` was set before the end. What a training run reports of its student is
/// measured in the same way.
///
/// # Errors
///
/// Samples that the model cannot be fed, a cache that cannot be read, or a device that fails.
///
/// # Panics
///
/// Where the model's head is quantised.
pub fn held_out_losses(model: &Decoder, reader: &Reader, stop: Stop<'_>) -> Result<Option<HeldOut>, TrainError> {
    student::check_samples(model.config(), reader)?;
    let batching = Batching {
        micro_batch_tokens: PASS_TOKENS,
        normalization: None,
        distillation: Distillation::default(),
        vocabulary: model.config().vocab_size,
    };
    let pass = HeadPass {
        distillation_weight: 0.5,
        chunk_bytes: HEAD_CHUNK_BYTES,
        fused: true,
    };
    measure(model, reader, batching, pass, stop)
}

/// Measures `student` on all validation samples; `None` where there are none, or `stop` was set before the end.
///
/// # Errors
///
/// Where the cache cannot be read or the device fails.
pub(crate) fn measure(
    student: &Decoder,
    reader: &Reader,
    batching: Batching,
    pass: HeadPass,
    stop: Stop<'_>,
) -> Result<Option<HeldOut>, TrainError> {
    let batching = Batching {
        normalization: None,
        // Whatever is learnt, so that held-out losses of different runs compare.
        distillation: Distillation::default(),
        ..batching
    };
    let head = head_weight(student)?;
    // Samples of similar length share a pass.
    let mut samples: Vec<u32> = reader.corpus().of_split(Split::Validation).collect();
    samples.sort_by_key(|&sample| reader.corpus().samples()[sample as usize].tokens.len());
    let mut sums = LossSums::default();
    for group in samples.chunks(GROUP) {
        for batch in batching.step(reader, group)?.micro_batches {
            match losses(student, &head, &batch, pass, stop) {
                Err(TrainError::Model(ModelError::Stopped)) => return Ok(None),
                found => sums.add(&found?),
            }
        }
    }
    let of_teacher = |sum: f64| reader.has_distributions().then_some(sum / sums.weight);
    Ok((sums.weight > 0.0).then(|| HeldOut {
        cross_entropy: sums.cross_entropy / sums.weight,
        forward_kl: of_teacher(sums.forward_kl),
        soft_cross_entropy: of_teacher(sums.soft_cross_entropy),
        top_1_agreement: of_teacher(sums.top_1_agreement),
        positions: sums.weight as u64,
    }))
}

/// The losses of one pass.
fn losses(
    student: &Decoder,
    head: &Tensor,
    batch: &MicroBatch,
    pass: HeadPass,
    stop: Stop<'_>,
) -> Result<LossSums, TrainError> {
    let hidden = supervised_hidden_states(student, batch, stop)?;
    Ok(objective::forward(pass, (&hidden, head), &batch.rows, stop)?)
}
