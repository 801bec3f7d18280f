//! Loss and gradient of a whole student under each policy, against the formulas applied to one position at a time.

use std::path::Path;

use candle_core::{Device, Tensor};
use leadspan_cache::Span;
use leadspan_distribution::{Distributions, Position};
use leadspan_model::{Decoder, Kernels, ModelSource, Parameters, Stop, StudentStart};
use leadspan_sequence::SectionBounds;

use super::{PositionWeights, Positions, Supervision};
use crate::{
    MicroBatch, Normalization,
    gradients::{self, accumulate, supervised_hidden_states},
    learnt_span::LearntSpan,
    objective::{Distillation, HeadPass},
    weights::Weights,
};

/// Two samples, with their sections: a prompt of two tokens, and an answer of the last two.
fn samples(vocabulary: u32) -> [(Span, SectionBounds); 2] {
    [(9u32, 3u32), (6, 11)].map(|(tokens, salt)| {
        let token = |index: u32| (index * 31 + salt * 7) % vocabulary;
        let positions: Vec<u32> = (1..tokens - 1).collect();
        let mut distributions = Distributions::new();
        for &position in &positions {
            let tail = 0.02 + 0.9 * ((position * 5 + salt) % 7) as f32 / 7.0;
            let ids = [
                token(position + 1),
                (token(position) + 1) % vocabulary,
                (token(position) + 2) % vocabulary,
            ];
            distributions.push(Position {
                token_ids: &ids,
                logprobs: &[0.6, 0.3, 0.1].map(|share: f32| (share * (1.0 - tail)).ln()),
                tail_logprob: tail.ln(),
                ..Position::default()
            });
        }
        let span = Span {
            tokens: (0..tokens).map(token).collect(),
            positions,
            distributions,
        };
        (span, SectionBounds::new(2, tokens - 2, tokens).unwrap())
    })
}

/// A sample of which one position is supervised.
fn alone(span: &Span, place: usize) -> Span {
    let mut distributions = Distributions::new();
    distributions.push(span.distributions.get(place));
    Span {
        tokens: span.tokens.clone(),
        positions: vec![span.positions[place]],
        distributions,
    }
}

struct Student {
    decoder: Decoder,
    parameters: Parameters,
    pass: HeadPass,
}

impl Student {
    fn new(kernels: Kernels) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity/llama");
        let start = StudentStart::Model {
            source: ModelSource::open(&dir).unwrap(),
            layers: None,
        };
        let (decoder, parameters) = Decoder::trainable(&start, &Device::Cpu).unwrap();
        Self {
            decoder: decoder.with_kernels(kernels),
            parameters,
            pass: HeadPass {
                distillation_weight: 0.5,
                chunk_bytes: 1 << 20,
                fused: kernels == Kernels::Fused,
            },
        }
    }

    /// ½·CE + ½·KL of a batch, and its gradients.
    fn loss_and_gradients(&self, batch: &MicroBatch) -> (f64, Vec<Tensor>) {
        gradients::clear(&self.parameters);
        let sums = accumulate(&self.decoder, batch, self.pass, false, Stop::NEVER).unwrap();
        let sums = sums.wait().unwrap();
        let all = gradients::all(&self.parameters).unwrap();
        let copies = all.into_iter().map(|(_, gradient)| gradient.copy().unwrap());
        (0.5 * sums.cross_entropy + 0.5 * sums.forward_kl, copies.collect())
    }

    fn vocabulary(&self) -> usize {
        self.decoder.config().vocab_size
    }

    /// The logarithms of the student's probabilities at each position of a sample.
    fn logprobs(&self, span: &Span) -> Vec<Vec<f64>> {
        let batch = MicroBatch::new(&[span], &|_| 1.0, Distillation::default(), self.vocabulary());
        let hidden = supervised_hidden_states(&self.decoder, &batch, Stop::NEVER).unwrap();
        let head = self.decoder.head_weight().unwrap();
        let logits: Vec<Vec<f32>> = hidden.matmul(&head.t().unwrap()).unwrap().to_vec2().unwrap();
        let of_row = |row: Vec<f32>| -> Vec<f64> {
            let max = row.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = row.iter().map(|&logit| f64::from(logit - max).exp()).sum();
            row.iter().map(|&logit| f64::from(logit - max) - sum.ln()).collect()
        };
        logits.into_iter().map(of_row).collect()
    }

    /// The measure of each position by its formula.
    fn measures(&self, span: &Span, positions: Positions) -> Vec<f64> {
        let entropy = |logs: &[f64]| -logs.iter().map(|log| log.exp() * log).sum::<f64>();
        let teacher = |position: Position<'_>| -> Vec<f64> {
            let entries = position.logprobs.iter().map(|&log| f64::from(log));
            entries.chain([f64::from(position.tail_logprob)]).collect()
        };
        let stored = span.distributions.iter();
        match positions {
            Positions::All => vec![0.0; span.positions.len()],
            Positions::TeacherEntropy(_) => stored.map(|position| entropy(&teacher(position))).collect(),
            Positions::StudentEntropy(_) => self.logprobs(span).iter().map(|logs| entropy(logs)).collect(),
            Positions::Disagreement(_) => (stored.zip(self.logprobs(span)))
                .map(|(position, q)| {
                    let mut tail = 1.0;
                    let mut of_student: Vec<f64> = Vec::new();
                    for &token in position.token_ids {
                        of_student.push(q[token as usize]);
                        tail -= q[token as usize].exp();
                    }
                    of_student.push(tail.ln());
                    let p = teacher(position);
                    p.iter().zip(&of_student).map(|(p, q)| p.exp() * (p - q)).sum()
                })
                .collect(),
        }
    }
}

fn norm(tensor: &Tensor) -> f64 {
    crate::optimizer::sum_of_squares(tensor).unwrap().sqrt()
}

/// The weights of all positions of the samples by the formulas: 0 where a position is not learnt.
fn by_formula(
    student: &Student,
    samples: &[(Span, SectionBounds); 2],
    (positions, weights): (Positions, PositionWeights),
    normalization: Normalization,
) -> Vec<Vec<f64>> {
    let learnt = samples.each_ref().map(|(span, _)| match positions {
        Positions::All => span.positions.len(),
        _ => (span.positions.len() / 2).max(1),
    });
    let of_sample = |((span, bounds), learnt_here): (&(Span, SectionBounds), usize)| {
        let measures = student.measures(span, positions);
        let count = span.positions.len();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|&a, &b| measures[b].total_cmp(&measures[a]));
        let form = |place: usize| match weights {
            PositionWeights::Rising => (place as f64 + 0.5) / count as f64,
            PositionWeights::Exponential(rate) => (rate * (place as f64 + 0.5) / count as f64).exp(),
            PositionWeights::Sections { answer, .. } if span.positions[place] + 1 >= bounds.chain_of_thought_end() => {
                answer
            }
            _ => 1.0,
        };
        let chosen = &order[..learnt_here];
        let sum: f64 = chosen.iter().map(|&place| form(place)).sum();
        let mean = match normalization {
            Normalization::Token => 1.0 / learnt.iter().sum::<usize>() as f64,
            Normalization::Sequence => 0.5 / learnt_here as f64,
        };
        let weight = |place: usize| mean * learnt_here as f64 * form(place) / sum;
        (0..count)
            .map(|place| if chosen.contains(&place) { weight(place) } else { 0.0 })
            .collect()
    };
    samples.iter().zip(learnt).map(of_sample).collect()
}

#[test]
fn loss_and_gradient_are_those_of_the_formulas() {
    let half = "0.5".parse().unwrap();
    let by_section = PositionWeights::Sections {
        prompt: 1.0,
        chain_of_thought: 1.0,
        answer: 3.0,
    };
    for kernels in [Kernels::Fused, Kernels::Stock] {
        let student = Student::new(kernels);
        let vocabulary = student.vocabulary();
        let samples = samples(vocabulary as u32);
        for (policy, normalization) in [
            ((Positions::All, PositionWeights::Rising), Normalization::Token),
            ((Positions::All, by_section), Normalization::Sequence),
            (
                (Positions::TeacherEntropy(half), PositionWeights::Exponential(2.0)),
                Normalization::Sequence,
            ),
            (
                (Positions::StudentEntropy(half), PositionWeights::Flat),
                Normalization::Token,
            ),
            ((Positions::StudentEntropy(half), by_section), Normalization::Sequence),
            (
                (Positions::Disagreement(half), PositionWeights::Rising),
                Normalization::Token,
            ),
        ] {
            let (positions, weights) = policy;
            let supervision = Supervision { positions, weights };
            let learnt = samples
                .clone()
                .map(|(span, bounds)| LearntSpan::new(span, bounds, supervision));
            let step = Weights::of(Some(normalization), &[&learnt.each_ref().map(LearntSpan::learnt)]);
            let members: Vec<&LearntSpan> = learnt.iter().collect();
            let batch = MicroBatch::learnt(&members, &step, Distillation::default(), vocabulary);
            let (loss, gradients) = student.loss_and_gradients(&batch);

            let expected = by_formula(&student, &samples, policy, normalization);
            let total: f64 = expected.iter().flatten().sum();
            assert!((total - 1.0).abs() < 1e-12, "{policy:?}");
            let count = expected.iter().flatten().filter(|&&weight| weight > 0.0).count();
            assert_eq!(batch.learnt_positions(), count);
            let (mut loss_by_formula, mut sums): (f64, Option<Vec<Tensor>>) = (0.0, None);
            for ((span, _), weights) in samples.iter().zip(&expected) {
                for (place, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
                    let one = alone(span, place);
                    let one = MicroBatch::new(&[&one], &|_| 1.0, Distillation::default(), vocabulary);
                    let (loss, gradients) = student.loss_and_gradients(&one);
                    loss_by_formula += weight * loss;
                    let scaled = gradients.iter().map(|gradient| (gradient * weight).unwrap());
                    sums = Some(match sums.take() {
                        None => scaled.collect(),
                        Some(sums) => sums
                            .iter()
                            .zip(scaled)
                            .map(|(sum, more)| (sum + more).unwrap())
                            .collect(),
                    });
                }
            }
            assert!(
                (loss - loss_by_formula).abs() < 1e-5,
                "{policy:?}: {loss} {loss_by_formula}"
            );
            for (found, expected) in gradients.iter().zip(&sums.unwrap()) {
                // Both sides are sums in single precision.
                let off = norm(&(found - expected).unwrap()) / norm(expected);
                assert!(off < 1e-4, "{policy:?}: a gradient is off by {off}");
            }
        }
    }
}
