//! Weights that a family stores as one (Phi-3): queries, keys and values, and gate and up. The decoder has them apart.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use super::weight_source::{WeightSource, chosen};
use crate::{config::DecoderConfig, error::ModelError};

/// The stored weights, and the parts of each in their order.
const JOINED: [(&str, &[&str]); 2] = [
    ("qkv_proj", &["q_proj", "k_proj", "v_proj"]),
    ("gate_up_proj", &["gate_proj", "up_proj"]),
];

/// The name of the stored weight that a weight is part of, and its place among the parts; `None` if it is stored alone.
fn part_of(name: &str) -> Option<(String, usize)> {
    let (prefix, part) = name.strip_suffix(".weight")?.rsplit_once('.')?;
    JOINED.iter().find_map(|(joined, parts)| {
        let place = parts.iter().position(|other| *other == part)?;
        Some((format!("{prefix}.{joined}.weight"), place))
    })
}

/// The name of the stored weight that a weight is part of; `None` if it is stored alone.
pub(super) fn joined_name(name: &str) -> Option<String> {
    part_of(name).map(|(stored, _)| stored)
}

/// Whether the projection of this name is part of a weight that such a family stores as one.
pub(super) fn is_joined(projection: &str) -> bool {
    part_of(&format!("{projection}.weight")).is_some()
}

/// A source whose weights are stored as one, as a source of the parts.
pub(super) struct JoinedWeights<'a> {
    pub(super) stored: Box<dyn WeightSource + 'a>,
    pub(super) config: &'a DecoderConfig,
}

impl JoinedWeights<'_> {
    /// The rows of each part of a stored weight.
    fn parts(&self, stored: &str) -> Vec<usize> {
        let config = self.config;
        if stored.ends_with(".qkv_proj.weight") {
            let keys = config.num_key_value_heads * config.head_dim;
            vec![config.num_attention_heads * config.head_dim, keys, keys]
        } else {
            vec![config.intermediate_size; 2]
        }
    }

    /// The shape of a stored weight of which one part has this shape.
    fn whole_shape(&self, stored: &str, part: &[usize]) -> Vec<usize> {
        let mut whole = part.to_vec();
        if let Some(first) = whole.first_mut() {
            *first = self.parts(stored).iter().sum();
        }
        whole
    }
}

impl WeightSource for JoinedWeights<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> std::result::Result<Tensor, ModelError> {
        let Some((stored, place)) = part_of(name) else {
            return self.stored.tensor(name, shape);
        };
        let rows = self.parts(&stored);
        let whole_shape = self.whole_shape(&stored, shape);
        let whole = self.stored.tensor(&stored, &whole_shape)?;
        // A copy, which does not keep the whole in memory.
        let first = rows[..place].iter().sum();
        Ok(whole.narrow(0, first, rows[place])?.copy()?)
    }

    fn rows(&mut self, name: &str, shape: [usize; 2], wanted: &[u32]) -> std::result::Result<Tensor, ModelError> {
        match part_of(name) {
            None => self.stored.rows(name, shape, wanted),
            Some(_) => chosen(&self.tensor(name, &shape)?, wanted),
        }
    }

    fn check(&mut self, name: &str, shape: &[usize]) -> std::result::Result<(), ModelError> {
        match part_of(name) {
            None => self.stored.check(name, shape),
            Some((stored, _)) => {
                let whole_shape = self.whole_shape(&stored, shape);
                self.stored.check(&stored, &whole_shape)
            }
        }
    }
}

/// `weights` with those joined that are stored as one.
///
/// # Errors
///
/// If the device has no memory for them.
pub(crate) fn join<'a>(weights: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<BTreeMap<String, Tensor>> {
    let mut parts: BTreeMap<String, BTreeMap<usize, &Tensor>> = BTreeMap::new();
    for (name, tensor) in weights {
        let (stored, place) = part_of(name).unwrap_or_else(|| (name.to_owned(), 0));
        parts.entry(stored).or_default().insert(place, tensor);
    }
    let whole = |parts: BTreeMap<usize, &Tensor>| match parts.into_values().collect::<Vec<_>>().as_slice() {
        [alone] => Ok((*alone).clone()),
        parts => Tensor::cat(parts, 0),
    };
    parts
        .into_iter()
        .map(|(name, parts)| Ok((name, whole(parts)?)))
        .collect()
}
