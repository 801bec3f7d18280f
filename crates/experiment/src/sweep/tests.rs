mod cases;

use std::collections::BTreeSet;

use serde_json::json;

use super::*;

fn axis(key: &str, values: Value) -> Axis {
    let value = |setting: Value| AxisValue {
        toml: setting.to_string(),
        setting,
    };
    let Value::Array(values) = values else {
        panic!("an axis has a list")
    };
    Axis {
        key: key.to_owned(),
        values: values.into_iter().map(value).collect(),
    }
}

/// Two proportions and two seeds.
fn axes() -> Vec<Axis> {
    vec![
        axis(PROPORTION, json!(["0.5", "1.0"])),
        axis("train.seed", json!([0, 1])),
    ]
}

fn half() -> LeadSpanProportion {
    "0.5".parse().unwrap()
}

const ALL: [Baseline; 3] = [Baseline::EqualCompute, Baseline::Untrained, Baseline::Supervised];

fn planned(axes: &[Axis], baselines: &[Baseline]) -> Vec<PlannedRun> {
    plan(&[], axes, &half().into(), baselines).unwrap()
}

fn names(runs: &[PlannedRun]) -> Vec<&str> {
    runs.iter().map(|run| run.name.as_str()).collect()
}

fn set_by(run: &PlannedRun) -> Vec<String> {
    let text = |setting: &Setting| format!("{}={}", setting.key, setting.toml);
    run.settings.iter().map(text).collect()
}

#[test]
fn every_combination_is_a_run_and_the_last_axis_changes_first() {
    let runs = planned(&axes(), &[]);
    assert_eq!(
        names(&runs),
        [
            "proportion-0.5-seed-0",
            "proportion-0.5-seed-1",
            "proportion-1.0-seed-0",
            "proportion-1.0-seed-1"
        ]
    );
    assert_eq!(
        set_by(&runs[1]),
        [r#"train.lead_span_proportion="0.5""#, "train.seed=1"]
    );
    assert_eq!(
        (runs[1].proportion, runs[2].proportion),
        (half(), LeadSpanProportion::WHOLE)
    );
    // A sweep without axes is the run that the file describes.
    let only = planned(&[], &[]);
    assert_eq!((names(&only), only[0].proportion), (vec!["run"], half()));
}

#[test]
fn a_baseline_takes_only_the_axes_that_affect_it() {
    let mut axes = axes();
    axes.push(axis("train.loss", json!(["forward_kl", "reverse_kl"])));
    axes.push(axis("replay.share", json!([0.25])));
    axes.push(axis("student.seed", json!([3, 4])));
    let runs = planned(&axes, &ALL);
    assert_eq!(runs.len(), 16 + 2 + 4 + 8);
    let untrained = &runs[16..18];
    assert_eq!(
        names(untrained),
        ["untrained-student-seed-3", "untrained-student-seed-4"]
    );
    assert_eq!(
        set_by(&untrained[1]),
        [
            r#"train.lead_span_proportion="1.0""#,
            "train.seed=0",
            r#"train.loss="forward_kl""#,
            "replay.share=0.25",
            "student.seed=4",
            "train.max_flops=0"
        ]
    );
    assert_eq!(untrained[0].proportion, LeadSpanProportion::WHOLE);
    let supervised = &runs[18..22];
    assert_eq!(supervised[1].name, "supervised-seed-0-student-seed-4");
    assert_eq!(
        set_by(&supervised[1]),
        [
            "train.seed=0",
            "student.seed=4",
            "train.lead_span_proportion=1.0",
            "train.distillation_weight=0.0",
            "replay.share=0.0"
        ]
    );
    for run in &runs[22..] {
        let shorter = &runs[run.as_long_as.unwrap()];
        assert_eq!(run.name, format!("equal_compute-{}", shorter.name));
        assert_eq!((shorter.proportion, shorter.baseline), (half(), None));
        let set = set_by(run);
        assert_eq!(set.last().unwrap(), "train.lead_span_proportion=1.0");
        assert_eq!(set[..4], set_by(shorter)[1..]);
    }
}

#[test]
fn baselines_of_a_proportion_that_is_not_swept_are_those_of_the_file() {
    let seeds = [axis("train.seed", json!([0, 1]))];
    let runs = planned(&seeds, &ALL);
    assert_eq!(
        names(&runs[2..]),
        [
            "untrained",
            "supervised-seed-0",
            "supervised-seed-1",
            "equal_compute-seed-0",
            "equal_compute-seed-1"
        ]
    );
    assert_eq!(runs[2].proportion, half());
    // A run on whole sequences has no baseline of equal compute.
    let whole = plan(
        &[],
        &seeds,
        &LeadSpanProportion::WHOLE.into(),
        &[Baseline::EqualCompute],
    )
    .unwrap();
    assert_eq!(whole.len(), 2);
}

#[test]
fn policies_are_compared_with_every_position_of_whole_sequences_at_equal_compute() {
    let axes = [
        axis(
            "train.lead_span",
            json!(["constant", { "mixture": [["0.33", 0.75], ["1.0", 0.25]] }]),
        ),
        axis("train.positions", json!(["all", { "teacher_entropy": 0.5 }])),
        axis("train.seed", json!([3])),
    ];
    let runs = plan(&[], &axes, &LeadSpanProportion::WHOLE.into(), &ALL).unwrap();
    assert_eq!(
        names(&runs),
        [
            "lead_span-constant-positions-all-seed-3",
            "lead_span-constant-positions-teacher_entropy-0.5-seed-3",
            "lead_span-mixture-0.33_0.75+1.0_0.25-positions-all-seed-3",
            "lead_span-mixture-0.33_0.75+1.0_0.25-positions-teacher_entropy-0.5-seed-3",
            "untrained",
            "supervised-seed-3",
            "equal_compute-lead_span-constant-positions-teacher_entropy-0.5-seed-3",
            "equal_compute-lead_span-mixture-0.33_0.75+1.0_0.25-positions-all-seed-3",
            "equal_compute-lead_span-mixture-0.33_0.75+1.0_0.25-positions-teacher_entropy-0.5-seed-3",
        ]
    );
    assert_eq!(
        runs.iter().map(|run| run.is_whole).collect::<Vec<_>>()[..4],
        [true, false, false, false]
    );
    assert_eq!(
        set_by(&runs[8]),
        [
            "train.seed=3",
            "train.lead_span_proportion=1.0",
            "train.lead_span=\"constant\"",
            "train.positions=\"all\""
        ]
    );
    // What the file sets is reset, too, and weights only where nothing is distilled.
    let unswept = Unswept {
        proportion: half(),
        policies: vec!["train.positions".into(), "train.position_weights".into()],
    };
    let runs = plan(
        &[],
        &axes[2..],
        &unswept,
        &[Baseline::Supervised, Baseline::EqualCompute],
    )
    .unwrap();
    let reset =
        |run: &PlannedRun| -> Vec<String> { set_by(run).into_iter().filter(|set| set.contains("position")).collect() };
    assert_eq!(reset(&runs[0]), [""; 0]);
    assert_eq!(
        reset(&runs[1]),
        ["train.positions=\"all\"", "train.position_weights=\"flat\""]
    );
    assert_eq!(reset(&runs[2]), ["train.positions=\"all\""]);
    let all = Unswept {
        proportion: LeadSpanProportion::WHOLE,
        policies: vec!["train.position_weights".into()],
    };
    assert_eq!(plan(&[], &axes[2..], &all, &[Baseline::EqualCompute]).unwrap().len(), 1);
}

#[test]
fn names_are_valid_file_names_and_differ_for_different_values() {
    let long = "x".repeat(300);
    let awkward = [
        json!("a/b"),
        json!("a:b"),
        json!(""),
        json!(".."),
        json!("é"),
        json!(long.clone()),
        json!(long + "y"),
        json!(["prompt", "answer"]),
        json!("prompt+answer!"),
        json!([["a"], "b"]),
        json!({ "a": 1 }),
        json!(1e-5),
        json!(null),
    ];
    let runs = planned(&[axis("evaluate.where", Value::Array(awkward.into()))], &ALL);
    let mut seen = BTreeSet::new();
    for name in names(&runs) {
        assert!(
            name.is_ascii() && name.len() < 240 && !name.contains(['/', ':', '"']),
            "{name}"
        );
        assert!(!name.starts_with('.') && seen.insert(name), "{name}");
    }
    let sections = [axis(
        "train.supervised_sections",
        json!([["prompt"], ["chain_of_thought", "answer"]]),
    )];
    assert_eq!(
        names(&planned(&sections, &[])),
        ["sections-prompt", "sections-chain_of_thought+answer"]
    );
    // Many long axes at once.
    let many: Vec<Axis> = (0..20)
        .map(|n| axis(&format!("train.key{n}"), json!(["v".repeat(39)])))
        .collect();
    let longest = planned(&many, &ALL).into_iter().map(|run| run.name.len()).max();
    assert!(longest.unwrap() < 240);
}

#[test]
fn lists_without_a_valid_sweep_are_refused() {
    let refused = |axes: &[Axis]| plan(&[], axes, &half().into(), &[]).unwrap_err();
    assert!(
        matches!(refused(&[axis("train.seed", json!([]))]), ExperimentError::NoValues { key } if key == "train.seed")
    );
    let twice = refused(&[axis("train.seed", json!([1, 2, 1]))]);
    assert_eq!(twice.to_string(), "`train.seed` has the value 1 twice");
    let many: Vec<Axis> = (0..70)
        .map(|n| axis(&format!("train.key{n}"), json!([0, 1, 2])))
        .collect();
    assert!(matches!(refused(&many), ExperimentError::TooManyRuns { .. }));
    assert!(matches!(
        refused(&[axis(PROPORTION, json!(["much"]))]),
        ExperimentError::NotAProportion { .. }
    ));
}

#[test]
fn workers_share_the_runs_and_take_those_that_need_one_of_theirs() {
    let runs = planned(&axes(), &ALL);
    for count in 1..=runs.len() + 1 {
        let shares: Vec<Vec<usize>> = (0..count).map(|index| share(&runs, index, count)).collect();
        let mut all: Vec<usize> = shares.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..runs.len()).collect::<Vec<_>>(), "{count} workers");
        for share in shares {
            for (position, &place) in share.iter().enumerate() {
                let needed = runs[place].as_long_as;
                assert!(needed.is_none_or(|needed| share[..position].contains(&needed)));
            }
        }
    }
}
