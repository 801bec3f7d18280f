//! Runs that differ from what their folder holds, or that cannot be exported as asked.

use std::fs;

use super::{PRECOMPUTE, TRAIN, refusal, swap_two_tokens};
use crate::program::{Workplace, terminate};

#[test]
fn a_stopped_run_continues_unchanged_or_is_refused() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let mut child = place.start(&["train", "-c", "pipeline.toml", "--set", "train.epochs=2000"]);
    let metrics = place.path("run/metrics.jsonl");
    while !fs::read_to_string(&metrics).is_ok_and(|text| text.contains("step\":2,")) {
        assert_eq!(child.try_wait().unwrap(), None);
    }
    assert_eq!(terminate(&mut child), Some(75));
    assert_message!(refusal(&place, &TRAIN), @r"
    error: could not train `run`
      caused by: `run` holds a run that differs in `train.epochs`: it has `2000`, but now `1` is asked for
    hint: set it back to continue that run, choose another `train.dir`, or remove this folder
    ");
    place.replace("pipeline.toml", "epochs = 1", "epochs = 2000");
    assert_message!(refusal(&place, &["train", "-c", "pipeline.toml", "--set", "student.layers=[1]"]), @r"
    error: could not train `run`
      caused by: `run` holds a run that differs in `student.layers`: it has `[0]`, but now `[1]` is asked for
    note: `student.layers` is set by `--set student.layers=[1]`
    hint: set it back to continue that run, choose another `train.dir`, or remove this folder
    ");
    place.succeed(&[
        "precompute",
        "-c",
        "pipeline.toml",
        "--set",
        "cache.dir=other",
        "--set",
        "cache.top_k=4",
    ]);
    assert_message!(refusal(&place, &["train", "-c", "pipeline.toml", "--set", "cache.dir=other"]), @r"
    error: could not train `run`
      caused by: `run` holds a run that differs in `cache.identity.entries.top_k`: it has `8`, but now `4` is asked for
    hint: set it back to continue that run, choose another `train.dir`, or remove this folder
    ");
    // One bit of one weight is another student.
    fs::create_dir(place.path("student")).unwrap();
    for file in fs::read_dir(place.path("teacher")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), place.path("student").join(file.file_name())).unwrap();
    }
    let mut weights = fs::read(place.path("student/model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(place.path("student/model.safetensors"), weights).unwrap();
    assert_message!(refusal(&place, &["train", "-c", "pipeline.toml", "--set", "student.model=student"]), @r#"
    error: could not train `run`
      caused by: `run` holds a run that differs in `student.weights`: it has `"[digest]"`, but now `"[digest]"` is asked for
    hint: set it back to continue that run, choose another `train.dir`, or remove this folder
    "#);
    swap_two_tokens(&place);
    place.succeed(&["precompute", "-c", "pipeline.toml", "--set", "cache.dir=swapped"]);
    assert_message!(refusal(&place, &["train", "-c", "pipeline.toml", "--set", "cache.dir=swapped"]), @r#"
    error: could not train `run`
      caused by: `run` holds a run that differs in `cache.identity.tokenizer`: it has `"[digest]"`, but now `"[digest]"` is asked for
    hint: set it back to continue that run, choose another `train.dir`, or remove this folder
    "#);
    let text = fs::read_to_string(place.path("text.jsonl")).unwrap();
    let row = text.lines().next().unwrap().replace("made-up-0", "appended");
    place.write("text.jsonl", &format!("{text}{row}\n"));
    place.replace("teacher/tokenizer.json", "\"$\":7,\"%\":6", "\"$\":6,\"%\":7");
    place.succeed(&PRECOMPUTE);
    assert_message!(refusal(&place, &TRAIN), @r#"
    error: could not train `run`
      caused by: `run` holds a run that differs in `cache.rows`: it has `"[digest]"`, but now `"[digest]"` is asked for
    hint: set it back to continue that run, choose another `train.dir`, or remove this folder
    "#);
}

#[test]
fn exporting_the_best_student_needs_validation_samples() {
    let place = Workplace::new();
    place.replace("pipeline.toml", "validation = 4", "validation = 0");
    place.succeed(&PRECOMPUTE);
    assert_message!(refusal(&place, &["train", "-c", "pipeline.toml", "--set", "train.export=best"]), @r#"
    error: could not train `run`
      caused by: `train.export` is `best`, but the cache holds no supervised position of validation samples to choose the best student by
    note: `train.export` is set by `--set train.export=best`
    hint: set `train.export = "last"`, or prepare a cache with `data.validation` above 0
    "#);
    // Samples whose work units are missing measure nothing.
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let layer = "cache/layers/0-1.0-prompt+chain_of_thought+answer";
    place.write(&format!("{layer}/validation-000000.parquet"), "damaged");
    place.succeed(&["cache", "verify", "cache", "--repair"]);
    let train = ["train", "-c", "pipeline.toml", "--allow-incomplete", "--set"];
    for (setting, told) in [
        ("train.export=best", "`train.export` is `best`"),
        ("train.patience=2", "`train.patience` is 2"),
    ] {
        let said = refusal(&place, &[&train[..], &[setting]].concat());
        let expected = format!("{told}, but the cache holds no supervised position of validation samples");
        assert!(said.contains(&expected), "{said}");
    }
}
