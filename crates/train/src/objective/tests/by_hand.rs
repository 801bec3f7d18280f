//! Numbers worked out on paper.

use super::*;

pub(in crate::objective) const LN2: f64 = std::f64::consts::LN_2;

/// Logits of a student with q = (1/2, 1/4, 1/8, 1/8) at `temperature`.
fn student(temperature: f32) -> Vec<Vec<f32>> {
    let logit = |q: &f32| temperature * q.ln() + 3.0;
    vec![[0.5f32, 0.25, 0.125, 0.125].iter().map(logit).collect()]
}

/// Checks the divergence at `student` and its gradient with respect to the logits, on both paths.
pub(in crate::objective) fn check(
    distillation: Distillation,
    distributions: &Distributions,
    value: f64,
    gradient: [f64; 4],
) {
    let rows = rows_for(distillation, 2, distributions, 1.0, 4);
    for fused in [true, false] {
        let logits = student(distillation.temperature() as f32);
        let (sums, found) = on_logits(&logits, &rows, pass(1.0, fused));
        assert!(
            (sums.distillation - value).abs() < 1e-6,
            "{}: {sums:?}, not {value}",
            distillation.name()
        );
        for (found, expected) in found[0].iter().zip(gradient) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-6,
                "{}: {found} {gradient:?}",
                distillation.name()
            );
        }
    }
}

/// Checks a loss with all its parameters ½ where the outcomes are p = (1/4, 1/4, 1/2) and q = (1/2, 1/4, 1/4): its value, and
/// the slopes of the outcomes, the last of which tokens 2 and 3 share. Mixtures of halves are m = (3/8, 1/4, 3/8), of which p
/// is 2/3, 1 and 4/3, and q is 4/3, 1 and 2/3.
pub(in crate::objective) fn check_halves(loss: Loss, value: f64, [first, second, tail]: [f64; 3]) {
    let settings = TrainSettings {
        loss,
        jensen_shannon_beta: 0.5,
        skew: 0.5,
        ..TrainSettings::default()
    };
    check(
        Distillation::new(&settings, &entries(2)).unwrap(),
        &stored(&[(0, 0.25), (1, 0.25)], 0.5),
        value,
        [first, second, tail / 2.0, tail / 2.0],
    );
}

/// ln 4/3 and ln 2/3, the logarithms of p/m and q/m in [`check_halves`].
pub(in crate::objective) fn log_ratios() -> (f64, f64) {
    ((4.0f64 / 3.0).ln(), (2.0f64 / 3.0).ln())
}

#[test]
fn a_row_worked_out_by_hand_has_the_right_losses_and_gradient() {
    // Student q = (1/2, 1/4, 1/8, 1/8); teacher p(0) = 1/4, p(1) = 1/4, tail 1/2; target 2; α = 1/2; weight 2.
    // CE = ln 8. Soft cross-entropy = ¼ ln 2 + ¼ ln 4 + ½ ln 4 = 1.75 ln 2; teacher's entropy = ½ ln 4 + ½ ln 2 = 1.5 ln 2;
    // so forward KL = 0.25 ln 2. The tail's student mass is ¼, shared equally by tokens 2 and 3.
    // Gradient of CE: (1/2, 1/4, 1/8 − 1, 1/8); of KL: (1/4, 0, 1/8 − 1/4, 1/8 − 1/4).
    let rows = rows(2, &stored(&[(0, 0.25), (1, 0.25)], 0.5), 2.0, 4);
    for fused in [true, false] {
        let (sums, gradient) = on_logits(&student(1.0), &rows, pass(0.5, fused));
        assert!((sums.cross_entropy - 2.0 * 3.0 * LN2).abs() < 1e-6);
        assert!((sums.soft_cross_entropy - 2.0 * 1.75 * LN2).abs() < 1e-6);
        assert!((sums.forward_kl - 2.0 * 0.25 * LN2).abs() < 1e-6);
        assert!((sums.weight - 2.0).abs() < 1e-12);
        let by_hand = [0.75, 0.25, -1.0, 0.0];
        for (found, expected) in gradient[0].iter().zip(by_hand) {
            assert!((found - expected).abs() < 1e-6, "{gradient:?}");
        }
    }
}

#[test]
fn every_tail_policy_is_what_it_is_by_hand() {
    let forward_kl = |policy| distillation(Loss::ForwardKl, policy, 1.0);
    // p = (1/2, 1/2, 0, 0) against q as it is: ½ ln 1 + ½ ln 2.
    check(
        forward_kl(TailPolicy::RenormalizeTeacher),
        &stored(&[(0, 0.25), (1, 0.25)], 0.5),
        0.5 * LN2,
        [0.0, -0.25, 0.125, 0.125],
    );
    // p = (1/2, 1/2) against (2/3, 1/3).
    check(
        forward_kl(TailPolicy::RenormalizeBoth),
        &stored(&[(0, 0.25), (1, 0.25)], 0.5),
        0.5 * 0.75f64.ln() + 0.5 * 1.5f64.ln(),
        [1.0 / 6.0, -1.0 / 6.0, 0.0, 0.0],
    );
    // One draw of token 2 and three of token 3 make p = (1/4, 1/4, 1/8, 3/8): ¼ ln 2 + ¼ ln 4 + ½ ln 8.
    let mut distributions = Distributions::new();
    distributions.push(Position {
        sampled_token_ids: &[2, 3],
        sampled_draws: &[1, 3],
        ..stored(&[(0, 0.25), (1, 0.25)], 0.5).get(0)
    });
    check(
        forward_kl(TailPolicy::Sampled),
        &distributions,
        2.25 * LN2,
        [0.25, 0.0, 0.0, -0.25],
    );
}

#[test]
fn a_temperature_is_what_it_is_by_hand() {
    // At τ = 2, entries of 1/16 are √(1/16) = 1/4, and with a tail term of ln ½ they are (1/4, 1/4, 1/2) again. The
    // gradient is τ²/τ times that of temperature 1.
    let mut distributions = Distributions::new();
    distributions.push(Position {
        temperature_tails: &[0.5f32.ln()],
        ..stored(&[(0, 1.0 / 16.0), (1, 1.0 / 16.0)], 14.0 / 16.0).get(0)
    });
    check(
        distillation(Loss::ForwardKl, TailPolicy::Bucket, 2.0),
        &distributions,
        0.25 * LN2,
        [0.5, 0.0, -0.25, -0.25],
    );
}

#[test]
fn the_divergence_is_zero_where_the_student_is_the_teacher() {
    let logits: Vec<f32> = (0..50).map(|i| ((i * 37) % 23) as f32 / 5.0).collect();
    let of = [Row { target: 3, seed: 1 }];
    for (distillation, top_k) in all().into_iter().flat_map(|one| [(one, 8), (one, 50)]) {
        let complete = top_k == 50;
        // Without its tail the teacher is another, and a drawn target has an entropy.
        let other = distillation.name().contains("teacher") && !complete || distillation.name().contains("sampled");
        if other {
            continue;
        }
        let stored = reduce(&logits, 50, &of, &entries(top_k)).unwrap();
        let rows = rows_for(distillation, 3, &stored, 1.0, 50);
        for fused in [true, false] {
            let (sums, gradient) = on_logits(std::slice::from_ref(&logits), &rows, pass(1.0, fused));
            assert!(sums.distillation.abs() < 1e-6, "{}: {sums:?}", distillation.name());
            assert!(sums.forward_kl.abs() < 1e-6, "{sums:?}");
            assert!((sums.top_1_agreement - 1.0).abs() < 1e-12);
            // Total variation has a corner there.
            let flat = gradient[0].iter().all(|value| value.abs() < 1e-6);
            assert!(flat || distillation.name().contains("total_variation"));
        }
    }
}
