//! Replay: complete samples in every step, beside those that are distilled.

use std::fs;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use crate::program::{Workplace, terminate};

/// A captured cache with ten conversations to replay, of which one has no chain of thought.
fn with_replay() -> Workplace {
    let place = Workplace::with_rows(60, 60);
    let text = fs::read_to_string(place.path("text.jsonl")).unwrap();
    let mut chats: Vec<Value> = text
        .lines()
        .skip(50)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (number, chat) in chats.iter_mut().enumerate() {
        chat["id"] = format!("chat-{number}").into();
    }
    let chats: Vec<String> = chats.iter().map(|chat| chat.to_string() + "\n").collect();
    place.write("chats.jsonl", &chats.concat());
    let pipeline = fs::read_to_string(place.path("pipeline.toml")).unwrap();
    let replay = "[replay]\nfiles = [\"chats.jsonl\"]\nformat = \"columns\"\nshare = 0.25\n";
    place.write("pipeline.toml", &format!("{pipeline}{replay}"));
    place
}

fn train<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    ["--json", "train", "-c", "pipeline.toml"]
        .into_iter()
        .chain(settings)
        .collect()
}

fn steps(place: &Workplace, dir: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(dir).join("metrics.jsonl")).unwrap_or_default();
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records.filter(|record| record["event"] == "step").collect()
}

fn weights(place: &Workplace, dir: &str) -> Vec<u8> {
    fs::read(place.path(dir).join("model/model.safetensors")).unwrap()
}

/// Makes the teacher's weights zero, but for the norms: it then gives every token the same probability.
fn make_uniform(place: &Workplace, model: &str) {
    let path = place.path(model).join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let zeros: Vec<(String, Vec<usize>, Dtype, Vec<u8>)> = tensors
        .tensors()
        .into_iter()
        .map(|(name, tensor)| {
            let values = if name.ends_with("norm.weight") {
                tensor.data().to_vec()
            } else {
                vec![0; tensor.data().len()]
            };
            (name, tensor.shape().to_vec(), tensor.dtype(), values)
        })
        .collect();
    let views = zeros
        .iter()
        .map(|(name, shape, dtype, values)| (name, TensorView::new(*dtype, shape.clone(), values).unwrap()));
    safetensors::serialize_to_file(views, None, &path).unwrap();
}

#[test]
fn a_step_with_replay_has_the_loss_that_it_has_by_hand() {
    let place = with_replay();
    fs::create_dir(place.path("uniform")).unwrap();
    for file in fs::read_dir(place.path("teacher")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), place.path("uniform").join(file.file_name())).unwrap();
    }
    make_uniform(&place, "uniform");
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    for normalization in ["token", "sequence"] {
        let settings = [
            "student.model=uniform",
            "train.distillation_weight=0.75",
            &format!("train.normalization={normalization}"),
            &format!("train.dir={normalization}"),
        ];
        place.succeed(&train(&settings));
        let step = &steps(&place, normalization)[0];
        let number = |key: &str| step[key].as_f64().unwrap();
        // A student that holds all 320 tokens for equally probable: every position's cross-entropy is ln 320 = 5.768321.
        assert!((number("loss_replay") - 5.768_321).abs() < 1e-5, "{step}");
        assert!((number("loss_cross_entropy") - 5.768_321).abs() < 1e-5, "{step}");
        // Two of eight samples are replayed, whole, and six are distilled, half of each: ¼·CE + ¾·KL.
        let replayed = match normalization {
            "token" => number("replay_positions") / number("positions"),
            _ => 0.25,
        };
        let distilled = 0.25 * 5.768_321 + 0.75 * number("loss_forward_kl");
        let loss = replayed * 5.768_321 + (1.0 - replayed) * distilled;
        assert!((number("loss") - loss).abs() < 1e-5, "{normalization}: {loss}, {step}");
        assert!(number("replay_tokens") < number("tokens") && number("replay_tokens") > 0.0);
    }
}

#[test]
fn small_passes_of_both_kinds_add_up_to_large_ones() {
    let place = with_replay();
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    for normalization in ["token", "sequence"] {
        let first = |tokens: &str| -> Value {
            let settings = [
                format!("train.normalization={normalization}"),
                format!("train.micro_batch_tokens={tokens}"),
                format!("train.dir={normalization}-{tokens}"),
            ];
            let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
            place.succeed(&train(&settings));
            steps(&place, &format!("{normalization}-{tokens}")).remove(0)
        };
        let (large, small) = (first("100000"), first("1"));
        for key in ["loss", "loss_cross_entropy", "loss_replay", "gradient_norm"] {
            let (large, small) = (large[key].as_f64().unwrap(), small[key].as_f64().unwrap());
            // Sums in single precision in another order.
            assert!(
                (large - small).abs() < 1e-4 * large,
                "{normalization} {key}: {large} {small}"
            );
        }
        for key in [
            "positions",
            "tokens",
            "replay_positions",
            "replay_tokens",
            "training_flops",
        ] {
            assert_eq!(large[key], small[key], "{key}");
        }
    }
}

#[test]
fn what_is_replayed_counts_towards_the_allowance_of_operations() {
    let place = with_replay();
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    place.succeed(&train(&["train.dir=whole"]));
    let whole = steps(&place, "whole");
    for (done, more) in [(2, 0), (2, 1), (4, 0)] {
        let allowance = format!(
            "train.max_flops={}.0",
            whole[done]["training_flops"].as_u64().unwrap() + more as u64
        );
        let dir = format!("stopped-{done}-{more}");
        place.succeed(&train(&[&allowance, &format!("train.dir={dir}")]));
        let stopped = steps(&place, &dir);
        assert_eq!(stopped.len(), done + 1 + more);
        assert_eq!(stopped[done]["training_flops"], whole[done]["training_flops"]);
    }
}

#[test]
fn replay_is_part_of_a_run_and_of_nothing_where_its_share_is_none() {
    let place = with_replay();
    let prepared: Value = serde_json::from_str(&place.succeed(&["--json", "prepare", "-c", "pipeline.toml"])).unwrap();
    assert_eq!(prepared["replay"]["report"]["kept_train"], 10, "{prepared}");
    // A cache says what it has to replay.
    let tokens: u64 = prepared["replay"]["report"]["tokens"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum();
    let inspected: Value = serde_json::from_str(&place.succeed(&["--json", "cache", "inspect", "cache"])).unwrap();
    assert_eq!(
        (&inspected["replay"]["train_samples"], &inspected["replay"]["tokens"]),
        (&10.into(), &tokens.into())
    );
    let shown = place.succeed(&["cache", "inspect", "cache"]);
    assert!(shown.contains("\nreplay     10 samples, "), "{shown}");
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    place.succeed(&train(&[]));
    // Of 56 training samples six go into a step, and two that are replayed.
    let with = steps(&place, "run");
    assert_eq!(with.len(), 56usize.div_ceil(6));
    place.succeed(&train(&["replay.share=0", "train.dir=without"]));
    let without = steps(&place, "without");
    assert_eq!(without.len(), 7);
    assert!(without.iter().all(|step| step.get("loss_replay").is_none()));

    // Training reads neither file, and without the table it is what it is at a share of none.
    for file in ["chats.jsonl", "text.jsonl"] {
        fs::remove_file(place.path(file)).unwrap();
    }
    place.succeed(&train(&["train.dir=again"]));
    assert!(weights(&place, "again") == weights(&place, "run"));
    let pipeline = fs::read_to_string(place.path("pipeline.toml")).unwrap();
    place.write("pipeline.toml", pipeline.split("[replay]").next().unwrap());
    place.succeed(&train(&["train.dir=none"]));
    assert!(weights(&place, "none") == weights(&place, "without"));
}

#[test]
fn copies_of_held_out_samples_are_not_replayed() {
    let place = with_replay();
    // All rows are replayed, under ids of their own: also the four that are held out.
    let text = fs::read_to_string(place.path("text.jsonl")).unwrap();
    place.write("chats.jsonl", &text.replace("\"id\":\"", "\"id\":\"chat-"));
    let prepared: Value = serde_json::from_str(&place.succeed(&["--json", "prepare", "-c", "pipeline.toml"])).unwrap();
    let held_out = prepared["report"]["kept_validation"].as_u64().unwrap();
    assert!(held_out > 0, "{prepared}");
    assert_eq!(prepared["replay"]["copies_of_held_out"], held_out, "{prepared}");
    let shown = place.succeed(&["prepare", "-c", "pipeline.toml"]);
    let line = format!("{held_out} samples to replay are copies of held-out samples, and training leaves them out");
    assert!(shown.contains(&line), "{shown}");
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    place.succeed(&train(&[
        "train.epochs=20",
        "replay.share=0.5",
        "train.distillation_weight=0",
    ]));
    let run: Value = serde_json::from_slice(&fs::read(place.path("run/run.json")).unwrap()).unwrap();
    assert_eq!(run["ingredients"]["replay"]["copies_left_out"], held_out, "{run}");
}

#[cfg(unix)]
#[test]
fn replay_goes_on_where_it_was() {
    let place = with_replay();
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    let settings = ["train.epochs=15", "replay.share=0.4"];
    place.succeed(&train(&[&settings[..], &["train.dir=whole"]].concat()));
    let stopped = train(&[&settings[..], &["train.dir=stopped"]].concat());
    for more in [3, 20] {
        let before = steps(&place, "stopped").len();
        let mut child = place.start(&stopped);
        while steps(&place, "stopped").len() < before + more {
            assert_eq!(child.try_wait().unwrap(), None);
        }
        assert_eq!(terminate(&mut child), Some(75));
    }
    place.succeed(&stopped);
    assert!(weights(&place, "stopped") == weights(&place, "whole"));
    let losses = |dir| -> Vec<Value> {
        steps(&place, dir)
            .iter()
            .map(|step| step["loss_replay"].clone())
            .collect()
    };
    assert_eq!(losses("stopped"), losses("whole"));
}

#[test]
fn a_cut_of_fewer_entries_with_replay_is_complete_to_precompute_and_can_be_extended() {
    let place = with_replay();
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    let cut = [
        "cache",
        "cut",
        "cache",
        "--out",
        "few",
        "--proportion",
        "0.5",
        "--top-k",
        "3",
    ];
    place.succeed(&cut);
    let precompute = |proportion: &str| {
        let settings = [
            "--set",
            "cache.dir=few",
            "--set",
            "cache.top_k=3",
            "--proportion",
            proportion,
        ];
        place.succeed(&[&["precompute", "-c", "pipeline.toml"][..], &settings].concat())
    };
    assert!(precompute("0.5").contains("nothing was left to do"));
    precompute("0.75");
    place.succeed(&["cache", "verify", "few"]);
    let inspected: Value = serde_json::from_str(&place.succeed(&["cache", "inspect", "few", "--json"])).unwrap();
    assert_eq!(inspected["serves"]["answer"], "0.75");
}
