//! Folders of caches, runs and reports that cannot be read or written.

use std::fs;

use super::{PRECOMPUTE, TRAIN, refusal};
use crate::program::Workplace;

#[test]
fn a_report_of_a_folder_that_is_not_a_run_is_refused() {
    let place = Workplace::new();
    assert_message!(refusal(&place, &["report", "runs"]), @r"
    error: could not read the runs
      caused by: there is no folder `runs`
    hint: name folders that `leadspan train` wrote (`train.dir`), or a folder of such folders
    ");
    assert_message!(refusal(&place, &["report", "teacher"]), @r"
    error: could not read the runs
      caused by: `teacher` is neither a run, because it has no `run.json`, nor a folder of runs
    hint: name folders that `leadspan train` wrote (`train.dir`), or a folder of such folders
    ");
    fs::create_dir(place.path("run")).unwrap();
    place.write("run/run.json", "{\"config\": {}}");
    place.write("run/summary.json", "{\"steps\": -1}");
    assert_message!(refusal(&place, &["report", "run"]), @r"
    error: could not read the runs
      caused by: `run/summary.json` cannot be parsed
      caused by: invalid value: integer `-1`, expected u64 at line 1 column 12
    hint: leave this run out, or remove its folder and train it again
    ");
}

#[test]
fn a_cache_folder_that_cannot_be_made_is_named() {
    let place = Workplace::new();
    // Permission bits do not bind root, so the folder is put below a file instead.
    place.write("file", "");
    place.replace("pipeline.toml", "dir = \"cache\"", "dir = \"file/cache\"");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: `cache.dir` is `file/cache`, which is inside `file`, which is a file
    note: `cache.dir` is set at `pipeline.toml`, line 11
    hint: set `cache.dir` to a folder of its own
    ");
}

#[test]
fn a_run_folder_that_cannot_be_made_is_named() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    place.write("file", "");
    place.replace("pipeline.toml", "dir = \"run\"", "dir = \"file/run\"");
    assert_message!(refusal(&place, &TRAIN), @r"
    error: `train.dir` is `file/run`, which is inside `file`, which is a file
    note: `train.dir` is set at `pipeline.toml`, line 20
    hint: set `train.dir` to a folder of its own
    ");
    // Below what is read it is refused before that.
    place.replace("pipeline.toml", "dir = \"file/run\"", "dir = \"teacher\"");
    assert_message!(refusal(&place, &TRAIN), @r"
    error: `train.dir` is `teacher`, which is the same as `teacher.model` (`teacher`)
    note: `train.dir` is set at `pipeline.toml`, line 20
    hint: set `train.dir` to a folder of its own
    ");
}

#[test]
fn an_export_that_cannot_be_written_is_named() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    assert_message!(refusal(&place, &["cache", "export", "cache", "--out", "text.jsonl/out.parquet"]), @r"
    error: could not export `cache` to `text.jsonl/out.parquet`
      caused by: could not create `text.jsonl/out.parquet`
      caused by: not a directory
    ");
    assert_message!(refusal(&place, &["cache", "export", "cache", "--out", "teacher"]), @r"
    error: `teacher` is a folder, not a file
    hint: choose another path
    ");
}

#[test]
fn training_before_precomputing_is_refused() {
    let place = Workplace::new();
    assert_message!(refusal(&place, &TRAIN), @r"
    error: could not train `run`
      caused by: `cache` is not a cache: it has no `identity.json`
    hint: make it with `leadspan precompute`
    ");
    place.succeed(&["prepare", "-c", "pipeline.toml"]);
    assert_message!(refusal(&place, &TRAIN), @r"
    error: could not train `run`
      caused by: the cache `cache` holds no distributions yet
    hint: make it with `leadspan precompute`
    ");
}

#[test]
fn a_cache_with_another_file_among_those_of_its_tokenizer_is_refused() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    // An export would write these bytes over the student's configuration.
    let bytes = "{\"auto_map\": {}}";
    place.write("cache/tokenizer/config.json", bytes);
    let hash = blake3::hash(bytes.as_bytes()).to_hex();
    let files = "\"tokenizer_files\": {";
    place.replace(
        "cache/identity.json",
        files,
        &format!("{files}\"config.json\": \"{hash}\","),
    );
    assert_message!(refusal(&place, &TRAIN), @r"
    error: could not train `run`
      caused by: `cache/identity.json` contradicts itself: `config.json` is not the name of a tokenizer file
    hint: restore `cache/identity.json` from a copy or make the cache again
    ");
}

#[test]
fn a_folder_that_is_no_cache_is_refused() {
    let place = Workplace::new();
    assert_message!(refusal(&place, &["cache", "inspect", "teacher"]), @r"
    error: `teacher` is not a cache: it has no `identity.json`
    hint: make it with `leadspan precompute`
    ");
}

#[test]
fn a_damaged_cache_is_reported_shard_by_shard_and_exits_with_1() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let (shard, bytes) = place
        .contents()
        .into_iter()
        .find_map(|(path, bytes)| path.ends_with("train-000001.parquet").then(|| (path, bytes.unwrap())))
        .unwrap();
    fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
    let output = place.run(&["cache", "verify", "cache", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["problems"].as_array().unwrap().len(), 1);
    assert!(found["problems"][0].as_str().unwrap().contains("train-000001.parquet"));
}
