//! Threads in place of processes train one student: it is that of one process, and a stop or a failure of one ends all.

use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use leadspan_cache::{CODEC_VERSION, Cache, Identity, Missing, REPLAY};
use leadspan_diagnosis::Diagnosis as _;
use leadspan_sequence::{LeadSpanProportion, Sample, SectionBounds, Split};
use serde_json::Value;

use super::{Processes as _, Refusal, agree_to_begin, threads::together};
use crate::{Event, Normalization, RunContext, StudentSettings, TrainSettings, TrainingOutcome, run};

const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 48, "hidden_size": 16, "intermediate_size": 24,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "max_position_embeddings": 64, "tie_word_embeddings": true, "hidden_act": "silu"}"#;

/// A cache of samples without shards, with others to replay, and the configuration of a student.
struct Place {
    folder: tempfile::TempDir,
}

/// What a thread does when it hears of an event: its number, the event, and the flag that stops it.
type Watch<'a> = &'a (dyn Fn(usize, &Event, &AtomicBool) + Sync);

fn write_cache(dir: &Path, samples: &[(usize, Split)], seed: u32) {
    let identity = Identity {
        teacher: None,
        tokenizer: "tokenizer".into(),
        chat_template: "template".into(),
        sections: Value::Null,
        entries: leadspan_distribution::EntrySettings::top_k(1),
        precision: leadspan_distribution::codec::Precision::Exact,
        codec: CODEC_VERSION,
    };
    let sample = |(number, &(tokens, split)): (usize, &(usize, Split))| Sample {
        id: format!("{seed}-{number}"),
        split,
        tokens: (0..tokens as u32)
            .map(|token| (token * 7 + number as u32 * 11 + seed * 5) % 48)
            .collect(),
        bounds: SectionBounds::new(1, 2, tokens as u32).unwrap(),
    };
    let samples: Vec<Sample> = samples.iter().enumerate().map(sample).collect();
    let hashes = vec![[0; 32]; samples.len()];
    let cache = Cache::create_or_open(dir, &identity, &[]).unwrap();
    cache
        .write_corpus(&samples, &hashes, NonZeroU32::MIN, Value::Null)
        .unwrap();
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lengths = [5, 19, 8, 30, 3, 11, 26, 4, 14, 9, 22].map(|tokens| (tokens, Split::Train));
        let held_out = [12, 6, 17, 9, 21].map(|tokens| (tokens, Split::Validation));
        let cache = folder.path().join("cache");
        write_cache(&cache, &[&lengths[..], &held_out].concat(), 0);
        write_cache(&cache.join(REPLAY), &[(7, Split::Train), (25, Split::Train)], 1);
        fs::write(folder.path().join("config.json"), CONFIG).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Three epochs of four steps with at most three distilled samples and one that is replayed.
    fn settings(&self, dir: &str) -> TrainSettings {
        TrainSettings {
            dir: self.path(dir),
            lead_span_proportion: LeadSpanProportion::WHOLE,
            distillation_weight: 0.0,
            learning_rate: 1e-2,
            epochs: 3,
            batch_samples: 4,
            micro_batch_tokens: Some(32),
            checkpoint_steps: 2,
            ..TrainSettings::default()
        }
    }

    /// What each of `count` threads comes to: `done`, `already done`, `followed`, `stopped`, or its error.
    fn run(&self, count: usize, settings: &(dyn Fn(usize) -> TrainSettings + Sync), watch: Watch) -> Vec<String> {
        let student = StudentSettings {
            config: Some(self.path("config.json")),
            ..StudentSettings::default()
        };
        together(count, |processes| {
            let (rank, stop) = (processes.rank(), AtomicBool::new(false));
            let context = RunContext {
                stop: &stop,
                clock: &|| Duration::ZERO,
                time_of_day: &|| Duration::ZERO,
                peak_memory_bytes: &|| rank as u64,
                resolved_config: &Value::Null,
                tokenizer_files: &[],
                missing: Missing::Refused,
                processes,
            };
            let cache = Cache::open(&self.path("cache")).unwrap();
            let mut events = |event: Event| watch(rank, &event, &stop);
            match run(&cache, &student, &settings(rank), 0.25, &context, &mut events) {
                Ok(TrainingOutcome::Done(_)) => "done".to_owned(),
                Ok(TrainingOutcome::AlreadyDone(_)) => "already done".to_owned(),
                Ok(TrainingOutcome::Followed) => "followed".to_owned(),
                Ok(TrainingOutcome::Stopped) => "stopped".to_owned(),
                Err(error) => error.to_string(),
            }
        })
    }

    fn student(&self, dir: &str) -> Vec<u8> {
        fs::read(self.path(dir).join("model/model.safetensors")).unwrap()
    }

    fn metrics(&self, dir: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(dir).join("metrics.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The metrics of two runs agree: counts, and losses and norms to 1e-5.
    fn assert_alike(&self, one: &str, other: &str) {
        let (one, other) = (self.metrics(one), self.metrics(other));
        assert_eq!(one.len(), other.len());
        // Eleven samples in steps of three, for three epochs, each with held-out losses, and those before the first.
        assert_eq!(one.len(), 12 + 4);
        for (one, other) in one.iter().zip(&other) {
            for key in [
                "event",
                "step",
                "tokens",
                "positions",
                "replay_tokens",
                "replay_positions",
                "training_flops",
            ] {
                assert_eq!(one[key], other[key], "{key}");
            }
            for key in [
                "loss",
                "loss_cross_entropy",
                "loss_replay",
                "gradient_norm",
                "cross_entropy",
            ] {
                let [one, other] = [one, other].map(|record| record[key].as_f64().unwrap_or_default());
                assert!((one - other).abs() <= 1e-5 * (1.0 + one.abs()), "{key}: {one}, {other}");
            }
        }
    }
}

fn finished(count: usize) -> Vec<&'static str> {
    let mut outcomes = vec!["followed"; count];
    outcomes[0] = "done";
    outcomes
}

#[test]
fn two_and_four_processes_train_what_one_does_and_the_same_bits_twice() {
    let place = Place::new();
    for normalization in [Normalization::Token, Normalization::Sequence] {
        for count in [1, 2, 4] {
            for again in ["", "-again"] {
                let dir = format!("{normalization:?}-{count}{again}");
                let settings = |_: usize| TrainSettings {
                    normalization,
                    ..place.settings(&dir)
                };
                assert_eq!(place.run(count, &settings, &|_, _, _| ()), finished(count));
            }
            let dir = format!("{normalization:?}-{count}");
            assert!(place.student(&dir) == place.student(&format!("{dir}-again")), "{dir}");
            place.assert_alike(&format!("{normalization:?}-1"), &dir);
        }
    }
    // A finished run stays as it is, whoever asks.
    let settings = |_: usize| place.settings("Token-2");
    assert_eq!(place.run(2, &settings, &|_, _, _| ()), ["already done", "followed"]);
}

#[test]
fn a_stop_of_one_process_stops_all_after_one_step_and_any_number_resumes() {
    let place = Place::new();
    let watch = |rank: usize, event: &Event, stop: &AtomicBool| {
        if rank == 1 && matches!(event, Event::Step(step) if step.step == 5) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let never = |_: usize, _: &Event, _: &AtomicBool| ();
    for (dir, processes) in [("alone", 1), ("two", 2)] {
        assert_eq!(
            place.run(processes, &|_| place.settings(dir), &never),
            finished(processes)
        );
    }
    for (dir, then) in [("two-then-two", 2), ("two-then-one", 1), ("two-then-four", 4)] {
        let settings = |_: usize| place.settings(dir);
        assert_eq!(place.run(2, &settings, &watch), ["stopped", "stopped"]);
        let checkpoint = place.path(dir).join("checkpoints/step-00000005.safetensors");
        assert!(checkpoint.is_file(), "{dir}");
        assert_eq!(place.run(then, &settings, &never), finished(then));
        place.assert_alike("alone", dir);
    }
    assert!(place.student("two") == place.student("two-then-two"));
    assert!(place.metrics("two") == place.metrics("two-then-two"));
}

#[test]
fn a_run_of_so_many_steps_is_that_of_the_epochs_that_they_take_and_resumes() {
    let place = Place::new();
    let never = |_: usize, _: &Event, _: &AtomicBool| ();
    let steps = |dir: &'static str, steps: usize| {
        let settings = TrainSettings {
            steps: Some(steps),
            ..place.settings(dir)
        };
        move |_: usize| settings.clone()
    };
    // Three epochs of four steps.
    place.run(1, &|_| place.settings("epochs"), &never);
    place.run(1, &steps("twelve", 12), &never);
    assert!(place.student("epochs") == place.student("twelve"));
    assert!(place.metrics("epochs") == place.metrics("twelve"));
    // One epoch and a half: the schedule, the epochs, and when held-out losses are measured.
    place.run(2, &steps("seven", 7), &never);
    let metrics = place.metrics("seven");
    let of = |event: &str, key: &str| -> Vec<f64> {
        let lines = metrics.iter().filter(|line| line["event"] == event);
        lines.map(|line| line[key].as_f64().unwrap()).collect()
    };
    // It rises in one step, and falls along half a cosine in six: ½(1 + cos(πk/6)).
    let expected = [1.0, 1.0, 0.933_013, 0.75, 0.5, 0.25, 0.066_987];
    let rates = of("step", "learning_rate");
    assert_eq!(rates.len(), 7);
    for (rate, expected) in rates.iter().zip(expected) {
        assert!((rate / 1e-2 - expected).abs() < 1e-6, "{rates:?}");
    }
    assert_eq!(of("step", "epoch"), [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    assert_eq!(of("validation", "step"), [0.0, 4.0, 7.0]);
    let stop_at_5 = |_: usize, event: &Event, stop: &AtomicBool| {
        if matches!(event, Event::Step(step) if step.step == 5) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let stopped = steps("stopped", 7);
    assert_eq!(place.run(2, &stopped, &stop_at_5), ["stopped", "stopped"]);
    assert_eq!(place.run(2, &stopped, &never), finished(2));
    assert!(place.student("seven") == place.student("stopped"));
    assert!(metrics == place.metrics("stopped"));
    // The epochs beside them are no part of the run, and the steps are.
    let more_epochs = |_: usize| TrainSettings {
        epochs: 9,
        ..stopped(0)
    };
    assert_eq!(place.run(1, &more_epochs, &never), ["already done"]);
    let found = place.run(1, &steps("stopped", 8), &never);
    assert!(found[0].contains("differs in `train.steps`: it has `7`"), "{found:?}");
}

#[test]
fn another_number_of_processes_resumes_a_run_and_another_batch_does_not() {
    let place = Place::new();
    let never = |_: usize, _: &Event, _: &AtomicBool| ();
    let stop = |_: usize, event: &Event, stop: &AtomicBool| {
        if matches!(event, Event::Step(step) if step.step == 3) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let batch = |batch_samples| TrainSettings {
        batch_samples,
        ..place.settings("run")
    };
    assert_eq!(place.run(2, &|_| batch(4), &stop), ["stopped", "stopped"]);
    let found = place.run(3, &|_| batch(6), &never);
    assert!(
        found[0].contains("differs in `train.batch_samples`: it has `4`, but now `6` is asked for"),
        "{found:?}"
    );
    assert_eq!(found[1..], ["process 0 of 3 failed", "process 0 of 3 failed"]);
    assert_eq!(place.run(3, &|_| batch(4), &never), finished(3));
}

#[test]
fn a_failure_of_one_process_ends_all() {
    let place = Place::new();
    let blocked = |rank: usize, event: &Event, _: &AtomicBool| {
        if rank == 0 && matches!(event, Event::Step(step) if step.step == 1) {
            fs::write(place.path("blocked/checkpoints"), b"no folder").unwrap();
        }
    };
    let found = place.run(2, &|_| place.settings("blocked"), &blocked);
    assert!(
        found[0].contains("could not create") && found[0].contains("checkpoints"),
        "{found:?}"
    );
    assert_eq!(found[1], "process 0 of 2 failed");

    let never = |_: usize, _: &Event, _: &AtomicBool| ();
    let stop = |rank: usize, event: &Event, stop: &AtomicBool| {
        if rank == 0 && matches!(event, Event::Step(step) if step.step == 4) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let own_folders = |rank: usize| place.settings(["seen", "elsewhere"][rank]);
    assert_eq!(place.run(2, &own_folders, &stop), ["stopped", "stopped"]);
    let found = place.run(2, &own_folders, &never);
    assert_eq!(found[0], "process 1 of 2 failed");
    let message = "from which process 0 resumes, cannot be used by process 1: its receipt cannot be read";
    assert!(found[1].contains(message), "{found:?}");
    assert!(!place.path("elsewhere").exists(), "only the first process writes");
}

/// What each of some processes comes to that can begin in this folder, or cannot for this reason.
fn begin(mine: &[Result<&str, &str>]) -> Vec<String> {
    together(mine.len(), |processes| {
        let refusal = |text| Refusal {
            text,
            unexpected: text == "unexpected",
        };
        let mine = mine[processes.rank()].map(Path::new).map_err(refusal);
        match agree_to_begin(processes, mine) {
            Ok(()) => "begins or says why not".to_owned(),
            Err(error) => format!("{error} ({})", error.is_unexpected()),
        }
    })
}

#[test]
fn all_learn_before_the_run_that_one_cannot_begin_and_the_first_with_a_message_shows_it() {
    let own = "begins or says why not";
    assert_eq!(begin(&[Ok("a/run"), Ok("./a/run"), Ok("a//run/")]), [own; 3]);
    let first = "process 0 of 3 failed (false)";
    assert_eq!(begin(&[Err("wrong"); 3]), [own, first, first]);
    let second = "process 1 of 3 failed (true)";
    assert_eq!(
        begin(&[Ok("run"), Err("unexpected"), Err("unexpected")]),
        [second, own, second]
    );
    assert_eq!(begin(&[Err("wrong"), Err("unexpected"), Ok("run")]), [own, own, first]);
    assert_eq!(begin(&[Err("wrong")]), [own]);
}

#[test]
fn a_process_with_another_folder_is_refused_by_name() {
    let found = begin(&[Ok("run"), Ok("run"), Ok("other"), Ok("run")]);
    let message = "process 2 of 4 has another `train.dir` than process 0, which has `run` (false)";
    assert_eq!(found, [&[message][..], &["process 0 of 4 failed (false)"; 3]].concat());
}

#[test]
fn processes_that_cannot_work_together_are_refused_before_anything_is_written() {
    let place = Place::new();
    let never = |_: usize, _: &Event, _: &AtomicBool| ();
    let seeds = |rank: usize| TrainSettings {
        seed: rank as u64,
        ..place.settings("run")
    };
    let found = place.run(2, &seeds, &never);
    assert!(
        found[0].starts_with("process 1 of 2 has another run than process 0"),
        "{found:?}"
    );
    assert_eq!(found[1], "process 0 of 2 failed");
    let found = place.run(5, &|_| place.settings("run"), &never);
    let message = "5 processes cannot share the steps of a run in which `train.batch_samples` is 4";
    assert_eq!(found, [&[message][..], &["process 0 of 5 failed"; 4]].concat());
    assert!(!place.path("run").exists());
}
