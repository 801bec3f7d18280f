//! The memory of a streamed decoder: two layers beside what goes through them, whatever the number of layers.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{alloc::System, collections::HashMap, fs, path::Path};

use candle_core::{DType, Device, Tensor};
use leadspan_memory::Counting;
use leadspan_model::{
    ModelSource, Packed, Stop, StoredDtype, StreamedDecoder, StreamedHead, WeightSizes, kernels::Kernels,
};

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting::new(System);

const HIDDEN: usize = 256;
const INNER: usize = 1024;
const LAYERS: usize = 8;
const VOCABULARY: usize = 16_384;

/// Sequences of a batch, and their tokens.
const SEQUENCES: usize = 4;
const TOKENS: usize = 40;

/// Writes a Llama in bfloat16.
fn write_model(dir: &Path) {
    let config = format!(
        r#"{{"model_type": "llama", "vocab_size": {VOCABULARY}, "hidden_size": {HIDDEN}, "intermediate_size": {INNER},
            "num_hidden_layers": {LAYERS}, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 64,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": true}}"#
    );
    fs::write(dir.join("config.json"), config).unwrap();
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let of = |(part, shape): (&str, &[usize])| (format!("model.layers.{layer}.{part}.weight"), shape.to_vec());
        shapes.extend(
            [
                ("input_layernorm", &[HIDDEN][..]),
                ("post_attention_layernorm", &[HIDDEN]),
                ("self_attn.q_proj", &[HIDDEN, HIDDEN]),
                ("self_attn.k_proj", &[HIDDEN, HIDDEN]),
                ("self_attn.v_proj", &[HIDDEN, HIDDEN]),
                ("self_attn.o_proj", &[HIDDEN, HIDDEN]),
                ("mlp.gate_proj", &[INNER, HIDDEN]),
                ("mlp.up_proj", &[INNER, HIDDEN]),
                ("mlp.down_proj", &[HIDDEN, INNER]),
            ]
            .map(of),
        );
    }
    let tensors: HashMap<String, Tensor> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = (0..count).map(|i| ((i * 7919) % 101) as f32 / 500.0 - 0.1).collect();
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            (name, tensor.to_dtype(DType::BF16).unwrap())
        })
        .collect();
    candle_core::safetensors::save(&tensors, dir.join("model.safetensors")).unwrap();
}

/// The most bytes that `run` holds above those before.
fn peak_of<T>(run: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATOR.restart_peak();
    let result = run();
    (ALLOCATOR.peak() - before, result)
}

#[test]
fn a_pass_holds_two_layers_and_then_the_head_or_a_band_of_it() {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path());
    let source = ModelSource::open(dir.path()).unwrap();
    let sizes = WeightSizes::of(&source, StoredDtype::F32).unwrap();
    let (layer, head) = (sizes.layers[0] as usize, sizes.head as usize);
    let tokens: Vec<u32> = (0..TOKENS as u32).collect();
    let batches: Vec<Packed> = (0..2).map(|_| Packed::new([tokens.as_slice(); SEQUENCES])).collect();
    let (opened, decoder) = peak_of(|| StreamedDecoder::open(&source, StoredDtype::F32, Kernels::Fused).unwrap());
    assert!(opened < layer / 4, "opening took {opened} bytes, a layer has {layer}");
    let pass = || decoder.hidden_states(&batches, Stop::NEVER, &mut || Ok(())).unwrap();
    // The first pass also makes buffers that threads keep.
    drop(pass());
    let batch = SEQUENCES * TOKENS;
    let states = 2 * batch * HIDDEN * size_of::<f32>();
    // Gate, up and their product, and a few tensors as wide as the hidden states.
    let activations = batch * (3 * INNER + 8 * HIDDEN) * size_of::<f32>();
    // A thread that takes part for the first time in a later pass makes its buffers there: most passes have none of these.
    let (peaks, hidden): (Vec<usize>, Vec<_>) = (0..8).map(|_| peak_of(pass)).unzip();
    let hidden = &hidden[0];
    let figures = format!("{peaks:?} bytes; a layer has {layer}, hidden states {states}, activations {activations}");
    assert!(peaks.iter().any(|&peak| peak > 2 * layer), "{figures}");
    assert!(
        peaks.iter().any(|&peak| peak < 2 * layer + states + activations) && states + activations < layer,
        "{figures}"
    );
    let rows = hidden[0].narrow(0, 0, 8).unwrap();
    let logits = 8 * VOCABULARY * size_of::<f32>();
    for most_bytes in [usize::MAX, head / 8] {
        let (peak, _) = peak_of(|| {
            let head = decoder.head(most_bytes as u64).unwrap();
            assert_eq!(matches!(head, StreamedHead::Whole(_)), most_bytes == usize::MAX);
            decoder.logits(&head, &rows).unwrap()
        });
        // Products have buffers, and the logits of all bands are joined.
        let allowed = most_bytes.min(head) + 3 * logits + layer / 4;
        assert!(
            peak < allowed,
            "{peak} bytes for logits, allowed are {allowed}; the head has {head}"
        );
    }
}
