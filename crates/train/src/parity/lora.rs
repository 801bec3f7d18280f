//! Students that learn adapters: losses and gradients against PEFT in double precision, finite differences, and each other.

use std::{collections::HashMap, path::PathBuf};

use candle_core::{DType, Device, Tensor};
use leadspan_model::{
    Activations, AllLinear, Decoder, Kernels, LoraSettings, LoraTargets, Parameters, StudentDtype, merged_weights,
};

use super::{Case, HeadPass, PASS, assert_slopes, case_of, gradients};
use crate::{AdamW, AdamWSettings};

/// The bases of the adapters that PEFT made.
const MODELS: [&str; 5] = ["qwen3", "qwen2", "gemma3", "granite", "phi3"];

fn tensors(model: &str, file: &str) -> HashMap<String, Tensor> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/lora");
    candle_core::safetensors::load(dir.join(model).join(file), &Device::Cpu).unwrap()
}

/// The settings with which PEFT made an adapter.
fn settings(model: &str) -> LoraSettings {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/lora");
    let text = std::fs::read(path.join(model).join("adapter_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&text).unwrap();
    LoraSettings {
        rank: config["r"].as_u64().unwrap() as usize,
        alpha: config["lora_alpha"].as_f64().unwrap(),
        targets: serde_json::from_value(config["target_modules"].clone()).unwrap(),
        use_rslora: config["use_rslora"].as_bool().unwrap(),
        merged: false,
    }
}

/// A student with the adapter that PEFT made, and what PEFT computes of the training case of its base.
fn case(model: &str, dtype: StudentDtype) -> Case {
    let mut case = case_of(model, |start| {
        Decoder::adapted(dtype, start, (&settings(model), 3), &Device::Cpu).unwrap()
    });
    for (name, tensor) in tensors(model, "adapter_model.safetensors") {
        let variable = case.parameters.get(&name).unwrap();
        variable.set(&tensor.to_dtype(variable.dtype()).unwrap()).unwrap();
    }
    case.expected = tensors(model, "expected.safetensors");
    case
}

fn norm(tensor: &Tensor) -> f64 {
    crate::optimizer::sum_of_squares(tensor).unwrap().sqrt()
}

/// The largest difference of a gradient from what PEFT computes, relative to the whole gradient of the matrix.
fn largest_difference(case: &Case, found: &[(String, Tensor)]) -> f64 {
    let expected = case.expected.keys().filter(|key| key.starts_with("grad.")).count();
    assert_eq!(found.len(), expected);
    let relative = found.iter().map(|(name, gradient)| {
        let expected = &case.expected[&format!("grad.{name}")];
        norm(&(gradient - expected).unwrap()) / norm(expected)
    });
    relative.fold(0.0, f64::max)
}

#[test]
fn losses_and_gradients_of_adapters_agree_with_peft() {
    for model in MODELS {
        let mut case = case(model, StudentDtype::F32);
        for (kernels, activations) in [
            (Kernels::Fused, Activations::All),
            (Kernels::Fused, Activations::WithoutGates),
            (Kernels::Fused, Activations::LayerInputs),
            (Kernels::Stock, Activations::All),
            (Kernels::Stock, Activations::LayerInputs),
        ] {
            case.student = case.student.with_kernels(kernels);
            let fused = kernels == Kernels::Fused;
            let (found, sums) = gradients(&case, HeadPass { fused, ..PASS }, activations);
            let scalar = |name: &str| f64::from(case.expected[name].to_vec1::<f32>().unwrap()[0]);
            assert!(
                (sums.cross_entropy - scalar("loss_cross_entropy")).abs() < 1e-4,
                "{model}"
            );
            assert!((sums.forward_kl - scalar("loss_forward_kl")).abs() < 1e-4, "{model}");
            // The tolerance of whole students, of which PyTorch computes in single precision.
            let off = largest_difference(&case, &found);
            assert!(off < 1e-3, "{model} {kernels:?} {activations:?}: off by {off}");
        }
    }
}

#[test]
fn gradients_of_adapters_are_the_slopes_of_the_loss() {
    for model in MODELS {
        assert_slopes(model, &case(model, StudentDtype::F32));
    }
}

#[test]
fn computing_layers_or_gates_again_changes_no_bit_of_the_gradient_of_an_adapter() {
    for (model, kernels, dtype) in MODELS.into_iter().flat_map(|model| {
        [
            (model, Kernels::Fused, StudentDtype::F32),
            (model, Kernels::Stock, StudentDtype::F32),
            (model, Kernels::Fused, StudentDtype::Bf16),
        ]
    }) {
        let mut case = case(model, dtype);
        case.student = case.student.with_kernels(kernels);
        let bits = |activations: Activations| -> Vec<Vec<f32>> {
            let found = gradients(&case, PASS, activations).0.into_iter();
            let values = found.map(|(_, gradient)| gradient.flatten_all().unwrap().to_vec1().unwrap());
            values.collect()
        };
        let kept = bits(Activations::All);
        assert!(kept == bits(Activations::WithoutGates), "{model} {kernels:?} {dtype:?}");
        assert!(kept == bits(Activations::LayerInputs), "{model} {kernels:?} {dtype:?}");
    }
}

#[test]
fn gradients_of_adapters_in_bf16_point_where_those_in_f32_do() {
    for model in MODELS {
        let case = case(model, StudentDtype::Bf16);
        let (found, _) = gradients(&case, PASS, Activations::All);
        assert!(found.iter().all(|(_, gradient)| gradient.dtype() == DType::F32));
        // Two layers round each activation to 8 bits, and a gradient is a sum of terms of either sign.
        let off = largest_difference(&case, &found);
        assert!(off < 0.3, "{model}: off by {off}");
    }
}

/// A student of `qwen2` with adapters of rank 2 on all projections, after some steps, and its losses.
fn trained(seed: u64) -> (Parameters, Vec<f64>) {
    let settings = LoraSettings {
        rank: 2,
        alpha: 4.0,
        targets: LoraTargets::All(AllLinear::Every),
        use_rslora: false,
        merged: false,
    };
    let case = case_of("qwen2", |start| {
        Decoder::adapted(StudentDtype::F32, start, (&settings, seed), &Device::Cpu).unwrap()
    });
    let mut optimizer = AdamW::new(case.parameters.iter(), AdamWSettings::default()).unwrap();
    let mut losses = Vec::new();
    for _ in 0..12 {
        let (gradients, sums) = gradients(&case, PASS, Activations::All);
        losses.push(0.5 * sums.cross_entropy + 0.5 * sums.forward_kl);
        let gradients = gradients.iter().map(|(name, gradient)| (name.as_str(), gradient));
        optimizer.update(gradients, 1.0, 1e-2).unwrap();
    }
    (case.parameters, losses)
}

#[test]
fn adapters_learn_and_nothing_else_changes() {
    let (parameters, losses) = trained(1);
    assert!(losses[11] < 0.8 * losses[0], "{losses:?}");
    let start = leadspan_model::StudentStart::Model {
        source: leadspan_model::ModelSource::open(
            &PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity/qwen2"),
        )
        .unwrap(),
        layers: None,
    };
    let (_, whole) = Decoder::trainable(&start, &Device::Cpu).unwrap();
    assert_eq!(whole.iter().len(), parameters.constants().len());
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for ((name, constant), (other, weight)) in parameters.constants().zip(whole.iter()) {
        assert!(
            name == other && values(constant) == values(weight.as_tensor()),
            "{name}"
        );
    }
    let learnt: Vec<(&str, Tensor)> = parameters
        .iter()
        .map(|(name, variable)| (name, variable.as_detached_tensor()))
        .collect();
    for (name, merged) in merged_weights(&parameters, &learnt).unwrap() {
        let is_changed = values(&merged) != values(whole.get(&name).unwrap().as_tensor());
        assert_eq!(is_changed, name.ends_with("_proj.weight"), "{name}");
    }
    // The seed decides where the adapters start, and nothing else does.
    assert_eq!(trained(1).1, losses);
    assert_ne!(trained(2).1, losses);
}
