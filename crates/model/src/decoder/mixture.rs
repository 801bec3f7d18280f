//! A mixture of experts (Qwen3-MoE): a router chooses the experts that process a token.
//!
//! The router's scores become probabilities over all experts. A token is processed by its most probable experts; the result
//! is the sum of their outputs, weighted by their probabilities. Tokens are grouped by expert: an expert computes only its
//! own tokens. A mixture computes no gradients.
//!
//! The result for a token does not depend on the other tokens. Products of an expert have at least [`MIN_ROWS`] rows, so
//! they always sum in the same order, and the outputs of a token's experts are added in the order of the experts' numbers.

use candle_core::{Result, Tensor};
use leadspan_kernels::{InPlace, Pass, add_rows, with_values};

use super::{closing::Closing, gated_block::GatedBlock, min_rows::MIN_ROWS};
use crate::{
    config::experts::Experts,
    error::ModelError,
    families::Activation,
    weights::{projection::Projection, weight_source::WeightSource},
};

/// The experts of one layer and their router.
#[derive(Clone, Debug)]
pub(crate) struct Mixture {
    /// `[experts, H]`
    router: Projection,
    experts: Vec<GatedBlock>,
    per_token: usize,
    normalize: bool,
}

/// The tokens of one expert, ascending, and the weight of the expert's output for each.
#[derive(Clone, Debug, Default, PartialEq)]
struct Group {
    tokens: Vec<u32>,
    weights: Vec<f32>,
}

impl Mixture {
    /// The mixture of one layer; the names of its weights begin with `name`.
    pub(crate) fn build(
        config: &Experts,
        hidden: usize,
        weights: &mut dyn WeightSource,
        name: &str,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            router: weights.product(&format!("{name}.gate.weight"), [config.count, hidden], None)?,
            experts: (0..config.count)
                .map(|expert| {
                    let name = format!("{name}.experts.{expert}");
                    let widths = (hidden, config.intermediate_size);
                    GatedBlock::build(widths, Activation::Silu, weights, &name, Closing::plain)
                })
                .collect::<std::result::Result<_, _>>()?,
            per_token: config.per_token,
            normalize: config.normalize,
        })
    }

    /// `residual` plus the output for `x`; both are `[N, H]`.
    pub(crate) fn forward(&self, x: &Tensor, residual: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        let scores = self.router.scores(x, pass)?.to_vec2::<f32>()?;
        let groups = groups(&scores, self.experts.len(), self.per_token, self.normalize);
        let in_place = pass.fuse(x);
        let mut sum = if in_place { residual.copy()? } else { residual.clone() };
        for (expert, group) in self.experts.iter().zip(&groups) {
            if group.tokens.is_empty() {
                continue;
            }
            let output = weighted_output(expert, x, group, pass)?;
            if in_place {
                add_in_place(&sum, &output, &group.tokens)?;
            } else {
                let tokens = Tensor::from_slice(&group.tokens, group.tokens.len(), x.device())?;
                sum = sum.index_add(&tokens, &output, 0)?;
            }
        }
        Ok(sum)
    }
}

/// The output of `expert` for the tokens of its group, multiplied by their weights: `[tokens, H]`.
fn weighted_output(expert: &GatedBlock, x: &Tensor, group: &Group, pass: Pass<'_>) -> Result<Tensor> {
    let count = group.tokens.len();
    let mut rows = group.tokens.clone();
    if !pass.uses_skinny_product(x) {
        // A general product of few rows sums in another order, so pad with copies of the first token.
        rows.resize(count.max(MIN_ROWS), group.tokens[0]);
    }
    let rows = Tensor::from_slice(&rows, rows.len(), x.device())?;
    let output = expert.forward(&x.index_select(&rows, 0)?, None, pass)?;
    let weights = Tensor::from_slice(&group.weights, (count, 1), x.device())?.to_dtype(x.dtype())?;
    output.narrow(0, 0, count)?.broadcast_mul(&weights)
}

/// Adds row i of `rows` to row `places[i]` of `sum`, in CPU memory.
fn add_in_place(sum: &Tensor, rows: &Tensor, places: &[u32]) -> Result<()> {
    let width = rows.dim(1)?;
    with_values(rows, |rows| {
        sum.inplace_op1(&InPlace(|sum: &mut [f32]| {
            add_rows(sum, rows, places, width);
            Ok(())
        }))
    })
}

/// The tokens of each expert, from the router's `scores` `[N][experts]`.
///
/// Each token gets the `per_token` experts with the highest scores, ties to the lower number. Their weights are the softmax
/// over all experts, or over the chosen ones if `normalize`.
fn groups(scores: &[Vec<f32>], experts: usize, per_token: usize, normalize: bool) -> Vec<Group> {
    let mut groups = vec![Group::default(); experts];
    let mut order: Vec<usize> = Vec::with_capacity(experts);
    for (token, scores) in scores.iter().enumerate() {
        order.clear();
        order.extend(0..scores.len());
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let mass = |expert: usize| f64::from(scores[expert] - scores[order[0]]).exp();
        let chosen = &order[..per_token];
        // Over all experts, the sum runs in the order of their numbers.
        let sum: f64 = if normalize {
            chosen.iter().map(|&expert| mass(expert)).sum()
        } else {
            (0..scores.len()).map(mass).sum()
        };
        for &expert in chosen {
            groups[expert].tokens.push(token as u32);
            groups[expert].weights.push((mass(expert) / sum) as f32);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_to_their_most_probable_experts_with_the_weights_worked_out_by_hand() {
        // In the second row two experts have the mass 3, in the third all are equal: the lower number comes first.
        let of = |masses: [f32; 4]| masses.map(f32::ln).to_vec();
        let scores = [
            of([1.0, 2.0, 4.0, 1.0]),
            of([1.0, 3.0, 1.0, 3.0]),
            of([2.0, 2.0, 2.0, 2.0]),
        ];
        let expected = |weights: [(usize, u32, f32); 6]| {
            let mut groups = vec![Group::default(); 4];
            for (expert, token, weight) in weights {
                groups[expert].tokens.push(token);
                groups[expert].weights.push(weight);
            }
            groups
        };
        let close = |found: &[Group], expected: &[Group]| {
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(found.tokens, expected.tokens);
                for (a, b) in found.weights.iter().zip(&expected.weights) {
                    assert!((a - b).abs() < 1e-6, "{found:?} {expected:?}");
                }
            }
        };
        let shares = [
            (2, 0, 0.5),
            (1, 0, 0.25),
            (1, 1, 0.375),
            (3, 1, 0.375),
            (0, 2, 0.25),
            (1, 2, 0.25),
        ];
        close(&groups(&scores, 4, 2, false), &expected(shares));
        let normalized = [
            (2, 0, 2.0 / 3.0),
            (1, 0, 1.0 / 3.0),
            (1, 1, 0.5),
            (3, 1, 0.5),
            (0, 2, 0.5),
            (1, 2, 0.5),
        ];
        close(&groups(&scores, 4, 2, true), &expected(normalized));
    }
}
