//! The memory that exporting a student needs beside the student: never more than one of its tensors.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::alloc::System;

use candle_core::Device;
use leadspan_memory::Counting;
use leadspan_model::{Decoder, DecoderConfig, Parameters, StudentDtype, StudentStart, write_model_dir};

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting::new(System);

const HIDDEN: usize = 256;
const VOCABULARY: usize = 16_384;

fn student(dtype: StudentDtype) -> (Decoder, Parameters) {
    let text = format!(
        r#"{{"model_type": "llama", "vocab_size": {VOCABULARY}, "hidden_size": {HIDDEN}, "intermediate_size": 1024,
            "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "max_position_embeddings": 128, "tie_word_embeddings": true, "hidden_act": "silu"}}"#
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, text).unwrap();
    let config = DecoderConfig::from_json_file(&path).unwrap();
    Decoder::trainable_in(dtype, &StudentStart::Config { config, seed: 1 }, &Device::Cpu).unwrap()
}

#[test]
fn an_export_holds_at_most_one_tensor_beside_the_student() {
    for dtype in [StudentDtype::F32, StudentDtype::Bf16] {
        let (decoder, parameters) = student(dtype);
        let folder = tempfile::tempdir().unwrap();
        let weights = parameters.iter().map(|(name, variable)| (name, variable.as_tensor()));
        let before = ALLOCATOR.restart_peak();
        write_model_dir(&folder.path().join("student"), decoder.config(), weights, &[]).unwrap();
        let above = ALLOCATOR.peak() - before;
        let largest = VOCABULARY * HIDDEN * dtype_bytes(dtype);
        assert!(
            above <= largest,
            "{dtype:?}: {above} bytes, the largest tensor has {largest}"
        );
    }
}

fn dtype_bytes(dtype: StudentDtype) -> usize {
    match dtype {
        StudentDtype::F32 => 4,
        StudentDtype::Bf16 => 2,
    }
}
