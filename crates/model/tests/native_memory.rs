//! The memory of a quantised model: with `native` it holds its quantised weights, and never dequantises a whole one.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{alloc::System, fs::File, path::Path};

use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QTensor, gguf_file},
};
use leadspan_memory::Counting;
use leadspan_model::{Decoder, ModelSource, Packed, Stop, StoredDtype};

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting::new(System);

const HIDDEN: usize = 256;
const INNER: usize = 1024;
const LAYERS: usize = 4;
const VOCABULARY: usize = 8192;

/// Writes a Llama whose matrices all have one quantisation, and returns the size of these matrices in bytes.
fn write_model(path: &Path, kind: GgmlDType) -> usize {
    let number = |value: usize| gguf_file::Value::U32(value as u32);
    let metadata = [
        ("general.architecture", gguf_file::Value::String("llama".into())),
        ("llama.block_count", number(LAYERS)),
        ("llama.context_length", number(128)),
        ("llama.embedding_length", number(HIDDEN)),
        ("llama.feed_forward_length", number(INNER)),
        ("llama.attention.head_count", number(4)),
        ("llama.attention.head_count_kv", number(2)),
        ("llama.attention.layer_norm_rms_epsilon", gguf_file::Value::F32(1e-5)),
    ];
    let mut shapes = vec![
        ("token_embd".to_owned(), vec![VOCABULARY, HIDDEN]),
        ("output_norm".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let of = |(part, shape): (&str, &[usize])| (format!("blk.{layer}.{part}"), shape.to_vec());
        shapes.extend(
            [
                ("attn_norm", &[HIDDEN][..]),
                ("ffn_norm", &[HIDDEN]),
                ("attn_q", &[HIDDEN, HIDDEN]),
                ("attn_k", &[HIDDEN / 2, HIDDEN]),
                ("attn_v", &[HIDDEN / 2, HIDDEN]),
                ("attn_output", &[HIDDEN, HIDDEN]),
                ("ffn_gate", &[INNER, HIDDEN]),
                ("ffn_up", &[INNER, HIDDEN]),
                ("ffn_down", &[HIDDEN, INNER]),
            ]
            .map(of),
        );
    }
    let mut quantised = 0;
    let tensors: Vec<(String, QTensor)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = (0..count).map(|i| ((i * 7919) % 101) as f32 / 500.0 - 0.1).collect();
            let tensor = Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).unwrap();
            let kind = if shape.len() == 2 { kind } else { GgmlDType::F32 };
            let tensor = QTensor::quantize(&tensor, kind).unwrap();
            if kind != GgmlDType::F32 {
                quantised += tensor.storage_size_in_bytes();
            }
            (format!("{name}.weight"), tensor)
        })
        .collect();
    let metadata: Vec<(&str, &gguf_file::Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut File::create(path).unwrap(), &metadata, &tensors).unwrap();
    quantised
}

/// The bytes that are allocated at the peak of loading `source`, after loading it, and after one pass over few tokens.
fn measure(source: &ModelSource, dtype: StoredDtype) -> (usize, usize, usize) {
    let before = ALLOCATOR.restart_peak();
    let decoder = Decoder::load(source, dtype, &Device::Cpu).unwrap();
    let loaded = ALLOCATOR.held() - before;
    let peak = ALLOCATOR.peak() - before;
    let hidden = decoder
        .hidden_states(&Packed::new([&[1, 2, 3][..]]), Stop::NEVER)
        .unwrap();
    let logits = decoder.logits(&hidden).unwrap();
    drop((hidden, logits));
    (peak, loaded, ALLOCATOR.held() - before)
}

#[test]
fn native_weights_stay_quantised_and_are_never_dequantised_whole() {
    let dir = tempfile::tempdir().unwrap();
    for (name, kind) in [
        ("Q4_0", GgmlDType::Q4_0),
        ("Q4_K", GgmlDType::Q4K),
        ("Q8_0", GgmlDType::Q8_0),
    ] {
        let path = dir.path().join(format!("{name}.gguf"));
        let quantised = write_model(&path, kind);
        let source = ModelSource::open(&path).unwrap();
        let (peak, loaded, used) = measure(&source, StoredDtype::Native);
        let (_, dense, _) = measure(&source, StoredDtype::F32);
        let embedding = VOCABULARY * HIDDEN * size_of::<f32>();
        let share = |bytes: usize| bytes as f64 / quantised as f64;
        let figures = format!(
            "{name}: {quantised} bytes quantised; at the peak {:.2}, loaded {:.2}, after a pass {:.2}, dense {:.2}",
            share(peak),
            share(loaded),
            share(used),
            share(dense)
        );
        // Norms and rotary angles add at most a twentieth to the weights.
        assert!(share(loaded) < 1.05, "{figures}");
        // While it loads, memory holds one tensor twice: as it is read, and its copy. A dequantised embedding alone would
        // be larger than all the rest.
        assert!(peak < quantised + embedding / 2, "{figures}");
        assert!(dense > 4 * (VOCABULARY * HIDDEN), "{figures}");
        // For some formats the tensor library keeps a second copy of the weights in the processor's layout, at most as
        // large and with space for scales; for matrix tiles (AMX) with one byte per four bits.
        let most = if has_tiles() { 3.0 } else { 2.6 };
        assert!(share(used) < most && used < dense, "{figures}");
    }
}

/// Whether the processor multiplies tiles of bytes.
fn has_tiles() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let tiles_and_bytes = 0b11 << 24;
        std::arch::x86_64::__cpuid_count(7, 0).edx & tiles_and_bytes == tiles_and_bytes
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}
