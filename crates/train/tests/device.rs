//! Compares a training step on another device with the fused one on the CPU: forward pass, gradients of every loss under every
//! tail policy, optimizer, and a few steps, in `f32` and `bf16`.
//!
//! The device is the first GPU if the feature `cuda` is on (`tests/cuda.sh` runs it), with stock operations and with fused
//! ones. Otherwise it is the CPU with stock operations, which a GPU runs as well, so that the comparisons themselves are tested
//! everywhere. The reference is single precision on the CPU at the same weights; for `bf16`, these are the rounded weights.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

#[path = "device/samples.rs"]
mod samples;

use candle_core::{D, DType, Device, Tensor, Var};
use leadspan_model::{
    Decoder, DecoderConfig, Kernels, Packed, Parameters, Stop, StudentDtype, StudentStart, open_device,
};
use leadspan_train::{
    AdamW, AdamWSettings, MicroBatch, gradients,
    objective::{Distillation, HeadPass, LossSums},
};

use self::samples::{VOCABULARY, batch, distillations, spans, waves};

/// Grouped heads with a tied head; biases; normalised heads of a width of their own, with a head of its own.
const CONFIGS: [&str; 3] = [
    r#"{"model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "max_position_embeddings": 512, "tie_word_embeddings": true, "hidden_act": "silu"}"#,
    r#"{"model_type": "qwen2", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
        "max_position_embeddings": 512, "tie_word_embeddings": true, "hidden_act": "silu"}"#,
    r#"{"model_type": "qwen3", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
        "max_position_embeddings": 512, "tie_word_embeddings": false, "hidden_act": "silu"}"#,
];

/// The tolerance of a dtype against single precision on the CPU.
#[derive(Clone, Copy)]
struct Tolerance {
    dtype: StudentDtype,
    /// Of hidden states and gradients: the norm of the difference over the norm, of each tensor.
    relative: f64,
    /// Of logits and losses, in nats.
    nats: f64,
}

/// Single precision rounds to 6e-8 and adds up a few hundred terms in another order. `bf16` rounds every activation to
/// 2⁻⁹ = 0.002, some twenty of them one after the other in two layers and as many on the way back. Stock operations on the
/// CPU are off by up to 2e-6 and 8e-8 in `f32`, by up to 0.036 and 4e-4 in `bf16`.
const TOLERANCES: [Tolerance; 2] = [
    Tolerance {
        dtype: StudentDtype::F32,
        relative: 2e-5,
        nats: 2e-5,
    },
    Tolerance {
        dtype: StudentDtype::Bf16,
        relative: 0.06,
        nats: 0.005,
    },
];

fn device() -> Device {
    open_device(if cfg!(feature = "cuda") { "cuda:0" } else { "cpu" }).unwrap()
}

/// The forms of the operations that are compared with the reference.
const FORMS: &[Kernels] = if cfg!(feature = "cuda") {
    &[Kernels::Stock, Kernels::Fused]
} else {
    &[Kernels::Stock]
};

/// Every form in every dtype.
fn forms() -> impl Iterator<Item = (Kernels, Tolerance)> {
    let both = |&kernels: &Kernels| TOLERANCES.into_iter().map(move |tolerance| (kernels, tolerance));
    FORMS.iter().flat_map(both)
}

/// The configuration as the device runs it: the kernels of a GPU are for heads of 64 numbers and more.
fn on_device(config: &str) -> String {
    if cfg!(feature = "cuda") {
        config
            .replace(r#""hidden_size": 64"#, r#""hidden_size": 256"#)
            .replace(r#""head_dim": 32"#, r#""head_dim": 64"#)
    } else {
        config.to_owned()
    }
}

struct Student {
    decoder: Decoder,
    parameters: Parameters,
    fused: bool,
}

impl Student {
    fn new(config: &str, dtype: StudentDtype, device: &Device, kernels: Kernels) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, on_device(config)).unwrap();
        let config = DecoderConfig::from_json_file(&path).unwrap();
        let start = StudentStart::Config { config, seed: 5 };
        let (decoder, parameters) = Decoder::trainable_in(dtype, &start, device).unwrap();
        let decoder = decoder.with_trusted_kernels(kernels);
        assert_eq!(decoder.distrust(), None);
        let student = Self {
            decoder,
            parameters,
            fused: kernels == Kernels::Fused,
        };
        // Initial weights are so small that every distribution is nearly uniform, and biases are zero.
        for (seed, (name, variable)) in student.parameters.iter().enumerate() {
            let noise = Tensor::from_vec(waves(seed, variable.elem_count()), variable.shape(), device).unwrap();
            let value = if variable.rank() == 2 {
                (variable.to_dtype(DType::F32).unwrap() * 5.0).unwrap()
            } else {
                let centre = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
                noise.affine(0.3, centre).unwrap()
            };
            variable.set(&value.to_dtype(variable.dtype()).unwrap()).unwrap();
        }
        student
    }

    /// On the CPU in single precision, at the weights of `other`.
    fn reference(config: &str, other: &Self) -> Self {
        let student = Self::new(config, StudentDtype::F32, &Device::Cpu, Kernels::Fused);
        for ((name, variable), (other_name, value)) in student.parameters.iter().zip(other.parameters.iter()) {
            assert_eq!(name, other_name);
            variable.set(&on_cpu(value)).unwrap();
        }
        student
    }

    fn pass(&self) -> HeadPass {
        HeadPass {
            distillation_weight: 0.5,
            // Chunks of 100 rows.
            chunk_bytes: 100 * VOCABULARY * size_of::<f32>(),
            fused: self.fused,
        }
    }

    fn gradients(&self, batch: &MicroBatch, checkpointing: bool) -> (LossSums, Vec<(String, Tensor)>) {
        gradients::clear(&self.parameters);
        let losses = gradients::accumulate(&self.decoder, batch, self.pass(), checkpointing, Stop::NEVER).unwrap();
        let all = gradients::all(&self.parameters).unwrap().into_iter();
        (
            losses.wait().unwrap(),
            all.map(|(name, gradient)| (name.to_owned(), on_cpu(gradient).copy().unwrap()))
                .collect(),
        )
    }
}

fn on_cpu(tensor: &Tensor) -> Tensor {
    tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap()
}

/// ‖a − b‖ / ‖b‖.
fn relative_difference(a: &Tensor, b: &Tensor) -> f64 {
    let norm = |tensor: &Tensor| {
        let squares = tensor.to_dtype(DType::F64).unwrap().sqr().unwrap();
        squares.sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
    };
    norm(&(a - b).unwrap()) / norm(b)
}

#[test]
fn hidden_states_and_logits_agree_with_the_cpu() {
    let spans = spans();
    let packed = Packed::new(spans.iter().map(|span| span.tokens.as_slice()));
    let device = device();
    for config in CONFIGS {
        for (kernels, tolerance) in forms() {
            let student = Student::new(config, tolerance.dtype, &device, kernels);
            let reference = Student::reference(config, &student);
            // Inference uses other operations than training if no gradient is tracked.
            let of = |student: &Student, device: &Device| {
                let frozen = Decoder::frozen(student.decoder.config(), &student.parameters, device).unwrap();
                let frozen = frozen.with_kernels(student.decoder.kernels());
                let hidden = frozen.hidden_states(&packed, Stop::NEVER).unwrap();
                (on_cpu(&hidden), on_cpu(&frozen.logits(&hidden).unwrap()))
            };
            let ((hidden, logits), (expected, expected_logits)) = (of(&student, &device), of(&reference, &Device::Cpu));
            let found = relative_difference(&hidden, &expected);
            assert!(found < tolerance.relative, "hidden states differ by {found}: {config}");
            let found = relative_difference(&logits, &expected_logits);
            assert!(found < tolerance.relative, "logits differ by {found}: {config}");

            let places: Vec<u32> = (0..packed.tokens().len() as u32).collect();
            let trace = student.decoder.trace(&packed, &places, false, Stop::NEVER).unwrap();
            let found = relative_difference(&on_cpu(&trace.rows()), &expected);
            assert!(
                found < tolerance.relative,
                "traced hidden states differ by {found}: {config}"
            );
        }
    }
}

#[test]
fn every_gradient_of_every_loss_agrees_with_the_cpu() {
    let (spans, device) = (spans(), device());
    for (index, config) in CONFIGS.into_iter().enumerate() {
        for (kernels, tolerance) in forms() {
            let student = Student::new(config, tolerance.dtype, &device, kernels);
            let reference = Student::reference(config, &student);
            for (number, distillation) in distillations().into_iter().enumerate() {
                // All losses on one architecture, some on the others: the decoder does not depend on the loss.
                if index > 0 && number % 9 != 0 {
                    continue;
                }
                let name = format!("{} {kernels:?} {:?} {config}", distillation.name(), tolerance.dtype);
                let batch = batch(&spans, distillation);
                let (sums, found) = student.gradients(&batch, number % 2 == 1);
                let (expected_sums, expected) = reference.gradients(&batch, false);
                for (found, expected) in [
                    (sums.cross_entropy, expected_sums.cross_entropy),
                    (sums.distillation, expected_sums.distillation),
                    (sums.forward_kl, expected_sums.forward_kl),
                    (sums.soft_cross_entropy, expected_sums.soft_cross_entropy),
                ] {
                    assert!((found - expected).abs() < tolerance.nats, "{found} {expected}: {name}");
                }
                assert_eq!(found.len(), expected.len());
                for ((weight, found), (_, expected)) in found.iter().zip(&expected) {
                    let difference = relative_difference(found, expected);
                    assert!(
                        difference < tolerance.relative,
                        "the gradient of `{weight}` differs by {difference}: {name}"
                    );
                }
            }
        }
    }
}

/// The update in double precision, on numbers.
fn adam_w(weights: &mut [f64], moments: &mut [(f64, f64)], gradients: &[f32], step: i32, (scale, rate): (f64, f64)) {
    for ((weight, (first, second)), &gradient) in weights.iter_mut().zip(moments).zip(gradients) {
        let gradient = f64::from(gradient) * scale;
        *first = 0.9 * *first + 0.1 * gradient;
        *second = 0.999 * *second + 0.001 * gradient * gradient;
        let (first, second) = (
            *first / (1.0 - 0.9f64.powi(step)),
            *second / (1.0 - 0.999f64.powi(step)),
        );
        *weight -= rate * (0.05 * *weight + first / (second.sqrt() + 1e-8));
    }
}

#[test]
fn updates_are_those_of_double_precision_in_the_masters() {
    const COUNT: usize = 40_000;
    let (device, scale, rate) = (device(), 0.7, 1e-3);
    let dtypes = [DType::F32, DType::BF16].into_iter();
    for (dtype, kernels) in dtypes.flat_map(|dtype| FORMS.iter().map(move |&kernels| (dtype, kernels))) {
        let start = Tensor::from_vec(waves(1, COUNT), (COUNT / 100, 100), &device).unwrap();
        let variable = Var::from_tensor(&start.to_dtype(dtype).unwrap()).unwrap();
        let settings = AdamWSettings {
            weight_decay: 0.05,
            ..AdamWSettings::default()
        };
        let mut optimizer = AdamW::with_kernels([("w", &variable)].into_iter(), settings, kernels).unwrap();
        let flat = |tensor: &Tensor| on_cpu(tensor).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mut weights: Vec<f64> = flat(&variable).into_iter().map(f64::from).collect();
        let mut moments = vec![(0.0, 0.0); COUNT];
        for step in 1..=6 {
            let gradient = waves(10 + step as usize, COUNT);
            adam_w(&mut weights, &mut moments, &gradient, step, (scale, rate));
            let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            let gradient = Tensor::from_vec(gradient, (COUNT / 100, 100), &device).unwrap();
            let named = || [("w", &gradient)].into_iter();
            match optimizer.update_on_device(named(), scale * norm, rate).unwrap() {
                Some(found) => assert!((found.wait().unwrap() / norm - 1.0).abs() < 1e-6),
                None => optimizer.update(named(), scale, rate).unwrap(),
            }
        }
        let master = optimizer.weights().unwrap().remove(0).1;
        // Six updates of up to 1e-3, each good to single precision, on weights of up to 1.
        for (found, expected) in flat(&master).iter().zip(&weights) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
        }
        let rounded = master.to_dtype(dtype).unwrap();
        assert_eq!(flat(&rounded), flat(&variable));
    }
}

#[test]
fn a_few_steps_learn_what_the_cpu_learns() {
    let (spans, device) = (spans(), device());
    for (kernels, tolerance) in forms() {
        let student = Student::new(CONFIGS[0], tolerance.dtype, &device, kernels);
        let reference = Student::reference(CONFIGS[0], &student);
        let batch = batch(&spans, Distillation::default());
        let losses = |student: &Student| -> Vec<f64> {
            let (parameters, settings) = (student.parameters.iter(), AdamWSettings::default());
            let mut optimizer = AdamW::with_kernels(parameters, settings, student.decoder.kernels()).unwrap();
            let step = |_| {
                let (sums, _) = student.gradients(&batch, false);
                let gradients = gradients::all(&student.parameters).unwrap();
                let all = || gradients.iter().copied();
                if optimizer.update_on_device(all(), 1.0, 1e-3).unwrap().is_none() {
                    let scale = (1.0 / gradients::norm(&gradients).unwrap()).min(1.0);
                    optimizer.update(all(), scale, 1e-3).unwrap();
                }
                0.5 * sums.cross_entropy + 0.5 * sums.forward_kl
            };
            (0..8).map(step).collect()
        };
        let (found, expected) = (losses(&student), losses(&reference));
        assert!(expected[7] < expected[0] - 0.5, "nothing was learnt: {expected:?}");
        // Each step starts from weights that already differ by the earlier steps.
        for (found_loss, expected_loss) in found.iter().zip(&expected) {
            assert!(
                (found_loss - expected_loss).abs() < 5.0 * tolerance.nats,
                "{found:?} {expected:?}"
            );
        }
    }
}

#[test]
fn logits_of_a_student_in_bf16_are_in_single_precision() {
    // If a head's logits are far from zero, rounding them causes errors of up to 0.06 nats.
    for &kernels in FORMS {
        logits_are_in_single_precision(kernels);
    }
}

fn logits_are_in_single_precision(kernels: Kernels) {
    let device = device();
    let student = Student::new(CONFIGS[0], StudentDtype::Bf16, &device, kernels);
    let embedding = student.parameters.get("model.embed_tokens.weight").unwrap();
    let larger = (embedding.as_tensor() * 8.0).unwrap();
    embedding.set(&larger).unwrap();
    let spans = spans();
    let batch = batch(&spans, Distillation::default());
    let (sums, _) = student.gradients(&batch, false);
    // The loss by hand, from the same hidden states, in double precision.
    let trace = student
        .decoder
        .trace(&batch.packed, &batch.places, false, Stop::NEVER)
        .unwrap();
    let wide = |tensor: &Tensor| on_cpu(tensor).to_dtype(DType::F64).unwrap();
    let logits = wide(&trace.rows()).matmul(&wide(embedding).t().unwrap()).unwrap();
    let normaliser = logits.log_sum_exp(D::Minus1).unwrap().to_vec1::<f64>().unwrap();
    let logits = logits.to_vec2::<f64>().unwrap();
    let targets = spans.iter().flat_map(|span| &span.tokens[1..]);
    let losses = logits.iter().zip(&normaliser).zip(targets);
    let sum: f64 = losses.map(|((row, lse), &target)| lse - row[target as usize]).sum();
    let expected = sum / logits.len() as f64;
    let largest = logits
        .iter()
        .flatten()
        .fold(0f64, |largest, logit| largest.max(logit.abs()));
    assert!(largest > 30.0, "{largest}");
    assert!(
        (sums.cross_entropy - expected).abs() < 2e-5,
        "{} {expected}",
        sums.cross_entropy
    );
}
