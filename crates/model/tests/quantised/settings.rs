//! What the settings of a quantisation say, in `config.json` and beside it.

use std::{fs, path::Path};

use leadspan_model::{ModelSource, Packed, Stop};
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::{QUERIES, Tensors, bits, changed, fixture, load, refusal};

/// Checks that a model whose configuration is changed so is refused with the key and its value.
fn assert_refused(config: impl Fn(&mut Value), key: &str, found: &str) {
    let dir = changed("fp8_rows", config, |_| ());
    let message = refusal(dir.path());
    assert!(message.contains(&format!("`{key}` is `{found}")), "{key}: {message}");
    assert!(message.contains("original weights"), "{message}");
    // The hash of the weights, by which a new cache knows its teacher, is refused as well.
    let source = ModelSource::open(dir.path()).unwrap();
    assert!(source.weights_fingerprint().is_err() && source.weight_files().is_err());
}

#[test]
fn other_quantisations_are_refused_by_name() {
    for (quantization, key, found) in [
        (json!({"quant_method": "gptq", "bits": 4}), "quant_method", "gptq"),
        (json!({"quant_method": "awq", "bits": 4}), "quant_method", "awq"),
        (json!({"quant_method": "bitsandbytes"}), "quant_method", "bitsandbytes"),
        (json!({"quant_method": "mxfp4"}), "quant_method", "mxfp4"),
        (
            json!({"quant_method": "modelopt", "quant_algo": "FP8"}),
            "quant_method",
            "modelopt",
        ),
        (json!({"quant_method": "hqq"}), "quant_method", "hqq"),
        (json!({"quant_method": "aqlm"}), "quant_method", "aqlm"),
        (json!({"quant_method": "torchao"}), "quant_method", "torchao"),
        (json!({"load_in_8bit": true}), "quant_method", "missing"),
        (
            json!({"quant_method": "fp8", "weight_block_size": [128]}),
            "weight_block_size",
            "[128]",
        ),
        (
            json!({"quant_method": "fp8", "weight_block_size": [0, 128]}),
            "weight_block_size",
            "[0,128]",
        ),
        (
            json!({"quant_method": "fp8", "expert_dtype": "fp4"}),
            "expert_dtype",
            "fp4",
        ),
        (
            json!({"quant_method": "fp8", "ignored_layers": "lm_head"}),
            "ignored_layers",
            "lm_head",
        ),
    ] {
        assert_refused(
            |config| config["quantization_config"] = quantization.clone(),
            key,
            found,
        );
    }
    let text = changed(
        "fp8_rows",
        |config| config["quantization_config"] = json!("fp8"),
        |_| (),
    );
    assert!(refusal(text.path()).contains("`quantization_config` is `fp8`"));
}

#[test]
fn weights_that_were_packed_before_the_configuration_said_so_are_refused_by_their_method() {
    let packed = |weights: &mut Tensors| {
        let (_, shape, _) = weights.remove(QUERIES).unwrap();
        let name = QUERIES.replace("weight", "qweight");
        weights.insert(
            name,
            (Dtype::I32, shape.clone(), vec![0; shape.iter().product::<usize>() * 4]),
        );
        weights.remove(&format!("{QUERIES}_scale"));
    };
    let unsaid = |config: &mut Value| drop(config.as_object_mut().unwrap().remove("quantization_config"));
    for (file, contents, method, key) in [
        (
            "quantize_config.json",
            json!({"bits": 4, "group_size": 128}),
            "GPTQ",
            "`bits` is `4`",
        ),
        (
            "quant_config.json",
            json!({"w_bit": 4, "q_group_size": 128}),
            "AWQ",
            "`w_bit` is `4`",
        ),
    ] {
        let dir = changed("fp8_rows", unsaid, packed);
        fs::write(dir.path().join(file), contents.to_string()).unwrap();
        let of_tensors = refusal(dir.path());
        // AutoGPTQ also gives the file of the weights another name.
        fs::rename(
            dir.path().join("model.safetensors"),
            dir.path().join("gptq_model-4bit-128g.safetensors"),
        )
        .unwrap();
        let of_folder = refusal(dir.path());
        for message in [of_tensors, of_folder] {
            for expected in [file, method, key, "teacher.server", "original weights"] {
                assert!(message.contains(expected), "{expected}: {message}");
            }
        }
    }
    // Weights that are not packed are read whatever lies beside them.
    let dir = changed("fp8_rows", |_| (), |_| ());
    fs::write(dir.path().join("quantize_config.json"), "{}").unwrap();
    load(dir.path()).unwrap();
}

#[test]
fn weights_in_eight_bits_are_read_whatever_compressed_tensors_says_of_their_making() {
    for status in ["initialized", "calibration", "frozen", "compressed"] {
        let of = |config: &mut Value| config["quantization_config"]["quantization_status"] = json!(status);
        let dir = changed("fp8_rows", of, |_| ());
        let tokens = Packed::new([&[1, 5, 9, 30, 7][..]]);
        let hidden = |dir: &Path| bits(&load(dir).unwrap().hidden_states(&tokens, Stop::NEVER).unwrap());
        assert_eq!(hidden(dir.path()), hidden(&fixture("fp8_rows")), "{status}");
        // A weight that was not compressed, with the scale that it would have.
        let dir = changed("fp8_rows", of, |tensors| {
            let (dtype, shape, data) = tensors.get_mut(QUERIES).unwrap();
            *dtype = Dtype::BF16;
            *data = vec![0; shape.iter().product::<usize>() * 2];
        });
        let message = refusal(dir.path());
        assert!(
            message.contains(&format!("it is stored as BF16, but has a part `{QUERIES}_scale`")),
            "{status}: {message}"
        );
    }
}

#[test]
fn parts_of_compressed_tensors_that_are_not_read_are_refused_by_name() {
    const WEIGHTS: &str = "/config_groups/group_0/weights";
    for (place, key, value) in [
        ("", "format", json!("pack-quantized")),
        ("", "format", json!("nvfp4-pack-quantized")),
        ("", "quantization_status", json!("packed")),
        ("", "quantization_status", json!(7)),
        ("", "transform_config", json!({"config_groups":{}})),
        ("", "config_groups", json!({})),
        ("", "config_groups", json!({"group_0":7})),
        ("/config_groups/group_0", "format", json!("int-quantized")),
        (WEIGHTS, "type", json!("int")),
        (WEIGHTS, "num_bits", json!(4)),
        (WEIGHTS, "strategy", json!("group")),
        (WEIGHTS, "symmetric", json!(false)),
    ] {
        let change = |config: &mut Value| {
            config["quantization_config"].pointer_mut(place).unwrap()[key] = value.clone();
        };
        let (key, found) = match &value {
            Value::Object(table) if table.contains_key("group_0") => ("group_0", "7".to_owned()),
            Value::String(text) => (key, text.clone()),
            other => (key, other.to_string()),
        };
        assert_refused(change, key, &found);
    }
    let sparse = json!({"format": "sparse-bitmask"});
    assert_refused(
        |config| config["quantization_config"]["sparsity_config"] = sparse.clone(),
        "format",
        "sparse-bitmask",
    );
    // An older name of the table.
    let renamed = |config: &mut Value| {
        let table = config["quantization_config"].take();
        config["compression_config"] = table;
    };
    load(changed("fp8_rows", renamed, |_| ()).path()).unwrap();
}
