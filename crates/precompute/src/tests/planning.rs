//! Plans against the runs that follow.

use std::{cell::Cell, sync::atomic::Ordering, time::Duration};

use super::*;
use crate::{Basis, Division, Plan, PlanEvent, PlanOutcome, PlanSettings, SizeSource, plan};

/// Plans with a clock that advances by a millisecond each time it is read.
pub(super) fn plan_with(pipeline: &Pipeline, sample_rows: usize, calibration: Option<Duration>) -> Plan {
    let scratch = tempfile::tempdir().unwrap();
    let settings = PlanSettings {
        sample_rows,
        calibration,
        scratch: scratch.path().to_owned(),
    };
    let before = (files(&pipeline.base), pipeline.cache_dir().exists());
    let looks = Cell::new(0);
    let clock = || {
        looks.set(looks.get() + 1);
        Duration::from_millis(looks.get())
    };
    let outcome = plan(pipeline, &settings, &clock, &AtomicBool::new(false), &|_| ()).unwrap();
    assert_eq!(
        (files(&pipeline.base), pipeline.cache_dir().exists()),
        before,
        "something was left"
    );
    assert!(files(scratch.path()).is_empty(), "the scratch folder was left");
    match outcome {
        PlanOutcome::Done(plan) => *plan,
        PlanOutcome::Stopped => panic!("nobody asked it to stop"),
    }
}

fn calibrated(pipeline: &Pipeline) -> Plan {
    plan_with(pipeline, 1000, Some(Duration::from_secs(10)))
}

/// Runs the capture that was planned and compares: counts must agree exactly, bytes to within 15 %.
fn assert_comes_true(plan: &Plan, pipeline: &Pipeline) {
    let events = events_of(pipeline);
    let begun = events.iter().find_map(|event| match event {
        Event::Begun(remaining) => Some(remaining.clone()),
        _ => None,
    });
    let begun = begun.unwrap();
    let (mut units, mut bytes) = (0, 0);
    for event in &events {
        if let Event::UnitCommitted { bytes: size, .. } = event {
            units += 1;
            bytes += size;
        }
    }
    let left = &plan.left;
    assert_eq!(
        (left.positions, left.teacher_tokens, left.units),
        (begun.positions, begun.tokens, units)
    );
    let error = left.shard_bytes as f64 / bytes as f64 - 1.0;
    assert!(
        error.abs() < 0.15,
        "{} bytes were planned, {bytes} written: {error}",
        left.shard_bytes
    );
}

#[test]
fn a_plan_of_everything_comes_true() {
    let project = Project::new();
    for (name, precision) in [("exact", "exact"), ("standard", "standard")] {
        for (proportion, sections) in [
            ("1", "[\"prompt\", \"chain_of_thought\", \"answer\"]"),
            ("0.5", "[\"answer\"]"),
            ("0.35", "[\"prompt\"]"),
        ] {
            let pipeline = project.another(&format!("{name}-{proportion}"), |pipeline| {
                pipeline.cache.precision = from_json(&format!("{precision:?}"));
                pipeline.cache.lead_span_proportion = proportion.parse().unwrap();
                pipeline.cache.supervised_sections = from_json(sections);
            });
            let plan = calibrated(&pipeline);
            assert_eq!(plan.basis, Basis::Read);
            assert_eq!(plan.layers[0].size.source, SizeSource::Calibration);
            assert_comes_true(&plan, &pipeline);
        }
    }
}

#[test]
fn what_is_captured_is_taken_off_and_appended_rows_are_added() {
    let project = Project::new();
    let half = project.another("one", |pipeline| {
        pipeline.cache.lead_span_proportion = "0.5".parse().unwrap();
    });
    let whole = calibrated(&half);
    run_as(&half, "0/2".parse().unwrap());
    let rest = calibrated(&half);
    assert_eq!(rest.basis, Basis::Prepared);
    assert!(rest.left.units < whole.left.units && rest.left.positions < whole.left.positions);
    assert_eq!(rest.layers[0].size.source, SizeSource::Shards);
    assert_eq!(rest.corpus_bytes, 0);
    assert_comes_true(&rest, &half);
    let nothing = calibrated(&half);
    assert_eq!(
        (nothing.left.units, nothing.calibration.is_none(), nothing.bytes()),
        (0, true, 0)
    );
    assert_eq!(nothing.proportions, {
        let again = plan_with(&half, 1000, None);
        again.proportions
    });

    // Then three quarters with appended rows, which feeds the first half again.
    let rows: String = (0..15).map(|index| appended_row(&format!("more-{index}"))).collect();
    fs::write(project.folder.path().join("rows-more.jsonl"), rows).unwrap();
    let further = project.another("one", |pipeline| {
        pipeline.cache.lead_span_proportion = "0.75".parse().unwrap();
    });
    let plan = calibrated(&further);
    assert_eq!(plan.basis, Basis::Extended { samples: 15 });
    let layers: Vec<&str> = plan.layers.iter().map(|layer| layer.layer.as_str()).collect();
    let sections = "prompt+chain_of_thought+answer";
    assert_eq!(layers, [format!("0-0.5-{sections}"), format!("0.5-0.75-{sections}")]);
    assert_eq!(plan.layers[0].totals.units, 2);
    assert!(plan.left.teacher_tokens > plan.left.positions * 2);
    assert_comes_true(&plan, &further);
}

#[test]
fn proportions_are_those_that_captures_at_them_take() {
    let project = Project::new();
    let planned = calibrated(&project.pipeline);
    assert_eq!(planned.proportions.len(), 10);
    for (row, text) in planned.proportions.iter().zip(["0.1", "0.2", "0.3"]) {
        let pipeline = project.another(text, |pipeline| {
            pipeline.cache.lead_span_proportion = text.parse().unwrap();
        });
        assert_eq!(row.proportion.to_string(), text);
        let alone = calibrated(&pipeline);
        let at = &alone.proportions[alone
            .proportions
            .iter()
            .position(|row| row.proportion.to_string() == text)
            .unwrap()];
        assert_eq!((at.tokens, at.totals), (row.tokens, at.totals));
        assert_eq!(alone.left.positions, row.totals.positions);
        let mut foretold = alone;
        foretold.left = row.totals;
        assert_comes_true(&foretold, &pipeline);
    }
    let last = planned.proportions.last().unwrap();
    assert_eq!(last.tokens.total(), planned.report.tokens.total());
    assert_eq!(last.totals, planned.left);
}

#[test]
fn time_is_what_the_teacher_took_for_its_operations() {
    let project = Project::new();
    let plan = calibrated(&project.pipeline);
    let calibration = plan.calibration.as_ref().unwrap();
    // All batches were run. Each reading of the clock is a millisecond, so every part of a batch takes one.
    assert_eq!((calibration.positions, calibration.samples), (plan.left.positions, 40));
    assert!((calibration.seconds - 0.002 * calibration.batches as f64).abs() < 1e-9);
    assert!((plan.left.seconds.unwrap() - calibration.seconds).abs() < 1e-9);
    assert_eq!(calibration.load_seconds, 0.001);
    // Workers do whole units, and each loads the teacher.
    let Some(Division::Workers(alone)) = plan.divide(Duration::from_secs(1)) else {
        panic!()
    };
    assert_eq!(alone.count, 1);
    assert!((alone.longest_seconds - 0.001 - calibration.seconds).abs() < 1e-9);
    let tight = Duration::from_secs_f64(0.001 + calibration.seconds / 2.0);
    let Some(Division::Workers(more)) = plan.divide(tight) else {
        panic!()
    };
    assert!(
        more.count > 2 && more.longest_seconds <= tight.as_secs_f64(),
        "{more:?}"
    );
    assert!(matches!(
        plan.divide(Duration::from_millis(1)),
        Some(Division::UnitTooLong { .. })
    ));

    // If the first batch spends the budget, no other follows.
    let short = plan_with(&project.pipeline, 1000, Some(Duration::from_nanos(1)));
    assert_eq!(short.calibration.unwrap().batches, 1);
}

#[test]
fn without_a_teacher_bytes_are_the_published_ones() {
    let project = Project::new();
    let plan = plan_with(&project.pipeline, 1000, None);
    assert_eq!(plan.layers[0].size.source, SizeSource::Published);
    assert_eq!((plan.left.seconds, plan.divide(Duration::from_secs(1))), (None, None));
    assert!(plan.left.shard_bytes > 0);
}

#[test]
fn counts_of_drawn_rows_are_scaled_up() {
    let project = Project::new();
    let whole = plan_with(&project.pipeline, 40, None);
    let drawn = plan_with(&project.pipeline, 20, None);
    assert_eq!(drawn.basis, Basis::Sampled { rows: 40, drawn: 20 });
    assert_eq!(
        (drawn.report.rows, drawn.report.kept_train, drawn.report.kept_validation),
        (40, 32, 8)
    );
    // 32 and 8 samples in units of ten.
    assert_eq!((drawn.units, whole.units, drawn.left.units), (5, 5, 5));
    let near = |drawn: u64, whole: u64| (drawn as f64 / whole as f64 - 1.0).abs() < 0.2;
    assert!(near(drawn.left.positions, whole.left.positions), "{drawn:?} {whole:?}");
    assert!((drawn.left.teacher_flops / whole.left.teacher_flops - 1.0).abs() < 0.2);
    let samples: u64 = drawn.lengths.histogram.iter().map(|bin| bin.samples).sum();
    assert_eq!(samples, 40);
    let timed = plan_with(&project.pipeline, 20, Some(Duration::from_secs(10)));
    let Some(Division::Workers(workers)) = timed.divide(Duration::from_secs(1)) else {
        panic!()
    };
    assert!((workers.longest_seconds - 0.001 - timed.left.seconds.unwrap()).abs() < 1e-9);
}

#[test]
fn a_plan_that_is_stopped_leaves_nothing_either() {
    let project = Project::new();
    let scratch = tempfile::tempdir().unwrap();
    let settings = PlanSettings {
        sample_rows: 1000,
        calibration: Some(Duration::from_secs(10)),
        scratch: scratch.path().to_owned(),
    };
    let stop = AtomicBool::new(false);
    let outcome = plan(&project.pipeline, &settings, &|| Duration::ZERO, &stop, &|event| {
        if event == PlanEvent::Calibrating {
            stop.store(true, Ordering::Relaxed);
        }
    });
    assert_eq!(outcome.unwrap(), PlanOutcome::Stopped);
    assert!(files(scratch.path()).is_empty() && !project.pipeline.cache_dir().exists());
}

#[test]
fn what_a_run_would_refuse_a_plan_refuses() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    let other = project.another("one", |pipeline| pipeline.cache.top_k = 8);
    let settings = PlanSettings {
        sample_rows: 1000,
        calibration: None,
        scratch: project.folder.path().to_owned(),
    };
    let refused = plan(&other, &settings, &|| Duration::ZERO, &AtomicBool::new(false), &|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), super::refused(&other).to_string());
    let missing = PlanSettings {
        scratch: project.folder.path().join("nowhere"),
        calibration: Some(Duration::from_secs(1)),
        ..settings
    };
    let fresh = project.another("fresh", |_| ());
    let error = plan(&fresh, &missing, &|| Duration::ZERO, &AtomicBool::new(false), &|_| ()).unwrap_err();
    assert!(matches!(error, PrecomputeError::Scratch { .. }), "{error}");
}
