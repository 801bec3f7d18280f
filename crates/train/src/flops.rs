//! How many floating-point operations training takes: a function of the architecture and the lengths of a pass.

use leadspan_model::{DecoderConfig, ForwardFlops};

use crate::MicroBatch;

/// Operations of the products of forward and backward passes, a multiplication and an addition counted as two.
///
/// A forward pass with r supervised positions takes what [`ForwardFlops`] counts. The backward pass takes twice that, one
/// product for each factor of a forward product. So a pass over sequences of n tokens takes
///
/// ```text
/// 3 · (Σ layers(n) + head(r))
/// ```
///
/// If the student's own distribution decides which r of s positions are learnt, all of them go through the head before, which
/// takes head(s) more.
///
/// A student that learns adapters of together P numbers takes no gradients of its other weights, so each of these costs one
/// product in the backward pass. With W the products with the weights of the layers, and `pairs` those of attention, a pass takes
///
/// ```text
/// Σ (2 · W(n) + 3 · pairs(n) + 3 · 2 · P · n) + 2 · head(r)
/// ```
///
/// Not counted: layers that `train.activation_checkpointing` computes again, validation, and the optimizer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrainingFlops {
    forward: ForwardFlops,
    /// The numbers of the adapters, if only these are learnt.
    adapters: Option<usize>,
}

/// The cost of a training pass in forward passes: one forward pass, and a backward pass that costs two.
const FORWARD_PASSES: u64 = 3;
/// The same for products with a weight that is constant.
const CONSTANT_PASSES: u64 = 2;

impl TrainingFlops {
    /// Counts for a student of this architecture. `adapters` are the numbers of its adapters, if only these are learnt.
    pub(crate) fn of(config: &DecoderConfig, adapters: Option<usize>) -> Self {
        Self {
            forward: ForwardFlops::of(config),
            adapters,
        }
    }

    /// Operations of one sample of which `tokens` tokens go through the layers and `positions` through the head, and before
    /// that `measured` positions to be chosen from.
    pub(crate) fn sample(&self, tokens: usize, positions: usize, measured: usize) -> u64 {
        // Exact whole numbers: for a model of 70 billion weights, a sequence stays below 2^53 up to 60,000 tokens.
        let layers = self.forward.layers(tokens as u64) as u64;
        let head = |positions: usize| self.forward.head(positions as u64) as u64;
        let Some(adapters) = self.adapters else {
            return FORWARD_PASSES * (layers + head(positions)) + head(measured);
        };
        let constant = (self.forward.token * tokens as f64) as u64;
        let learnt = layers - constant + 2 * (adapters * tokens) as u64;
        CONSTANT_PASSES * (constant + head(positions)) + FORWARD_PASSES * learnt + head(measured)
    }

    /// Operations of one pass over a micro-batch.
    pub(crate) fn pass(&self, batch: &MicroBatch) -> u64 {
        let lengths = batch.packed.edges().windows(2).map(|edges| edges[1] - edges[0]);
        let layers: u64 = lengths.map(|tokens| self.sample(tokens, 0, 0)).sum();
        layers + self.sample(0, batch.learnt_positions(), batch.measured_positions())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use leadspan_cache::Span;
    use leadspan_distribution::Distributions;

    use super::*;
    use crate::objective::Distillation;

    /// Two layers: 32 wide, four query heads and two key-value heads of 8, 64 inside, a vocabulary of 320.
    fn student() -> TrainingFlops {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-teacher/config.json");
        TrainingFlops::of(&DecoderConfig::from_json_file(&path).unwrap(), None)
    }

    #[test]
    fn operations_are_those_counted_by_hand() {
        // Weights of a layer: queries and output 32 · 32 each, keys and values 32 · 16 each, three of 32 · 64: 9,216. Forward, of
        // each token 2 for each of two layers' weights, of each of 1 + 2 + 3 pairs 4 for each of two times 32 elements, of each
        // position 2 for each of 32 · 320 weights.
        let forward = 3 * 36_864 + 6 * 256 + 2 * 20_480;
        assert_eq!(forward, 153_088);
        assert_eq!(student().sample(3, 2, 0), 3 * forward);
        assert_eq!(student().sample(0, 0, 0), 0);
        // Of 5 positions that go through the head, 2 are chosen.
        assert_eq!(student().sample(3, 2, 5), 3 * forward + 5 * 20_480);
    }

    #[test]
    fn constant_weights_take_no_gradients_and_adapters_do() {
        // The same student with adapters of rank 2 on queries and values of both layers: A and B have 2 · 64 and 2 · 48 numbers.
        let flops = TrainingFlops {
            adapters: Some(2 * (2 * 64 + 2 * 48)),
            ..student()
        };
        let (weights, pairs, head) = (3 * 36_864, 6 * 256, 2 * 20_480);
        let adapters = 3 * 2 * 448;
        assert_eq!(flops.sample(3, 2, 0), 2 * (weights + head) + 3 * (pairs + adapters));
        assert_eq!(flops.sample(0, 2, 5), 2 * head + 5 * 20_480);
    }

    #[test]
    fn a_pass_takes_what_its_samples_take_alone() {
        let span = |tokens: u32, positions: &[u32]| Span {
            tokens: (0..tokens).collect(),
            positions: positions.to_vec(),
            distributions: Distributions::new(),
        };
        // Tokens after the last supervised position are not fed: 4 tokens and 2, not 9 and 5.
        let spans = [span(9, &[1, 3]), span(5, &[1])];
        let members: Vec<&Span> = spans.iter().collect();
        let batch = MicroBatch::new(&members, &|_| 1.0, Distillation::default(), 320);
        let forward = (4 * 36_864 + 10 * 256 + 2 * 20_480) + (2 * 36_864 + 3 * 256 + 20_480);
        assert_eq!(student().pass(&batch), 3 * forward);
        assert_eq!(student().sample(4, 2, 0) + student().sample(2, 1, 0), 3 * forward);
    }
}
