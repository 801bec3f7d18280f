//! Compares models with what transformers computes, prints the largest differences, and exports each as a student.
//!
//!     cargo run --release -p leadspan-model --example families -- OUT MODEL...
//!
//! MODEL is one of the models in `tests/fixtures`: a directory, or a GGUF file with a file of expected numbers beside it. Prints a
//! line of JSON for each: the largest differences of hidden states and log-probabilities, and whether a student of the family can be
//! trained. Such a student is written to OUT, into a folder of the model's name.

#![allow(clippy::print_stdout, reason = "an example is a program")]

use std::{
    collections::HashMap,
    error::Error,
    path::{Path, PathBuf},
};

use candle_core::{D, Device, Tensor};
use leadspan_model::{Decoder, ModelSource, Packed, Stop, StoredDtype, StudentStart, write_model_dir};
use serde_json::json;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out, models @ ..] = arguments.as_slice() else {
        return Err("usage: families OUT MODEL...".into());
    };
    for model in models {
        let path = Path::new(model);
        let expected = expected(path)?;
        let source = ModelSource::open(path)?;
        let name = path.file_name().unwrap_or_default();
        let (family, is_file) = (source.config().family, path.is_file());
        let decoder = Decoder::load(&source, StoredDtype::F32, &Device::Cpu)?;
        let (hidden, logprobs) = differences(&decoder, &expected)?;
        let start = StudentStart::Model { source, layers: None };
        let is_student = !is_file && export(&start, &Path::new(out).join(name)).is_ok();
        println!(
            "{}",
            json!({
                "model": name.to_string_lossy(), "family": family.as_str(), "hidden": hidden, "logprobs": logprobs,
                "student": is_student,
            })
        );
    }
    Ok(())
}

/// The tensors that transformers made for a model.
fn expected(model: &Path) -> Result<HashMap<String, Tensor>, Failure> {
    let behind = PathBuf::from(format!("{}.expected.safetensors", model.display()));
    let places = [
        model.join("expected.safetensors"),
        behind,
        model.with_extension("expected.safetensors"),
    ];
    let found = places.iter().find(|path| path.is_file());
    let found = found.ok_or_else(|| format!("`{}` has no expected numbers", model.display()))?;
    Ok(candle_core::safetensors::load(found, &Device::Cpu)?)
}

/// The largest differences of hidden states, if they are known, and of log-probabilities.
fn differences(decoder: &Decoder, expected: &HashMap<String, Tensor>) -> Result<(Option<f32>, f32), Failure> {
    let tokens = expected["tokens"].to_vec2::<u32>()?;
    let packed = Packed::new(tokens.iter().map(Vec::as_slice));
    let hidden = decoder.hidden_states(&packed, Stop::NEVER)?;
    let logprobs = candle_nn::ops::log_softmax(&decoder.logits(&hidden)?, D::Minus1)?;
    // Ours are divided by the divisor of the logits.
    let hidden = (hidden * decoder.config().parts.logit_divisor)?;
    let largest = |ours: &Tensor, theirs: &Tensor| -> Result<f32, Failure> {
        Ok((ours - theirs.flatten_to(1)?)?.abs()?.max_all()?.to_scalar()?)
    };
    let theirs = expected.get("gguf_logprobs").unwrap_or(&expected["logprobs"]);
    let of_hidden = expected.get("hidden").map(|theirs| largest(&hidden, theirs));
    Ok((of_hidden.transpose()?, largest(&logprobs, theirs)?))
}

/// Writes a model as a student that was not trained.
fn export(start: &StudentStart, dir: &Path) -> Result<(), Failure> {
    let (student, parameters) = Decoder::trainable(start, &Device::Cpu)?;
    let values = parameters.iter().map(|(name, variable)| (name, variable.as_tensor()));
    Ok(write_model_dir(dir, student.config(), values, &[])?)
}
