//! Whether a teacher's weights fit into the memory that they may take, and how many tokens a pass has if they do not. Pure.

use leadspan_model::{DecoderConfig, StoredDtype, StreamedHead, WeightSizes};
use serde::Serialize;

/// How a teacher runs whose weights do not fit into `teacher.memory`.
///
/// Layers are read one after the other, the next one while the one before computes, and a pass has as many tokens as hidden
/// states fit beside two layers, or beside the head, which is read when the layers are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Streaming {
    /// `teacher.memory`: what weights and hidden states may take together.
    pub memory_bytes: u64,
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

impl Streaming {
    /// How a teacher runs whose weights may take `memory_bytes`; `None` if they fit.
    pub(crate) fn of(
        sizes: &WeightSizes,
        config: &DecoderConfig,
        dtype: StoredDtype,
        memory_bytes: u64,
        amounts: Amounts,
    ) -> Option<Self> {
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
        Self::with(sizes.total(), largest, parts, memory_bytes, batch)
    }

    fn with(weight_bytes: u64, layer_bytes: u64, parts: Parts, memory_bytes: u64, batch_tokens: u64) -> Option<Self> {
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
        Some(Self {
            memory_bytes,
            weight_bytes,
            layer_bytes,
            pass_tokens: usize::try_from(tokens).unwrap_or(usize::MAX),
            is_head_whole,
            least_bytes: parts.layers + batch_tokens * parts.token,
            parts,
        })
    }

    /// Whether `teacher.memory` is less than what is needed at least. Then more memory is used.
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
    fn of(memory_bytes: u64) -> Option<Streaming> {
        let parts = Parts {
            layers: 200,
            head: 500,
            token: 2,
            activations: 70,
            logits: 30,
        };
        Streaming::with(1500, 100, parts, memory_bytes, 10)
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
