//! Tests of streamed decoders.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::*;
use crate::Decoder;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

/// Sequences, together longer than the shortest product, of tokens that every model here has.
fn sequences() -> Vec<Vec<u32>> {
    let tokens = |length: u32| (0..length).map(|place| (7 * length + 3 * place) % 37).collect();
    [1, 60, 17, 30, 2].map(tokens).to_vec()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let wide = tensor.to_dtype(candle_core::DType::F32).unwrap();
    let values = wide.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

/// Asserts that a model says the same streamed as in memory, whatever batches its sequences are in.
fn assert_same(source: &ModelSource, dtype: StoredDtype, what: &str) {
    let sequences = sequences();
    let packed = |range: std::ops::Range<usize>| Packed::new(sequences[range].iter().map(Vec::as_slice));
    let whole = Decoder::load(source, dtype, &Device::Cpu).unwrap();
    let hidden = whole.hidden_states(&packed(0..5), Stop::NEVER).unwrap();
    let logits = whole.logits(&hidden).unwrap();
    let streamed = StreamedDecoder::open(source, dtype, Kernels::Fused).unwrap();
    let (mut layers, mut starts) = (0, 0);
    let parts = [packed(0..1), packed(1..3), packed(3..5)];
    let found = streamed
        .hidden_states(&parts, Stop::NEVER, &mut || {
            layers += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(layers, source.config().num_hidden_layers, "{what}");
    for (packed, found) in parts.iter().zip(&found) {
        let count = packed.tokens().len();
        let expected = hidden.narrow(0, starts, count).unwrap();
        assert_eq!(bits(found), bits(&expected), "{what}: hidden states");
        starts += count;
    }
    let hidden = Tensor::cat(&found, 0).unwrap();
    // Whole, in bands of seven rows, and row by row.
    let row = (source.config().hidden_size * dtype.dense().size_in_bytes()) as u64;
    for most_bytes in [u64::MAX, 7 * row, 0] {
        let head = streamed.head(most_bytes).unwrap();
        let is_whole = matches!(head, StreamedHead::Whole(_));
        assert_eq!(
            is_whole,
            most_bytes == u64::MAX || dtype == StoredDtype::Native,
            "{what}"
        );
        if most_bytes > 0 || source.config().vocab_size < 100 {
            let found = streamed.logits(&head, &hidden).unwrap();
            assert_eq!(
                bits(&found),
                bits(&logits),
                "{what}: logits with {most_bytes} bytes for the head"
            );
        }
    }
}

#[test]
fn every_family_and_file_gives_the_same_bits_as_in_memory() {
    for model in [
        "tiny-teacher",
        "tiny-teacher.gguf",
        "parity/qwen3",
        "parity/llama_untied_sharded",
        "parity/qwen2",
        "parity/qwen3_moe",
        "parity/qwen3_moe.gguf",
        "parity/mistral",
        "parity/olmo2",
        "parity/smollm3",
        "parity/gemma3_images",
        "parity/granite",
        "parity/phi3",
        "parity/qwen3_5",
        "parity/fp8_blocks",
    ] {
        let source = ModelSource::open(&fixture(model)).unwrap();
        assert_same(&source, StoredDtype::F32, model);
    }
    for (model, dtype) in [
        ("tiny-teacher", StoredDtype::Bf16),
        ("parity/qwen3", StoredDtype::F16),
        ("tiny-teacher.gguf", StoredDtype::Native),
        ("parity/qwen3_moe.gguf", StoredDtype::Native),
    ] {
        let source = ModelSource::open(&fixture(model)).unwrap();
        assert_same(&source, dtype, &format!("{model} {dtype:?}"));
    }
}

#[test]
fn an_adapter_is_merged_layer_by_layer() {
    let source = ModelSource::open(&fixture("tiny-teacher")).unwrap();
    let source = source.with_adapter(&fixture("adapters/tiny")).unwrap();
    assert_same(&source, StoredDtype::F32, "an adapter");
}

#[test]
fn a_pass_stops_before_the_next_layer() {
    let source = ModelSource::open(&fixture("tiny-teacher")).unwrap();
    let streamed = StreamedDecoder::open(&source, StoredDtype::F32, Kernels::Fused).unwrap();
    let batches = [Packed::new([&[1, 2, 3][..]])];
    let (flag, mut layers) = (AtomicBool::new(false), 0);
    let stopped = streamed.hidden_states(&batches, Stop::when(&flag), &mut || {
        layers += 1;
        flag.store(true, Ordering::Relaxed);
        Ok(())
    });
    assert!(matches!(stopped, Err(ModelError::Stopped)) && layers == 1);
    // The next pass runs to its end, and an error of the caller ends one.
    assert!(streamed.hidden_states(&batches, Stop::NEVER, &mut || Ok(())).is_ok());
    let failed = streamed.hidden_states(&batches, Stop::NEVER, &mut || Err(ModelError::Stopped));
    assert!(matches!(failed, Err(ModelError::Stopped)));
}

#[test]
fn a_weight_that_is_missing_or_misshapen_is_refused_before_a_pass() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = fixture("tiny-teacher");
    let weights = candle_core::safetensors::load(tiny.join("model.safetensors"), &Device::Cpu).unwrap();
    std::fs::copy(tiny.join("config.json"), folder.path().join("config.json")).unwrap();
    let name = "model.layers.1.mlp.down_proj.weight";
    let open = |change: &dyn Fn(&mut std::collections::HashMap<String, Tensor>)| {
        let mut weights = weights.clone();
        change(&mut weights);
        candle_core::safetensors::save(&weights, folder.path().join("model.safetensors")).unwrap();
        let source = ModelSource::open(folder.path()).unwrap();
        StreamedDecoder::open(&source, StoredDtype::F32, Kernels::Fused).map(drop)
    };
    open(&|_| ()).unwrap();
    let missing = open(&|weights| drop(weights.remove(name)));
    assert!(matches!(missing, Err(ModelError::MissingWeight { name: found, .. }) if found == name));
    let misshapen = open(&|weights| {
        let turned = weights[name].t().unwrap().contiguous().unwrap();
        weights.insert(name.to_owned(), turned);
    });
    assert!(matches!(misshapen, Err(ModelError::WeightShape { name: found, .. }) if found == name));
    let whole_numbers = open(&|weights| {
        let numbers = weights[name].to_dtype(candle_core::DType::U8).unwrap();
        weights.insert(name.to_owned(), numbers);
    });
    assert!(matches!(whole_numbers, Err(ModelError::WeightFormat { name: found, .. }) if found == name));
}
