//! The two passes of generation: prompts as a whole, and the newest token of each sample over the keys and values of its
//! past.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use leadspan_kernels::{KeyValues, Packed, Pass, attention, cached_attention};

use super::{ActiveSample, Prompt};
use crate::{
    decoder::{Decoder, min_rows::MIN_ROWS},
    error::ModelError,
    stop::Stop,
};

/// Runs whole prompts through the decoder.
///
/// Returns the logits after the last token of each prompt, `[prompts, V]` in CPU memory, and the keys and values of each
/// prompt, layer by layer.
///
/// # Errors
///
/// If the device fails or `stop` is requested.
pub(super) fn run_prompts(
    decoder: &Decoder,
    prompts: &[Prompt],
    stop: Stop<'_>,
) -> Result<(Tensor, Vec<Vec<KeyValues>>), ModelError> {
    let packed = Packed::new(prompts.iter().map(|prompt| prompt.tokens.as_slice()));
    let packed = packed.filled_up_to(MIN_ROWS).unwrap_or(packed);
    let pass = Pass::from(decoder.kernels());
    let mut hidden = decoder.embed(&packed)?;
    let fused = pass.fuse(&hidden);
    let spans: Vec<(usize, usize)> = (packed.edges().windows(2))
        .take(prompts.len())
        .map(|edges| (edges[0], edges[1] - edges[0]))
        .collect();
    let mut key_values: Vec<Vec<KeyValues>> = prompts.iter().map(|_| Vec::new()).collect();
    for layer in decoder.layers() {
        stop.check()?;
        let shape = layer.attention_shape();
        let rotation = (decoder.rotary(), packed.positions());
        hidden = layer.forward_with(&hidden, rotation, pass, |queries, keys, values| {
            for (layers, &span) in key_values.iter_mut().zip(&spans) {
                layers.push(KeyValues::new((keys, values), span, shape, fused)?);
            }
            attention(queries, keys, values, shape, packed.shared_edges(), pass)
        })?;
    }
    let last: Vec<u32> = spans.iter().map(|(first, count)| (first + count - 1) as u32).collect();
    let last = Tensor::from_slice(&last, last.len(), decoder.device())?;
    Ok((logits(decoder, &hidden.index_select(&last, 0)?)?, key_values))
}

/// Runs the newest token of each sample through the decoder. Returns the logits after it, `[samples, V]` in CPU memory.
///
/// # Errors
///
/// If the device fails or `stop` is requested.
pub(super) fn run_newest_tokens(
    decoder: &Decoder,
    samples: &mut [ActiveSample],
    stop: Stop<'_>,
) -> Result<Tensor, ModelError> {
    let count = samples.len();
    let (mut tokens, mut positions): (Vec<u32>, Vec<u32>) = samples.iter().map(ActiveSample::newest).unzip();
    let pass = Pass::skinny(decoder.kernels());
    let rows = padded_count(decoder, pass, count)?;
    tokens.resize(rows, 0);
    positions.resize(rows, 0);
    let positions: Arc<[u32]> = positions.into();
    let mut hidden = decoder.embed_tokens(&tokens)?;
    for (index, layer) in decoder.layers().iter().enumerate() {
        stop.check()?;
        let shape = layer.attention_shape();
        let rotation = (decoder.rotary(), &positions);
        hidden = layer.forward_with(&hidden, rotation, pass, |queries, keys, values| {
            let past = samples.iter_mut().map(|sample| &mut sample.key_values[index]);
            let mut past: Vec<&mut KeyValues> = past.collect();
            cached_attention(queries, keys, values, shape, &mut past)
        })?;
    }
    logits(decoder, &hidden.narrow(0, 0, count)?.contiguous()?)
}

/// The logits of a few hidden states, which are not yet normalised: `[N, V]` in CPU memory.
fn logits(decoder: &Decoder, hidden: &Tensor) -> Result<Tensor, ModelError> {
    let pass = Pass::skinny(decoder.kernels());
    let count = hidden.dim(0)?;
    let rows = padded_count(decoder, pass, count)?;
    let hidden = hidden.pad_with_zeros(0, 0, rows - count)?;
    let logits = decoder.head().scores(&decoder.finish(&hidden, pass)?, pass)?;
    Ok(logits.narrow(0, 0, count)?.to_device(&Device::Cpu)?)
}

/// The number of rows that go through the decoder for `count` samples.
///
/// On the CPU, stock products of few rows sum in another order, but a sample's tokens must not depend on the number of
/// other samples. So such products are padded.
fn padded_count(decoder: &Decoder, pass: Pass<'_>, count: usize) -> Result<usize, ModelError> {
    let row = decoder.embed_tokens(&[0])?;
    let is_exact = pass.uses_skinny_product(&row) || !decoder.device().is_cpu();
    Ok(if is_exact { count } else { count.max(MIN_ROWS) })
}
