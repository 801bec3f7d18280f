//! Whether a teacher's weights fit into the memory that they may take, and how many tokens a pass has if they do not. Pure.

use leadspan_model::{DecoderConfig, StoredDtype, StreamedHead, WeightSizes};
use serde::Serialize;

/// Where the bound on a teacher's memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryBound {
    /// `teacher.memory`.
    Setting,
    /// The memory that the machine has available.
    Machine,
}

/// How a teacher runs whose weights do not fit into the memory that they may take.
///
/// Layers are read one after the other, the next one while the one before computes, and a pass has as many tokens as hidden
/// states fit beside two layers, or beside the head, which is read when the layers are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Streaming {
    /// What weights and hidden states may take together.
    pub memory_bytes: u64,
    /// Where that comes from.
    pub memory_bound: MemoryBound,
    /// All weights, in `teacher.dtype`.
    pub weight_bytes: u64,
    /// The largest layer.
    pub layer_bytes: u64,
    /// The most tokens of a pass. A longer sample goes alone.
    pub pass_tokens: usize,
    /// Whether the head fits beside the hidden states of such a pass. If not, it is read band by band for each chunk of logits.
    pub is_head_whole: bool,
    /// What two layers and the hidden states of one ordinary batch (`cache.batch_tokens`) take.
    pub least_bytes: u64,
    #[serde(skip)]
    parts: Parts,
}

/// The sizes from which a [`Streaming`] was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    /// The layers that are in memory at a time.
    layers: u64,
    head: u64,
    /// The hidden state of a token.
    token: u64,
    /// What computes between two hidden states, for the tokens of one ordinary batch.
    activations: u64,
    /// A chunk of logits.
    logits: u64,
}

/// What goes through the teacher together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amounts {
    /// Tokens of an ordinary batch.
    pub(crate) batch_tokens: usize,
    /// Bytes of a chunk of logits.
    pub(crate) logit_bytes: u64,
}

/// What a teacher takes whose weights are all in memory, and how it runs otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// All weights.
    weights: u64,
    /// The largest layer.
    layer: u64,
    parts: Parts,
    batch_tokens: u64,
}

impl Footprint {
    /// That of a teacher.
    pub(crate) fn of(sizes: &WeightSizes, config: &DecoderConfig, dtype: StoredDtype, amounts: Amounts) -> Self {
        let number = if dtype == StoredDtype::F32 || dtype == StoredDtype::Native {
            4
        } else {
            2
        };
        let (hidden, batch) = (config.hidden_size as u64, amounts.batch_tokens as u64);
        let queries = (config.num_attention_heads * config.head_dim) as u64;
        let keys = (config.num_key_value_heads * config.head_dim) as u64;
        let inner = config.experts.as_ref().map_or(0, |experts| experts.intermediate_size);
        let inner = config.intermediate_size.max(inner) as u64;
        let widest = (2 * queries + 2 * keys).max(3 * inner) + 2 * hidden;
        let largest = sizes.layers.iter().copied().max().unwrap_or(0);
        let parts = Parts {
            layers: largest * sizes.layers.len().min(2) as u64,
            head: sizes.head,
            token: number * hidden,
            activations: number * widest * batch,
            logits: amounts.logit_bytes,
        };
        Self {
            weights: sizes.total(),
            layer: largest,
            parts,
            batch_tokens: batch,
        }
    }

    /// A prediction of its memory with all weights in memory: these, the hidden states and activations of a batch, and a chunk of logits.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.weights + self.parts.token * self.batch_tokens + self.parts.activations + self.parts.logits
    }

    /// How it runs if weights and hidden states may take `memory_bytes`; `None` if the weights fit.
    pub(crate) fn within(&self, memory_bytes: u64) -> Option<Streaming> {
        self.bounded(memory_bytes, MemoryBound::Setting)
    }

    /// How it runs on a machine with this much memory available, of which a tenth is left to all else; `None` if the weights fit beside
    /// activations and logits.
    pub(crate) fn on_machine(&self, available_bytes: u64) -> Option<Streaming> {
        let others = available_bytes / 10 + self.parts.activations + self.parts.logits;
        self.bounded(available_bytes.saturating_sub(others), MemoryBound::Machine)
    }

    fn bounded(&self, memory_bytes: u64, memory_bound: MemoryBound) -> Option<Streaming> {
        let Self {
            weights: weight_bytes,
            layer: layer_bytes,
            parts,
            batch_tokens,
        } = *self;
        if weight_bytes <= memory_bytes {
            return None;
        }
        let tokens_beside = |bytes: u64| memory_bytes.saturating_sub(bytes) / parts.token.max(1);
        let beside_all = tokens_beside(parts.layers.max(parts.head));
        let is_head_whole = beside_all >= batch_tokens;
        let tokens = if is_head_whole {
            beside_all
        } else {
            tokens_beside(parts.layers).max(batch_tokens)
        };
        Some(Streaming {
            memory_bytes,
            memory_bound,
            weight_bytes,
            layer_bytes,
            pass_tokens: usize::try_from(tokens).unwrap_or(usize::MAX),
            is_head_whole,
            least_bytes: parts.layers + batch_tokens * parts.token,
            parts,
        })
    }
}

impl Streaming {
    /// Whether the memory is less than what is needed at least. Then more memory is used.
    pub fn is_too_little(&self) -> bool {
        self.memory_bytes < self.least_bytes
    }

    /// The memory that is left for the head beside the hidden states of a pass of `tokens` tokens.
    pub(crate) fn head_room(&self, tokens: u64) -> u64 {
        self.memory_bytes.saturating_sub(tokens * self.parts.token)
    }

    /// A prediction of the memory of a pass of `tokens` tokens: hidden states, the larger of two layers and the head, and
    /// activations of a batch and logits, whose memory is kept for the next pass.
    pub fn expected_bytes(&self, tokens: u64) -> u64 {
        let Parts {
            layers,
            head,
            token,
            activations,
            logits,
        } = self.parts;
        let room = self.head_room(tokens);
        // The bands of a row of logits are joined, so they exist twice.
        let (head, logits) = if head <= room {
            (head, logits)
        } else {
            (room.min(StreamedHead::BAND_BYTES), 2 * logits)
        };
        token * tokens + layers.max(head) + activations + logits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layers of 100 bytes, a head of 500, 2 bytes a token, batches of 10 tokens.
    const TEACHER: Footprint = Footprint {
        weights: 1500,
        layer: 100,
        parts: Parts {
            layers: 200,
            head: 500,
            token: 2,
            activations: 70,
            logits: 30,
        },
        batch_tokens: 10,
    };

    fn of(memory_bytes: u64) -> Option<Streaming> {
        TEACHER.within(memory_bytes)
    }

    #[test]
    fn without_a_setting_a_tenth_of_the_machine_and_what_computes_are_left_free() {
        // 1,777 less a tenth (177), 70 of activations and 30 of logits are the 1,500 of the weights.
        assert_eq!(TEACHER.on_machine(1777), None);
        let streamed = TEACHER.on_machine(1776).unwrap();
        assert_eq!(
            (streamed.memory_bytes, streamed.memory_bound),
            (1499, MemoryBound::Machine)
        );
        assert_eq!(Some(streamed.pass_tokens), of(1499).map(|set| set.pass_tokens));
        assert!(TEACHER.on_machine(0).unwrap().is_too_little());
        // With the hidden states of a batch.
        assert_eq!(TEACHER.resident_bytes(), 1500 + 20 + 70 + 30);
    }

    #[test]
    fn a_pass_has_as_many_tokens_as_fit_beside_the_weights() {
        assert_eq!(of(1500), None);
        for (memory, tokens, is_head_whole, is_too_little) in [
            // (1499 − 500) / 2, and exactly a batch beside the head.
            (1499, 499, true, false),
            (520, 10, true, false),
            // Beside two layers: (519 − 200) / 2.
            (519, 159, false, false),
            (220, 10, false, false),
            // One batch in any case.
            (219, 10, false, true),
            (1, 10, false, true),
        ] {
            let streaming = of(memory).unwrap();
            assert_eq!(
                (streaming.pass_tokens, streaming.is_head_whole),
                (tokens, is_head_whole),
                "{memory}"
            );
            assert_eq!(
                (streaming.is_too_little(), streaming.least_bytes),
                (is_too_little, 220),
                "{memory}"
            );
        }
    }

    #[test]
    fn the_memory_of_a_pass_is_the_sum_of_what_is_kept_and_its_larger_weights() {
        // Hidden states, the head, activations and a chunk of logits.
        assert_eq!(of(1499).unwrap().expected_bytes(499), 998 + 500 + 70 + 30);
        // Bands in what hidden states leave, or two layers if they are more, and two chunks of logits.
        let banded = of(519).unwrap();
        assert_eq!(
            (banded.head_room(10), banded.expected_bytes(10)),
            (499, 20 + 499 + 70 + 60)
        );
        assert_eq!(
            (banded.head_room(159), banded.expected_bytes(159)),
            (201, 318 + 201 + 70 + 60)
        );
        let little = of(220).unwrap();
        assert_eq!(
            (little.head_room(20), little.expected_bytes(20)),
            (180, 40 + 200 + 70 + 60)
        );
    }
}
