//! Measures the speed of generation: continues prompts greedily by a fixed number of tokens.
//!
//!     cargo run --release -p leadspan-model --example generate -- MODEL PROMPTS.json [--json] [--batch N] [--new-tokens N]
//!         [--dtype f32 | bf16 | native] [--tokens]
//!
//! PROMPTS.json is a list of lists of tokens. With `--tokens` the result contains the generated tokens. No token ends a
//! sample early, so every run does the same work.

#![allow(clippy::print_stdout, reason = "an example is a program")]

use std::{error::Error, path::Path, time::Instant};

use candle_core::Device;
use leadspan_model::{Decoder, Generation, GenerationSettings, ModelSource, Prompt, Sampling, Stop, StoredDtype};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    leadspan_memory::keep_freed_blocks();
    let mut given = std::env::args().skip(1);
    let usage = "usage: generate MODEL PROMPTS.json [--json] [--batch N] [--new-tokens N] [--dtype DTYPE] [--tokens]";
    let (model, prompts) = given.next().zip(given.next()).ok_or(usage)?;
    let (mut batch_samples, mut max_new_tokens, mut as_json, mut with_tokens) = (8, 128, false, false);
    let mut dtype = StoredDtype::F32;
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or(usage);
        match argument.as_str() {
            "--json" => as_json = true,
            "--tokens" => with_tokens = true,
            "--batch" => batch_samples = value()?.parse()?,
            "--new-tokens" => max_new_tokens = value()?.parse()?,
            "--dtype" => dtype = serde_json::from_value(json!(value()?))?,
            _ => return Err(usage.into()),
        }
    }
    let prompts: Vec<Vec<u32>> = serde_json::from_slice(&std::fs::read(prompts)?)?;
    let decoder = Decoder::load(&ModelSource::open(Path::new(&model))?, dtype, &Device::Cpu)?;
    let settings = GenerationSettings {
        max_new_tokens,
        batch_samples,
        sampling: Sampling::Greedy,
    };
    let generate = |settings: GenerationSettings| -> Result<Vec<Vec<u32>>, Box<dyn Error + Send + Sync>> {
        let mut generation = Generation::new(&decoder, settings, vec![])?;
        for (index, tokens) in prompts.iter().enumerate() {
            let (index, tokens) = (index as u64, tokens.clone());
            generation.push(Prompt { index, tokens })?;
        }
        let mut generated = vec![Vec::new(); prompts.len()];
        while !generation.is_idle() {
            for sample in generation.step(Stop::NEVER)? {
                generated[sample.index as usize] = sample.tokens;
            }
        }
        Ok(generated)
    };
    generate(GenerationSettings {
        max_new_tokens: 2,
        ..settings.clone()
    })?;
    let began = Instant::now();
    let generated = generate(settings)?;
    let seconds = began.elapsed().as_secs_f64();
    let tokens: usize = generated.iter().map(Vec::len).sum();
    let tokens_per_second = tokens as f64 / seconds;
    if as_json {
        let mut result = json!({
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_second": tokens_per_second,
            "peak_memory_bytes": leadspan_memory::peak_memory_bytes(),
        });
        if with_tokens {
            result["generated"] = json!(generated);
        }
        println!("{result}");
    } else {
        println!("{tokens_per_second:.0} tokens/s, {tokens} tokens in {seconds:.1} s");
    }
    Ok(())
}
