//! The peak memory of a training step: linear in the tokens, with the slope that the crate's documentation states, plus one
//! chunk of logits.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::alloc::System;

use candle_core::Device;
use leadspan_cache::Span;
use leadspan_distribution::{Distributions, Position};
use leadspan_memory::Counting;
use leadspan_model::{Activations, Decoder, DecoderConfig, Stop, StudentStart};
use leadspan_train::{
    MicroBatch, gradients,
    objective::{Distillation, HeadPass},
};

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting::new(System);

const HIDDEN: usize = 64;
const INNER: usize = 176;
const LAYERS: usize = 6;
const KEYS: usize = 32;
/// Of one sequence.
const TOKENS: usize = 256;
/// Bytes of one chunk of logits.
const CHUNK: usize = 1 << 20;

fn student(vocabulary: usize) -> (Decoder, leadspan_model::Parameters) {
    let text = format!(
        r#"{{"model_type": "llama", "vocab_size": {vocabulary}, "hidden_size": {HIDDEN}, "intermediate_size": {INNER},
            "num_hidden_layers": {LAYERS}, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "max_position_embeddings": 4096, "tie_word_embeddings": true, "hidden_act": "silu"}}"#
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, text).unwrap();
    let config = DecoderConfig::from_json_file(&path).unwrap();
    Decoder::trainable(&StudentStart::Config { config, seed: 1 }, &Device::Cpu).unwrap()
}

/// A sample. All of its tokens except the last are fed.
fn span(sample: usize) -> Span {
    let tokens: Vec<u32> = (0..=TOKENS)
        .map(|token| ((sample * 31 + token * 7) % 500) as u32)
        .collect();
    let mut distributions = Distributions::new();
    for &target in &tokens[1..] {
        distributions.push(Position {
            token_ids: &[target],
            logprobs: &[-0.5],
            tail_logprob: (1.0 - (-0.5f32).exp()).ln(),
            ..Position::default()
        });
    }
    Span {
        positions: (0..TOKENS as u32).collect(),
        tokens,
        distributions,
    }
}

/// The peak of one forward and backward pass over sequences of 256 tokens, without parameters and gradients.
fn peak(vocabulary: usize, sequences: usize, activations: Activations) -> usize {
    let (decoder, parameters) = student(vocabulary);
    let spans: Vec<Span> = (0..sequences).map(span).collect();
    let spans: Vec<&Span> = spans.iter().collect();
    let batch = MicroBatch::new(&spans, &|_| 1.0, Distillation::default(), vocabulary);
    assert_eq!(batch.token_count(), TOKENS * sequences);
    let pass = HeadPass {
        distillation_weight: 0.5,
        chunk_bytes: CHUNK,
        fused: true,
    };
    let step = || {
        gradients::clear(&parameters);
        gradients::accumulate(&decoder, &batch, pass, activations, Stop::NEVER).unwrap();
    };
    // The first pass creates threads and their scratch memory.
    step();
    let before = ALLOCATOR.restart_peak();
    step();
    ALLOCATOR.peak() - before
}

#[test]
fn peak_memory_is_linear_in_tokens_and_has_one_chunk_of_the_vocabulary() {
    // What a layer keeps for the backward pass, in numbers per token: its input, both normalised inputs, the sum in its middle,
    // its output; queries, rotated queries, attended values; keys, rotated keys, values; gate, up, and their product.
    let layer = 5 * HIDDEN + 3 * HIDDEN + 3 * KEYS + 3 * INNER;
    // In addition, gradients of the current layer: half as much again.
    let without_gates = layer - 2 * INNER;
    for (activations, sequences, bytes) in [
        (Activations::All, 8, 4 * (LAYERS * layer + 3 * layer / 2)),
        (
            Activations::WithoutGates,
            4,
            4 * (LAYERS * without_gates + 2 * INNER + 3 * layer / 2),
        ),
        (Activations::LayerInputs, 8, 4 * (LAYERS * HIDDEN + 5 * layer / 2)),
    ] {
        let [one, two, four] = [1, 2, 4].map(|times| peak(1000, times * sequences, activations));
        let slope = |more: usize, less: usize, sequences: usize| (more - less) as f64 / (TOKENS * sequences) as f64;
        let (first, second) = (slope(two, one, sequences), slope(four, two, 2 * sequences));
        assert!((first / second - 1.0).abs() < 0.1, "{first} and {second} bytes a token");
        assert!(second <= bytes as f64, "{second} bytes a token, {bytes} are stated");
    }
    let (small, large) = (peak(1000, 8, Activations::All), peak(20_000, 8, Activations::All));
    // Logits of a chunk and the gradient's product with them; the chunk's bytes do not depend on the vocabulary.
    assert!(large <= small + CHUNK, "{small} grew to {large}");
}
