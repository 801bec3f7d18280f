//! Every type of a GGUF file against the package `gguf`, and a model of many types in several files against transformers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::Module as _;
use candle_core::{
    D, Device, Tensor,
    quantized::{GgmlDType, QMatMul, QTensor},
};
use leadspan_diagnosis::Diagnosis as _;

use super::file::GgufFile;
use crate::{Decoder, ModelError, ModelSource, Packed, Stop, StoredDtype};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/gguf")
        .join(name)
}

fn piece(number: usize) -> String {
    format!("mixed-{number:05}-of-00003.gguf")
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn every_type_stands_for_the_numbers_that_the_package_gguf_reads() {
    let file = GgufFile::open(&fixture("types.gguf")).unwrap();
    let expected = candle_core::safetensors::load(fixture("types.expected.safetensors"), &Device::Cpu).unwrap();
    assert_eq!((expected.len(), file.tensor_count()), (14, 14));
    for (kind, expected) in expected {
        let found = file.tensor(&kind, &Device::Cpu).unwrap();
        assert_eq!(
            bits(&found.dequantize(&Device::Cpu).unwrap()),
            bits(&expected),
            "{kind}"
        );
    }
}

#[test]
fn quantised_products_are_those_of_the_numbers() {
    use GgmlDType::{Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    let (rows, columns, outputs) = (72, 512, 70);
    let numbers = |count: usize, seed: usize| -> Vec<f32> {
        let number = |i: usize| ((i * 7919 + seed) % 1009) as f32 / 504.5 - 1.0;
        (0..count).map(number).collect()
    };
    let x = Tensor::from_vec(numbers(rows * columns, 3), (rows, columns), &Device::Cpu).unwrap();
    let weight = Tensor::from_vec(numbers(outputs * columns, 11), (outputs, columns), &Device::Cpu).unwrap();
    for kind in [Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0] {
        let stored = QTensor::quantize(&weight, kind).unwrap();
        let dense = x
            .matmul(&stored.dequantize(&Device::Cpu).unwrap().t().unwrap())
            .unwrap();
        let native = QMatMul::from_qtensor(stored).unwrap().forward(&x).unwrap();
        let size = |tensor: &Tensor| {
            tensor
                .sqr()
                .unwrap()
                .sum_all()
                .unwrap()
                .to_scalar::<f32>()
                .unwrap()
                .sqrt()
        };
        let error = size(&(native - &dense).unwrap()) / size(&dense);
        // Inputs are rounded to eight bits per block: to within a part in 250 of the largest.
        assert!(error > 0.0 && error < 0.02, "{kind:?}: {error}");
    }
}

/// Compares the log-probabilities of a model's file with those of transformers.
fn compare(file: &str, expected: &str) {
    let expected = candle_core::safetensors::load(fixture(expected), &Device::Cpu).unwrap();
    let source = ModelSource::open(&fixture(file)).unwrap();
    let tokens = expected["tokens"].flatten_all().unwrap().to_vec1::<u32>().unwrap();
    let logprobs = |dtype: StoredDtype| {
        let decoder = Decoder::load(&source, dtype, &Device::Cpu).unwrap();
        let hidden = decoder.hidden_states(&Packed::new([&tokens[..]]), Stop::NEVER).unwrap();
        let logits = decoder.logits(&hidden).unwrap();
        candle_nn::ops::log_softmax(&logits, D::Minus1).unwrap()
    };
    let dense = logprobs(StoredDtype::F32);
    let difference = |other: &Tensor| (&dense - other).unwrap().abs().unwrap();
    let from_expected = difference(&expected["logprobs"].squeeze(0).unwrap());
    let most = from_expected.max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(most < 1e-4, "{file}: {most}");
    // Inputs are rounded to eight bits per block, as in `tests/parity.rs`.
    let mean = difference(&logprobs(StoredDtype::Native)).mean_all().unwrap();
    let mean = mean.to_scalar::<f32>().unwrap();
    assert!(mean > 0.0 && mean < 0.1, "{file}: {mean}");
}

#[test]
fn a_mixed_model_in_pieces_computes_what_transformers_does() {
    compare(&piece(1), "mixed.expected.safetensors");
}

/// The files are written by the rules of llama.cpp's converter: rows of queries and keys, and their biases, in another order
/// (SmolLM3, Granite), norms with 1 added (Gemma 3), and no key for what llama.cpp has built in.
#[test]
fn files_of_other_architectures_compute_what_transformers_does() {
    for family in ["olmo2", "smollm3", "gemma3", "granite"] {
        compare(&format!("{family}.gguf"), &format!("{family}.expected.safetensors"));
    }
}

/// A folder with the three pieces.
fn pieces() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in (1..=3).map(piece) {
        fs::copy(fixture(&name), dir.path().join(name)).unwrap();
    }
    dir
}

#[test]
fn all_pieces_are_weight_files_and_part_of_the_identity() {
    let dir = pieces();
    let open = || ModelSource::open(&dir.path().join(piece(1))).unwrap();
    let names: Vec<PathBuf> = (1..=3).map(|number| dir.path().join(piece(number))).collect();
    assert_eq!(open().weight_files().unwrap(), names);
    let before = open().weights_fingerprint().unwrap();
    let mut bytes = fs::read(&names[2]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&names[2], bytes).unwrap();
    assert_ne!(open().weights_fingerprint().unwrap(), before);
}

/// The message and the hint with which a folder of pieces is refused after a change, when `name` is opened.
fn refusal(name: &str, change: impl Fn(&Path)) -> String {
    let dir = pieces();
    change(dir.path());
    let error = ModelSource::open(&dir.path().join(name)).map(drop).unwrap_err();
    assert!(
        matches!(error, ModelError::SplitGguf { .. }) && !error.is_unexpected(),
        "{error}"
    );
    format!("{error}\n{}", error.hint().unwrap())
}

/// Writes a value over that of a key.
fn set(path: &Path, key: &str, value: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let place = bytes.windows(key.len()).position(|window| window == key.as_bytes());
    let place = place.unwrap() + key.len() + 4;
    bytes[place..place + value.len()].copy_from_slice(value);
    fs::write(path, bytes).unwrap();
}

#[test]
fn pieces_that_are_not_a_whole_model_are_refused_by_name() {
    let first = piece(1);
    let later = refusal(&piece(2), |_| ());
    assert!(
        later.contains("number 2 of 3") && later.contains(&format!("/{first}`")),
        "{later}"
    );
    let missing = refusal(&first, |dir| fs::remove_file(dir.join(piece(3))).unwrap());
    assert!(missing.contains(&format!("/{}`", piece(3))), "{missing}");
    let renamed = refusal("model.gguf", |dir| {
        fs::rename(dir.join(piece(1)), dir.join("model.gguf")).unwrap();
    });
    assert!(
        renamed.contains("`split.count` is 3") && renamed.contains("--merge"),
        "{renamed}"
    );
    let swapped = refusal(&first, |dir| {
        fs::copy(dir.join(piece(2)), dir.join(piece(3))).map(drop).unwrap();
    });
    assert!(
        swapped.contains(&piece(3)) && swapped.contains("`split.no` is 1, but it should be 2"),
        "{swapped}"
    );
    let of_another = refusal(&first, |dir| {
        set(&dir.join(piece(2)), "split.count", &4u16.to_le_bytes());
    });
    assert!(
        of_another.contains("`split.count` is 4, but it should be 3"),
        "{of_another}"
    );
    let fewer = refusal(&first, |dir| set(&dir.join(piece(1)), "split.tensors.count", &[99]));
    assert!(
        fewer.contains("`split.tensors.count` is 99, but it should be 21"),
        "{fewer}"
    );
    let twice = refusal(&first, |dir| {
        fs::copy(dir.join(piece(2)), dir.join(piece(3))).unwrap();
        set(&dir.join(piece(3)), "split.no", &2u16.to_le_bytes());
    });
    assert!(twice.contains("an earlier piece has a tensor `"), "{twice}");
}
