//! Teachers whose weights do not fit into `teacher.memory`: the cache is that of the same teacher in memory.

use std::sync::atomic::Ordering;

use leadspan_diagnosis::Diagnosis as _;

use super::{planning::plan_with, *};
use crate::{Audit, AuditOutcome, AuditSettings, MemoryBound, Streaming, audit};

/// Two layers of the tiny teacher in single precision: 32 wide, 64 inside, with keys of 16 and two norms.
const TWO_LAYERS: u64 = 2 * 4 * (32 * 96 + 3 * 32 * 64 + 64);
/// Its embedding, which is its head.
const HEAD: u64 = 4 * 320 * 32;
/// The hidden state of a token.
const TOKEN: u64 = 4 * 32;

fn streamed(project: &Project, name: &str, memory: &str) -> Pipeline {
    project.another(name, |pipeline| {
        pipeline.cache.batch_tokens = Some(64);
        pipeline.teacher.memory = Some(from_json(&format!("{memory:?}")));
    })
}

fn streaming_of(events: &[Event]) -> Option<Streaming> {
    events.iter().find_map(|event| match event {
        Event::Streaming(streaming) => Some(*streaming),
        _ => None,
    })
}

/// The number of batches of a run and their tokens at most.
fn batches_of(events: &[Event]) -> (u64, u64) {
    let tokens = events.iter().filter_map(|event| match event {
        Event::Batch { tokens, .. } => Some(*tokens),
        _ => None,
    });
    tokens.fold((0, 0), |(count, most), tokens| (count + 1, most.max(tokens)))
}

#[test]
fn without_a_setting_the_memory_of_the_machine_decides() {
    let project = Project::new();
    let unknown = project.another("unknown", |_| ());
    assert_eq!(streaming_of(&events_of(&unknown)), None);
    let planned = |pipeline: &Pipeline| plan_with(pipeline, 1000, None).resident_bytes;
    let resident = planned(&unknown).unwrap();
    assert!(resident > TWO_LAYERS + HEAD);
    let expected = without_records(files(&unknown.cache_dir()));
    for (available, is_streamed) in [(100 << 10, true), (1 << 40, false)] {
        let pipeline = project.another(&format!("{available}"), |pipeline| {
            pipeline.available_memory = Some(available);
        });
        assert_eq!(planned(&pipeline), Some(resident).filter(|_| !is_streamed));
        let streaming = streaming_of(&events_of(&pipeline));
        assert_eq!(
            streaming.map(|streaming| streaming.memory_bound),
            Some(MemoryBound::Machine).filter(|_| is_streamed)
        );
        assert!(without_records(files(&pipeline.cache_dir())) == expected, "{available}");
    }
    // A setting goes before the machine.
    let set = project.another("set", |pipeline| {
        pipeline.available_memory = Some(100 << 10);
        pipeline.teacher.memory = Some(from_json("\"1 GiB\""));
    });
    assert_eq!(streaming_of(&events_of(&set)), None);
}

#[test]
fn a_streamed_cache_has_the_bytes_of_a_resident_one() {
    let project = Project::with_rows(&(fs::read_to_string(fixture("tiny-teacher-text.jsonl")).unwrap() + &long_rows()));
    let resident = project.another("resident", |_| ());
    run_to_end(&resident);
    let expected = without_records(files(&resident.cache_dir()));
    let small = project.another("small", |pipeline| pipeline.cache.batch_tokens = Some(64));
    let (ordinary, _) = batches_of(&events_of(&small));
    // Too little for anything; for passes of several batches; for almost all weights.
    for (memory, is_too_little) in [("1 KiB", true), ("90 KiB", false), ("112 KiB", false)] {
        let pipeline = streamed(&project, memory, memory);
        let events = events_of(&pipeline);
        let found = without_records(files(&pipeline.cache_dir()));
        assert!(found == expected, "{memory}: another cache");
        let streaming = streaming_of(&events).unwrap();
        assert_eq!(streaming.is_too_little(), is_too_little, "{memory}");
        assert_eq!(streaming.weight_bytes, TWO_LAYERS + HEAD);
        assert_eq!(streaming.least_bytes, TWO_LAYERS + 64 * TOKEN);
        let (batches, _) = batches_of(&events);
        if is_too_little {
            assert_eq!((batches, streaming.pass_tokens), (ordinary, 64));
        } else {
            let most = (streaming.memory_bytes - TWO_LAYERS) / TOKEN;
            assert_eq!(streaming.pass_tokens as u64, most);
            assert!(batches < ordinary, "{batches} passes, {ordinary} batches");
        }
    }
    // Weights that fit stay in memory, and the cache is the same again.
    let pipeline = streamed(&project, "fits", "113 KiB");
    assert_eq!(streaming_of(&events_of(&pipeline)), None);
    assert!(without_records(files(&pipeline.cache_dir())) == expected);
}

#[test]
fn a_stopped_streamed_capture_continues_streamed_or_not() {
    let project = Project::new();
    let resident = project.another("resident", |_| ());
    run_to_end(&resident);
    let pipeline = streamed(&project, "stopped", "90 KiB");
    let stop = AtomicBool::new(false);
    let mut units = 0;
    let outcome = run(&pipeline, Worker::ALONE, &stop, &mut |event| {
        if let Event::UnitCommitted { .. } = event {
            units += 1;
            stop.store(true, Ordering::Relaxed);
        }
    });
    assert!(matches!(outcome, Ok(Outcome::Stopped(_))) && units > 0);
    // With another memory, from the first of two workers on, and without any at the end.
    let less = streamed(&project, "stopped", "1 KiB");
    run_as(&less, "1/2".parse().unwrap());
    run_to_end(&project.another("stopped", |_| ()));
    let found = without_records(files(&pipeline.cache_dir()));
    assert!(found == without_records(files(&resident.cache_dir())));
    // And the audit of a streamed teacher agrees.
    let settings = AuditSettings { positions: 50, seed: 1 };
    let audited = audit(&pipeline, &settings, &AtomicBool::new(false), &mut |_| ()).unwrap();
    let AuditOutcome::Done(audited @ Audit { .. }) = audited else {
        panic!("nobody stopped it")
    };
    assert!(
        audited.positions == 50 && audited.largest_target_error < 1e-4,
        "{audited:?}"
    );
}

#[test]
fn a_plan_says_how_a_streamed_teacher_runs() {
    let project = Project::new();
    let pipeline = streamed(&project, "planned", "112 KiB");
    for calibration in [None, Some(std::time::Duration::from_secs(10))] {
        let plan = plan_with(&pipeline, 1000, calibration);
        let passes = plan.streaming.unwrap();
        assert_eq!(plan.calibration.is_some(), calibration.is_some());
        assert!(passes.largest_pass_tokens <= passes.streaming.pass_tokens as u64);
        // Two layers or the head, and hidden states; then activations, and the default chunk of logits of 64 MiB.
        let least = HEAD + passes.largest_pass_tokens * TOKEN + (64 << 20);
        assert!(
            passes.expected_bytes >= least && passes.expected_bytes < least + (70 << 20),
            "{passes:?}"
        );
    }
    let plan = plan_with(&pipeline, 1000, None).streaming.unwrap();
    let (batches, most) = batches_of(&events_of(&pipeline));
    assert_eq!((plan.passes, plan.largest_pass_tokens), (batches, most));
    assert_eq!(plan_with(&project.pipeline, 1000, None).streaming, None);
}

#[test]
fn weights_that_change_during_a_streamed_capture_are_refused() {
    let project = Project::new();
    let teacher = project.folder.path().join("teacher");
    fs::create_dir(&teacher).unwrap();
    for (name, bytes) in files(&fixture("tiny-teacher")) {
        fs::write(teacher.join(name), bytes).unwrap();
    }
    let mut pipeline = streamed(&project, "changed", "90 KiB");
    pipeline.teacher.model = teacher.clone();
    let weights = teacher.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let failed = run(&pipeline, Worker::ALONE, &AtomicBool::new(false), &mut |event| {
        if let Event::Loaded = event {
            // In place, as a download writes.
            fs::write(&weights, &bytes).unwrap();
        }
    });
    assert!(
        matches!(failed, Err(PrecomputeError::TeacherChanged { .. })),
        "{failed:?}"
    );
    assert!(
        shards(&pipeline)
            .keys()
            .all(|path| path.extension().is_none_or(|kind| kind != "parquet"))
    );
}

#[test]
fn memory_that_cannot_be_meant_is_refused_by_name() {
    let project = Project::new();
    let mut pipeline = streamed(&project, "one", "1 GiB");
    pipeline.teacher.device = "cuda:0".to_owned();
    let error = refused(&pipeline);
    assert!(
        matches!(&error, PrecomputeError::StreamingDevice { device } if device == "cuda:0"),
        "{error}"
    );
    assert!(error.to_string().contains("`teacher.memory`") && !error.is_unexpected());
    assert!(error.hint().unwrap().contains("`teacher.memory`"));
    let mut pipeline = streamed(&project, "one", "1 GiB");
    pipeline.teacher.server = Some("http://127.0.0.1:1".to_owned());
    pipeline.teacher.engine = Some(from_json("\"vllm\""));
    let error = refused(&pipeline);
    assert!(
        error
            .to_string()
            .contains("`teacher.memory` does not go with `teacher.server`"),
        "{error}"
    );
    assert!(!pipeline.cache_dir().exists());
    let wrong = serde_json::from_str::<crate::TeacherSettings>(r#"{"model": "m", "memory": "8 GB"}"#).unwrap_err();
    assert!(wrong.to_string().contains("`8 GB` is no amount of memory"), "{wrong}");
    let settings: crate::TeacherSettings = from_json(r#"{"model": "m", "memory": "8 GiB"}"#);
    let again: crate::TeacherSettings = from_json(&serde_json::to_string(&settings).unwrap());
    assert_eq!((again.memory.unwrap().bytes(), &again), (8 << 30, &settings));
}
