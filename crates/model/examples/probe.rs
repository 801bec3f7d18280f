//! Writes a model's log-probabilities for a fixed text, for comparison with other implementations.
//!
//!     cargo run --release -p leadspan-model --example probe -- MODEL probe.safetensors [ADAPTER]
//!
//! ADAPTER is the folder of a LoRA adapter of MODEL.
//!
//! `probe.safetensors` holds `tokens` u32 [1, T] and `logprobs` f32 [1, T, V].

#![allow(clippy::print_stdout, reason = "an example is a program")]

use std::{collections::HashMap, error::Error, path::Path};

use candle_core::{D, DType, Device, Tensor};
use leadspan_model::{Decoder, ModelSource, Packed, Stop, StoredDtype};

const TEXT: &str = "A farmer has 12 hens. Each hen lays 5 eggs a week. How many eggs are there after 3 weeks?\n\
    <think>\nEvery week the hens lay 12 * 5 = 60 eggs.\nAfter 3 weeks there are 60 * 3 = 180 eggs.\n</think>\n\n#### 180";

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (model, out, adapter) = match arguments.as_slice() {
        [model, out] => (model, out, None),
        [model, out, adapter] => (model, out, Some(adapter)),
        _ => return Err("usage: probe MODEL OUT.safetensors [ADAPTER]".into()),
    };
    let mut source = ModelSource::open(Path::new(model))?;
    if let Some(adapter) = adapter {
        source = source.with_adapter(Path::new(adapter))?;
    }
    let text = source.tokenizer()?.tokenizer.encode(TEXT, false)?;
    let decoder = Decoder::load(&source, StoredDtype::F32, &Device::Cpu)?;
    let tokens = Tensor::new(text.get_ids(), &Device::Cpu)?.unsqueeze(0)?;
    let logits = decoder.logits(&decoder.hidden_states(&Packed::new([text.get_ids()]), Stop::NEVER)?)?;
    // The softmax is computed in double precision, so that only the model is compared.
    let logprobs = candle_nn::ops::log_softmax(&logits.to_dtype(DType::F64)?, D::Minus1)?.unsqueeze(0)?;
    let logprobs = logprobs.to_dtype(DType::F32)?;
    println!(
        "{} tokens, vocabulary {}",
        text.get_ids().len(),
        logprobs.dim(D::Minus1)?
    );
    let tensors = HashMap::from([("tokens", tokens), ("logprobs", logprobs)]);
    candle_core::safetensors::save(&tensors, out)?;
    Ok(())
}
