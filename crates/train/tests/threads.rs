//! How many threads there are changes no bit of a step.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use candle_core::Device;
use leadspan_distribution::{EntrySettings, Row, reduce};
use leadspan_model::{Decoder, DecoderConfig, Packed, StudentStart};
use leadspan_train::{
    AdamW, AdamWSettings, gradients,
    objective::{Distillation, HeadPass, Rows, backward},
};

/// Large enough that products, attention and loss are shared among threads.
const CONFIG: &str = r#"{"model_type": "qwen3", "vocab_size": 4096, "hidden_size": 256, "intermediate_size": 704,
    "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32, "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0, "max_position_embeddings": 1024, "tie_word_embeddings": true, "hidden_act": "silu"}"#;

/// The bits of all parameters after two steps.
fn trained() -> Vec<Vec<u32>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, CONFIG).unwrap();
    let config = DecoderConfig::from_json_file(&path).unwrap();
    let vocabulary = config.vocab_size;
    let (decoder, parameters) = Decoder::trainable(&StudentStart::Config { config, seed: 3 }, &Device::Cpu).unwrap();
    let mut optimizer = AdamW::new(parameters.iter(), AdamWSettings::default()).unwrap();
    let tokens: Vec<Vec<u32>> = [300u32, 77, 190]
        .iter()
        .map(|&length| (0..length).map(|token| token * 7919 % vocabulary as u32).collect())
        .collect();
    let packed = Packed::new(tokens.iter().map(Vec::as_slice));
    let places: Vec<u32> = (0..packed.tokens().len() as u32).collect();
    let logits: Vec<f32> = (0..places.len() * vocabulary)
        .map(|index| (index as f32 * 0.618).sin() * 4.0)
        .collect();
    let wanted: Vec<Row> = packed.tokens().iter().map(|&target| Row { target, seed: 0 }).collect();
    let entries = reduce(&logits, vocabulary, &wanted, &EntrySettings::top_k(16)).unwrap();
    let mut rows = Rows::new(Distillation::default());
    rows.push_sample(packed.tokens(), &entries, 1.0 / places.len() as f32, vocabulary);
    let pass = HeadPass {
        distillation_weight: 0.5,
        chunk_bytes: 4 << 20,
        fused: true,
    };
    for _ in 0..2 {
        gradients::clear(&parameters);
        let trace = decoder.trace(&packed, &places, false).unwrap();
        let (weight, sum) = (decoder.head_weight().unwrap(), decoder.head_gradient().unwrap());
        let head = backward(pass, &trace.rows(), &weight, &rows, sum).unwrap();
        trace.backward(&head.hidden).unwrap();
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
