//! Supervision policies, with the real program: which tokens are kept, which positions are learnt and what they weigh.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;

use crate::program::Workplace;

/// A captured cache whose samples keep what the column `keep` of the data says, and settings for two epochs.
fn captured() -> Workplace {
    let place = Workplace::with_rows(40, 40);
    let text = fs::read_to_string(place.path("text.jsonl")).unwrap();
    let rows: Vec<String> = (text
        .lines()
        .zip([0.4.into(), Value::from(60), 1.0.into()].iter().cycle()))
    .map(|(line, keep)| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        row["keep"] = keep.clone();
        row.to_string() + "\n"
    })
    .collect();
    place.write("text.jsonl", &rows.concat());
    place.replace("pipeline.toml", "seed = 7", "seed = 7\nlead_span_column = \"keep\"");
    place.replace("pipeline.toml", "epochs = 1", "epochs = 2\ncheckpoint_steps = 2");
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    place
}

fn command<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    ["train", "-c", "pipeline.toml"].into_iter().chain(settings).collect()
}

fn summary(place: &Workplace, dir: &str) -> Value {
    serde_json::from_slice(&fs::read(place.path(dir).join("summary.json")).unwrap()).unwrap()
}

/// The student of a run, and the counts of its summary.
fn ended(place: &Workplace, dir: &str) -> (BTreeMap<PathBuf, Vec<u8>>, Vec<Value>) {
    let summary = summary(place, dir);
    let counts = [
        "steps",
        "tokens",
        "positions",
        "training_flops",
        "cache_bytes_read",
        "held_out_after",
    ];
    (
        place.visible(&format!("{dir}/model")),
        counts.map(|key| summary[key].clone()).to_vec(),
    )
}

const POLICIES: [&str; 7] = [
    "train.lead_span={ mixture = [[0.33, 0.75], [1.0, 0.25]] }",
    "train.lead_span={ growing = [0.1, 0.8] }",
    "train.lead_span={ column = \"keep\" }",
    "train.positions={ teacher_entropy = 0.5 }",
    "train.positions={ student_entropy = 0.2 }",
    "train.positions={ disagreement = 0.2 }",
    "train.position_weights={ answer = 2.0, chain_of_thought = 0.5 }",
];

#[test]
fn a_run_with_a_policy_resumes_to_the_same_bits_and_counts_what_it_computes() {
    let place = captured();
    place.succeed(&command(&["train.dir=plain", "train.lead_span_proportion=1.0"]));
    let plain = summary(&place, "plain");
    let number = |summary: &Value, key: &str| summary[key].as_f64().unwrap();
    for (number_of, policy) in POLICIES.iter().enumerate() {
        // Positions and their weights are of whole sequences.
        let whole = if policy.contains("lead_span") {
            "train.seed=0"
        } else {
            "train.lead_span_proportion=1.0"
        };
        let [one, other] = ["whole", "killed"].map(|name| format!("train.dir={name}-{number_of}"));
        place.succeed(&command(&[policy, whole, &one]));
        let killed = command(&[policy, whole, &other]);
        assert!(place.start_held(&killed, "steps", 5).kill(), "{policy}");
        place.succeed(&killed);
        let [dir, killed] = ["whole", "killed"].map(|name| format!("{name}-{number_of}"));
        assert!(ended(&place, &dir) == ended(&place, &killed), "{policy}");
        let found = summary(&place, &dir);
        let ratio = |key: &str| number(&found, key) / number(&plain, key);
        let (tokens, positions, flops) = (ratio("tokens"), ratio("positions"), ratio("training_flops"));
        match number_of {
            0..=2 => assert!(
                tokens < 0.9 && positions < 0.9 && flops < 0.9,
                "{policy}: {tokens} {positions} {flops}"
            ),
            // The share is rounded down in every sample.
            3 => assert!(
                tokens == 1.0 && (0.48..=0.5).contains(&positions) && flops < 0.95,
                "{policy}: {positions} {flops}"
            ),
            4 | 5 => assert!(
                tokens == 1.0 && (0.17..=0.2).contains(&positions) && flops < 0.95,
                "{policy}: {positions} {flops}"
            ),
            _ => assert!(tokens == 1.0 && positions == 1.0 && flops == 1.0, "{policy}"),
        }
        assert!(found["held_out_after"]["positions"] == plain["held_out_after"]["positions"]);
    }
    // The limit of operations knows what a policy takes, so the last step is the one that reaches it.
    for (number_of, policy) in [(0, POLICIES[0]), (4, POLICIES[4])] {
        let limit = 0.5 * number(&summary(&place, &format!("whole-{number_of}")), "training_flops");
        let whole = if number_of == 0 {
            "train.seed=0"
        } else {
            "train.lead_span_proportion=1.0"
        };
        let (max_flops, dir) = (
            format!("train.max_flops={limit:.1}"),
            format!("train.dir=limited-{number_of}"),
        );
        place.succeed(&command(&[policy, whole, &max_flops, &dir]));
        let metrics = fs::read_to_string(place.path(&format!("limited-{number_of}/metrics.jsonl"))).unwrap();
        let steps = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let counted: Vec<f64> = steps.filter_map(|step| step["training_flops"].as_f64()).collect();
        let [.., before, last] = counted[..] else {
            panic!("there are some steps")
        };
        assert!(before < limit && limit <= last, "{policy}: {before} {limit} {last}");
    }
}

#[test]
fn a_run_ends_when_the_held_out_loss_no_longer_falls_and_resumes_to_the_same_end() {
    let place = captured();
    // A student that starts as the teacher gets worse from epoch to epoch, the more so the higher the rate.
    let settings = [
        "student.layers=[0, 1]",
        "train.distillation_weight=1",
        "train.learning_rate=0.05",
        "train.schedule=linear",
        "train.warmup_share=1",
        "train.epochs=12",
        "train.patience=2",
    ];
    let with = |dir: &'static str| command(&[&settings[..], &[dir]].concat());
    place.succeed(&with("train.dir=whole"));
    let whole = summary(&place, "whole");
    // 36 samples in steps of 8 are 5 steps an epoch.
    let found = ["steps", "best_step", "exported_step"].map(|key| whole[key].as_u64());
    assert_eq!(found, [Some(15), Some(5), Some(15)]);
    assert!(place.start_held(&with("train.dir=killed"), "steps", 14).kill());
    place.succeed(&with("train.dir=killed"));
    assert!(ended(&place, "whole") == ended(&place, "killed"));
    let without = ["train.dir=none", "train.patience=1", "cache.dir=no-validation"];
    place.succeed(&[
        "prepare",
        "-c",
        "pipeline.toml",
        "--set",
        "cache.dir=no-validation",
        "--set",
        "data.validation=0",
    ]);
    let output = place.run(&command(&[&without[..], &["train.distillation_weight=0"]].concat()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && said.contains("`train.patience` is 1, but"),
        "{said}"
    );
}

#[test]
fn a_policy_that_makes_no_sense_is_refused_by_name() {
    let place = captured();
    let refused = |settings: &[&str]| {
        let output = place.run(&command(settings));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{settings:?}: {said}");
        assert!(!place.path("run").exists(), "{settings:?}");
        said
    };
    for (settings, told) in [
        (
            &["train.lead_span={ mixture = [[0.33, 0.75], [1.0, 0.2]] }"][..],
            "`train.lead_span` is `{ mixture = [[0.33, 0.75], [1.0, 0.2]] }, whose shares sum to 0.95`, but it must be a \
             mixture whose shares sum to 1",
        ),
        (
            &["train.lead_span={ mixture = [] }"],
            "a mixture of at least one proportion",
        ),
        (
            &["train.lead_span={ growing = [0.5, 0.1] }"],
            "the first at most the second",
        ),
        (&["train.lead_span={ growing = [0.1, 1.5] }"], "`train.lead_span"),
        (
            &["train.lead_span={ growing = [0.1, 0.5], column = \"keep\" }"],
            "`growing` and `column` are both set",
        ),
        (
            &[
                "train.lead_span={ growing = [0.1, 0.5] }",
                "train.lead_span_proportion=0.5",
            ],
            "`train.lead_span` and `train.lead_span_proportion` are both set",
        ),
        (
            &["train.lead_span={ column = \"other\" }"],
            "the cache stores the column `keep`\n",
        ),
        (
            &["train.positions={ teacher_entropy = 0.0 }"],
            "`0` is not a share of the positions",
        ),
        (
            &["train.positions={ disagreement = 0.2 }", "train.distillation_weight=0"],
            "so the teacher's distributions are not read",
        ),
        (
            &["train.position_weights={ answer = 0 }"],
            "weights of sections from 1e-17 to 1e17",
        ),
        (
            &["train.position_weights=steep"],
            "`train.position_weights` cannot be used",
        ),
    ] {
        let said = refused(settings);
        assert!(said.contains(told), "{settings:?}: {said}");
    }
    // Beyond what is cached, and without a column.
    let half = ["cache.dir=half", "cache.lead_span_proportion=0.5"];
    let capture = [
        &["precompute", "-c", "pipeline.toml"][..],
        &["--set", half[0], "--set", half[1]],
    ]
    .concat();
    place.succeed(&capture);
    let said = refused(&[half[0], "train.lead_span={ mixture = [[0.25, 0.5], [0.75, 0.5]] }"]);
    assert!(
        said.contains("holds lead spans up to proportion 0.5") && said.contains("but proportion 0.75 is asked for"),
        "{said}"
    );
    let said = refused(&[half[0], "train.lead_span={ column = \"keep\" }"]);
    assert!(
        said.contains("the data keeps ")
            && said.contains("lead-span proportion 0.5")
            && said.contains("hint: run `leadspan precompute`"),
        "{said}"
    );
    place.replace("pipeline.toml", "\nlead_span_column = \"keep\"", "");
    place.succeed(&["prepare", "-c", "pipeline.toml", "--set", "cache.dir=plain"]);
    let said = refused(&[
        "cache.dir=plain",
        "train.lead_span={ column = \"keep\" }",
        "train.distillation_weight=0",
    ]);
    assert!(
        said.contains("the cache stores no lead spans of its samples")
            && said.contains("`data.lead_span_column = \"keep\"`"),
        "{said}"
    );
    // A prepared corpus keeps its column.
    let output = place.run(&["prepare", "-c", "pipeline.toml"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && said.contains("`data.lead_span_column`"),
        "{said}"
    );
}

#[test]
fn a_sweep_over_policies_names_them_and_compares_at_equal_compute() {
    let place = captured();
    let table = r#"
[sweep]
dir = "runs"
lead_span = [{ mixture = [[0.33, 0.75], [1.0, 0.25]] }, { column = "keep" }]
positions = ["all", { teacher_entropy = 0.5 }]
seed = [0, 1]
baselines = ["equal_compute"]
"#;
    let pipeline = fs::read_to_string(place.path("pipeline.toml")).unwrap() + table;
    place.write("pipeline.toml", &pipeline);
    let sweep = ["sweep", "-c", "pipeline.toml", "--set", "train.epochs=1"];
    let said = place.succeed(&sweep);
    assert!(said.ends_with("\n`runs`: 16 of 16 runs finished\n"), "{said}");
    let name = "lead_span-mixture-0.33_0.75+1.0_0.25-positions-teacher_entropy-0.5-seed-1";
    let flops = |name: &str| {
        summary(&place, &format!("runs/{name}"))["training_flops"]
            .as_f64()
            .unwrap()
    };
    assert!(flops(&format!("equal_compute-{name}")) >= flops(name));
    let said = place.succeed(&["report", "runs", "--out", "report"]);
    assert!(said.contains("16 runs"), "{said}");
    let csv = fs::read_to_string(place.path("report/runs.csv")).unwrap();
    let line = csv.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(
        line.contains(",\"mixture [0.33, 0.75] [1.0, 0.25]\",teacher entropy 0.5,flat"),
        "{line}"
    );
    // The same command again finds everything done.
    assert_eq!(place.succeed(&sweep).matches("  had been finished\n").count(), 16);
}
