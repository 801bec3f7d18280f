//! The tensors of safetensors files that no decoder reads: which of them may be there. Pure.
//!
//! What is left out without a word changes nothing: transformers leaves it out as well, or it serves other arithmetic. Any other
//! tensor says that the model computes something that its configuration does not.

use std::{collections::BTreeSet, ops::Bound};

/// Scales with which activations and the cache of keys and values are quantised, which they are not here. They are part of a
/// projection, or of the block of attention.
pub(super) const SCALES_OF_ACTIVATIONS: [&str; 9] = [
    "activation_scale",
    "activation_scale_inv",
    "input_scale",
    "input_scale_inv",
    "k_scale",
    "output_scale",
    "prob_output_scale",
    "q_scale",
    "v_scale",
];

/// The ends of the names of buffers that early versions of transformers stored: rotary frequencies, which follow from the
/// configuration, and the number that stands for a masked score.
const BUFFERS: [&str; 2] = ["rotary_emb.inv_freq", ".masked_bias"];

/// The names of the tensors that a decoder reads, as the files have them.
pub(super) struct Read(pub(super) BTreeSet<String>);

impl Read {
    /// Whether a tensor is read, belongs to a weight that is read, or may be left out. `left_out` are the beginnings of names
    /// that the family leaves out.
    pub(super) fn explains(&self, name: &str, left_out: &[&str]) -> bool {
        let Self(read) = self;
        // A weight whose name begins this one is the last before it.
        let before = read
            .range::<str, _>((Bound::Unbounded, Bound::Included(name)))
            .next_back();
        let is_part = |weight: &String| {
            name.strip_prefix(weight.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', '.']))
        };
        before.is_some_and(is_part)
            || self.is_scale(name)
            || BUFFERS.iter().any(|end| name.ends_with(end))
            || left_out.iter().any(|start| name.starts_with(start))
    }

    /// Whether it is a scale of activations in a module of which a weight is read.
    fn is_scale(&self, name: &str) -> bool {
        let Some((module, part)) = name.rsplit_once('.') else {
            return false;
        };
        let module = format!("{module}.");
        let follows = self.0.range(module.clone()..).next();
        SCALES_OF_ACTIVATIONS.contains(&part) && follows.is_some_and(|weight| weight.starts_with(&module))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_nothing_may_be_there_and_nothing_else() {
        let read = [
            "model.embed_tokens.weight",
            "model.layers.0.self_attn.q_proj.bias",
            "model.layers.0.self_attn.q_proj.weight",
            "model.layers.0.linear_attn.A_log",
            "model.norm.weight",
        ];
        let read = Read(read.map(str::to_owned).into());
        for (name, is_explained) in [
            ("model.norm.weight", true),
            // Whether such parts fit is seen when their weight is read.
            ("model.layers.0.self_attn.q_proj.weight_scale_inv", true),
            ("model.layers.0.self_attn.q_proj.weight.absmax", true),
            ("model.layers.0.self_attn.q_proj.input_scale", true),
            ("model.layers.0.self_attn.k_scale", true),
            ("model.layers.0.self_attn.rotary_emb.inv_freq", true),
            ("model.rotary_emb.inv_freq", true),
            ("model.layers.0.self_attn.masked_bias", true),
            ("vision_tower.patch_conv.weight", true),
            ("model.layers.0.self_attn.k_proj.input_scale", false),
            ("model.layers.1.self_attn.k_scale", false),
            ("model.layers.0.self_attn.q_proj.scale", false),
            ("model.layers.0.self_attn.q_proj.weights", false),
            ("model.layers.0.self_attn.k_proj.bias", false),
            ("model.layers.0.self_attn.q_norm.weight", false),
            ("model.layers.00.self_attn.q_proj.weight", false),
            ("model.layers.1.self_attn.q_proj.weight", false),
            ("model.vision_tower.patch_conv.weight", false),
            ("mtp.norm.weight", false),
            ("lm_head.weight", false),
            ("score.weight", false),
            ("", false),
        ] {
            assert_eq!(read.explains(name, &["vision_tower."]), is_explained, "{name}");
        }
    }
}
