//! The objective in stock tensor operations, for devices without a kernel of our own, and as the oracle of the one.

use candle_core::{D, DType, Result, Tensor};
use std::ops::Range;

use super::{LossSums, Rows};

/// Added to the logits of entries to take them out of the tail; large enough that nothing of them is left.
const OUT: f32 = -1e30;

/// The gradient `[C, V]` of the weighted loss of the rows `range` with respect to `logits` `[C, V]`, and the losses.
pub(super) fn loss_and_gradient(
    logits: &Tensor,
    rows: &Rows,
    range: Range<usize>,
    distillation_weight: f32,
) -> Result<(Tensor, LossSums)> {
    let device = logits.device();
    let count = range.len();
    let width = range
        .clone()
        .map(|row| rows.entries(row).0.len())
        .max()
        .unwrap_or(0)
        .max(1);
    // Ragged entries become a rectangle; spare places repeat token 0 with nothing to add.
    let mut token_ids = vec![0u32; count * width];
    let mut probabilities = vec![0f32; count * width];
    let mut present = vec![0f32; count * width];
    for (index, row) in range.clone().enumerate() {
        let (ids, values) = rows.entries(row);
        let place = index * width..index * width + ids.len();
        token_ids[place.clone()].copy_from_slice(ids);
        probabilities[place.clone()].copy_from_slice(values);
        present[place].fill(1.0);
    }
    let rectangle = |values: Vec<f32>| Tensor::from_vec(values, (count, width), device);
    let column = |values: &[f32]| Tensor::from_slice(values, (count, 1), device);
    let token_ids = Tensor::from_vec(token_ids, (count, width), device)?;
    let targets = Tensor::from_slice(&rows.targets[range.clone()], (count, 1), device)?;
    let (probabilities, present) = (rectangle(probabilities)?, rectangle(present)?);
    let (tails, weights) = (
        column(&rows.tails[range.clone()])?,
        column(&rows.weights[range.clone()])?,
    );

    let taken_out = logits
        .zeros_like()?
        .scatter_add(&token_ids, &(&present * f64::from(OUT))?, 1)?;
    let tail_logits = (logits + taken_out)?;
    let lse = logits.log_sum_exp(D::Minus1)?.unsqueeze(1)?;
    let tail_lse = tail_logits.log_sum_exp(D::Minus1)?.unsqueeze(1)?;

    let cross_entropy = (&lse - logits.gather(&targets, 1)?)?;
    let entry_logprobs = logits.gather(&token_ids, 1)?.broadcast_sub(&lse)?;
    let soft_entries = (&probabilities * &entry_logprobs)?.sum_keepdim(1)?;
    let soft_tail = (&tails * (&tail_lse - &lse)?)?;
    let soft_cross_entropy = (soft_entries + soft_tail)?.neg()?;

    // Not exp(z − lse): at large logits the rounding of lse alone would shift every probability.
    let student = candle_nn::ops::softmax(logits, D::Minus1)?;
    let student_tail = candle_nn::ops::softmax(&tail_logits, D::Minus1)?;
    let gradient = (student - student_tail.broadcast_mul(&(&tails * f64::from(distillation_weight))?)?)?;
    let gradient = gradient.scatter_add(&token_ids, &(probabilities * -f64::from(distillation_weight))?, 1)?;
    let hard = Tensor::full(distillation_weight - 1.0, (count, 1), device)?;
    let gradient = gradient.scatter_add(&targets, &hard, 1)?.broadcast_mul(&weights)?;

    let values = |tensor: Tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let (cross_entropy, soft_cross_entropy) = (values(cross_entropy)?, values(soft_cross_entropy)?);
    let chosen = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let mut sums = LossSums::default();
    for (index, row) in range.enumerate() {
        let weight = f64::from(rows.weights[row]);
        let soft = f64::from(soft_cross_entropy[index]);
        sums.add(&LossSums {
            cross_entropy: weight * f64::from(cross_entropy[index]),
            forward_kl: weight * (soft + rows.negative_entropies[row]),
            soft_cross_entropy: weight * soft,
            weight,
            top_1_agreement: if rows.entries(row).0.first() == Some(&chosen[index]) {
                weight
            } else {
                0.0
            },
        });
    }
    Ok((gradient, sums))
}
