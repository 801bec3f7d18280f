//! The number of floating-point operations of a forward pass, as a function of the architecture.

use crate::config::DecoderConfig;

/// Operations of the matrix products of a forward pass. A multiplication and an addition count as two.
///
/// For n tokens with causal attention, r of which go through the head:
///
/// ```text
/// layers(n) = 2 · L · (H·Q + 2·H·KV + Q·H + 3·H·I) · n  +  4 · L · Q · n(n + 1)/2
/// head(r)   = 2 · H · V · r
/// ```
///
/// In layers with a window of w tokens, a token attends to w at most, so n(n + 1)/2 becomes w(w + 1)/2 + (n − w) · w for n > w.
///
/// A layer of linear attention has H·(2·Qₗ + 2·Vₗ + 2·N) + Vₗ·H + 3·N·d·e in place of H·Q + 2·H·KV + Q·H, and no pairs, with Qₗ and
/// Vₗ the widths of its queries and values, and N states of d times e numbers. A gate of attention adds H·Q.
///
/// L is the number of layers, H the hidden width, with query width Q = heads · head width, key-value width KV, feed-forward width I and
/// vocabulary V. A layer with experts has H·E + 3·H·(k·I) in place of 3·H·I: its router scores E experts, and each token
/// goes through k of them, each I wide. Normalisations, activations and the softmax are not counted: they add less than 1
/// %.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ForwardFlops {
    /// Operations with the weights of all layers, per token.
    pub token: f64,
    /// Operations of attention in all layers without a window, per pair of a token and a token that it attends to, itself
    /// included.
    pub pair: f64,
    /// The same for all layers with a window.
    pub windowed_pair: f64,
    /// The window, in tokens.
    pub window: f64,
    /// Operations of the head, per row of logits.
    pub row: f64,
}

impl ForwardFlops {
    /// The operations of a decoder of this architecture.
    pub fn of(config: &DecoderConfig) -> Self {
        let [layers, hidden, inner, vocabulary] = [
            config.num_hidden_layers,
            config.hidden_size,
            config.intermediate_size,
            config.vocab_size,
        ]
        .map(|width| width as f64);
        let dense = 3.0 * hidden * inner;
        let feed_forward = config.experts.as_ref().map_or(layers * dense, |experts| {
            let chosen = (experts.per_token * experts.intermediate_size) as f64;
            let with_experts = experts.layers.len() as f64;
            let of_experts = hidden * experts.count as f64 + 3.0 * hidden * chosen;
            (layers - with_experts) * dense + with_experts * of_experts
        });
        let windows = (0..config.num_hidden_layers).filter_map(|layer| config.parts.layer(layer).window);
        let linear_layers = (0..config.num_hidden_layers).filter(|&layer| config.parts.layer(layer).is_linear);
        let linear_layers = linear_layers.count() as f64;
        let attending = layers - linear_layers;
        let linear = config.parts.linear.map_or(0.0, |linear| {
            let [key_heads, value_heads, key_dim, value_dim] =
                [linear.key_heads, linear.value_heads, linear.key_dim, linear.value_dim].map(|number| number as f64);
            let (queries, values) = (key_heads * key_dim, value_heads * value_dim);
            let products = hidden * (2.0 * queries + 2.0 * values + 2.0 * value_heads) + values * hidden;
            products + 3.0 * value_heads * key_dim * value_dim
        });
        let projections = if config.family.description().gates_attention {
            3.0
        } else {
            2.0
        };
        // A model has one window.
        let (windowed, window) = windows.fold((0.0, 0), |(count, _), window| (count + 1.0, window));
        let queries = (config.num_attention_heads * config.head_dim) as f64;
        let keys = (config.num_key_value_heads * config.head_dim) as f64;
        Self {
            token: 2.0
                * (attending * hidden * (projections * queries + 2.0 * keys) + linear_layers * linear + feed_forward),
            pair: 4.0 * (attending - windowed) * queries,
            windowed_pair: 4.0 * windowed * queries,
            window: window as f64,
            row: 2.0 * hidden * vocabulary,
        }
    }

    /// Operations of all layers for one sequence of `tokens` tokens.
    pub fn layers(&self, tokens: u64) -> f64 {
        let tokens = tokens as f64;
        let seen = tokens.min(self.window);
        let windowed = seen * (seen + 1.0) / 2.0 + (tokens - seen) * self.window;
        self.token * tokens + self.pair * tokens * (tokens + 1.0) / 2.0 + self.windowed_pair * windowed
    }

    /// Operations of the head for `rows` rows of logits.
    pub fn head(&self, rows: u64) -> f64 {
        self.row * rows as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        experts::Experts,
        parts::{LayerKind, LinearAttention},
    };

    #[test]
    fn operations_are_those_counted_by_hand() {
        // One layer: 6 wide, two query heads and one key-value head of 4, 10 inside, a vocabulary of 100.
        let config = DecoderConfig {
            vocab_size: 100,
            hidden_size: 6,
            intermediate_size: 10,
            num_attention_heads: 2,
            ..DecoderConfig::for_test(4)
        };
        let flops = ForwardFlops::of(&config);
        // Weights: queries 6 · 8, keys and values 6 · 4 each, output 8 · 6, three of 6 · 10: 324.
        assert_eq!(flops.token, 648.0);
        // Of three tokens, 1 + 2 + 3 pairs, each 8 products for the score and 8 for the value.
        assert_eq!(flops.layers(3), 3.0 * 648.0 + 6.0 * 32.0);
        assert_eq!(flops.head(2), 2.0 * 2.0 * 600.0);
        let deeper = ForwardFlops::of(&DecoderConfig {
            num_hidden_layers: 3,
            ..config.clone()
        });
        assert_eq!((deeper.layers(3), deeper.row), (3.0 * flops.layers(3), flops.row));
        // With a window of two tokens in one of three layers, a token attends to 1 + 2 + 2 tokens in it, not to 1 + 2 + 3.
        let mut windowed = DecoderConfig {
            num_hidden_layers: 3,
            ..config.clone()
        };
        windowed.parts.layers = [None, Some(2), None]
            .map(|window| LayerKind {
                window,
                ..LayerKind::default()
            })
            .to_vec();
        let windowed = ForwardFlops::of(&windowed);
        assert_eq!(windowed.layers(3), deeper.layers(3) - 32.0);
        assert_eq!(windowed.layers(2), deeper.layers(2));
        // One of two layers with linear attention: three heads of 4 by 5 over one key head. Its weights: 6 · (2 · 4 + 2 · 15 + 2 · 3)
        // and 15 · 6, and three products with three states of 20 numbers; the feed-forward block has 180.
        let mut linear = DecoderConfig {
            num_hidden_layers: 2,
            ..config.clone()
        };
        linear.parts.layers = [true, false]
            .map(|is_linear| LayerKind {
                is_linear,
                ..LayerKind::default()
            })
            .to_vec();
        linear.parts.linear = Some(LinearAttention {
            key_heads: 1,
            value_heads: 3,
            key_dim: 4,
            value_dim: 5,
            taps: 4,
        });
        let linear = ForwardFlops::of(&linear);
        assert_eq!(linear.token, 648.0 + 2.0 * (6.0 * 44.0 + 90.0 + 180.0 + 180.0));
        assert_eq!(linear.pair, flops.pair);
        // Two of three layers send a token through two of five experts, each 4 wide: 6 · 5 for the router, three of 6 · 8.
        let mixed = ForwardFlops::of(&DecoderConfig {
            num_hidden_layers: 3,
            experts: Some(Experts {
                count: 5,
                per_token: 2,
                intermediate_size: 4,
                normalize: true,
                layers: vec![0, 2],
            }),
            ..config
        });
        assert_eq!(mixed.token, 2.0 * (3.0 * 144.0 + 180.0 + 2.0 * 174.0));
    }
}
