//! Generated tokens: compared with committed tokens of transformers, and independent of the other samples of the batch.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use leadspan_model::{
    Decoder, End, Generated, Generation, GenerationSettings, Kernels, ModelError, ModelSource, Packed, Prompt,
    Sampling, Stop, StoredDtype,
};

const MODELS: [&str; 14] = [
    "parity/llama",
    "parity/llama_untied_sharded",
    "parity/qwen2",
    "parity/qwen3",
    "parity/qwen3_yarn",
    "parity/qwen3_moe",
    "parity/qwen3_moe_unnormalized",
    "parity/mistral",
    "parity/olmo2",
    "parity/smollm3",
    "parity/gemma3",
    "parity/granite",
    "parity/phi3",
    "parity/phi3_partial",
];

#[derive(serde::Deserialize)]
struct Case {
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    ended: bool,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn load(path: &str, dtype: StoredDtype) -> Decoder {
    let source = ModelSource::open(&fixtures().join(path)).unwrap();
    Decoder::load(&source, dtype, &Device::Cpu).unwrap()
}

fn cases(path: &str) -> Vec<Case> {
    serde_json::from_slice(&std::fs::read(fixtures().join(path)).unwrap()).unwrap()
}

/// The new tokens of each prompt and whether it ended, in the order of the prompts.
fn generate(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    (max_new_tokens, batch_samples, sampling): (usize, usize, Sampling),
) -> Vec<(Vec<u32>, End)> {
    let settings = GenerationSettings {
        max_new_tokens,
        batch_samples,
        sampling,
    };
    let mut generation = Generation::new(decoder, settings, vec![2]).unwrap();
    for (index, tokens) in prompts.iter().enumerate() {
        let (index, tokens) = (index as u64, tokens.clone());
        generation.push(Prompt { index, tokens }).unwrap();
    }
    let mut finished: Vec<Generated> = Vec::new();
    while !generation.is_idle() {
        finished.extend(generation.step(Stop::NEVER).unwrap());
    }
    finished.sort_by_key(|sample| sample.index);
    assert!(finished.iter().map(|sample| sample.index).eq(0..prompts.len() as u64));
    finished.into_iter().map(|sample| (sample.tokens, sample.end)).collect()
}

fn assert_generates(decoder: &Decoder, cases: &[Case], what: &str) {
    let prompts: Vec<Vec<u32>> = cases.iter().map(|case| case.prompt.clone()).collect();
    for batch in [1, 4, 16] {
        let generated = generate(decoder, &prompts, (24, batch, Sampling::Greedy));
        for ((tokens, end), case) in generated.iter().zip(cases) {
            let expected = if case.ended { End::Stopped } else { End::Cut };
            assert!(
                (tokens, *end) == (&case.tokens, expected),
                "{what}, {batch} at a time, {:?}: {tokens:?} {:?}",
                case.prompt,
                case.tokens
            );
        }
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    for model in MODELS {
        let (decoder, cases) = (load(model, StoredDtype::F32), cases(&format!("{model}/generated.json")));
        assert_generates(&decoder, &cases, model);
        assert_generates(&decoder.with_kernels(Kernels::Stock), &cases, &format!("stock {model}"));
    }
    let decoder = load("tiny-teacher.gguf", StoredDtype::F32);
    assert_generates(&decoder, &cases("tiny-teacher.gguf.generated.json"), "GGUF");
}

/// Prompts of many lengths, from one token to several tiles of attention.
fn uneven_prompts(vocabulary: u32, longest: usize) -> Vec<Vec<u32>> {
    (0..11usize)
        .map(|sample| {
            let length = 1 + sample * (longest - 1) / 10;
            (0..length as u32)
                .map(|i| (i * 7919 + i * i % 31 + sample as u32 * 5) % vocabulary)
                .collect()
        })
        .collect()
}

#[test]
fn what_shares_a_batch_changes_no_token() {
    let drawn = Sampling::Drawn {
        temperature: 1.0,
        top_p: 0.95,
        top_k: None,
        seed: 3,
    };
    for (model, vocabulary, dtype) in [
        ("tiny-teacher", 302, StoredDtype::F32),
        ("tiny-teacher", 302, StoredDtype::Bf16),
        ("tiny-teacher.gguf", 302, StoredDtype::Native),
        ("parity/qwen3_moe", 64, StoredDtype::F32),
        ("parity/qwen3_moe", 64, StoredDtype::Bf16),
        ("parity/qwen3_moe.gguf", 64, StoredDtype::Native),
        ("parity/qwen2", 80, StoredDtype::F32),
    ] {
        let decoder = load(model, dtype);
        let prompts = uneven_prompts(vocabulary, if vocabulary > 100 { 150 } else { 40 });
        for sampling in [Sampling::Greedy, drawn] {
            let alone: Vec<_> = prompts
                .iter()
                .enumerate()
                .map(|(index, tokens)| {
                    let settings = GenerationSettings {
                        max_new_tokens: 20,
                        batch_samples: 1,
                        sampling,
                    };
                    let mut generation = Generation::new(&decoder, settings, vec![2]).unwrap();
                    let (index, tokens) = (index as u64, tokens.clone());
                    generation.push(Prompt { index, tokens }).unwrap();
                    let mut finished = Vec::new();
                    while !generation.is_idle() {
                        finished.extend(generation.step(Stop::NEVER).unwrap());
                    }
                    let sample = finished.pop().unwrap();
                    (sample.tokens, sample.end)
                })
                .collect();
            for batch in [3, 11] {
                let together = generate(&decoder, &prompts, (20, batch, sampling));
                assert!(together == alone, "{model} {dtype:?} {sampling:?}: {batch} at a time");
            }
        }
    }
}

/// Log-probabilities of the whole forward pass at the last position of `tokens`.
fn last_logits(decoder: &Decoder, tokens: &[u32]) -> Vec<f32> {
    let hidden = decoder.hidden_states(&Packed::new([tokens]), Stop::NEVER).unwrap();
    let last = hidden.narrow(0, tokens.len() - 1, 1).unwrap();
    let logits = decoder.logits(&last).unwrap().to_dtype(DType::F32).unwrap();
    logits.get(0).unwrap().to_vec1().unwrap()
}

#[test]
fn greedy_tokens_are_the_best_of_the_whole_forward_pass() {
    // Long enough for several blocks of keys. Stored keys and values are summed in another order than in the whole pass.
    for (model, vocabulary, dtype, slack) in [
        ("tiny-teacher", 302, StoredDtype::F32, 1e-4),
        ("parity/qwen3_moe", 64, StoredDtype::F32, 1e-4),
        // The resolution of bfloat16 for these logits.
        ("tiny-teacher", 302, StoredDtype::Bf16, 0.25),
    ] {
        let decoder = load(model, dtype);
        let prompts = uneven_prompts(vocabulary, 60);
        let generated = generate(&decoder, &prompts, (40, 5, Sampling::Greedy));
        for (prompt, (tokens, _)) in prompts.iter().zip(&generated) {
            let mut seen = prompt.clone();
            for &token in tokens {
                let logits = last_logits(&decoder, &seen);
                let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let chosen = logits[token as usize];
                assert!(best - chosen <= slack, "{model} {dtype:?}: {chosen} {best}");
                seen.push(token);
            }
        }
    }
}

#[test]
fn drawn_tokens_depend_on_the_seed_and_the_sample() {
    let decoder = load("tiny-teacher", StoredDtype::F32);
    let prompts = vec![vec![5, 6, 7]; 4];
    let of = |seed| {
        let sampling = Sampling::Drawn {
            temperature: 1.5,
            top_p: 1.0,
            top_k: Some(50),
            seed,
        };
        generate(&decoder, &prompts, (16, 4, sampling))
    };
    let first = of(1);
    assert_eq!(first, of(1));
    assert_ne!(first, of(2));
    assert!(first.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_sample_is_cut_where_the_context_ends_and_a_prompt_must_leave_room() {
    // 64 positions.
    let decoder = load("parity/qwen2", StoredDtype::F32);
    let context = decoder.config().context();
    let prompts = vec![vec![9; context - 3], vec![9; context - 1]];
    let settings = |max_new_tokens| GenerationSettings {
        max_new_tokens,
        batch_samples: 2,
        sampling: Sampling::Greedy,
    };
    let mut generation = Generation::new(&decoder, settings(500), vec![]).unwrap();
    for (index, tokens) in prompts.into_iter().enumerate() {
        let index = index as u64;
        generation.push(Prompt { index, tokens }).unwrap();
    }
    let push = |generation: &mut Generation<'_>, tokens: Vec<u32>| generation.push(Prompt { index: 9, tokens });
    assert!(matches!(
        push(&mut generation, vec![9; context]),
        Err(ModelError::Context { .. })
    ));
    assert!(matches!(push(&mut generation, vec![]), Err(ModelError::EmptyPrompt)));
    assert!(matches!(
        push(&mut generation, vec![1, 80]),
        Err(ModelError::TokenOutsideVocabulary {
            token: 80,
            vocabulary: 80
        })
    ));
    let mut finished = Vec::new();
    while !generation.is_idle() {
        finished.extend(generation.step(Stop::NEVER).unwrap());
    }
    let mut lengths: Vec<(u64, usize, End)> = finished
        .iter()
        .map(|sample| (sample.index, sample.tokens.len(), sample.end))
        .collect();
    lengths.sort_by_key(|sample| sample.0);
    assert_eq!(lengths, [(0, 3, End::Cut), (1, 1, End::Cut)]);
    for wrong in [
        settings(0),
        GenerationSettings {
            batch_samples: 0,
            ..settings(1)
        },
    ] {
        assert!(matches!(
            Generation::new(&decoder, wrong, vec![]),
            Err(ModelError::Generation { .. })
        ));
    }
}

#[test]
fn a_pass_that_is_asked_to_stop_ends_before_its_next_layer_and_gives_the_same_when_it_is_done_again() {
    use std::sync::atomic::AtomicBool;
    let decoder = load("parity/llama", StoredDtype::F32);
    let (stop, go_on) = (AtomicBool::new(true), AtomicBool::new(false));
    let packed = Packed::new([&[1u32, 5, 9][..]]);
    let stopped = decoder.hidden_states(&packed, Stop::when(&stop));
    assert!(matches!(stopped, Err(ModelError::Stopped)));
    let values = |hidden: candle_core::Tensor| hidden.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(
        values(decoder.hidden_states(&packed, Stop::when(&go_on)).unwrap()),
        values(decoder.hidden_states(&packed, Stop::NEVER).unwrap())
    );

    let settings = GenerationSettings {
        max_new_tokens: 4,
        batch_samples: 2,
        sampling: Sampling::Greedy,
    };
    let mut generation = Generation::new(&decoder, settings, vec![2]).unwrap();
    let tokens = vec![1, 5, 9];
    generation.push(Prompt { index: 0, tokens }).unwrap();
    assert!(matches!(generation.step(Stop::when(&stop)), Err(ModelError::Stopped)));
}

#[test]
fn a_sample_ends_when_its_tokens_are_said_to_be_its_last() {
    let decoder = load("parity/llama", StoredDtype::F32);
    let case = &cases("parity/llama/generated.json")[0];
    let settings = GenerationSettings {
        max_new_tokens: case.tokens.len(),
        batch_samples: 1,
        sampling: Sampling::Greedy,
    };
    let ends = |tokens: &[u32]| tokens.len() == 5;
    let mut generation = Generation::new(&decoder, settings, vec![2]).unwrap().ending_when(&ends);
    let tokens = case.prompt.clone();
    generation.push(Prompt { index: 0, tokens }).unwrap();
    let mut finished = Vec::new();
    while !generation.is_idle() {
        finished.extend(generation.step(Stop::NEVER).unwrap());
    }
    assert_eq!(finished[0].tokens, case.tokens[..5]);
    assert_eq!(finished[0].end, End::Stopped);
}
