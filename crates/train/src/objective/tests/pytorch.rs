//! Every loss under every tail policy against autograd in double precision (`tests/fixtures/objective/make.py`).

use std::{collections::HashMap, path::Path};

use super::*;

struct Fixture(HashMap<String, Tensor>);

impl Fixture {
    fn open() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/objective/expected.safetensors");
        Self(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.0[name].flatten_all().unwrap().to_vec1().unwrap()
    }

    fn ints(&self, name: &str) -> Vec<u32> {
        self.0[name].flatten_all().unwrap().to_vec1().unwrap()
    }

    fn rows(&self, distillation: Distillation) -> SupervisedRows {
        let (targets, weights) = (self.ints("targets"), self.floats("weights"));
        let (entry_ids, entry_logprobs) = (self.ints("entry_ids"), self.floats("entry_logprobs"));
        let (sampled_ids, sampled_draws) = (self.ints("sampled_ids"), self.ints("sampled_draws"));
        let (tails, terms) = (self.floats("tail_logprob"), self.floats("temperature_tail"));
        let count = targets.len();
        let (k, s) = (entry_ids.len() / count, sampled_ids.len() / count);
        let mut rows = SupervisedRows::new(distillation);
        for row in 0..count {
            let draws: Vec<u32> = sampled_draws[row * s..][..s]
                .iter()
                .copied()
                .filter(|&n| n > 0)
                .collect();
            let mut distributions = Distributions::new();
            distributions.push(Position {
                token_ids: &entry_ids[row * k..][..k],
                logprobs: &entry_logprobs[row * k..][..k],
                tail_logprob: tails[row],
                temperature_tails: &terms[row..=row],
                sampled_token_ids: &sampled_ids[row * s..][..draws.len()],
                sampled_draws: &draws,
                ..Position::default()
            });
            let vocabulary = self.0["head"].dim(0).unwrap();
            rows.push_sample([targets[row]].into_iter(), &distributions, weights[row], vocabulary);
        }
        rows
    }
}

#[test]
fn every_loss_and_gradient_agrees_with_pytorch() {
    let fixture = Fixture::open();
    let cases: Vec<&str> = fixture.0.keys().filter_map(|key| key.strip_suffix("/losses")).collect();
    assert_eq!(cases.len(), all().len());
    for case in cases {
        let [loss, policy, temperature] = case.split('.').collect::<Vec<_>>()[..] else {
            panic!("{case} names loss, policy and temperature");
        };
        let distillation = distillation(
            serde_json::from_value(loss.into()).unwrap(),
            serde_json::from_value(policy.into()).unwrap(),
            temperature.parse().unwrap(),
        );
        let rows = fixture.rows(distillation);
        for (fused, chunk_bytes) in [(true, 1 << 20), (false, 1 << 20), (true, 200), (false, 200)] {
            let pass = HeadPass {
                distillation_weight: 0.4,
                chunk_bytes,
                fused,
            };
            let head = GradientSum::new(&fixture.0["head"]).unwrap();
            let found = backward(
                pass,
                (&fixture.0["hidden"], &fixture.0["head"]),
                &rows,
                &head,
                Stop::NEVER,
            )
            .unwrap();
            let sums = found.sums.wait().unwrap();
            let total = distillation.loss(0.4, &sums);
            let losses = [sums.cross_entropy, sums.distillation, total];
            // Logits of up to 10 are products in single precision, good to 2e-6, and so are the stored logarithms.
            for (found, expected) in losses.iter().zip(fixture.floats(&format!("{case}/losses"))) {
                assert!(
                    (found - f64::from(expected)).abs() < 5e-6,
                    "{case}: {losses:?} {expected}"
                );
            }
            for (name, gradient) in [("hidden", &found.hidden), ("head", head.get().unwrap())] {
                let gradient: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
                for (found, expected) in gradient.iter().zip(fixture.floats(&format!("{case}/{name}"))) {
                    assert!((found - expected).abs() < 5e-6, "{case}, {name}: {found} {expected}");
                }
            }
        }
    }
}
