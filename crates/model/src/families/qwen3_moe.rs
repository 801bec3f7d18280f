//! Qwen3 with a mixture of experts in place of the feed-forward block of some or all layers.
//!
//! Layer i has experts if i + 1 is a multiple of `decoder_sparse_step` and `mlp_only_layers` does not name i.

use serde_json::{Map, Value, json};

use super::{Description, ExpertKeys, PLAIN};
use crate::{
    config::{experts::Experts, keys::Keys},
    error::ModelError,
};

pub(super) const DESCRIPTION: Description = Description {
    transformers_class: "Qwen3MoeForCausalLM",
    gguf_architecture: Some("qwen3moe"),
    normalises_heads: true,
    experts: Some(ExpertKeys {
        read,
        write,
        normalize_in_gguf: true,
    }),
    ..PLAIN
};

fn read(keys: Keys<'_>) -> Result<Option<Experts>, ModelError> {
    // Published configurations have the first key; a few versions of transformers wrote the second.
    let count = match keys.optional_number("num_experts")? {
        Some(count) => count,
        None => keys.number("num_local_experts")?,
    };
    let step = keys.optional_number("decoder_sparse_step")?.unwrap_or(1);
    if step == 0 {
        return Err(keys.refuse("decoder_sparse_step", "it must be at least 1"));
    }
    let dense: Vec<u64> = match keys.get("mlp_only_layers") {
        None => Vec::new(),
        Some(value) => {
            let layers = value
                .as_array()
                .map(|layers| layers.iter().map(Value::as_u64).collect());
            let refused = || keys.refuse("mlp_only_layers", "it must be a list of layers");
            layers.flatten().ok_or_else(refused)?
        }
    };
    let has_experts = |layer: &usize| (layer + 1).is_multiple_of(step) && !dense.contains(&(*layer as u64));
    let layers: Vec<usize> = (0..keys.number("num_hidden_layers")?).filter(has_experts).collect();
    if count == 0 || layers.is_empty() {
        return Ok(None);
    }
    Ok(Some(Experts {
        count,
        per_token: keys.number("num_experts_per_tok")?,
        intermediate_size: keys.number("moe_intermediate_size")?,
        normalize: keys.is_on("norm_topk_prob")?,
        layers,
    }))
}

fn write(experts: &Experts, layers: usize) -> Map<String, Value> {
    let dense: Vec<usize> = (0..layers).filter(|layer| !experts.layers.contains(layer)).collect();
    let keys = [
        ("num_experts", json!(experts.count)),
        ("num_experts_per_tok", json!(experts.per_token)),
        ("moe_intermediate_size", json!(experts.intermediate_size)),
        ("norm_topk_prob", json!(experts.normalize)),
        ("decoder_sparse_step", json!(1)),
        ("mlp_only_layers", json!(dense)),
    ];
    keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
