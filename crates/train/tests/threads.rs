//! The number of threads changes no bit of a step.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use candle_core::Device;
use leadspan_cache::Span;
use leadspan_distribution::{EntrySettings, Row, reduce};
use leadspan_model::{Decoder, DecoderConfig, Stop, StudentStart};
use leadspan_train::{
    AdamW, AdamWSettings, MicroBatch, gradients,
    objective::{Distillation, HeadPass},
};

/// Large enough that products, attention and loss are split among threads.
const CONFIG: &str = r#"{"model_type": "qwen3", "vocab_size": 4096, "hidden_size": 256, "intermediate_size": 704,
    "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32, "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0, "max_position_embeddings": 1024, "tie_word_embeddings": true, "hidden_act": "silu"}"#;

/// A sample with distributions of made-up logits.
fn span(length: usize, vocabulary: usize) -> Span {
    let tokens: Vec<u32> = (0..length).map(|token| (token * 7919 % vocabulary) as u32).collect();
    let logits: Vec<f32> = (0..(length - 1) * vocabulary)
        .map(|index| (index as f32 * 0.618).sin() * 4.0)
        .collect();
    let wanted: Vec<Row> = tokens[1..].iter().map(|&target| Row { target, seed: 0 }).collect();
    Span {
        distributions: reduce(&logits, vocabulary, &wanted, &EntrySettings::top_k(16)).unwrap(),
        positions: (0..length as u32 - 1).collect(),
        tokens,
    }
}

/// The bits of all parameters after two steps.
fn trained() -> Vec<Vec<u32>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, CONFIG).unwrap();
    let config = DecoderConfig::from_json_file(&path).unwrap();
    let vocabulary = config.vocab_size;
    let (decoder, parameters) = Decoder::trainable(&StudentStart::Config { config, seed: 3 }, &Device::Cpu).unwrap();
    let mut optimizer = AdamW::new(parameters.iter(), AdamWSettings::default()).unwrap();
    let spans = [301, 78, 191].map(|tokens| span(tokens, vocabulary));
    let spans: Vec<&Span> = spans.iter().collect();
    let batch = MicroBatch::new(&spans, &|_| 1e-3, Distillation::default(), vocabulary);
    let pass = HeadPass {
        distillation_weight: 0.5,
        chunk_bytes: 4 << 20,
        fused: true,
    };
    for _ in 0..2 {
        gradients::clear(&parameters);
        gradients::accumulate(&decoder, &batch, pass, false, Stop::NEVER).unwrap();
        let gradients = gradients::all(&parameters).unwrap();
        let scale = 1.0 / gradients::norm(&gradients).unwrap();
        optimizer.update(gradients.into_iter(), scale, 1e-3).unwrap();
    }
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    let values = parameters
        .iter()
        .map(|(_, variable)| variable.flatten_all().unwrap().to_vec1().unwrap());
    values.map(bits).collect()
}

#[test]
fn one_two_and_five_threads_train_the_same_bits() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(trained)
    };
    let one = with(1);
    for threads in [1, 2, 5] {
        assert!(with(threads) == one, "{threads} threads");
    }
}
