//! Whether the kernels of a GPU give what stock operations give in training: the objective, and updates of parameters.
//!
//! They are compared when a student is opened, after its layers (which the model crate compares): kernels that nobody has run on
//! a certain GPU, driver or shape before must not spoil weights without a word.

use candle_core::{DType, Device, Result, Tensor, Var};
use leadspan_distribution::{Distributions, Position};
use leadspan_model::{Decoder, Distrust, GradientSum, Kernels, Stop};

use crate::{
    AdamW, AdamWSettings,
    objective::{self, Distillation, HeadPass, LossSums, SupervisedRows, runs_in_gpu_kernels},
    optimizer::sum_of_squares,
};

/// Positions of a sample with a teacher and of one without.
const ROWS: [usize; 2] = [19, 5];
/// The most entries of a position.
const ENTRIES: usize = 17;
/// As many terms of temperatures as a cache may declare.
const TEMPERATURES: usize = 8;
/// The largest difference of a mean loss, in nats.
const LARGEST_LOSS_DIFFERENCE: f64 = 1e-2;
/// The largest relative difference of a gradient: bfloat16 rounds a part in 500 of each of its terms away.
const LARGEST_GRADIENT_DIFFERENCE: f64 = 0.05;
/// The largest relative difference of the norm, the moments and the moves of an update, which is in single precision.
const LARGEST_UPDATE_DIFFERENCE: f64 = 1e-3;

/// What was compared, and the difference relative to what is right.
type Difference = (String, f64);

/// The student, with stock operations if the kernels of training cannot be trusted on its device.
pub(crate) fn with_trusted_training(student: Decoder, distillation: Distillation) -> Decoder {
    let Some(weight) = student.head_weight().filter(|_| runs_in_gpu_kernels(&student)) else {
        return student;
    };
    let compared = wrong_objective(&weight, distillation).and_then(|wrong| match wrong {
        None => wrong_update(student.device(), weight.dtype()),
        wrong => Ok(wrong),
    });
    match compared {
        Ok(None) => student,
        Ok(Some((what, by))) => student.distrusting(Distrust::Differs { what, by }),
        Err(error) => student.distrusting(Distrust::Fails {
            reason: error.to_string(),
        }),
    }
}

/// Whether a model's held-out losses may use the objective that its device has.
pub(crate) fn has_right_objective(model: &Decoder) -> bool {
    match model.head_weight().filter(|_| runs_in_gpu_kernels(model)) {
        Some(weight) => matches!(wrong_objective(&weight, Distillation::default()), Ok(None)),
        None => true,
    }
}

/// The losses of some rows and their gradients.
struct Found {
    sums: LossSums,
    hidden: Tensor,
    head: Tensor,
}

/// The first difference of the objective that is too large, under a head of this weight.
fn wrong_objective(weight: &Tensor, distillation: Distillation) -> Result<Option<Difference>> {
    for (distillation, alpha) in [(distillation, 0.5), (Distillation::default(), 0.0)] {
        let stock = found(weight, distillation, alpha, Kernels::Stock)?;
        let fused = found(weight, distillation, alpha, Kernels::Fused)?;
        let difference = difference(&fused, &stock)?;
        if difference.is_some() {
            return Ok(difference);
        }
    }
    Ok(None)
}

/// Pseudo-random numbers between −1 and 1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Made-up positions: of up to so many entries, spread over the vocabulary, with a tail of several sizes.
fn distributions(vocabulary: usize) -> Distributions {
    let mut distributions = Distributions::new();
    for row in 0..ROWS[0] {
        let entries = (1 + row % ENTRIES).min(vocabulary.saturating_sub(2)).max(1);
        let apart = (vocabulary / (entries + 1)).max(1);
        let token = |index: usize| ((row * 7919 + index * apart) % vocabulary) as u32;
        let ids: Vec<u32> = (0..entries).map(token).collect();
        // The tail has 1/8 to 1/2 of the probability, and each entry half of what those before it leave.
        let tail = 0.125 * (1 + row % 4) as f32;
        let share = |index: usize| (1.0 - tail) * 0.5f32.powi(index as i32 + i32::from(index + 1 < entries));
        let logprobs: Vec<f32> = (0..entries).map(|index| share(index).ln()).collect();
        let drawn: Vec<u32> = (0..2).map(|index| token(entries) + index).collect();
        let drawn: Vec<u32> = drawn.into_iter().filter(|id| !ids.contains(id)).collect();
        distributions.push(Position {
            token_ids: &ids,
            logprobs: &logprobs,
            tail_logprob: tail.ln(),
            temperature_tails: &[-0.5; TEMPERATURES],
            sampled_token_ids: &drawn,
            sampled_draws: &vec![2; drawn.len()],
            ..Position::default()
        });
    }
    distributions
}

/// What some rows give under a head of this weight.
fn found(weight: &Tensor, distillation: Distillation, alpha: f32, kernels: Kernels) -> Result<Found> {
    let (vocabulary, width) = weight.dims2()?;
    // Rows without a teacher are replayed, or learnt by cross-entropy alone.
    let unknown = if distillation.is_measured() { ROWS[1] } else { 0 };
    let count = ROWS[0] + unknown;
    let mut rows = SupervisedRows::new(distillation);
    let target = |row: usize| ((row * 7919 + row % 3 * (vocabulary / 7)) % vocabulary) as u32;
    let weight_of_row = 1.0 / count as f32;
    rows.push_sample(
        (0..ROWS[0]).map(target),
        &distributions(vocabulary),
        weight_of_row,
        vocabulary,
    );
    rows.push_sample(
        (ROWS[0]..count).map(target),
        &Distributions::new(),
        weight_of_row,
        vocabulary,
    );
    let hidden = Tensor::from_vec(numbers(1, count * width), (count, width), weight.device())?;
    let hidden = hidden.to_dtype(weight.dtype())?;
    let pass = HeadPass {
        distillation_weight: alpha,
        // Two chunks, of which the second begins within the first sample.
        chunk_bytes: 13 * vocabulary * size_of::<f32>(),
        fused: kernels == Kernels::Fused,
    };
    let sum = GradientSum::new(weight)?;
    let head = objective::backward(pass, (&hidden, weight), &rows, &sum, Stop::NEVER);
    let head = head.map_err(candle_core::Error::wrap)?;
    Ok(Found {
        sums: head.sums.wait()?,
        hidden: head.hidden.to_dtype(DType::F32)?,
        head: sum.get().map_or_else(|| weight.zeros_like(), Tensor::copy)?,
    })
}

/// The first difference that is too large.
fn difference(fused: &Found, stock: &Found) -> Result<Option<Difference>> {
    let of_losses = [
        ("cross-entropy", fused.sums.cross_entropy, stock.sums.cross_entropy),
        ("the divergence", fused.sums.distillation, stock.sums.distillation),
        ("forward KL", fused.sums.forward_kl, stock.sums.forward_kl),
        (
            "soft cross-entropy",
            fused.sums.soft_cross_entropy,
            stock.sums.soft_cross_entropy,
        ),
        ("the weight of rows", fused.sums.weight, stock.sums.weight),
    ];
    for (what, fused, stock) in of_losses {
        let by = (fused - stock).abs() / (1.0 + stock.abs());
        if by.is_nan() || by > LARGEST_LOSS_DIFFERENCE {
            return Ok(Some((what.to_owned(), by)));
        }
    }
    for (what, fused, stock) in [
        ("the gradient of hidden states", &fused.hidden, &stock.hidden),
        ("the gradient of the head", &fused.head, &stock.head),
    ] {
        let by = relative(fused, stock)?;
        if by.is_nan() || by > LARGEST_GRADIENT_DIFFERENCE {
            return Ok(Some((what.to_owned(), by)));
        }
    }
    Ok(None)
}

/// ‖a − b‖ / ‖b‖.
fn relative(a: &Tensor, b: &Tensor) -> Result<f64> {
    let off = sum_of_squares(&(a - b)?)?.sqrt();
    Ok(if off == 0.0 {
        0.0
    } else {
        off / sum_of_squares(b)?.sqrt()
    })
}

/// Elements of the parameters that are updated: of several blocks, and of fewer than a thread takes.
const PARAMETERS: [(&str, usize); 3] = [("a.weight", 20_003), ("b.norm.weight", 5), ("c.bias", 8_192)];

/// An optimizer after two updates of parameters of its own, and the norms of their gradients.
fn updated(device: &Device, dtype: DType, kernels: Kernels) -> Result<(AdamW, Vec<f64>)> {
    const LIMIT: f64 = 3.0;
    let variables = (PARAMETERS.iter().zip(1..))
        .map(|((_, count), seed)| {
            let values = Tensor::from_vec(numbers(seed, *count), *count, device)?;
            Var::from_tensor(&values.to_dtype(dtype)?)
        })
        .collect::<Result<Vec<_>>>()?;
    let named = PARAMETERS.iter().map(|(name, _)| *name).zip(&variables);
    let settings = AdamWSettings {
        weight_decay: 0.1,
        ..AdamWSettings::default()
    };
    let mut optimizer = AdamW::with_kernels(named, settings, kernels)?;
    let mut norms = Vec::new();
    for step in 1..=2 {
        let gradients = (PARAMETERS.iter().zip(10 * step..))
            .map(|((name, count), seed)| Ok((*name, Tensor::from_vec(numbers(seed, *count), *count, device)?)))
            .collect::<Result<Vec<_>>>()?;
        let all = || gradients.iter().map(|(name, gradient)| (*name, gradient));
        let norm = if let Some(norm) = optimizer.update_on_device(all(), LIMIT, 1e-2)? {
            norm.wait()?
        } else {
            let squares = all().map(|(_, gradient)| sum_of_squares(gradient));
            let norm = squares.sum::<Result<f64>>()?.sqrt();
            optimizer.update(all(), (LIMIT / norm).min(1.0), 1e-2)?;
            norm
        };
        norms.push(norm);
    }
    Ok((optimizer, norms))
}

/// The first difference of updates, or of a state that another optimizer restores, that is too large.
fn wrong_update(device: &Device, dtype: DType) -> Result<Option<Difference>> {
    let (stock, norms) = updated(device, dtype, Kernels::Stock)?;
    let (mut fused, fused_norms) = updated(device, dtype, Kernels::Fused)?;
    for (found, norm) in fused_norms.iter().zip(&norms) {
        let by = (found / norm - 1.0).abs();
        if by.is_nan() || by > LARGEST_UPDATE_DIFFERENCE {
            return Ok(Some(("the norm of gradients".to_owned(), by)));
        }
    }
    let (steps, stock) = stock.state()?;
    let on_host = |tensor: &Tensor| tensor.to_device(&Device::Cpu);
    // Weights of about 1 move by 1e-2.
    for (name, found) in fused.state()?.1 {
        let by = match stock.get(&name) {
            Some(stock) => relative(&on_host(&found)?, &on_host(stock)?)?,
            None => f64::NAN,
        };
        let moves = if name.ends_with("moment") { 1.0 } else { 1e-2 };
        if by.is_nan() || by > LARGEST_UPDATE_DIFFERENCE * moves {
            return Ok(Some((format!("an update of `{name}`"), by)));
        }
    }
    fused.restore(steps, &mut |name| stock.get(name).map(on_host).transpose())?;
    for (name, found) in fused.state()?.1 {
        let restored = match stock.get(&name) {
            Some(stock) => relative(&on_host(&found)?, &on_host(stock)?)?,
            None => f64::NAN,
        };
        if restored != 0.0 {
            return Ok(Some((format!("a restored `{name}`"), restored)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Loss, TailPolicy, objective::tests::distillation};

    fn weight(vocabulary: usize) -> Tensor {
        Tensor::from_vec(numbers(7, vocabulary * 24), (vocabulary, 24), &Device::Cpu).unwrap()
    }

    #[test]
    fn forms_that_agree_are_trusted_under_every_policy_and_vocabulary() {
        for vocabulary in [3, 20, 1001] {
            for policy in TailPolicy::ALL {
                let distillation = distillation(Loss::ForwardKl, policy, 1.0);
                let wrong = wrong_objective(&weight(vocabulary), distillation).unwrap();
                assert_eq!(wrong, None, "{policy} {vocabulary}");
            }
        }
        let tempered = distillation(Loss::JensenShannon, TailPolicy::Bucket, 2.0);
        assert_eq!(wrong_objective(&weight(1001), tempered).unwrap(), None);
        for dtype in [DType::F32, DType::BF16] {
            assert_eq!(wrong_update(&Device::Cpu, dtype).unwrap(), None);
        }
    }

    #[test]
    fn losses_and_gradients_that_differ_are_named() {
        let of = |alpha| found(&weight(300), Distillation::default(), alpha, Kernels::Fused).unwrap();
        let right = of(0.5);
        let named = |change: &dyn Fn(&mut Found)| {
            let mut changed = of(0.5);
            change(&mut changed);
            difference(&changed, &right).unwrap().unwrap().0
        };
        assert_eq!(named(&|found| found.sums.forward_kl += 0.1), "forward KL");
        assert_eq!(named(&|found| found.sums.distillation = f64::NAN), "the divergence");
        let zero = |tensor: &Tensor| tensor.zeros_like().unwrap();
        assert_eq!(
            named(&|found| found.head = zero(&found.head)),
            "the gradient of the head"
        );
        // Another weight of the divergence has the same losses and other gradients.
        let other = of(0.6);
        assert_eq!(
            difference(&other, &right).unwrap().unwrap().0,
            "the gradient of hidden states"
        );
    }
}
