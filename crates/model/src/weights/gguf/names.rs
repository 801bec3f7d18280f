//! The names of weights in GGUF files.

/// The name of a weight of one expert without the expert's number, and the number; `None` for any other weight.
pub(super) fn expert_of(name: &str) -> Option<(String, usize)> {
    const EXPERTS: &str = ".mlp.experts.";
    let (layer, rest) = name.split_once(EXPERTS)?;
    let (index, part) = rest.split_once('.')?;
    Some((format!("{layer}{EXPERTS}{part}"), index.parse().ok()?))
}

/// The GGUF name of a weight that is known by its Hugging Face name.
pub(super) fn stored_name(name: &str) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".into(),
        "model.norm.weight" => return "output_norm.weight".into(),
        "lm_head.weight" => return "output.weight".into(),
        _ => {}
    }
    name.replace("model.layers.", "blk.")
        .replace("mlp.gate.weight", "ffn_gate_inp.weight")
        .replace("mlp.experts.gate_proj", "ffn_gate_exps")
        .replace("mlp.experts.up_proj", "ffn_up_exps")
        .replace("mlp.experts.down_proj", "ffn_down_exps")
        .replace("self_attn.q_proj", "attn_q")
        .replace("self_attn.k_proj", "attn_k")
        .replace("self_attn.v_proj", "attn_v")
        .replace("self_attn.o_proj", "attn_output")
        .replace("self_attn.q_norm", "attn_q_norm")
        .replace("self_attn.k_norm", "attn_k_norm")
        .replace("mlp.gate_proj", "ffn_gate")
        .replace("mlp.up_proj", "ffn_up")
        .replace("mlp.down_proj", "ffn_down")
        .replace("input_layernorm", "attn_norm")
        .replace("post_attention_layernorm", "ffn_norm")
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
            assert_eq!(stored_name(ours), stored);
        }
        let (whole, index) = expert_of("model.layers.2.mlp.experts.17.up_proj.weight").unwrap();
        assert_eq!((stored_name(&whole).as_str(), index), ("blk.2.ffn_up_exps.weight", 17));
        assert_eq!(expert_of("model.layers.2.mlp.up_proj.weight"), None);
    }
}
