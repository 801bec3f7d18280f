//! The forward pass compared with independent implementations: transformers (committed numbers) and candle-transformers.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use candle_core::{D, DType, Device, IndexOp as _, Tensor};
use leadspan_model::{Decoder, ModelSource, Packed, Stop, StoredDtype};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn expected(path: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(fixtures().join(path), &Device::Cpu).expect("a committed fixture")
}

fn load(path: &str, dtype: StoredDtype) -> Decoder {
    let source = ModelSource::open(&fixtures().join(path)).expect("a committed model");
    Decoder::load(&source, dtype, &Device::Cpu).expect("a committed model")
}

/// The final hidden states `[B, T, H]` of the sequences in the rows of `tokens` `[B, T]`.
fn hidden_states(decoder: &Decoder, tokens: &Tensor) -> Tensor {
    let rows = tokens.to_vec2::<u32>().expect("rows of tokens");
    let packed = Packed::new(rows.iter().map(Vec::as_slice));
    let hidden = decoder.hidden_states(&packed, Stop::NEVER).expect("a forward pass");
    let (batch, length) = tokens.dims2().expect("two dimensions");
    hidden.reshape((batch, length, ())).expect("a view")
}

/// The log-softmax of the logits of every position, `[B, T, V]`, with stock operations.
fn logprobs(decoder: &Decoder, tokens: &Tensor) -> Tensor {
    let hidden = hidden_states(decoder, tokens);
    let (batch, length, width) = hidden.dims3().expect("three dimensions");
    let logits = decoder
        .logits(&hidden.reshape((batch * length, width)).expect("a view"))
        .expect("logits");
    let logprobs = candle_nn::ops::log_softmax(&logits, D::Minus1).expect("a softmax");
    logprobs.reshape((batch, length, ())).expect("a view")
}

fn max_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    (a - b)
        .and_then(|d| d.abs()?.flatten_all()?.max(0)?.to_scalar())
        .expect("two tensors of one shape")
}

fn mean_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    (a - b)
        .and_then(|d| d.abs()?.mean_all()?.to_scalar())
        .expect("two tensors of one shape")
}

/// Both sides compute in single precision and sum in different orders. Logits here range over several nats, and values
/// agree to about 1e-5.
const TOLERANCE: f32 = 1e-4;

#[test]
fn hidden_states_and_logprobs_agree_with_transformers() {
    for model in [
        "llama",
        "qwen3",
        "llama_untied_sharded",
        // The files hold bfloat16 or half precision, which transformers read for its computation.
        "qwen2",
        "qwen3_yarn",
        "qwen3_moe",
        "qwen3_moe_unnormalized",
        "mistral",
        "mistral3",
        "olmo2",
        "smollm3",
        "gemma3",
        "gemma3_images",
        "granite",
        "phi3",
        "phi3_partial",
        "qwen3_5",
    ] {
        let expected = expected(&format!("parity/{model}/expected.safetensors"));
        let decoder = load(&format!("parity/{model}"), StoredDtype::F32);
        let hidden = hidden_states(&decoder, &expected["tokens"]);
        // Ours are divided by the divisor of the logits.
        let hidden = (hidden * decoder.config().parts.logit_divisor).unwrap();
        let difference = max_difference(&hidden, &expected["hidden"]);
        assert!(difference < TOLERANCE, "{model}: hidden states differ by {difference}");
        let difference = max_difference(&logprobs(&decoder, &expected["tokens"]), &expected["logprobs"]);
        assert!(
            difference < TOLERANCE,
            "{model}: log-probabilities differ by {difference}"
        );
    }
}

#[test]
fn positions_beyond_the_context_before_scaling_agree_with_transformers() {
    let expected = expected("parity/llama/long.safetensors");
    let hidden = hidden_states(&load("parity/llama", StoredDtype::F32), &expected["tokens"]);
    let difference = max_difference(&hidden, &expected["hidden"]);
    // Angles of up to 96 radians, which transformers computes in single precision.
    assert!(difference < 2.0 * TOLERANCE, "{difference}");
}

#[test]
fn a_mixture_in_a_gguf_file_is_what_its_values_stand_for() {
    let expected = expected("parity/qwen3_moe.gguf.expected.safetensors");
    let dense = logprobs(&load("parity/qwen3_moe.gguf", StoredDtype::F32), &expected["tokens"]);
    let difference = max_difference(&dense, &expected["logprobs"]);
    assert!(difference < TOLERANCE, "{difference}");
    // As in the test below, inputs are rounded to eight bits per block. So a few tokens may choose another expert.
    let native = logprobs(&load("parity/qwen3_moe.gguf", StoredDtype::Native), &expected["tokens"]);
    let (mean, max) = (mean_difference(&native, &dense), max_difference(&native, &dense));
    assert!(max > 0.0 && mean < 0.1, "{mean} on average, {max} at most");
}

#[test]
fn a_gguf_file_gives_what_transformers_reads_from_it() {
    let expected = expected("tiny-teacher.expected.safetensors");
    let dense = logprobs(&load("tiny-teacher", StoredDtype::F32), &expected["tokens"]);
    assert!(max_difference(&dense, &expected["logprobs"]) < TOLERANCE);
    let gguf = logprobs(&load("tiny-teacher.gguf", StoredDtype::F32), &expected["tokens"]);
    assert!(max_difference(&gguf, &expected["gguf_logprobs"]) < TOLERANCE);
    // Quantised products also round their inputs to eight bits per block: the numbers are close, but not the same.
    let native = logprobs(&load("tiny-teacher.gguf", StoredDtype::Native), &expected["tokens"]);
    let difference = max_difference(&native, &gguf);
    let mean = mean_difference(&native, &gguf);
    // 0.06 nats on average here; the wrong pairing of rotated elements would give 2.0.
    assert!(difference > 0.0 && mean < 0.1, "{difference} {mean}");
    // The average and largest error of transformers 5.23 on the same model and tokens when it computes in these formats.
    // Implementations round at different places, so ours may be off by half as much again, and must be off by some.
    for (dtype, their_mean, their_max) in [(StoredDtype::F16, 0.00757, 0.0516), (StoredDtype::Bf16, 0.0514, 0.4286)] {
        let half = logprobs(&load("tiny-teacher", dtype), &expected["tokens"]);
        let (mean, max) = (mean_difference(&half, &dense), max_difference(&half, &dense));
        assert!(
            mean > 0.5 * their_mean && mean < 1.5 * their_mean,
            "{dtype:?}: {mean} on average"
        );
        assert!(max < 1.5 * their_max, "{dtype:?}: {max} at most");
    }
}

#[test]
fn a_gguf_tokenizer_is_the_one_of_the_directory_it_was_made_from() {
    let of = |path: &str| ModelSource::open(&fixtures().join(path)).unwrap().tokenizer().unwrap();
    let (dir, gguf) = (of("tiny-teacher"), of("tiny-teacher.gguf"));
    let text = "Béla has 12 apples.\n\n<think>\n12 + 30 = 42</think> <|im_end|>\n";
    let tokens =
        |bundle: &leadspan_model::TokenizerBundle| bundle.tokenizer.encode(text, false).unwrap().get_ids().to_vec();
    assert_eq!(tokens(&dir), tokens(&gguf));
    assert_eq!(dir.fingerprint, gguf.fingerprint);
    assert_eq!(dir.chat_template, gguf.chat_template);
    assert_eq!(dir.special_tokens, gguf.special_tokens);
    let other = ModelSource::open(&fixtures().join("tiny-teacher"))
        .unwrap()
        .tokenizer()
        .unwrap();
    let mut changed = other.tokenizer;
    changed
        .add_tokens([tokenizers::AddedToken::from("<new>", false)])
        .unwrap();
    assert_ne!(
        leadspan_model::tokenizer_fingerprint(&changed).unwrap(),
        other.fingerprint
    );
}

/// Tokens of a sequence, which may be longer than one query tile.
fn long_tokens(vocabulary: u32, length: usize) -> Tensor {
    let tokens: Vec<u32> = (0..length as u32)
        .map(|i| (i * 7919 + i * i % 31) % vocabulary)
        .collect();
    Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap()
}

#[test]
fn padding_and_neighbours_in_a_batch_change_nothing() {
    let decoder = load("tiny-teacher", StoredDtype::F32);
    let long = long_tokens(320, 700);
    let alone = logprobs(&decoder, &long.narrow(1, 0, 300).unwrap());
    let inside = logprobs(&decoder, &long);
    let difference = max_difference(&alone, &inside.narrow(1, 0, 300).unwrap());
    assert!(difference < 1e-5, "a prefix differs from the whole by {difference}");
    let other = long.i((.., 100..400)).unwrap();
    let padded = Tensor::cat(&[&long.narrow(1, 0, 300).unwrap(), &other], 0).unwrap();
    let difference = max_difference(&alone, &logprobs(&decoder, &padded).narrow(0, 0, 1).unwrap());
    assert!(
        difference < 1e-5,
        "a sample in a batch differs from itself alone by {difference}"
    );
}

/// The bits of the hidden states of a sequence, a row for each position.
fn bits(decoder: &Decoder, tokens: &[u32]) -> Vec<Vec<u32>> {
    let hidden = decoder.hidden_states(&Packed::new([tokens]), Stop::NEVER).unwrap();
    let hidden = hidden.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
    let bits = |row: Vec<f32>| row.into_iter().map(f32::to_bits).collect();
    hidden.into_iter().map(bits).collect()
}

#[test]
fn what_shares_a_pass_changes_no_bit_of_a_mixture_or_of_other_parts() {
    // An expert computes as many rows as it has tokens, here from none to a hundred.
    for (model, vocabulary, dtype) in [
        ("parity/qwen3_moe", 64, StoredDtype::F32),
        ("parity/qwen3_moe", 64, StoredDtype::Bf16),
        ("parity/qwen3_moe_unnormalized", 64, StoredDtype::F32),
        ("parity/qwen3_moe.gguf", 64, StoredDtype::Native),
        ("parity/mistral", 64, StoredDtype::F32),
        ("parity/olmo2", 64, StoredDtype::F32),
        ("parity/gemma3", 64, StoredDtype::F32),
        ("parity/gemma3", 64, StoredDtype::Bf16),
        ("parity/granite", 64, StoredDtype::F32),
        ("parity/qwen3_5", 64, StoredDtype::F32),
        ("parity/qwen3_5", 64, StoredDtype::Bf16),
    ] {
        let decoder = load(model, dtype);
        let tokens: Vec<u32> = long_tokens(vocabulary, 48).flatten_all().unwrap().to_vec1().unwrap();
        let whole = bits(&decoder, &tokens);
        for length in [1, 2, 3, 7, 16, 31, 47] {
            assert!(
                bits(&decoder, &tokens[..length]) == whole[..length],
                "{model} {dtype:?}: {length}"
            );
        }
        for neighbours in [1, 4, 20] {
            let others: Vec<Vec<u32>> = (0..neighbours)
                .map(|other| tokens.iter().map(|token| (token * 5 + other) % vocabulary).collect())
                .collect();
            let sequences = std::iter::once(&tokens).chain(&others).map(Vec::as_slice);
            let hidden = decoder.hidden_states(&Packed::new(sequences), Stop::NEVER).unwrap();
            let hidden = hidden.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
            let same = hidden
                .iter()
                .zip(&whole)
                .all(|(row, whole)| row.iter().map(|x| x.to_bits()).eq(whole.iter().copied()));
            assert!(same, "{model} {dtype:?}: beside {neighbours}");
        }
    }
}

#[test]
fn a_mixture_and_other_parts_compute_the_same_with_stock_operations() {
    for model in [
        "parity/qwen3_moe",
        "parity/qwen3_moe_unnormalized",
        "parity/mistral",
        "parity/olmo2",
        "parity/smollm3",
        "parity/gemma3",
        "parity/granite",
        "parity/phi3_partial",
        "parity/qwen3_5",
    ] {
        let decoder = load(model, StoredDtype::F32);
        let tokens = long_tokens(64, 48);
        let fused = logprobs(&decoder, &tokens);
        let stock = logprobs(&decoder.with_kernels(leadspan_model::Kernels::Stock), &tokens);
        let difference = max_difference(&fused, &stock);
        assert!(difference < TOLERANCE, "{model}: {difference}");
    }
}

#[test]
fn the_trainable_decoder_computes_the_same_forward() {
    for model in [
        "parity/llama",
        "parity/qwen3",
        "parity/qwen2",
        "parity/qwen3_yarn",
        "parity/gemma3",
        "parity/granite",
        "parity/phi3",
    ] {
        let source = ModelSource::open(&fixtures().join(model)).unwrap();
        let start = leadspan_model::StudentStart::Model { source, layers: None };
        let (student, _) = Decoder::trainable(&start, &Device::Cpu).unwrap();
        let tokens = long_tokens(60, 60);
        let difference = max_difference(
            &logprobs(&student, &tokens),
            &logprobs(&load(model, StoredDtype::F32), &tokens),
        );
        // Fused and stock operations sum in different orders.
        assert!(difference < TOLERANCE, "{model}: {difference}");
    }
}

#[test]
fn candle_transformers_qwen3_agrees() {
    use candle_transformers::models::qwen3;
    let dir = fixtures().join("parity/qwen3");
    let config: qwen3::Config = serde_json::from_value(oracle_config(&dir)).unwrap();
    let mut oracle = qwen3::Model::new(&config, oracle_weights(&dir)).unwrap();
    let tokens = long_tokens(96, 64);
    let theirs = oracle.forward(&tokens, 0).unwrap();
    let ours = hidden_states(&load("parity/qwen3", StoredDtype::F32), &tokens);
    assert!(max_difference(&ours, &theirs) < TOLERANCE);
}

#[test]
fn candle_transformers_llama_agrees_on_the_last_position() {
    use candle_transformers::models::llama;
    let dir = fixtures().join("tiny-teacher");
    let config: llama::LlamaConfig = serde_json::from_value(oracle_config(&dir)).unwrap();
    let config = config.into_config(false);
    let mut cache = llama::Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
    let oracle = llama::Llama::load(oracle_weights(&dir), &config).unwrap();
    let tokens = long_tokens(320, 64);
    let theirs = oracle.forward(&tokens, 0, &mut cache).unwrap();
    let theirs = candle_nn::ops::log_softmax(&theirs, D::Minus1).unwrap();
    let ours = logprobs(&load("tiny-teacher", StoredDtype::F32), &tokens)
        .i((.., 63))
        .unwrap();
    assert!(max_difference(&ours, &theirs) < TOLERANCE);
}

#[test]
fn candle_transformers_qwen2_agrees_with_the_biases() {
    use candle_transformers::models::qwen2;
    // A student from a seeded Qwen2 configuration, with biases that differ from their initial zero.
    let dir = tempfile::tempdir().unwrap();
    let config_path = dir.path().join("config.json");
    let config = serde_json::json!({
        "model_type": "qwen2", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-6,
        "rope_theta": 1000.0, "tie_word_embeddings": true, "hidden_act": "silu", "sliding_window": 128,
        "max_window_layers": 2, "use_sliding_window": false
    });
    std::fs::write(&config_path, config.to_string()).unwrap();
    let start = leadspan_model::StudentStart::Config {
        config: leadspan_model::DecoderConfig::from_json_file(&config_path).unwrap(),
        seed: 3,
    };
    let (ours, parameters) = Decoder::trainable(&start, &Device::Cpu).unwrap();
    let mut weights = HashMap::new();
    for (index, (name, variable)) in parameters.iter().enumerate() {
        let shape = variable.dims().to_vec();
        let moved: Vec<f32> = (0..variable.elem_count())
            .map(|i| ((i * 37 + index * 11) % 101) as f32 / 150.0 - 0.3)
            .collect();
        variable
            .set(&Tensor::from_vec(moved, shape, &Device::Cpu).unwrap())
            .unwrap();
        weights.insert(name.to_owned(), variable.as_tensor().clone());
    }
    let config: qwen2::Config = serde_json::from_value(config).unwrap();
    let vb = candle_nn::VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
    let mut oracle = qwen2::Model::new(&config, vb).unwrap();
    let tokens = long_tokens(96, 64);
    let theirs = oracle.forward(&tokens, 0, None).unwrap();
    let difference = max_difference(&hidden_states(&ours, &tokens), &theirs);
    assert!(difference < TOLERANCE, "{difference}");
}

/// The configuration for candle-transformers, which does not support the nested rotary base of transformers 5.
fn oracle_config(dir: &Path) -> serde_json::Value {
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    config["rope_theta"] = config["rope_parameters"]["rope_theta"].clone();
    config["max_window_layers"] = serde_json::json!(2);
    config
}

fn oracle_weights(dir: &Path) -> candle_nn::VarBuilder<'static> {
    let weights = candle_core::safetensors::load(dir.join("model.safetensors"), &Device::Cpu).unwrap();
    candle_nn::VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu)
}
