//! Both paths of the objective against hand-computed numbers, finite differences and each other.

use candle_core::{Device, Tensor};
use leadspan_distribution::{Distributions, Position, top_k};

use super::{HeadPass, LossSums, Rows, backward, forward};

fn pass(distillation_weight: f32, fused: bool) -> HeadPass {
    HeadPass {
        distillation_weight,
        chunk_bytes: 1 << 20,
        fused,
    }
}

/// The losses and the gradient with respect to the logits: an identity head makes hidden states the logits.
fn on_logits(logits: &[Vec<f32>], rows: &Rows, pass: HeadPass) -> (LossSums, Vec<Vec<f32>>) {
    let vocabulary = logits[0].len();
    let hidden = Tensor::new(logits.to_vec(), &Device::Cpu).unwrap();
    let identity = Tensor::eye(vocabulary, candle_core::DType::F32, &Device::Cpu).unwrap();
    let gradients = backward(pass, &hidden, &identity, rows).unwrap();
    (gradients.sums, gradients.hidden.to_vec2().unwrap())
}

fn stored(entries: &[(u32, f32)], tail: f32) -> Distributions {
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

fn rows(target: u32, distributions: &Distributions, weight: f32, vocabulary: usize) -> Rows {
    let mut rows = Rows::new();
    rows.push_sample(&[target], distributions, weight, vocabulary);
    rows
}

#[test]
fn a_row_worked_out_by_hand_has_the_right_losses_and_gradient() {
    // Student q = (1/2, 1/4, 1/8, 1/8); teacher p(0) = 1/4, p(1) = 1/4, tail 1/2; target 2; α = 1/2; weight 2.
    // CE = ln 8. Soft cross-entropy = ¼ ln 2 + ¼ ln 4 + ½ ln 4 = 1.75 ln 2; teacher's entropy = ½ ln 4 + ½ ln 2 = 1.5 ln 2;
    // so forward KL = 0.25 ln 2. The tail's student mass is ¼, shared equally by tokens 2 and 3.
    // Gradient of CE: (1/2, 1/4, 1/8 − 1, 1/8); of KL: (1/4, 0, 1/8 − 1/4, 1/8 − 1/4).
    let logits: Vec<f32> = [0.5f32, 0.25, 0.125, 0.125].iter().map(|q| q.ln() + 3.0).collect();
    let rows = rows(2, &stored(&[(0, 0.25), (1, 0.25)], 0.5), 2.0, 4);
    let ln2 = std::f64::consts::LN_2;
    for fused in [true, false] {
        let (sums, gradient) = on_logits(std::slice::from_ref(&logits), &rows, pass(0.5, fused));
        assert!((sums.cross_entropy - 2.0 * 3.0 * ln2).abs() < 1e-6);
        assert!((sums.soft_cross_entropy - 2.0 * 1.75 * ln2).abs() < 1e-6);
        assert!((sums.forward_kl - 2.0 * 0.25 * ln2).abs() < 1e-6);
        assert!((sums.weight - 2.0).abs() < 1e-12);
        let by_hand = [0.75, 0.25, -1.0, 0.0];
        for (found, expected) in gradient[0].iter().zip(by_hand) {
            assert!((found - expected).abs() < 1e-6, "{gradient:?}");
        }
    }
}

#[test]
fn the_divergence_is_zero_where_the_student_is_the_teacher() {
    let logits: Vec<f32> = (0..50).map(|i| ((i * 37) % 23) as f32 / 5.0).collect();
    let rows = rows(3, &top_k(&logits, 50, &[3], 8).unwrap(), 1.0, 50);
    for fused in [true, false] {
        let (sums, gradient) = on_logits(std::slice::from_ref(&logits), &rows, pass(1.0, fused));
        assert!(sums.forward_kl.abs() < 1e-6, "{}", sums.forward_kl);
        assert!((sums.top_1_agreement - 1.0).abs() < 1e-12);
        assert!(gradient[0].iter().all(|value| value.abs() < 1e-6));
    }
}

/// Rows whose teacher is another set of logits; several kinds of overlap of target and entries.
fn random_case(seed: u32, count: usize, vocabulary: usize, k: usize) -> (Vec<Vec<f32>>, Rows) {
    let value = |row: usize, token: usize, salt: u32| {
        let mixed = (row as u32 * 7919 + token as u32 * 104_729 + seed * 31 + salt).wrapping_mul(2_654_435_761);
        (mixed >> 8) as f32 / (1u32 << 24) as f32 * 8.0 - 4.0
    };
    let matrix = |salt: u32| -> Vec<Vec<f32>> {
        (0..count)
            .map(|row| (0..vocabulary).map(|token| value(row, token, salt)).collect())
            .collect()
    };
    let (student, teacher) = (matrix(1), matrix(2));
    let mut rows = Rows::new();
    for (row, logits) in teacher.iter().enumerate() {
        let target = (row as u32 * 5 + seed) % vocabulary as u32;
        rows.push_sample(
            &[target],
            &top_k(logits, vocabulary, &[target], k).unwrap(),
            0.1 + row as f32 * 0.05,
            vocabulary,
        );
    }
    (student, rows)
}

#[test]
fn both_paths_agree_on_random_shapes() {
    for (seed, count, vocabulary, k) in [
        (1, 1, 17, 3),
        (2, 9, 64, 1),
        (3, 33, 257, 64),
        (4, 5, 31, 31),
        (5, 7, 20, 0),
    ] {
        let (student, rows) = random_case(seed, count, vocabulary, k);
        for alpha in [0.0, 0.3, 1.0] {
            let (fused, fused_gradient) = on_logits(&student, &rows, pass(alpha, true));
            let (composed, composed_gradient) = on_logits(&student, &rows, pass(alpha, false));
            for (a, b) in [
                (fused.cross_entropy, composed.cross_entropy),
                (fused.forward_kl, composed.forward_kl),
                (fused.soft_cross_entropy, composed.soft_cross_entropy),
                (fused.top_1_agreement, composed.top_1_agreement),
            ] {
                assert!((a - b).abs() < 1e-5, "{seed}: {fused:?} {composed:?}");
            }
            assert!(fused.forward_kl > -1e-9);
            for (a, b) in fused_gradient.iter().flatten().zip(composed_gradient.iter().flatten()) {
                assert!((a - b).abs() < 1e-6, "{seed}: {a} {b}");
            }
        }
    }
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    let (student, rows) = random_case(7, 4, 40, 6);
    for alpha in [0.0f32, 0.5, 1.0] {
        let loss = |logits: &[Vec<f32>]| {
            let sums = on_logits(logits, &rows, pass(alpha, true)).0;
            f64::from(1.0 - alpha) * sums.cross_entropy + f64::from(alpha) * sums.forward_kl
        };
        let (_, gradient) = on_logits(&student, &rows, pass(alpha, true));
        for (row, token) in [(0, 0), (0, 7), (1, 5), (2, 39), (3, 20), (3, 15)] {
            let moved = |by: f32| {
                let mut logits = student.clone();
                logits[row][token] += by;
                loss(&logits)
            };
            // Central differences of single-precision logits: the error is about 1e-6 from curvature and rounding.
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!(
                (slope - f64::from(gradient[row][token])).abs() < 2e-5,
                "{slope} {}",
                gradient[row][token]
            );
        }
    }
}

#[test]
fn extreme_logits_and_tails_stay_finite_and_right() {
    // The student is certain of an entry, certain of a token in the tail, or of nothing at all.
    for (certain, expected_kl) in [(0usize, 0.5 * 2e4 + 0.5f64.ln()), (3, 0.5 * 2e4 + 0.5f64.ln())] {
        let mut logits = vec![-1e4f32; 6];
        logits[certain] = 1e4;
        let rows = rows(1, &stored(&[(0, 0.5)], 0.5), 1.0, 6);
        for fused in [true, false] {
            let (sums, gradient) = on_logits(std::slice::from_ref(&logits), &rows, pass(1.0, fused));
            // p log p of both halves, and half the mass where the student has exp(−2e4), up to the size of the tail.
            assert!(
                (sums.forward_kl - expected_kl).abs() < 2.0,
                "{certain} {fused}: {}",
                sums.forward_kl
            );
            assert!(gradient[0].iter().all(|value| value.is_finite()));
            assert!(
                gradient[0].iter().sum::<f32>().abs() < 1e-5,
                "{certain} {fused}: {gradient:?}"
            );
        }
    }
    // Tail masses of zero and one.
    for (entries, tail) in [(vec![(0, 0.75f32), (1, 0.25)], 0.0f32), (vec![], 1.0)] {
        let rows = rows(1, &stored(&entries, tail), 1.0, 6);
        for fused in [true, false] {
            let (sums, gradient) = on_logits(&[vec![0.5, 1.0, 0.0, -1.0, 2.0, 0.0]], &rows, pass(1.0, fused));
            assert!(sums.forward_kl.is_finite() && sums.forward_kl > -1e-7);
            assert!(gradient[0].iter().all(|value| value.is_finite()));
        }
    }
}

#[test]
fn entries_beyond_the_students_vocabulary_move_to_its_tail() {
    let distributions = stored(&[(0, 0.5), (7, 0.25)], 0.25);
    let padded = rows(1, &distributions, 1.0, 6);
    let same = rows(1, &stored(&[(0, 0.5)], 0.5), 1.0, 6);
    let logits = vec![vec![0.5, 1.0, 0.0, -1.0, 2.0, 0.0]];
    assert_eq!(
        on_logits(&logits, &padded, pass(0.5, true)),
        on_logits(&logits, &same, pass(0.5, true))
    );
}

#[test]
fn chunks_change_nothing_but_rounding() {
    let (student, rows) = random_case(11, 23, 64, 8);
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
        (
            backward(pass, &hidden, &weight, &rows).unwrap(),
            forward(pass, &hidden, &weight, &rows).unwrap(),
        )
    };
    let ((whole, whole_forward), (parts, parts_forward)) = (of(1 << 20), of(5 * 64 * 4));
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
    assert!(largest(&whole.weight, &parts.weight) < 1e-5);
    assert!((whole.sums.forward_kl - parts.sums.forward_kl).abs() < 1e-6);
    assert!((whole_forward.cross_entropy - parts_forward.cross_entropy).abs() < 1e-6);
    assert!((whole_forward.cross_entropy - whole.sums.cross_entropy).abs() < 1e-6);
}
