//! Both paths of the objective against hand-computed numbers, finite differences, `PyTorch` and each other.

pub(super) mod by_hand;
mod extremes;
mod measures;
mod paths;
mod pytorch;

use candle_core::{Device, Tensor};
use leadspan_distribution::{Distributions, EntrySettings, Position, Row, reduce};
use leadspan_model::{GradientSum, Stop};

use super::{Distillation, HeadPass, LossSums, SupervisedRows, backward, forward};
use crate::{Loss, TailPolicy, TrainSettings};

fn pass(distillation_weight: f32, fused: bool) -> HeadPass {
    HeadPass {
        distillation_weight,
        chunk_bytes: 1 << 20,
        fused,
    }
}

/// The entry settings of the cache in these tests.
fn entries(top_k: u32) -> EntrySettings {
    EntrySettings {
        tail_samples: 6,
        temperatures: vec![2.0],
        ..EntrySettings::top_k(top_k)
    }
}

pub(crate) fn distillation(loss: Loss, tail_policy: TailPolicy, temperature: f64) -> Distillation {
    let settings = TrainSettings {
        loss,
        tail_policy,
        temperature,
        jensen_shannon_beta: 0.3,
        skew: 0.2,
        ..TrainSettings::default()
    };
    Distillation::new(&settings, &entries(1)).unwrap()
}

/// Every loss under every tail policy that goes with it, at temperatures 1 and 2.
fn all() -> Vec<Distillation> {
    let mut all = vec![distillation(Loss::ForwardKl, TailPolicy::Sampled, 1.0)];
    for temperature in [1.0, 2.0] {
        all.push(distillation(
            Loss::ForwardKl,
            TailPolicy::RenormalizeTeacher,
            temperature,
        ));
        for loss in Loss::ALL {
            for policy in [TailPolicy::Bucket, TailPolicy::RenormalizeBoth] {
                all.push(distillation(loss, policy, temperature));
            }
        }
    }
    all
}

/// The losses and the gradient with respect to the logits: an identity head makes hidden states the logits.
fn on_logits(logits: &[Vec<f32>], rows: &SupervisedRows, pass: HeadPass) -> (LossSums, Vec<Vec<f32>>) {
    let vocabulary = logits[0].len();
    let hidden = Tensor::new(logits.to_vec(), &Device::Cpu).unwrap();
    let identity = Tensor::eye(vocabulary, candle_core::DType::F32, &Device::Cpu).unwrap();
    let gradients = backward(
        pass,
        (&hidden, &identity),
        rows,
        &GradientSum::new(&identity).unwrap(),
        Stop::NEVER,
    )
    .unwrap();
    (gradients.sums.wait().unwrap(), gradients.hidden.to_vec2().unwrap())
}

pub(super) fn stored(entries: &[(u32, f32)], tail: f32) -> Distributions {
    let mut distributions = Distributions::new();
    let ids: Vec<u32> = entries.iter().map(|&(id, _)| id).collect();
    let logprobs: Vec<f32> = entries.iter().map(|&(_, p)| p.ln()).collect();
    distributions.push(Position {
        token_ids: &ids,
        logprobs: &logprobs,
        tail_logprob: tail.ln(),
        ..Position::default()
    });
    distributions
}

fn rows(target: u32, distributions: &Distributions, weight: f32, vocabulary: usize) -> SupervisedRows {
    rows_for(Distillation::default(), target, distributions, weight, vocabulary)
}

fn rows_for(
    distillation: Distillation,
    target: u32,
    distributions: &Distributions,
    weight: f32,
    vocabulary: usize,
) -> SupervisedRows {
    let mut rows = SupervisedRows::new(distillation);
    rows.push_sample([target].into_iter(), distributions, weight, vocabulary);
    rows
}

/// Rows whose teacher is another set of logits, of a vocabulary larger by `unknown`; targets inside and outside the
/// entries.
pub(super) fn random_case(
    distillation: Distillation,
    seed: u32,
    (count, vocabulary, top_k, unknown): (usize, usize, u32, usize),
) -> (Vec<Vec<f32>>, SupervisedRows) {
    let value = |row: usize, token: usize, salt: u32| {
        let mixed = (row as u32 * 7919 + token as u32 * 104_729 + seed * 31 + salt).wrapping_mul(2_654_435_761);
        (mixed >> 8) as f32 / (1u32 << 24) as f32 * 8.0 - 4.0
    };
    let matrix = |salt: u32, width: usize| -> Vec<Vec<f32>> {
        (0..count)
            .map(|row| (0..width).map(|token| value(row, token, salt)).collect())
            .collect()
    };
    let (student, teacher) = (matrix(1, vocabulary), matrix(2, vocabulary + unknown));
    let mut rows = SupervisedRows::new(distillation);
    for (row, logits) in teacher.iter().enumerate() {
        let target = (row as u32 * 5 + seed) % vocabulary as u32;
        let of = Row {
            target,
            seed: row as u64,
        };
        let stored = reduce(logits, logits.len(), &[of], &entries(top_k)).unwrap();
        rows.push_sample([target].into_iter(), &stored, 0.1 + row as f32 * 0.05, vocabulary);
    }
    (student, rows)
}

#[test]
fn chunks_change_nothing_but_rounding() {
    for distillation in all() {
        chunks_agree(distillation);
    }
}

fn chunks_agree(distillation: Distillation) {
    let (student, rows) = random_case(distillation, 11, (23, 64, 8, 5));
    let hidden = Tensor::new(student, &Device::Cpu).unwrap();
    let weight = Tensor::new(
        (0..64 * 64)
            .map(|i| ((i * 37) % 101) as f32 / 500.0)
            .collect::<Vec<_>>(),
        &Device::Cpu,
    );
    let weight = weight.unwrap().reshape((64, 64)).unwrap();
    let of = |chunk_bytes| {
        let pass = HeadPass {
            chunk_bytes,
            ..pass(0.5, true)
        };
        let sum = GradientSum::new(&weight).unwrap();
        (
            backward(pass, (&hidden, &weight), &rows, &sum, Stop::NEVER).unwrap(),
            sum.get().unwrap().clone(),
            forward(pass, (&hidden, &weight), &rows, Stop::NEVER).unwrap(),
        )
    };
    let ((whole, whole_sum, whole_forward), (parts, parts_sum, parts_forward)) = (of(1 << 20), of(5 * 64 * 4));
    let largest = |a: &Tensor, b: &Tensor| {
        (a - b)
            .unwrap()
            .abs()
            .unwrap()
            .flatten_all()
            .unwrap()
            .max(0)
            .unwrap()
            .to_scalar::<f32>()
            .unwrap()
    };
    assert!(largest(&whole.hidden, &parts.hidden) < 1e-6);
    assert!(largest(&whole_sum, &parts_sum) < 1e-5);
    let (whole, parts) = (whole.sums.wait().unwrap(), parts.sums.wait().unwrap());
    let (whole_forward, parts_forward) = (whole_forward.wait().unwrap(), parts_forward.wait().unwrap());
    assert!((whole.forward_kl - parts.forward_kl).abs() < 1e-6);
    assert!((whole.distillation - parts.distillation).abs() < 1e-6);
    assert!((whole_forward.cross_entropy - parts_forward.cross_entropy).abs() < 1e-6);
    assert!((whole_forward.cross_entropy - whole.cross_entropy).abs() < 1e-6);
}
