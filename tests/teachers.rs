//! Teachers and students of other kinds than the tiny Llama in its folder: mixtures of experts, models in the Hub's cache,
//! rows of logits that are padded differently.

use std::{collections::BTreeSet, fs};

use arrow::array::{Array as _, ListArray, UInt32Array};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use safetensors::SafeTensors;

use crate::program::Workplace;

const PRECOMPUTE: [&str; 3] = ["precompute", "-c", "pipeline.toml"];
const TRAIN: [&str; 3] = ["train", "-c", "pipeline.toml"];

/// Every token that a cache has an entry for.
fn stored_tokens(place: &Workplace) -> BTreeSet<u32> {
    place.succeed(&["cache", "export", "cache", "--out", "export.parquet", "--overwrite"]);
    let file = fs::File::open(place.path("export.parquet")).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut tokens = BTreeSet::new();
    for batch in batches {
        let batch = batch.unwrap();
        let lists = batch
            .column_by_name("token_ids")
            .unwrap()
            .as_any()
            .downcast_ref::<ListArray>()
            .unwrap();
        let values = lists.values().as_any().downcast_ref::<UInt32Array>().unwrap();
        tokens.extend(values.values());
    }
    tokens
}

#[test]
fn a_student_may_have_more_or_fewer_rows_of_padding_than_the_teacher() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    // The tokenizer has 302 tokens, the teacher 320 rows of logits: what it says about its padding is stored under the
    // numbers of those rows, and nothing beyond them.
    let stored = stored_tokens(&place);
    assert!(stored.iter().any(|&token| token >= 304) && stored.iter().all(|&token| token < 320));
    place.replace(
        "pipeline.toml",
        "model = \"teacher\"\nlayers = [0]",
        "config = \"student.json\"",
    );
    let config = fs::read_to_string(place.path("teacher/config.json")).unwrap();
    for rows in [302, 304, 352] {
        let padded = config.replace("\"vocab_size\": 320", &format!("\"vocab_size\": {rows}"));
        assert!(rows == 320 || padded != config);
        place.write("student.json", &padded);
        let dir = format!("train.dir=run-{rows}");
        place.succeed(&[&TRAIN[..], &["--set", &dir]].concat());
        let weights = fs::read(place.path(&format!("run-{rows}/model/model.safetensors"))).unwrap();
        let weights = SafeTensors::deserialize(&weights).unwrap();
        let embedding = weights.tensor("model.embed_tokens.weight").unwrap();
        assert_eq!(embedding.shape(), [rows, 32]);
        let finite = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap()).is_finite();
        assert!(embedding.data().chunks(4).all(finite));
    }
}

#[test]
fn a_streamed_teacher_is_planned_and_captures_the_same_cache() {
    let place = Workplace::new();
    let given = |memory: &str| format!("teacher.memory={memory}");
    // Two layers take 72.5 KiB, a batch of 64 tokens 8 KiB, and all weights 112.5 KiB.
    let fitting = [given("90 KiB"), "cache.batch_tokens=64".to_owned()];
    let streamed = ["--set", &fitting[0], "--set", &fitting[1]];
    let screen = place.succeed(&[&["plan", "-c", "pipeline.toml", "--no-calibration"][..], &streamed].concat());
    for line in [
        "; 112.5 KiB of weights are read in each pass",
        "one layer of 36.2 KiB computes while the next is read",
        " passes of up to 169 tokens; 140 fit",
    ] {
        assert!(screen.contains(line), "{screen}");
    }
    assert!(!screen.contains("more than `teacher.memory`"), "{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    let little = given("1 KiB");
    let screen = place.succeed(&["plan", "-c", "pipeline.toml", "--no-calibration", "--set", &little]);
    assert!(
        screen.contains("more than `teacher.memory`: two layers and a batch take "),
        "{screen}"
    );
    let screen = place.succeed(&["plan", "-c", "pipeline.toml", "--no-calibration"]);
    assert!(screen.contains(", with all weights in memory\n"), "{screen}");
    place.succeed(&PRECOMPUTE);
    let before = place.visible("cache/layers");
    for (memory, warns) in [("90 KiB", false), ("1 KiB", true)] {
        let dir = format!("cache.dir={memory}");
        let arguments = ["--set", &dir, "--set", &given(memory), "--set", &fitting[1]];
        let output = place.run(&[&PRECOMPUTE[..], &arguments].concat());
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{log}");
        assert!(log.contains("do not fit into `teacher.memory`"), "{log}");
        assert_eq!(
            log.contains("is too little: two layers and a batch take 80.5 KiB"),
            warns,
            "{log}"
        );
        assert!(place.visible(&format!("{memory}/layers")) == before, "{memory}");
    }
    for (setting, reason) in [
        (given("8 GB"), "`8 GB` is no amount of memory"),
        (given("8"), "teacher.memory"),
    ] {
        let output = place.run(&[&PRECOMPUTE[..], &["--set", &setting]].concat());
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains(reason), "{log}");
    }
}

#[test]
fn a_mixture_of_experts_teaches() {
    let place = Workplace::new();
    place.make_mixture("mixture");
    place.replace("pipeline.toml", "model = \"teacher\"", "model = \"mixture\"");
    place.succeed(&PRECOMPUTE);
    // Alone or in batches, a position is stored with the same bytes.
    let before = place.visible("cache/layers");
    let alone = ["--set", "cache.dir=alone", "--set", "cache.batch_tokens=1"];
    place.succeed(&[&PRECOMPUTE[..], &alone].concat());
    assert!(place.visible("alone/layers") == before);
    place.succeed(&TRAIN);
    assert!(place.path("run/model/config.json").is_file());
}

#[test]
fn models_are_found_in_the_hub_cache_by_id_and_revision() {
    const COMMIT: &str = "9216db5781bf21249d130ec9da846c4624c16137";
    let place = Workplace::new();
    let repository = place.path("hub/models--ada--tiny-teacher");
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::create_dir_all(repository.join("snapshots")).unwrap();
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    fs::rename(place.path("teacher"), repository.join("snapshots").join(COMMIT)).unwrap();
    place.replace("pipeline.toml", "model = \"teacher\"", "model = \"ada/tiny-teacher\"");
    place.replace(
        "pipeline.toml",
        "model = \"teacher\"",
        &format!("model = \"ada/tiny-teacher\"\nrevision = \"{COMMIT}\""),
    );
    place.succeed(&PRECOMPUTE);
    place.succeed(&TRAIN);
    assert!(place.path("run/model/config.json").is_file());
    // What is stored beside the run is what was written, whatever this machine's cache is called.
    let resolved: Vec<String> = place
        .visible("run")
        .into_values()
        .filter_map(|bytes| String::from_utf8(bytes).ok())
        .filter(|text| text.contains("ada/tiny-teacher"))
        .collect();
    assert!(!resolved.is_empty() && !resolved.iter().any(|text| text.contains("snapshots")));
}
