//! Granite: a factor of the embeddings, of the scores and of what each block adds to the residual stream, and a divisor of the
//! logits.

use leadspan_kernels::Pairing;
use serde_json::{Map, Value, json};

use super::{Description, PLAIN, PartKeys};
use crate::{
    config::{keys::Keys, parts::Parts},
    error::ModelError,
};

pub(super) const DESCRIPTION: Description = Description {
    transformers_class: "GraniteForCausalLM",
    gguf_architecture: Some("granite"),
    // Converters to GGUF reorder the rows of query and key weights, as for Llama.
    gguf_pairing: Pairing::Neighbours,
    gguf_part_keys: &["attention.scale", "embedding_scale", "logit_scale", "residual_scale"],
    unsupported_switch: "mlp_bias",
    parts: Some(PartKeys {
        keys: &[SCORES, EMBEDDINGS, LOGITS, RESIDUALS],
        read,
        write,
    }),
    ..PLAIN
};

const SCORES: &str = "attention_multiplier";
const EMBEDDINGS: &str = "embedding_multiplier";
const LOGITS: &str = "logits_scaling";
const RESIDUALS: &str = "residual_multiplier";

fn read(keys: Keys<'_>) -> Result<Parts, ModelError> {
    let factor = |key: &str| Ok::<_, ModelError>(keys.float(key)?.unwrap_or(1.0));
    Ok(Parts {
        score_scale: Some(factor(SCORES)?),
        embedding_scale: factor(EMBEDDINGS)?,
        residual_scale: factor(RESIDUALS)?,
        logit_divisor: factor(LOGITS)?,
        ..Parts::default()
    })
}

fn write(parts: &Parts, _layers: usize, _context: usize) -> Map<String, Value> {
    let keys = [
        (SCORES, parts.score_scale.unwrap_or(1.0)),
        (EMBEDDINGS, parts.embedding_scale),
        (RESIDUALS, parts.residual_scale),
        (LOGITS, parts.logit_divisor),
    ];
    keys.into_iter()
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect()
}
