//! The names of the weights that a decoder reads.

use std::collections::BTreeSet;

use super::{EMBEDDING, HEAD, layer::DecoderLayer, norm::RmsNorm};
use crate::{
    config::{DecoderConfig, parts::LinearAttention},
    error::ModelError,
    weights::{asked::Asked, weight_source::WeightSource as _},
};

/// The names, found by building the decoder of `config` from stand-ins.
///
/// # Errors
///
/// If the tensor library fails.
pub(super) fn weight_names(config: &DecoderConfig) -> Result<BTreeSet<String>, ModelError> {
    let mut config = config.clone();
    // Names do not depend on widths, and the smallest ones take no memory.
    config.vocab_size = 1;
    config.hidden_size = 1;
    config.intermediate_size = 1;
    config.num_attention_heads = 1;
    config.num_key_value_heads = 1;
    config.head_dim = 2;
    config.parts.linear = config.parts.linear.map(|_| LinearAttention {
        key_heads: 1,
        value_heads: 1,
        key_dim: 1,
        value_dim: 1,
        taps: 1,
    });
    let mut asked = Asked::default();
    asked.embedding(EMBEDDING, [1, 1])?;
    if !config.tie_word_embeddings {
        asked.product(HEAD, [1, 1], None)?;
    }
    RmsNorm::last(&config, &mut asked)?;
    for index in 0..config.num_hidden_layers {
        DecoderLayer::build(&config, &mut asked, index)?;
    }
    Ok(asked.0)
}

#[cfg(test)]
mod tests;
