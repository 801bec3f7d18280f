//! Writes losses and gradients of this crate's objective for the tests of the Python package.
//!
//!     cargo run --release -p leadspan-train --example objective_values > python/tests/objective.json
//!
//! Each case has logits of a student, what a cache stores of a teacher with a larger vocabulary, the loss
//! (1 − α)·CE + α·τ²·D as the mean over the rows, and its gradient with respect to the logits.

#![expect(clippy::print_stdout, reason = "an example that prints is a program")]

use std::error::Error;

use candle_core::{DType, Device, Tensor};
use leadspan_distribution::{Distributions, EntrySettings, Position, Row, reduce};
use leadspan_model::{GradientSum, Stop};
use leadspan_train::{
    TrainSettings,
    objective::{self, Distillation, HeadPass, SupervisedRows},
};
use serde_json::{Value, json};

const ROWS: usize = 12;
const VOCABULARY: usize = 36;
/// Tokens of the teacher that the student does not know.
const UNKNOWN: usize = 6;
const TEMPERATURE: f32 = 2.0;

fn main() -> Result<(), Box<dyn Error>> {
    let mut cases = Vec::new();
    for (alpha, temperature) in [(1.0, 1.0), (0.4, 1.0), (1.0, 2.0), (0.4, 2.0)] {
        // The greater the scale, the surer is the student.
        for (scale, vocabulary) in [(4.0, VOCABULARY), (30.0, VOCABULARY), (4.0, 3)] {
            cases.push(case(alpha, temperature, scale, vocabulary)?);
        }
    }
    println!("{}", Value::from(cases));
    Ok(())
}

fn case(alpha: f32, temperature: f64, scale: f32, vocabulary: usize) -> Result<Value, Box<dyn Error>> {
    let entries = EntrySettings {
        temperatures: vec![TEMPERATURE],
        ..EntrySettings::top_k(8)
    };
    let settings = TrainSettings {
        temperature,
        ..TrainSettings::default()
    };
    let logits = matrix(1, vocabulary, scale);
    let targets: Vec<u32> = (0..ROWS).map(|row| (row * 5 % vocabulary) as u32).collect();
    let stored = teacher(&entries, &targets)?;
    let mut rows = SupervisedRows::new(Distillation::new(&settings, &entries)?);
    rows.push_sample(targets.iter().copied(), &stored, 1.0 / ROWS as f32, vocabulary);
    // With an identity as the head, hidden states are logits.
    let head = Tensor::eye(vocabulary, DType::F32, &Device::Cpu)?;
    let hidden = Tensor::new(logits.clone(), &Device::Cpu)?;
    let pass = HeadPass {
        distillation_weight: alpha,
        chunk_bytes: 1 << 20,
        fused: true,
    };
    let found = objective::backward(pass, (&hidden, &head), &rows, &GradientSum::new(&head)?, Stop::NEVER)?;
    let loss = Distillation::new(&settings, &entries)?.loss(f64::from(alpha), &found.sums.wait()?);
    let positions: Vec<Value> = stored.iter().map(position).collect();
    Ok(json!({
        "alpha": alpha,
        "temperature": temperature,
        "temperatures": entries.temperatures,
        "logits": logits,
        "targets": targets,
        "positions": positions,
        "loss": loss,
        "gradient": found.hidden.to_vec2::<f32>()?,
    }))
}

/// What a cache stores of the teacher: rows of different numbers of entries, sure and unsure ones, one without entries.
fn teacher(entries: &EntrySettings, targets: &[u32]) -> Result<Distributions, Box<dyn Error>> {
    let width = VOCABULARY + UNKNOWN;
    let mut stored = Distributions::new();
    for (row, &target) in targets.iter().enumerate() {
        let scale = if row % 3 == 0 { 40.0 } else { 4.0 };
        let settings = EntrySettings {
            top_k: [8, 3, 1, width as u32][row % 4],
            ..entries.clone()
        };
        let logits = &matrix(2, width, scale)[row];
        stored.append(&reduce(logits, width, &[Row { target, seed: 0 }], &settings)?);
    }
    let last = stored.get(ROWS - 1).target_logprob;
    let mut all = Distributions::new();
    for row in 0..ROWS - 1 {
        all.push(stored.get(row));
    }
    all.push(Position {
        tail_logprob: 0.0,
        target_logprob: last,
        temperature_tails: &[1.5],
        ..Position::default()
    });
    Ok(all)
}

fn position(position: Position<'_>) -> Value {
    // JSON has no infinity.
    let finite = |value: f32| value.is_finite().then_some(value);
    json!({
        "token_ids": position.token_ids,
        "logprobs": position.logprobs,
        "tail_logprob": finite(position.tail_logprob),
        "target_logprob": position.target_logprob,
        "temperature_tails": position.temperature_tails.iter().copied().map(finite).collect::<Vec<_>>(),
    })
}

/// Numbers from −`scale` to `scale` that are the same everywhere.
fn matrix(salt: u32, width: usize, scale: f32) -> Vec<Vec<f32>> {
    let value = |row: usize, token: usize| {
        let mixed = (row as u32 * 7919 + token as u32 * 104_729 + salt).wrapping_mul(2_654_435_761);
        ((mixed >> 8) as f32 / (1u32 << 23) as f32 - 1.0) * scale
    };
    (0..ROWS)
        .map(|row| (0..width).map(|token| value(row, token)).collect())
        .collect()
}
