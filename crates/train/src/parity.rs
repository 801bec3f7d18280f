//! Loss and gradients of whole students against `PyTorch`, finite differences, and each other.

mod lora;

use std::{collections::HashMap, path::Path, sync::atomic::AtomicBool};

use candle_core::{Device, Tensor};
use leadspan_distribution::{Distributions, Position};
use leadspan_model::{Activations, Decoder, Kernels, ModelSource, Packed, Parameters, Stop, StudentStart};

use crate::{
    MicroBatch,
    gradients::{self, accumulate},
    objective::{Distillation, HeadPass, LossSums, SupervisedRows},
};

const PASS: HeadPass = HeadPass {
    distillation_weight: 0.5,
    chunk_bytes: 1 << 20,
    fused: true,
};

/// The fixtures with a training step.
const MODELS: [&str; 10] = [
    "llama",
    "qwen3",
    "qwen2",
    "qwen3_yarn",
    "mistral",
    "olmo2",
    "smollm3",
    "gemma3",
    "granite",
    "phi3",
];

struct Case {
    student: Decoder,
    parameters: Parameters,
    batch: MicroBatch,
    expected: HashMap<String, Tensor>,
}

fn case(model: &str) -> Case {
    case_of(model, |start| Decoder::trainable(start, &Device::Cpu).unwrap())
}

/// The training case of a model, with the student that `open` makes of it.
fn case_of(model: &str, open: impl FnOnce(&StudentStart) -> (Decoder, Parameters)) -> Case {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/parity")
        .join(model);
    let expected = candle_core::safetensors::load(dir.join("expected.safetensors"), &Device::Cpu).unwrap();
    let start = StudentStart::Model {
        source: ModelSource::open(&dir).unwrap(),
        layers: None,
    };
    let (student, parameters) = open(&start);

    let ints = |name: &str| expected[name].flatten_all().unwrap().to_vec1::<u32>().unwrap();
    let floats = |name: &str| expected[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (targets, places) = (ints("targets"), ints("supervised_rows"));
    let (entry_ids, entry_logprobs, tails) = (ints("entry_ids"), floats("entry_logprobs"), floats("tail_logprob"));
    let k = entry_ids.len() / targets.len();
    let vocabulary = student.config().vocab_size;
    let mut distributions = Distributions::new();
    for (row, &tail) in tails.iter().enumerate() {
        let entries = row * k..(row + 1) * k;
        distributions.push(Position {
            token_ids: &entry_ids[entries.clone()],
            logprobs: &entry_logprobs[entries],
            tail_logprob: tail,
            ..Position::default()
        });
    }
    let mut rows = SupervisedRows::new(Distillation::default());
    rows.push_sample(
        targets.iter().copied(),
        &distributions,
        1.0 / targets.len() as f32,
        vocabulary,
    );
    let sequences = expected["tokens"].to_vec2::<u32>().unwrap();
    let packed = Packed::new(sequences.iter().map(Vec::as_slice));
    let batch = MicroBatch {
        packed,
        places,
        rows,
        choice: None,
    };
    Case {
        student,
        parameters,
        batch,
        expected,
    }
}

fn gradients(case: &Case, pass: HeadPass, activations: impl Into<Activations>) -> (Vec<(String, Tensor)>, LossSums) {
    gradients::clear(&case.parameters);
    let losses = accumulate(&case.student, &case.batch, pass, activations, Stop::NEVER).unwrap();
    let gradients = gradients::all(&case.parameters).unwrap();
    let copied = gradients
        .into_iter()
        .map(|(name, gradient)| (name.to_owned(), gradient.copy().unwrap()));
    (copied.collect(), losses.wait().unwrap())
}

#[test]
#[expect(clippy::print_stdout, reason = "`tests/compare/families.sh` shows the figures")]
fn losses_and_every_gradient_agree_with_pytorch() {
    for model in MODELS {
        let (mut case, mut largest) = (case(model), 0f64);
        for (kernels, activation_checkpointing) in [
            (Kernels::Fused, false),
            (Kernels::Fused, true),
            (Kernels::Stock, false),
            (Kernels::Stock, true),
        ] {
            case.student = case.student.with_kernels(kernels);
            let fused = kernels == Kernels::Fused;
            let (gradients, sums) = gradients(&case, HeadPass { fused, ..PASS }, activation_checkpointing);
            let scalar = |name: &str| f64::from(case.expected[name].to_vec1::<f32>().unwrap()[0]);
            assert!(
                (sums.cross_entropy - scalar("loss_cross_entropy")).abs() < 1e-4,
                "{model}: {sums:?}"
            );
            assert!(
                (sums.forward_kl - scalar("loss_forward_kl")).abs() < 1e-4,
                "{model}: {sums:?}"
            );
            let loss = 0.5 * sums.cross_entropy + 0.5 * sums.forward_kl;
            assert!((loss - scalar("loss")).abs() < 1e-4);

            assert_eq!(
                gradients.len(),
                case.expected.keys().filter(|key| key.starts_with("grad.")).count()
            );
            for (name, gradient) in &gradients {
                let expected = &case.expected[&format!("grad.{name}")];
                let norm = |tensor: &Tensor| crate::optimizer::sum_of_squares(tensor).unwrap().sqrt();
                // Relative to the whole gradient of the parameter; both sides compute in single precision.
                let relative = norm(&(gradient - expected).unwrap()) / norm(expected);
                assert!(relative < 1e-3, "{model}: gradient of `{name}` is off by {relative}");
                largest = largest.max(relative);
            }
        }
        println!("gradients of {model}: {largest:e}");
    }
}

#[test]
fn computing_layers_or_gates_again_changes_no_bit_of_a_gradient() {
    for model in MODELS {
        let case = case(model);
        let kept = gradients(&case, PASS, Activations::All).0;
        for activations in [Activations::WithoutGates, Activations::LayerInputs] {
            let recomputed = gradients(&case, PASS, activations).0;
            for ((name, kept), (_, recomputed)) in kept.iter().zip(&recomputed) {
                let bits = |tensor: &Tensor| -> Vec<u32> {
                    let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
                    values.into_iter().map(f32::to_bits).collect()
                };
                assert!(bits(kept) == bits(recomputed), "{model}: {name}, {activations:?}");
            }
        }
    }
}

#[test]
fn every_parameter_has_a_finite_gradient_that_is_not_zero() {
    for model in MODELS {
        let case = case(model);
        let (gradients, _) = gradients(&case, PASS, false);
        assert_eq!(gradients.len(), case.parameters.iter().len());
        for (name, gradient) in &gradients {
            assert_eq!(gradient.dims(), case.parameters.get(name).unwrap().dims());
            let squares = crate::optimizer::sum_of_squares(gradient).unwrap();
            assert!(squares.is_finite() && squares > 0.0, "{model}: {name}: {squares}");
        }
    }
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for model in MODELS {
        assert_slopes(model, &case(model));
    }
}

fn assert_slopes(model: &str, case: &Case) {
    let (gradients, _) = gradients(case, PASS, false);
    for (index, (name, gradient)) in gradients.iter().enumerate() {
        let variable = case.parameters.get(name).unwrap();
        let shape = variable.dims().to_vec();
        let start: Vec<f32> = variable.flatten_all().unwrap().to_vec1().unwrap();
        // Along the gradient itself the slope is its norm, well above the noise of single precision.
        let direction: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        let norm = crate::optimizer::sum_of_squares(gradient).unwrap().sqrt();
        let loss_at = |by: f64| {
            let moved: Vec<f32> = start
                .iter()
                .zip(&direction)
                .map(|(x, d)| (f64::from(*x) + by * f64::from(*d) / norm) as f32)
                .collect();
            variable
                .set(&Tensor::from_vec(moved, shape.clone(), &Device::Cpu).unwrap())
                .unwrap();
            let hidden = crate::gradients::supervised_hidden_states(&case.student, &case.batch, Stop::NEVER).unwrap();
            let head = case.student.head_weight().unwrap();
            let sums = crate::objective::forward(PASS, (&hidden, &head), &case.batch.rows, Stop::NEVER).unwrap();
            let sums = sums.wait().unwrap();
            0.5 * sums.cross_entropy + 0.5 * sums.forward_kl
        };
        let step = 5e-3;
        let slope = (loss_at(step) - loss_at(-step)) / (2.0 * step);
        loss_at(0.0);
        // Curvature along a step of 5e-3 and rounding leave less than two per cent.
        assert!(
            (slope - norm).abs() < 0.02 * norm + 1e-3,
            "{model} {index} `{name}`: slope {slope}, norm {norm}"
        );
    }
}

#[test]
fn a_pass_that_is_stopped_anywhere_gives_the_same_gradients_when_it_is_done_again() {
    use std::{sync::atomic::Ordering, thread, time::Duration};
    let case = case(MODELS[0]);
    let (expected, _) = gradients(&case, PASS, false);
    let mut stopped = 0;
    for moment in 0..40 {
        let stop = AtomicBool::new(moment == 0);
        let pass = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_micros(50 * moment));
                stop.store(true, Ordering::Relaxed);
            });
            accumulate(&case.student, &case.batch, PASS, moment % 2 == 1, Stop::when(&stop))
        });
        match pass {
            Err(crate::TrainError::Model(leadspan_model::ModelError::Stopped)) => stopped += 1,
            pass => drop(pass.unwrap()),
        }
    }
    assert!(stopped > 0);
    let (found, _) = gradients(&case, PASS, false);
    for ((name, expected), (_, found)) in expected.iter().zip(&found) {
        let bits = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(bits(expected) == bits(found), "{name}");
    }
}
