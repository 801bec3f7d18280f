//! Training that is killed, stopped or fails, with the real program: the same command ends with the same weights to the bit,
//! and with the same metrics except for times and memory.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::program::{Moments, Workplace, terminate, wait_until};

const PIPELINE: [&str; 3] = ["train", "-c", "pipeline.toml"];

/// A captured cache, and settings for about forty steps with a checkpoint after every fourth.
fn captured() -> Workplace {
    let place = Workplace::with_rows(120, 120);
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    place.replace("pipeline.toml", "epochs = 1", "epochs = 3\ncheckpoint_steps = 4");
    place
}

fn command<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    PIPELINE.into_iter().chain(settings).collect()
}

/// The results of a run: its student, and its metrics and summary without times and memory.
#[derive(Debug, PartialEq)]
struct Ended {
    model: BTreeMap<PathBuf, Vec<u8>>,
    metrics: Vec<Value>,
    summary: Value,
}

fn timeless(mut record: Value) -> Value {
    for key in [
        "seconds",
        "tokens_per_second",
        "waited_seconds",
        "waiting_share",
        "peak_memory_bytes",
    ] {
        record.as_object_mut().unwrap().remove(key);
    }
    record
}

/// The lines of the metrics; the last may not be whole yet.
fn metrics(place: &Workplace, dir: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(dir).join("metrics.jsonl")).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn ended(place: &Workplace, dir: &str) -> Ended {
    let summary = fs::read(place.path(dir).join("summary.json")).unwrap();
    Ended {
        model: place.visible(&format!("{dir}/model")),
        metrics: metrics(place, dir).into_iter().map(timeless).collect(),
        summary: timeless(serde_json::from_slice(&summary).unwrap()),
    }
}

/// The steps after which there are checkpoints.
fn checkpoints(place: &Workplace, dir: &str) -> Vec<usize> {
    let names = place.visible(&format!("{dir}/checkpoints")).into_keys();
    let step = |path: PathBuf| {
        path.to_str()?
            .strip_prefix("step-")?
            .strip_suffix(".json")?
            .parse()
            .ok()
    };
    names.filter_map(step).collect()
}

fn steps_done(place: &Workplace, dir: &str) -> usize {
    let steps = metrics(place, dir)
        .into_iter()
        .filter(|record| record["event"] == "step");
    steps.count()
}

/// Kills runs at counted moments, after a step or before a write, until there were enough kills. Each run is then completed,
/// and ends as an undisturbed one does.
fn kill_trainers(kills_wanted: usize, kinds: &[&[&str]], seed: u64) {
    let place = captured();
    let mut moments = Moments::new(seed);
    let mut resumed = 0;
    for (number, kind) in kinds.iter().enumerate() {
        let (whole_dir, dir) = (format!("whole-{number}"), format!("killed-{number}"));
        let (whole, set) = (format!("train.dir={whole_dir}"), format!("train.dir={dir}"));
        place.succeed(&command(&[kind, &[whole.as_str()][..]].concat()));
        let expected = ended(&place, &whole_dir);

        let command = command(&[kind, &[set.as_str()][..]].concat());
        let mut kills = 0;
        while kills < kills_wanted.div_ceil(kinds.len()) {
            if place.path(&dir).join("summary.json").exists() {
                assert!(ended(&place, &dir) == expected, "{kind:?} after {kills} kills");
                fs::remove_dir_all(place.path(&dir)).unwrap();
            }
            // Late enough that some kills leave a checkpoint, early enough that several kills fit into a run.
            let held = if moments.next(2) == 0 {
                place.start_held(&command, "steps", 1 + moments.next(12))
            } else {
                place.start_held(&command, "writes", 1 + moments.next(120))
            };
            if held.kill() {
                kills += 1;
                resumed += usize::from(!checkpoints(&place, &dir).is_empty());
            }
        }
        place.succeed(&command);
        let ended = ended(&place, &dir);
        assert_eq!(ended.summary, expected.summary, "{kind:?}");
        assert_eq!(ended.metrics, expected.metrics, "{kind:?}");
        assert!(ended.model == expected.model, "{kind:?}: other weights");
        let temporary = |path: &PathBuf| path.extension().is_some_and(|end| end == "tmp");
        assert!(!place.contents().keys().any(temporary), "a temporary was left");
    }
    assert!(resumed > kills_wanted / 5, "only {resumed} kills left a checkpoint");
}

#[test]
fn training_killed_at_six_moments_ends_as_if_it_had_not_been() {
    kill_trainers(
        6,
        &[&["train.export=best"], &["train.max_flops=2e9", "train.epochs=30"]],
        3,
    );
}

#[test]
#[ignore = "the long suite: about a minute"]
fn training_killed_at_fifty_moments_ends_as_if_it_had_not_been() {
    let kinds: [&[&str]; 5] = [
        &[],
        &["train.dtype=bf16"],
        &["train.export=best", "train.learning_rate=3e-2"],
        &["train.normalization=sequence", "train.micro_batch_tokens=300"],
        &["train.checkpoint_steps=1", "train.loss=reverse_kl"],
    ];
    kill_trainers(50, &kinds, 4);
}

#[cfg(unix)]
#[test]
fn training_that_is_terminated_saves_its_last_step_and_goes_on_from_there() {
    let place = captured();
    for dtype in ["train.dtype=f32", "train.dtype=bf16"] {
        let settings = [dtype, "train.checkpoint_steps=0", "train.epochs=15"];
        place.succeed(&command(&[&settings[..], &["train.dir=whole"]].concat()));
        let stopped = command(&[&settings[..], &["train.dir=stopped"]].concat());
        for more in [2, 17] {
            let before = steps_done(&place, "stopped");
            let held = place.start_held(&stopped, "steps", more as u64);
            assert_eq!(held.terminate(), Some(75));
            // The newest checkpoint is of the last finished step.
            let done = steps_done(&place, "stopped");
            assert_eq!(checkpoints(&place, "stopped").last(), Some(&done));
            assert!(done >= before + more && !place.path("stopped/model").exists());
        }
        let output = place.run(&stopped);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.success() && stderr.contains("going on after step"),
            "{stderr}"
        );
        assert!(ended(&place, "stopped") == ended(&place, "whole"), "{dtype}");
        for dir in ["stopped", "whole"] {
            fs::remove_dir_all(place.path(dir)).unwrap();
        }
    }
}

#[cfg(unix)]
#[test]
#[ignore = "the long suite: it measures wall time"]
fn a_stop_of_training_takes_effect_within_thirty_seconds() {
    let place = captured();
    for dtype in ["f32", "bf16"] {
        let [set_dtype, set_dir] = ["dtype", "dir"].map(|key| format!("train.{key}={dtype}"));
        // Long enough that the run is stopped twice before its end.
        let stopped = command(&[&set_dtype, &set_dir, "train.checkpoint_steps=0", "train.epochs=200"]);
        for more in [2, 17] {
            let before = steps_done(&place, dtype);
            let mut child = place.start(&stopped);
            wait_until("some steps are done", || steps_done(&place, dtype) >= before + more);
            let asked = Instant::now();
            assert_eq!(terminate(&mut child), Some(75));
            let elapsed = asked.elapsed();
            assert!(elapsed < Duration::from_secs(30), "{dtype}: {elapsed:?}");
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_with_a_warning() {
    let place = captured();
    place.succeed(&command(&["train.dir=whole"]));
    let damaged = command(&["train.dir=damaged"]);
    // Checkpoints come every fourth step.
    assert!(place.start_held(&damaged, "steps", 10).kill());
    assert!(checkpoints(&place, "damaged").len() >= 2);
    let left = checkpoints(&place, "damaged");
    let newest = left.last().unwrap();
    let path = place.path(&format!("damaged/checkpoints/step-{newest:08}.safetensors"));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let output = place.run(&damaged);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let warning = format!("step-{newest:08}.safetensors` cannot be used: its checksum is wrong");
    assert!(output.status.success() && stderr.contains(&warning), "{stderr}");
    assert!(
        stderr.contains(&format!("going on after step {}", left[left.len() - 2])),
        "{stderr}"
    );
    assert!(ended(&place, "damaged") == ended(&place, "whole"));

    // Without its metrics, the run starts again from the beginning.
    fs::remove_dir_all(place.path("damaged")).unwrap();
    // Checkpoints come every fourth step.
    assert!(place.start_held(&damaged, "steps", 10).kill());
    assert!(checkpoints(&place, "damaged").len() >= 2);
    fs::remove_file(place.path("damaged/metrics.jsonl")).unwrap();
    let output = place.run(&damaged);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("`metrics.jsonl` lacks lines") && !stderr.contains("going on"),
        "{stderr}"
    );
    assert!(ended(&place, "damaged") == ended(&place, "whole"));
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_the_last_good_checkpoint_stays() {
    let place = captured();
    let output = place.run(&command(&[
        "train.learning_rate=1e37",
        "train.warmup_share=0.1",
        "train.checkpoint_steps=1",
        "train.gradient_clipping=inf",
    ]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let done = steps_done(&place, "run");
    // The closing line repeats the message.
    let (stderr, _) = stderr.split_once("{\"leadspan\":").unwrap();
    let message = format!("of step {} is not finite (samples row-", done + 1);
    assert!(
        stderr.contains(&message) && stderr.matches("row-").count() == 8,
        "{stderr}"
    );
    assert!(done > 0 && checkpoints(&place, "run").contains(&done));
    let bytes = fs::read(place.path(&format!("run/checkpoints/step-{done:08}.safetensors"))).unwrap();
    for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
        let (numbers, _) = tensor.data().as_chunks();
        assert!(
            numbers.iter().all(|&number| f32::from_le_bytes(number).is_finite()),
            "{name}"
        );
    }
    assert!(!place.path("run/model").exists());
}

#[test]
fn weights_that_are_not_finite_after_the_last_update_are_not_exported() {
    let place = captured();
    // One step: its loss and its gradient are finite, and no later step would notice.
    let output = place.run(&command(&[
        "train.learning_rate=1e39",
        "train.warmup_share=0",
        "train.batch_samples=1000",
        "train.epochs=1",
    ]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), steps_done(&place, "run")),
        (Some(1), 1),
        "{stderr}"
    );
    let message = "caused by: `model.embed_tokens.weight` is not finite after step 1, whose learning rate was 1e39";
    assert!(stderr.contains(message), "{stderr}");
    assert!(!place.path("run/model").exists() && !place.path("run/summary.json").exists());
    // A student that is damaged before its first step.
    let weights = place.path("teacher/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, bytes).unwrap();
    let output = place.run(&command(&["train.dir=damaged"]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("the student starts with a weight that is not finite: `model.norm.weight`"),
        "{stderr}"
    );
    assert!(!place.path("damaged").exists());
}

#[test]
fn the_best_student_is_exported_where_that_is_asked_for() {
    let place = captured();
    // A high learning rate, so that the student first learns and then overfits.
    let settings = ["train.learning_rate=1e-1", "train.epochs=12", "train.batch_samples=4"];
    place.succeed(&command(&[&settings[..], &["train.export=best"]].concat()));
    let best = ended(&place, "run");
    let held_out =
        |record: &Value| 0.5 * record["cross_entropy"].as_f64().unwrap() + 0.5 * record["forward_kl"].as_f64().unwrap();
    let measured = best
        .metrics
        .iter()
        .filter(|record| record["event"] == "validation")
        .skip(1);
    let lowest = measured.min_by(|a, b| held_out(a).total_cmp(&held_out(b))).unwrap();
    assert_eq!(best.summary["exported_step"], lowest["step"]);
    assert_ne!(
        best.summary["exported_step"], best.summary["steps"],
        "the last is the best"
    );
    assert!(!place.path("run/checkpoints").exists());

    // A run that starts from it measures the same losses.
    let start = ["student.model=run/model", "student.layers=[0]", "train.dir=next"];
    place.succeed(&command(&start));
    let next = ended(&place, "next");
    for key in ["cross_entropy", "forward_kl", "top_1_agreement"] {
        assert_eq!(next.summary["held_out_before"][key], lowest[key]);
    }

    // By default the last student is exported, and the best one stays as a checkpoint with the same weights.
    place.succeed(&command(&[&settings[..], &["train.dir=last"]].concat()));
    let last = ended(&place, "last");
    assert_eq!(last.summary["exported_step"], last.summary["steps"]);
    let step = lowest["step"].as_u64().unwrap() as usize;
    assert_eq!(checkpoints(&place, "last"), [step]);
    let checkpoint = fs::read(place.path(&format!("last/checkpoints/step-{step:08}.safetensors"))).unwrap();
    let checkpoint = SafeTensors::deserialize(&checkpoint).unwrap();
    let exported = &best.model[&PathBuf::from("model.safetensors")];
    for (name, tensor) in SafeTensors::deserialize(exported).unwrap().tensors() {
        assert_eq!(checkpoint.tensor(&name).unwrap().data(), tensor.data(), "{name}");
    }
}
