//! Both paths against each other and against finite differences, for every distillation.

use super::*;

const SHAPES: [(usize, usize, u32, usize); 6] = [
    (1, 17, 3, 0),
    (9, 64, 1, 0),
    (33, 257, 64, 0),
    (5, 31, 31, 0),
    (9, 64, 12, 20),
    (4, 3, 8, 30),
];

#[test]
fn both_paths_agree_on_random_shapes() {
    for distillation in all() {
        for (seed, shape) in SHAPES.into_iter().enumerate() {
            let (student, rows) = random_case(distillation, seed as u32, shape);
            for alpha in [0.0, 0.3, 1.0] {
                let (fused, fused_gradient) = on_logits(&student, &rows, pass(alpha, true));
                let (composed, composed_gradient) = on_logits(&student, &rows, pass(alpha, false));
                for (a, b) in [
                    (fused.cross_entropy, composed.cross_entropy),
                    (fused.distillation, composed.distillation),
                    (fused.forward_kl, composed.forward_kl),
                    (fused.soft_cross_entropy, composed.soft_cross_entropy),
                    (fused.top_1_agreement, composed.top_1_agreement),
                ] {
                    assert!(
                        (a - b).abs() < 1e-5,
                        "{} {shape:?}: {fused:?} {composed:?}",
                        distillation.name()
                    );
                }
                assert!(fused.forward_kl > -1e-9 && fused.distillation > -1e-9);
                for (a, b) in fused_gradient.iter().flatten().zip(composed_gradient.iter().flatten()) {
                    assert!((a - b).abs() < 2e-6, "{} {shape:?}: {a} {b}", distillation.name());
                }
            }
        }
    }
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    for distillation in all() {
        let (student, rows) = random_case(distillation, 7, (4, 40, 6, 8));
        for alpha in [0.0f32, 0.5, 1.0] {
            let loss = |logits: &[Vec<f32>]| {
                distillation.loss(f64::from(alpha), &on_logits(logits, &rows, pass(alpha, true)).0)
            };
            let (_, gradient) = on_logits(&student, &rows, pass(alpha, true));
            for row in 0..4 {
                for token in (row..40).step_by(3) {
                    let moved = |by: f32| {
                        let mut logits = student.clone();
                        logits[row][token] += by;
                        loss(&logits)
                    };
                    // Central differences of single-precision logits: the error is about 1e-5 from curvature and rounding.
                    let (back, here, ahead) = (moved(-1e-2), moved(0.0), moved(1e-2));
                    if (ahead - 2.0 * here + back).abs() > 2e-5 && distillation.name().contains("total_variation") {
                        continue; // It has a corner where q passes p.
                    }
                    let slope = (ahead - back) / 2e-2;
                    assert!(
                        (slope - f64::from(gradient[row][token])).abs() < 3e-5,
                        "{}: {slope} {}",
                        distillation.name(),
                        gradient[row][token]
                    );
                }
            }
        }
    }
}

#[test]
fn without_a_weight_the_teacher_costs_and_changes_nothing() {
    let (student, rows) = random_case(distillation(Loss::ReverseKl, TailPolicy::Bucket, 2.0), 3, (5, 40, 6, 0));
    let (plain, _) = random_case(Distillation::default(), 3, (5, 40, 6, 0));
    assert_eq!(student, plain);
    for fused in [true, false] {
        let (sums, gradient) = on_logits(&student, &rows, pass(0.0, fused));
        assert_eq!((sums.distillation, sums.forward_kl), (0.0, 0.0));
        for ((logits, gradient), row) in student.iter().zip(&gradient).zip(0..) {
            let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
            for ((logit, found), token) in logits.iter().zip(gradient).zip(0..) {
                let hard = if rows.targets[row] == token { 1.0 } else { 0.0 };
                let expected = f64::from(rows.weights[row]) * (f64::from(*logit).exp() / sum - hard);
                assert!((f64::from(*found) - expected).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn drawn_targets_are_right_on_average() {
    // The mean gradient over many draws against that of the whole distribution; each token's mean of 400 × 6 draws
    // strays by at most √(p_tail / 2400) / 2, about 0.01.
    let logits: Vec<f32> = (0..12).map(|i| ((i * 5) % 12) as f32 / 4.0).collect();
    let student = vec![(0..12).map(|i| ((i * 7) % 12) as f32 / 5.0).collect::<Vec<f32>>()];
    let gradient = |distillation, top_k, seed| {
        let stored = reduce(&logits, 12, &[Row { target: 0, seed }], &entries(top_k)).unwrap();
        let rows = rows_for(distillation, 0, &stored, 1.0, 12);
        on_logits(&student, &rows, pass(1.0, true)).1.remove(0)
    };
    let sampled = distillation(Loss::ForwardKl, TailPolicy::Sampled, 1.0);
    let mut mean = [0f32; 12];
    for seed in 0..400u64 {
        for (mean, value) in mean
            .iter_mut()
            .zip(gradient(sampled, 3, seed.wrapping_mul(0x9e37_79b9)))
        {
            *mean += value / 400.0;
        }
    }
    for (mean, whole) in mean.iter().zip(gradient(Distillation::default(), 12, 0)) {
        assert!((mean - whole).abs() < 0.03, "{mean} {whole}");
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
