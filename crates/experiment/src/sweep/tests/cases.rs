//! Sweeps over cases: settings that belong together.

use super::*;

fn case(settings: &[(&str, Value)]) -> Case {
    let value = |setting: &Value| AxisValue {
        toml: setting.to_string(),
        setting: setting.clone(),
    };
    let pairs = settings
        .iter()
        .map(|(key, setting)| ((*key).to_owned(), value(setting)));
    Case {
        name: None,
        settings: pairs.collect(),
    }
}

/// Half of every sequence with replay, a mixture without, and whole sequences for one epoch.
fn cases() -> Vec<Case> {
    let mixture = json!({ "mixture": [["0.25", 0.75], ["1.0", 0.25]] });
    vec![
        case(&[(PROPORTION, json!("0.5"))]),
        case(&[("train.lead_span", mixture), ("replay.share", json!(0.0))]),
        case(&[(PROPORTION, json!("1.0")), ("train.epochs", json!(1))]),
    ]
}

#[test]
fn every_case_is_a_run_for_each_combination_of_the_other_values() {
    let seeds = [axis("train.seed", json!([0, 1]))];
    let runs = plan(&cases(), &seeds, &half().into(), &[]).unwrap();
    assert_eq!(
        names(&runs),
        [
            "proportion-0.5-seed-0",
            "proportion-0.5-seed-1",
            "lead_span-mixture-0.25_0.75+1.0_0.25-replay-share-0.0-seed-0",
            "lead_span-mixture-0.25_0.75+1.0_0.25-replay-share-0.0-seed-1",
            "proportion-1.0-epochs-1-seed-0",
            "proportion-1.0-epochs-1-seed-1",
        ]
    );
    assert_eq!(
        set_by(&runs[3])[1..],
        ["replay.share=0.0", "train.seed=1"],
        "a run has the settings of its case only"
    );
    assert_eq!(
        set_by(&runs[0]),
        [r#"train.lead_span_proportion="0.5""#, "train.seed=0"]
    );
    assert_eq!(
        runs.iter().map(|run| run.is_whole).collect::<Vec<_>>(),
        [false, false, false, false, true, true]
    );
    let alone = plan(&[Case::default()], &[], &half().into(), &[]).unwrap();
    assert_eq!(names(&alone), ["run"]);
}

#[test]
fn a_name_stands_for_the_settings_of_its_case() {
    let mut named = cases();
    named[1].name = Some("few-whole".to_owned());
    let seeds = [axis("train.seed", json!([0, 1]))];
    let runs = plan(
        &named,
        &seeds,
        &half().into(),
        &[Baseline::Supervised, Baseline::EqualCompute],
    )
    .unwrap();
    let all = names(&runs);
    assert_eq!(
        all[1..4],
        ["proportion-0.5-seed-1", "few-whole-seed-0", "few-whole-seed-1"]
    );
    assert!(all.contains(&"equal_compute-few-whole-seed-1"), "{all:?}");
    // What the settings are does not depend on the name, and baselines that a case shares with others have none.
    assert_eq!(
        set_by(&runs[3]),
        set_by(&plan(&cases(), &seeds, &half().into(), &[]).unwrap()[3])
    );
    assert!(all.contains(&"supervised-seed-0"), "{all:?}");

    for wrong in ["", ".", "..", "../up", "a b", "-x", "é", &"a".repeat(41)] {
        named[1].name = Some(wrong.to_owned());
        let error = plan(&named, &seeds, &half().into(), &[]).unwrap_err();
        assert!(
            matches!(&error, ExperimentError::CaseName { name } if name == wrong),
            "{wrong}: {error}"
        );
    }
    // Two cases of one name, or one with the name of another run, would share folders.
    for same in ["few-whole", "proportion-0.5"] {
        named[1].name = Some("few-whole".to_owned());
        named[2].name = Some(same.to_owned());
        let error = plan(&named, &seeds, &half().into(), &[]).unwrap_err();
        assert!(matches!(error, ExperimentError::RepeatedName { .. }), "{same}: {error}");
    }
}

#[test]
fn a_baseline_takes_each_case_once_with_the_keys_that_affect_it() {
    let runs = plan(&cases(), &[axis("train.seed", json!([7]))], &half().into(), &ALL).unwrap();
    assert_eq!(
        names(&runs[3..]),
        [
            "untrained",
            "supervised-seed-7",
            "supervised-epochs-1-seed-7",
            "equal_compute-proportion-0.5-seed-7",
            "equal_compute-lead_span-mixture-0.25_0.75+1.0_0.25-replay-share-0.0-seed-7",
        ]
    );
    assert_eq!(
        set_by(&runs[3]),
        [
            r#"train.lead_span_proportion="1.0""#,
            "train.seed=7",
            "train.max_flops=0"
        ]
    );
    assert_eq!(runs[3].proportion, LeadSpanProportion::WHOLE);
    assert_eq!(
        set_by(&runs[7]),
        [
            "replay.share=0.0",
            "train.seed=7",
            "train.lead_span_proportion=1.0",
            r#"train.lead_span="constant""#
        ]
    );
    assert_eq!((runs[6].as_long_as, runs[7].as_long_as), (Some(0), Some(1)));
}

#[test]
fn the_untrained_student_needs_no_proportion_that_no_run_asks_for() {
    let runs = plan(&cases()[1..2], &[], &half().into(), &[Baseline::Untrained]).unwrap();
    assert_eq!(names(&runs[1..]), ["untrained"]);
    assert_eq!(
        set_by(&runs[1])[..1],
        [r#"train.lead_span={"mixture":[["0.25",0.75],["1.0",0.25]]}"#]
    );
}

#[test]
fn a_proportion_takes_the_place_of_the_lead_span_of_the_file() {
    let unswept = Unswept {
        proportion: half(),
        policies: vec!["train.lead_span".into()],
    };
    let axes = [axis(PROPORTION, json!(["0.5", "1.0"]))];
    let runs = plan(&[], &axes, &unswept, &[Baseline::EqualCompute]).unwrap();
    assert_eq!(
        names(&runs),
        ["proportion-0.5", "proportion-1.0", "equal_compute-proportion-0.5"]
    );
    // Runs that set none have the lead spans of the file.
    let runs = plan(&[], &[], &unswept, &[]).unwrap();
    assert!(!runs[0].is_whole);
}

#[test]
fn cases_that_are_no_sweep_are_refused() {
    let refused = |cases: &[Case], axes: &[Axis]| plan(cases, axes, &half().into(), &[]).unwrap_err();
    let two = [("train.seed", json!(0)), ("train.loss", json!("reverse_kl"))];
    let turned = [two[1].clone(), two[0].clone()];
    let error = refused(&[case(&[]), case(&two), case(&turned)], &[]);
    assert_eq!(error.to_string(), "case 3 of `sweep.cases` is the same as case 2");
    let both = refused(&[case(&two)], &[axis("train.seed", json!([0]))]);
    assert!(matches!(both, ExperimentError::RepeatedKey { key } if key == "train.seed"));
    let twice = [two[0].clone(), two[0].clone()];
    assert!(matches!(
        refused(&[case(&twice)], &[]),
        ExperimentError::RepeatedKey { .. }
    ));
    let axes = [axis("train.seed", json!([0])), axis("train.seed", json!([1]))];
    assert!(matches!(refused(&[], &axes), ExperimentError::RepeatedKey { .. }));
    // Two spellings of a folder, of which one looks like two settings.
    let one = case(&[("student.model", json!("m-seed-1"))]);
    let other = case(&[("student.model", json!("m")), ("train.seed", json!(1))]);
    let error = refused(&[one, other], &[]);
    assert_eq!(
        error.to_string(),
        "two runs of the sweep would have the folder `student-model-m-seed-1`"
    );
    let many = axis("train.seed", (0..5000).collect());
    assert!(matches!(
        refused(&cases(), &[many]),
        ExperimentError::TooManyRuns { runs: 15_000, .. }
    ));
}
