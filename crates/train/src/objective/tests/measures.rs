//! What decides which positions are learnt: by hand, and both forms against each other.

use super::*;
use crate::{objective::measures, policies::Measure};

/// The measures of rows of logits: hidden states under a head that is the identity.
fn on_logits_measured(logits: &[Vec<f32>], rows: &SupervisedRows, measure: Measure, pass: HeadPass) -> Vec<f64> {
    let hidden = Tensor::new(logits.to_vec(), &Device::Cpu).unwrap();
    let identity = Tensor::eye(logits[0].len(), candle_core::DType::F32, &Device::Cpu).unwrap();
    measures(pass, (&hidden, &identity), rows, measure, Stop::NEVER).unwrap()
}

#[test]
fn measures_are_those_worked_out_by_hand() {
    // Student q = (1/2, 1/4, 1/8, 1/8), teacher (1/4, 1/4) and a bucket of 1/2: H(q) = ½ ln 2 + ¼ ln 4 + 2 · ⅛ ln 8 = 1.75 ln 2,
    // and KL = 0.25 ln 2, as in `by_hand`.
    let logits = vec![
        [0.5f32, 0.25, 0.125, 0.125]
            .iter()
            .map(|q| q.ln() + 3.0)
            .collect::<Vec<f32>>(),
    ];
    let rows = rows(2, &stored(&[(0, 0.25), (1, 0.25)], 0.5), 2.0, 4);
    for fused in [true, false] {
        for (measure, expected) in [(Measure::StudentEntropy, 1.75), (Measure::Disagreement, 0.25)] {
            let found = on_logits_measured(&logits, &rows, measure, pass(0.5, fused));
            assert!(
                (found[0] - expected * by_hand::LN2).abs() < 1e-6,
                "{measure:?}: {found:?}"
            );
        }
    }
    // All of the probability on one token, and none of it anywhere in particular.
    let sharp = vec![vec![200.0, 0.0, -200.0, 0.0], vec![7.0; 4]];
    let both = rows_of_two();
    for fused in [true, false] {
        let found = on_logits_measured(&sharp, &both, Measure::StudentEntropy, pass(0.5, fused));
        assert!(
            found[0].abs() < 1e-6 && (found[1] - 4f64.ln()).abs() < 1e-6,
            "{found:?}"
        );
    }
}

fn rows_of_two() -> SupervisedRows {
    let mut rows = SupervisedRows::new(Distillation::default());
    for _ in 0..2 {
        rows.push_sample([1].into_iter(), &stored(&[(0, 0.5)], 0.5), 1.0, 4);
    }
    rows
}

#[test]
fn both_forms_measure_alike_in_any_chunks_and_the_divergence_is_that_of_the_metrics() {
    for distillation in all() {
        let (student, rows) = random_case(distillation, 5, (23, 64, 8, 5));
        for measure in [Measure::StudentEntropy, Measure::Disagreement] {
            let whole = on_logits_measured(&student, &rows, measure, pass(0.5, true));
            for (fused, chunk_bytes) in [(true, 5 * 64 * 4), (false, 1 << 20), (false, 5 * 64 * 4)] {
                let pass = HeadPass {
                    chunk_bytes,
                    ..pass(0.5, fused)
                };
                let found = on_logits_measured(&student, &rows, measure, pass);
                for (a, b) in found.iter().zip(&whole) {
                    assert!((a - b).abs() < 1e-5, "{measure:?}: {a} {b}");
                }
                assert_eq!(found.len(), 23);
            }
        }
        let measured = on_logits_measured(&student, &rows, Measure::Disagreement, pass(0.5, true));
        let (sums, _) = on_logits(&student, &rows, pass(0.5, true));
        let weighted: f64 = measured
            .iter()
            .zip(&rows.weights)
            .map(|(kl, &weight)| kl * f64::from(weight))
            .sum();
        assert!((sums.forward_kl - weighted).abs() < 1e-9, "{}", distillation.name());
    }
}

#[test]
fn selected_rows_are_learnt_as_if_they_were_the_only_ones() {
    for distillation in all() {
        let (student, rows) = random_case(distillation, 9, (7, 40, 6, 9));
        let chosen = [1, 4, 5];
        let weights = vec![0.5, 0.125, 2.0];
        let picked: Vec<Vec<f32>> = chosen.iter().map(|&row| student[row].clone()).collect();
        let selected = rows.selected(&chosen, weights.clone());
        for fused in [true, false] {
            let (sums, gradients) = on_logits(&picked, &selected, pass(0.3, fused));
            let mut loss = 0.0;
            for ((&row, &weight), gradient) in chosen.iter().zip(&weights).zip(&gradients) {
                let alone = rows.selected(&[row], vec![1.0]);
                let (sums, one) = on_logits(&student[row..=row], &alone, pass(0.3, fused));
                loss += f64::from(weight) * distillation.loss(0.3, &sums);
                for (found, expected) in gradient.iter().zip(&one[0]) {
                    assert!((found - weight * expected).abs() < 1e-6, "{}", distillation.name());
                }
            }
            assert!((distillation.loss(0.3, &sums) - loss).abs() < 1e-5);
        }
    }
}
