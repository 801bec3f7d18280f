//! The names of weights in GGUF files.

use crate::families::{Family, NormPlacement};

/// The name of a weight of one expert without the expert's number, and the number; `None` for any other weight.
pub(super) fn expert_of(name: &str) -> Option<(String, usize)> {
    const EXPERTS: &str = ".mlp.experts.";
    let (layer, rest) = name.split_once(EXPERTS)?;
    let (index, part) = rest.split_once('.')?;
    Some((format!("{layer}{EXPERTS}{part}"), index.parse().ok()?))
}

/// Norms of a layer, by their Hugging Face and GGUF names, where they stand before its blocks, after them, and around them.
const NORMS: [&[(&str, &str)]; 3] = [
    &[
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ],
    &[
        ("post_attention_layernorm", "post_attention_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
    ],
    &[
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "post_attention_norm"),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
    ],
];

/// Projections by their Hugging Face and GGUF names, in families that store each alone and in those that store some as one.
const PROJECTIONS: [&[(&str, &str)]; 2] = [
    &[
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
    ],
    &[("self_attn.qkv_proj", "attn_qkv"), ("mlp.gate_up_proj", "ffn_up")],
];

/// The GGUF name of a weight that models of the family know by its Hugging Face name.
pub(super) fn stored_name(name: &str, family: Family) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".into(),
        "model.norm.weight" => return "output_norm.weight".into(),
        "lm_head.weight" => return "output.weight".into(),
        _ => {}
    }
    let description = family.description();
    let norms = match description.norm_placement {
        NormPlacement::Before => NORMS[0],
        NormPlacement::After => NORMS[1],
        NormPlacement::Around => NORMS[2],
    };
    let projections = PROJECTIONS[usize::from(description.stores_joined_weights)];
    let name = name
        .replace("model.layers.", "blk.")
        .replace("mlp.gate.weight", "ffn_gate_inp.weight")
        .replace("mlp.experts.gate_proj", "ffn_gate_exps")
        .replace("mlp.experts.up_proj", "ffn_up_exps")
        .replace("mlp.experts.down_proj", "ffn_down_exps")
        .replace("self_attn.o_proj", "attn_output")
        .replace("self_attn.q_norm", "attn_q_norm")
        .replace("self_attn.k_norm", "attn_k_norm")
        .replace("mlp.down_proj", "ffn_down");
    let parts = norms.iter().chain(projections);
    parts.fold(name, |name, (part, stored)| name.replace(part, stored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_gguf_convention() {
        for (ours, stored) in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("model.layers.3.self_attn.q_proj.bias", "blk.3.attn_q.bias"),
            (
                "model.layers.11.post_attention_layernorm.weight",
                "blk.11.ffn_norm.weight",
            ),
            ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"),
            ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
            ("model.layers.0.self_attn.k_norm.weight", "blk.0.attn_k_norm.weight"),
            ("model.layers.7.mlp.gate.weight", "blk.7.ffn_gate_inp.weight"),
        ] {
            assert_eq!(stored_name(ours, Family::Llama), stored);
        }
        // What a norm is called depends on where norms stand.
        let of = |family: Family, part: &str| stored_name(&format!("model.layers.2.{part}.weight"), family);
        for (family, part, stored) in [
            (
                Family::Olmo2,
                "post_attention_layernorm",
                "blk.2.post_attention_norm.weight",
            ),
            (
                Family::Olmo2,
                "post_feedforward_layernorm",
                "blk.2.post_ffw_norm.weight",
            ),
            (Family::Gemma3Text, "input_layernorm", "blk.2.attn_norm.weight"),
            (
                Family::Gemma3Text,
                "post_attention_layernorm",
                "blk.2.post_attention_norm.weight",
            ),
            (Family::Gemma3Text, "pre_feedforward_layernorm", "blk.2.ffn_norm.weight"),
            (
                Family::Gemma3Text,
                "post_feedforward_layernorm",
                "blk.2.post_ffw_norm.weight",
            ),
            (Family::Phi3, "self_attn.qkv_proj", "blk.2.attn_qkv.weight"),
            (Family::Phi3, "mlp.gate_up_proj", "blk.2.ffn_up.weight"),
        ] {
            assert_eq!(of(family, part), stored);
        }
        let (whole, index) = expert_of("model.layers.2.mlp.experts.17.up_proj.weight").unwrap();
        let stored = stored_name(&whole, Family::Qwen3Moe);
        assert_eq!((stored.as_str(), index), ("blk.2.ffn_up_exps.weight", 17));
        assert_eq!(expert_of("model.layers.2.mlp.up_proj.weight"), None);
    }
}
