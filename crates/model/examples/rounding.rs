//! How far a model's distributions move if it is computed in a narrower number format, which bounds what `cache audit` accepts.
//!
//!     cargo run --release -p leadspan-model --example rounding -- MODEL TEXT
//!
//! Prints KL(single precision ‖ format) in nats over the first 600 tokens of the text file, and the largest mean of 60 of them.

#![allow(clippy::print_stdout, reason = "an example is a program")]

use std::{error::Error, fs, path::Path};

use candle_core::{D, DType, Device, Tensor};
use leadspan_model::{Decoder, ModelSource, Packed, Stop, StoredDtype};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, text] = arguments.as_slice() else {
        return Err("usage: rounding MODEL TEXT".into());
    };
    let source = ModelSource::open(Path::new(model))?;
    let text = source.tokenizer()?.tokenizer.encode(fs::read_to_string(text)?, false)?;
    let tokens = &text.get_ids()[..text.len().min(600)];
    let logprobs = |dtype| -> Result<Tensor, Box<dyn Error + Send + Sync>> {
        let decoder = Decoder::load(&source, dtype, &Device::Cpu)?;
        let logits = decoder.logits(&decoder.hidden_states(&Packed::new([tokens]), Stop::NEVER)?)?;
        Ok(candle_nn::ops::log_softmax(&logits.to_dtype(DType::F64)?, D::Minus1)?)
    };
    let exact = logprobs(StoredDtype::F32)?;
    for dtype in [StoredDtype::F16, StoredDtype::Native, StoredDtype::Bf16] {
        let divergences = (exact.exp()? * (&exact - &logprobs(dtype)?)?)?.sum(D::Minus1)?;
        let mut divergences: Vec<f64> = divergences.to_vec1()?;
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        let largest_mean = divergences.chunks(60).map(mean).fold(0.0, f64::max);
        let all = mean(&divergences);
        divergences.sort_by(f64::total_cmp);
        let percentile = divergences[divergences.len() * 99 / 100];
        println!(
            "{}: mean {all:.2e}, 99th percentile {percentile:.2e}, largest mean of 60 {largest_mean:.2e}",
            dtype.as_str()
        );
    }
    Ok(())
}
