//! Logits of ±1e4, and tails of nothing and of everything.

use super::*;

#[test]
fn extreme_logits_and_tails_stay_finite_and_right() {
    // The student is certain of an entry, or certain of a token in the tail.
    for certain in [0, 3] {
        let mut logits = vec![-1e4f32; 6];
        logits[certain] = 1e4;
        let rows = rows(1, &stored(&[(0, 0.5)], 0.5), 1.0, 6);
        for fused in [true, false] {
            let (sums, gradient) = on_logits(std::slice::from_ref(&logits), &rows, pass(1.0, fused));
            // p log p of both halves, and half the mass where the student has exp(−2e4), up to the size of the tail.
            let expected = 0.5 * 2e4 + 0.5f64.ln();
            assert!((sums.forward_kl - expected).abs() < 2.0, "{certain} {fused}: {sums:?}");
            assert!(
                gradient[0].iter().sum::<f32>().abs() < 1e-5,
                "{certain} {fused}: {gradient:?}"
            );
        }
    }
}

#[test]
fn nothing_is_infinite_or_no_number_whatever_the_logits_and_tails() {
    let students = [
        [1e4, -1e4, -1e4, -1e4, -1e4, -1e4],
        [-1e4, -1e4, -1e4, 1e4, -1e4, 1e4],
        [0.5, 1.0, 0.0, -1.0, 2.0, 0.0],
    ];
    // A tail of nothing leaves the student tokens that the teacher does not have; a tail of everything, no entries.
    let teachers: [(&[(u32, f32)], f32); 5] = [
        (&[(0, 0.75), (1, 0.25)], 0.0),
        (&[(0, 0.5)], 0.5),
        (&[], 1.0),
        (&[(0, 0.25), (1, 0.25)], 1.0),
        (&[(9, 0.5)], 0.5),
    ];
    for distillation in all() {
        for logits in students {
            for (entries, tail) in teachers {
                let mut distributions = Distributions::new();
                let drawn: &[u32] = if tail > 0.0 { &[3] } else { &[] };
                distributions.push(Position {
                    temperature_tails: &[tail.ln() / 2.0],
                    sampled_token_ids: drawn,
                    sampled_draws: &[6][..drawn.len()],
                    ..stored(entries, tail).get(0)
                });
                let rows = rows_for(distillation, 1, &distributions, 1.0, 6);
                let mut losses = Vec::new();
                for fused in [true, false] {
                    let (sums, gradient) = on_logits(&[logits.to_vec()], &rows, pass(0.5, fused));
                    let all = [
                        sums.cross_entropy,
                        sums.distillation,
                        sums.forward_kl,
                        sums.soft_cross_entropy,
                    ];
                    assert!(
                        all.iter().all(|loss| loss.is_finite() && *loss > -1e-6)
                            && gradient[0].iter().all(|value| value.is_finite()),
                        "{} {logits:?} {entries:?} {tail}: {sums:?} {gradient:?}",
                        distillation.name()
                    );
                    losses.push((sums.distillation, gradient));
                }
                let [(fused, fused_gradient), (composed, composed_gradient)] = &losses[..] else {
                    unreachable!()
                };
                assert!(
                    (fused - composed).abs() <= 1e-6 * fused.abs() + 1e-5,
                    "{} {logits:?} {entries:?} {tail}: {fused} {composed}",
                    distillation.name()
                );
                for (a, b) in fused_gradient[0].iter().zip(&composed_gradient[0]) {
                    // At log q = −1e4, single precision has errors of 1e-3.
                    assert!(
                        (a - b).abs() < 2e-6 + 1e-6 * a.abs(),
                        "{}: {a} {b}",
                        distillation.name()
                    );
                }
            }
        }
    }
}

#[test]
fn what_the_teacher_lacks_counts_as_the_floor_of_tails_in_reverse() {
    // Half of the student's probability is on an outcome to which the teacher gives 0: ½ (ln ½ + 30) + ½ ln ½.
    let rows = rows_for(
        distillation(Loss::ReverseKl, TailPolicy::Bucket, 1.0),
        0,
        &stored(&[(0, 1.0)], 0.0),
        1.0,
        2,
    );
    for fused in [true, false] {
        let (sums, _) = on_logits(&[vec![1.0, 1.0]], &rows, pass(1.0, fused));
        assert!((sums.distillation - (15.0 + 0.5f64.ln())).abs() < 1e-6, "{sums:?}");
    }
}
