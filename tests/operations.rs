//! What training counts of itself, operations and bytes of the cache, and runs that end when an allowance is used up.

use std::fs;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::program::Workplace;

/// A captured cache of twenty samples, four of them held out.
fn captured() -> Workplace {
    let place = Workplace::with_rows(20, 60);
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    place
}

/// Trains into `dir` and returns the summary.
fn train(place: &Workplace, dir: &str, settings: &[&str]) -> Value {
    let dir = format!("train.dir={dir}");
    let mut arguments = vec!["--json", "train", "-c", "pipeline.toml", "--set", &dir];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let output: Value = serde_json::from_str(&place.succeed(&arguments)).unwrap();
    output["summary"].clone()
}

fn lines(place: &Workplace, dir: &str, event: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(dir).join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == event).collect()
}

fn numbers(lines: &[Value], key: &str) -> Vec<u64> {
    lines.iter().map(|line| line[key].as_u64().unwrap()).collect()
}

fn rates(lines: &[Value]) -> Vec<f64> {
    lines
        .iter()
        .map(|line| line["learning_rate"].as_f64().unwrap())
        .collect()
}

#[test]
fn operations_are_those_of_the_samples_trained_on_counted_by_hand() {
    let place = captured();
    // Steps of one sample, so that tokens and positions of a step are a sample's.
    let summary = train(&place, "run", &["train.batch_samples=1"]);
    let steps = lines(&place, "run", "step");
    // One layer of the tiny teacher, 32 wide: queries and output 32 · 32 each, keys and values 32 · 16 each, three of 32 · 64.
    let weights = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64;
    let mut counted = 0;
    for (step, (tokens, positions)) in steps
        .iter()
        .zip(numbers(&steps, "tokens").into_iter().zip(numbers(&steps, "positions")))
    {
        let pairs = tokens * (tokens + 1) / 2;
        // Four heads of 8 elements; a head of 320 rows.
        let forward = 2 * weights * tokens + 4 * 4 * 8 * pairs + 2 * 32 * 320 * positions;
        counted += 3 * forward;
        assert_eq!(step["training_flops"], counted, "{step}");
    }
    assert_eq!((steps.len(), &summary["training_flops"]), (16, &counted.into()));
}

#[test]
fn neither_passes_nor_checkpointing_change_what_is_counted() {
    let place = captured();
    let whole = train(&place, "whole", &["train.epochs=2"]);
    let bytes = numbers(&lines(&place, "whole", "step"), "cache_bytes_read");
    // The second epoch reads what the first did.
    assert!(
        bytes.len() == 4 && bytes[1] > 0 && bytes[3] == 2 * bytes[1],
        "{bytes:?}"
    );
    assert_eq!(whole["cache_bytes_read"], bytes[3]);
    for (dir, setting) in [
        ("alone", "train.micro_batch_tokens=1"),
        ("checkpointing", "train.activation_checkpointing=true"),
    ] {
        let other = train(&place, dir, &["train.epochs=2", setting]);
        for key in ["training_flops", "cache_bytes_read"] {
            assert_eq!(other[key], whole[key], "{setting}");
            let [expected, found] = ["whole", dir].map(|dir| numbers(&lines(&place, dir, "step"), key));
            assert_eq!(found, expected, "{setting}");
        }
    }
    // Half as many tokens take less, and no divergence reads no shards.
    let quarter = train(
        &place,
        "quarter",
        &["train.epochs=2", "train.lead_span_proportion=0.25"],
    );
    for key in ["training_flops", "cache_bytes_read"] {
        assert!(quarter[key].as_u64() < whole[key].as_u64(), "{key}");
    }
    let supervised = train(&place, "supervised", &["train.epochs=2", "train.distillation_weight=0"]);
    assert_eq!(
        (&supervised["training_flops"], &supervised["cache_bytes_read"]),
        (&whole["training_flops"], &0.into())
    );
}

#[test]
fn training_ends_with_the_step_that_reaches_the_allowance_and_so_does_its_schedule() {
    let place = captured();
    let settings = ["train.batch_samples=4", "train.epochs=3"];
    train(&place, "whole", &settings);
    let counts = numbers(&lines(&place, "whole", "step"), "training_flops");
    assert_eq!(counts.len(), 12);
    for (allowance, expected) in [
        (counts[5], 6),
        (counts[5] + 1, 7),
        (counts[5] - 1, 6),
        (u64::MAX / 4, 12),
    ] {
        let dir = format!("allowed-{allowance}");
        let allowed = format!("train.max_flops={allowance}.0");
        let summary = train(&place, &dir, &[&settings[..], &[allowed.as_str()]].concat());
        let steps = lines(&place, &dir, "step");
        assert_eq!(numbers(&steps, "training_flops"), counts[..expected], "{allowance}");
        assert_eq!(
            (&summary["steps"], numbers(&steps, "steps")[0]),
            (&expected.into(), expected as u64)
        );
        // Measured where it ended, also within an epoch.
        let measured = lines(&place, &dir, "validation");
        assert_eq!(measured.last().unwrap()["step"], expected);
        assert_eq!(
            summary["held_out_after"]["cross_entropy"],
            measured.last().unwrap()["cross_entropy"]
        );
    }
    // Six steps of three epochs warm up and fall as six steps that are all there are.
    let epochs = ["train.batch_samples=8", "train.epochs=3"];
    train(&place, "six", &epochs);
    let allowed = format!("allowed-{}", counts[5]);
    assert_eq!(
        rates(&lines(&place, &allowed, "step")),
        rates(&lines(&place, "six", "step"))
    );
}

#[test]
fn an_allowance_of_nothing_measures_and_exports_the_student_as_it_is() {
    let place = captured();
    let summary = train(&place, "runs/before", &["train.max_flops=0", "train.export=best"]);
    assert_eq!(
        [
            &summary["steps"],
            &summary["training_flops"],
            &summary["cache_bytes_read"]
        ],
        [0, 0, 0]
    );
    assert_eq!(summary["held_out_after"], summary["held_out_before"]);
    assert!(summary["held_out_before"]["forward_kl"].is_f64());
    assert_eq!(lines(&place, "runs/before", "step").len(), 0);
    assert_eq!(lines(&place, "runs/before", "validation").len(), 1);
    let [given, exported] =
        ["teacher", "runs/before/model"].map(|dir| fs::read(place.path(dir).join("model.safetensors")).unwrap());
    let [given, exported] = [&given, &exported].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    for name in exported.names() {
        assert!(
            exported.tensor(name).unwrap().data() == given.tensor(name).unwrap().data(),
            "{name}"
        );
    }
    assert!(exported.len() > 5);

    // The report knows what such runs are for, and has what they counted.
    let whole = train(&place, "runs/whole", &[]);
    let some = train(&place, "runs/some", &["train.max_flops=1e3"]);
    place.succeed(&["report", "runs"]);
    let table = fs::read_to_string(place.path("report/runs.csv")).unwrap();
    let mut rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = rows.next().unwrap();
    let column = |row: &[&str], name: &str| {
        let at = header.iter().position(|column| *column == name).unwrap();
        row[at].to_owned()
    };
    let rows: Vec<Vec<&str>> = rows.collect();
    for (name, kind, max_flops, summary) in [
        ("before", "untrained", "0.0", &summary),
        ("whole", "distilled", "", &whole),
        ("some", "equal compute", "1000.0", &some),
    ] {
        let row = rows.iter().find(|row| row[0] == name).unwrap();
        assert_eq!([column(row, "kind"), column(row, "max_flops")], [kind, max_flops]);
        for key in ["steps", "training_flops", "cache_bytes_read"] {
            assert_eq!(column(row, key), summary[key].to_string(), "{name}: {key}");
        }
    }
}

#[test]
fn an_allowance_is_part_of_the_run_and_must_be_a_number() {
    let place = captured();
    train(&place, "run", &["train.max_flops=1e3"]);
    let again = |setting: &str| {
        let output = place.run(&["train", "-c", "pipeline.toml", "--set", setting]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let refused = again("train.max_flops=2e3");
    assert!(
        refused.contains("differs in `train.max_flops`: it has `1000.0`, but now `2000.0` is asked for"),
        "{refused}"
    );
    for wrong in ["-1", "nan", "inf"] {
        let refused = again(&format!("train.max_flops={wrong}"));
        assert!(
            refused.contains("`train.max_flops`") && refused.contains("a number from 0"),
            "{refused}"
        );
    }
}
