//! One cache, every loss: what a run learns by is a matter of the second stage alone, and what cannot be is refused.

use std::{fs, process::Output};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::program::Workplace;

/// A workplace whose cache has draws from the tail and a temperature.
fn with_cache() -> Workplace {
    let place = Workplace::new();
    place.replace(
        "pipeline.toml",
        "top_k = 8",
        "top_k = 8\ntail_samples = 4\ntemperatures = [2.0]",
    );
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    place
}

fn train(place: &Workplace, name: &str, changes: &[&str]) -> Output {
    let dir = format!("train.dir={name}");
    let mut arguments = vec!["--json", "train", "-c", "pipeline.toml", "--set", &dir];
    for change in changes {
        arguments.extend(["--set", change]);
    }
    place.run(&arguments)
}

#[test]
fn one_cache_serves_every_loss() {
    let place = with_cache();
    let cases: [(&str, &[&str]); 7] = [
        ("reverse_kl", &["train.loss=reverse_kl"]),
        (
            "jensen_shannon_at_2",
            &["train.loss=jensen_shannon", "train.temperature=2.0"],
        ),
        (
            "skew_kl_renormalize_both_at_3",
            &[
                "train.loss=skew_kl",
                "train.tail_policy=renormalize_both",
                "train.temperature=3.0",
            ],
        ),
        ("skew_reverse_kl", &["train.loss=skew_reverse_kl"]),
        ("total_variation", &["train.loss=total_variation"]),
        (
            "forward_kl_renormalize_teacher",
            &["train.tail_policy=renormalize_teacher"],
        ),
        ("sampled_soft_cross_entropy", &["train.tail_policy=sampled"]),
    ];
    let mut started = Vec::new();
    for (name, changes) in cases {
        let fast = [
            changes,
            &[
                "train.epochs=6",
                "train.learning_rate=1e-2",
                "train.distillation_weight=1.0",
            ],
        ]
        .concat();
        let output = train(&place, name, &fast);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
        started.push(outcome["summary"]["held_out_before"].clone());
        let metrics = fs::read_to_string(place.path(name).join("metrics.jsonl")).unwrap();
        let losses: Vec<f64> = metrics
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|record| record["event"] == "step")
            .map(|step| {
                step[format!("loss_{name}")]
                    .as_f64()
                    .expect("the divergence is logged by its name")
            })
            .collect();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let sixth = losses.len() / 6;
        let (first, last) = (mean(&losses[..sixth]), mean(&losses[losses.len() - sixth..]));
        assert!(last < first, "{name} went from {first} to {last}");
    }
    // The same student, measured in the same way whatever it is going to learn by.
    assert!(
        started
            .iter()
            .all(|held_out| *held_out == started[0] && held_out["forward_kl"].is_f64())
    );
}

#[test]
fn without_a_weight_no_divergence_is_logged() {
    let place = with_cache();
    let output = train(&place, "plain", &["train.distillation_weight=0.0"]);
    assert_eq!(output.status.code(), Some(0));
    let metrics = fs::read_to_string(place.path("plain/metrics.jsonl")).unwrap();
    assert!(metrics.contains(r#""loss_forward_kl":null"#), "{metrics}");
}

#[test]
fn a_loss_that_the_cache_or_the_tail_policy_cannot_serve_is_refused_before_anything_is_made() {
    let place = with_cache();
    for (changes, reason, way_out) in [
        (
            ["train.temperature=3.0", "train.loss=forward_kl"],
            "stores the tail only at temperatures 1, 2",
            "cache.temperatures = [3.0]",
        ),
        (
            ["train.tail_policy=sampled", "train.loss=reverse_kl"],
            "linear in the teacher",
            "forward_kl",
        ),
        (
            ["train.loss=jensen_shannon", "train.jensen_shannon_beta=1.0"],
            "which are losses of their own",
            "",
        ),
    ] {
        let output = train(&place, "refused", &changes);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(reason) && text.contains(way_out), "{text}");
        assert!(!place.path("refused").exists());
    }
}

#[test]
fn a_student_in_bf16_learns_what_one_in_f32_learns_and_is_exported_in_f32() {
    let place = with_cache();
    let learnt = |dtype: &str, rate: &str| {
        let setting = format!("train.dtype={dtype}");
        let rate_setting = format!("train.learning_rate={rate}");
        let name = format!("{dtype}-{rate}");
        let output = train(&place, &name, &[&setting, "train.epochs=4", &rate_setting]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{text}");
        let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
        let loss = |of: &str| outcome["summary"][of]["cross_entropy"].as_f64().unwrap();
        let weights = fs::read(place.path(&name).join("model/model.safetensors")).unwrap();
        (loss("held_out_before"), loss("held_out_after"), weights)
    };
    let ((before, after, _), (wide_before, wide_after, _)) = (learnt("bf16", "1e-2"), learnt("f32", "1e-2"));
    assert!(wide_before - wide_after > 0.2, "{wide_before} {wide_after}");
    // In bf16 a log-probability of this model is off by 0.05 nats on average, to either side: their mean is off by less.
    assert!((before - wide_before).abs() < 0.05, "{before} {wide_before}");
    assert!(
        (after - wide_after).abs() < 0.1 * (wide_before - wide_after),
        "{after} {wide_after}"
    );
    // At this rate no update alone changes a weight of bf16's eight bits: what is exported are the masters, which have all.
    let (_, _, weights) = learnt("bf16", "1e-6");
    let tensors = SafeTensors::deserialize(&weights).unwrap();
    let bits = tensors.tensors().into_iter().flat_map(|(name, tensor)| {
        assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
        let words = tensor.data().as_chunks::<4>().0.iter();
        words.map(|&word| u32::from_le_bytes(word)).collect::<Vec<_>>()
    });
    let (all, in_between) = bits.fold((0, 0), |(all, between), word| {
        (all + 1, between + usize::from(word & 0xffff != 0))
    });
    assert!(
        in_between > all / 2,
        "{in_between} of {all} weights are no number of bf16"
    );
    // Gradients would vanish in half precision.
    let output = train(&place, "half", &["train.dtype=f16"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("`f16`") && text.contains("`f32` or `bf16`"), "{text}");
    assert!(!place.path("half").exists());
}
