//! Weights in floats of eight bits are what they stand for; every other form of weights is refused by name.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod settings;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use leadspan_diagnosis::Diagnosis as _;
use leadspan_model::{Decoder, ModelError, ModelSource, Packed, Stop, StoredDtype, StudentStart};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

const FOLDERS: [&str; 3] = ["fp8_blocks", "fp8_rows", "fp8_whole"];
const QUERIES: &str = "model.layers.0.self_attn.q_proj.weight";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/parity")
        .join(name)
}

/// The tensors of a file, by name.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn tensors(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let of =
        |(name, view): (String, TensorView<'_>)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    file.tensors().into_iter().map(of).collect()
}

/// A copy of a model whose configuration and tensors are changed.
fn changed(name: &str, config: impl Fn(&mut Value), weights: impl Fn(&mut Tensors)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read(fixture(name).join("config.json")).unwrap();
    let mut value = serde_json::from_slice(&text).unwrap();
    config(&mut value);
    fs::write(dir.path().join("config.json"), value.to_string()).unwrap();
    let mut tensors = tensors(&fixture(name).join("model.safetensors"));
    weights(&mut tensors);
    write(&dir.path().join("model.safetensors"), &tensors);
    dir
}

fn write(path: &Path, tensors: &Tensors) {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn load(dir: &Path) -> Result<Decoder, ModelError> {
    Decoder::load(&ModelSource::open(dir)?, StoredDtype::F32, &Device::Cpu)
}

/// The message and the hint with which a model is refused.
fn refusal(dir: &Path) -> String {
    let error = load(dir).unwrap_err();
    assert!(!error.is_unexpected(), "{error}");
    format!("{error}\n{}", error.hint().unwrap_or_default())
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn floats_of_eight_bits_are_what_they_stand_for_in_teacher_and_student() {
    for name in FOLDERS {
        let expected =
            candle_core::safetensors::load(fixture(name).join("expected.safetensors"), &Device::Cpu).unwrap();
        let source = ModelSource::open(&fixture(name)).unwrap();
        let start = StudentStart::Model { source, layers: None };
        let (student, parameters) = Decoder::trainable(&start, &Device::Cpu).unwrap();
        assert_eq!(parameters.iter().len(), expected.len());
        for (weight, value) in parameters.iter() {
            assert_eq!(bits(value), bits(&expected[weight]), "{name}: {weight}");
        }
        // The teacher computes with the same numbers.
        let tokens = Packed::new([&[1, 5, 9, 30, 7][..]]);
        let hidden = |model: &Decoder| bits(&model.hidden_states(&tokens, Stop::NEVER).unwrap());
        assert_eq!(hidden(&load(&fixture(name)).unwrap()), hidden(&student), "{name}");
    }
}

#[test]
fn a_quantised_model_is_another_teacher_than_its_bytes() {
    let quantised = ModelSource::open(&fixture("fp8_rows")).unwrap();
    let bytes = changed(
        "fp8_rows",
        |config| drop(config.as_object_mut().unwrap().remove("quantization_config")),
        |_| (),
    );
    let bytes = ModelSource::open(bytes.path()).unwrap();
    assert_eq!(quantised.config(), bytes.config());
    assert_ne!(quantised.config_fingerprint(), bytes.config_fingerprint());
}

#[test]
fn weights_of_other_types_are_refused_by_name() {
    for dtype in [
        Dtype::BOOL,
        Dtype::F4,
        Dtype::F6_E2M3,
        Dtype::U8,
        Dtype::I8,
        Dtype::F8_E8M0,
        Dtype::F8_E4M3FNUZ,
        Dtype::I16,
        Dtype::U16,
        Dtype::I32,
        Dtype::U32,
        Dtype::I64,
    ] {
        let stored_as = |tensors: &mut Tensors| {
            let (old, shape, data) = tensors.get_mut(QUERIES).unwrap();
            *data = vec![1; shape.iter().product::<usize>() * dtype.bitsize() / 8];
            *old = dtype;
            tensors.remove(&format!("{QUERIES}_scale"));
        };
        let message = refusal(changed("fp8_rows", |_| (), stored_as).path());
        assert!(
            message.contains(&format!("`{QUERIES}`")) && message.contains(&format!("stored as {dtype}")),
            "{message}"
        );
        assert!(
            message.contains("original weights") && !message.contains("truncated"),
            "{message}"
        );
    }
}

#[test]
fn weights_and_scales_that_do_not_belong_together_are_refused() {
    let scale = format!("{QUERIES}_scale");
    let case = |config: &dyn Fn(&mut Value), weights: &dyn Fn(&mut Tensors)| {
        refusal(changed("fp8_rows", config, weights).path())
    };
    let weights = |change: &dyn Fn(&mut Tensors)| case(&|_| (), change);
    let added = |name: String, (dtype, shape, data): (Dtype, Vec<usize>, Vec<u8>)| {
        weights(&move |tensors: &mut Tensors| drop(tensors.insert(name.clone(), (dtype, shape.clone(), data.clone()))))
    };
    for (message, expected) in [
        (weights(&|tensors| drop(tensors.remove(&scale))), "it has no scale"),
        (
            weights(&|tensors| drop(tensors.remove(QUERIES))),
            "the scale of a weight that is not there",
        ),
        (
            weights(&|tensors| tensors.get_mut(&scale).unwrap().1 = vec![1, 16]),
            "one factor, or one for each row",
        ),
        (
            added(format!("{QUERIES}_scale_inv"), (Dtype::F32, vec![1], vec![0; 4])),
            "more than a scale",
        ),
        (
            added(format!("{QUERIES}_zero_point"), (Dtype::I8, vec![1], vec![0])),
            "weight_zero_point`",
        ),
        (
            added(QUERIES.replace("weight", "qzeros"), (Dtype::I32, vec![1], vec![0; 4])),
            "it has a part that is not read: `model.layers.0.self_attn.q_proj.qzeros`",
        ),
        (
            added("model.norm.weight_scale".to_owned(), (Dtype::F32, vec![1], vec![0; 4])),
            "it is stored as BF16, but has a part `model.norm.weight_scale`",
        ),
        (
            weights(&|tensors| {
                let renamed = tensors.remove(&scale).unwrap();
                tensors.insert(format!("{QUERIES}_packed"), renamed);
            }),
            "a part that is not read",
        ),
        (
            weights(&|tensors| tensors.get_mut(&scale).unwrap().2[..2].copy_from_slice(&[0xc0, 0x7f])),
            "its scale is not finite",
        ),
        (
            weights(&|tensors| tensors.get_mut(&scale).unwrap().0 = Dtype::I16),
            "its scale is stored as I16",
        ),
        (
            case(
                &|config| drop(config.as_object_mut().unwrap().remove("quantization_config")),
                &|_| (),
            ),
            "without a `quantization_config`",
        ),
        (
            case(
                &|config| config["quantization_config"]["ignore"] = json!(["model.layers.0.self_attn"]),
                &|_| (),
            ),
            "`config.json` says that it is not quantised",
        ),
        (
            case(
                &|config| config["quantization_config"] = json!({"quant_method": "fp8", "weight_block_size": [8, 8]}),
                &|_| (),
            ),
            "one factor for each block of 8 × 8",
        ),
    ] {
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(message.contains("original weights"), "{message}");
    }
}

#[test]
fn scales_of_activations_change_nothing() {
    let hidden = |dir: &Path| {
        let tokens = Packed::new([&[1, 5, 9, 30, 7][..]]);
        bits(&load(dir).unwrap().hidden_states(&tokens, Stop::NEVER).unwrap())
    };
    let with_scales = changed(
        "fp8_rows",
        |_| (),
        |tensors| {
            for name in ["input_scale", "output_scale", "k_scale"] {
                let scale = (Dtype::F32, vec![1], 0.5f32.to_le_bytes().to_vec());
                tensors.insert(QUERIES.replace("weight", name), scale);
            }
        },
    );
    assert_eq!(hidden(with_scales.path()), hidden(&fixture("fp8_rows")));
}

#[test]
fn a_weight_that_two_files_hold_must_be_the_same_in_both() {
    let dir = changed("fp8_blocks", |_| (), |_| ());
    let whole = dir.path().join("model.safetensors");
    let mut second: Tensors = tensors(&whole)
        .into_iter()
        .filter(|(name, _)| name == "model.norm.weight")
        .collect();
    fs::rename(&whole, dir.path().join("one.safetensors")).unwrap();
    let index = json!({"weight_map": {QUERIES: "one.safetensors", "model.norm.weight": "two.safetensors"}});
    fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    write(&dir.path().join("two.safetensors"), &second);
    load(dir.path()).unwrap();
    second.get_mut("model.norm.weight").unwrap().2[0] ^= 1;
    write(&dir.path().join("two.safetensors"), &second);
    let message = refusal(dir.path());
    assert!(
        message.contains("two files have different weights of this name"),
        "{message}"
    );
}

#[test]
fn a_head_of_its_own_in_a_tied_model_is_refused() {
    let tied = |config: &mut Value| config["tie_word_embeddings"] = json!(true);
    let message = refusal(changed("fp8_rows", tied, |_| ()).path());
    assert!(
        message.contains("lm_head.weight") && message.contains("`tie_word_embeddings` to `false`"),
        "{message}"
    );
    // A copy of the embedding is no other head.
    let copied = changed("fp8_rows", tied, |tensors| {
        let embedding = tensors["model.embed_tokens.weight"].clone();
        tensors.insert("lm_head.weight".to_owned(), embedding);
    });
    load(copied.path()).unwrap();
}
