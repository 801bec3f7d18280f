//! A teacher that a server runs, against a stand-in server: the same cache as of a teacher in memory, and every failure by name.

mod exchanges;
mod refusals;
#[path = "../../../../../tests/served/stand_in/mod.rs"]
mod stand_in;

use leadspan_cache::CacheError;
use leadspan_diagnosis::Diagnosis as _;

use self::stand_in::{Fault, Form, Manner, StandIn};
use super::*;
use crate::{
    AuditOutcome, AuditSettings, PlanOutcome, PlanSettings, ServerEngine, ServerError, ServerKey, audit, plan,
};

/// The first question that is not about the fixed positions.
const FIRST: usize = 5;

fn serving(form: Form) -> StandIn {
    StandIn::start(&fixture("tiny-teacher"), Manner::of(form))
}

/// The project's pipeline with a server for its teacher, in a cache of its own. The teacher's directory has no weights.
fn served(project: &Project, name: &str, server: &StandIn, engine: ServerEngine) -> Pipeline {
    let bare = project.folder.path().join("bare");
    fs::create_dir_all(&bare).unwrap();
    for file in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
    ] {
        fs::copy(fixture("tiny-teacher").join(file), bare.join(file)).unwrap();
    }
    project.another(name, |pipeline| {
        pipeline.teacher.model = bare;
        pipeline.teacher.server = Some(server.url());
        pipeline.teacher.engine = Some(engine);
        pipeline.teacher.served_model = Some("teacher".to_owned());
        pipeline.teacher.patience_seconds = 0;
    })
}

/// The message and the hint with which a run ends.
fn refused_with(pipeline: &Pipeline) -> (String, String) {
    let error = refused(pipeline);
    assert!(!error.is_unexpected(), "{error:?}");
    (error.to_string(), error.hint().unwrap_or_default())
}

#[test]
fn a_served_teacher_gives_the_cache_of_the_same_teacher_in_memory() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    let native = read(&project.pipeline, "1.0");
    for (form, engine) in [
        (Form::Vllm, ServerEngine::Vllm),
        (Form::SglangBase64, ServerEngine::Sglang),
        (Form::SglangLists, ServerEngine::Sglang),
    ] {
        let server = serving(form);
        let pipeline = served(&project, &format!("{form:?}"), &server, engine);
        let summary = run_to_end(&pipeline);
        assert_eq!((summary.samples, summary.units_missing), (40, 0));
        let mut positions = 0;
        for ((id, native), (other_id, served)) in native.iter().zip(&read(&pipeline, "1.0")) {
            assert_eq!(
                (id, &native.tokens, &native.positions),
                (other_id, &served.tokens, &served.positions)
            );
            for (a, b) in native.distributions.iter().zip(served.distributions.iter()) {
                positions += 1;
                let near = |a: f32, b: f32| (a - b).abs() <= 1e-4;
                assert!(near(a.target_logprob, b.target_logprob), "{form:?}: the target of {id}");
                assert_eq!(a.logprobs.len(), b.logprobs.len());
                assert!(
                    a.logprobs.iter().zip(b.logprobs).all(|(&a, &b)| near(a, b)),
                    "{form:?}: {id}"
                );
                let mut tokens = [a.token_ids.to_vec(), b.token_ids.to_vec()];
                for tokens in &mut tokens {
                    tokens.sort_unstable();
                }
                assert_eq!(tokens[0], tokens[1], "{form:?}: {id}");
                // The tail is a difference, so its absolute error is bounded.
                assert!(
                    (a.tail_logprob.exp() - b.tail_logprob.exp()).abs() < 2e-6,
                    "{form:?}: the tail of {id}"
                );
            }
        }
        assert!(positions > 1000, "{positions}");
        let identity = Cache::open(&pipeline.cache_dir()).unwrap().identity().clone();
        let teacher = identity.teacher.unwrap();
        let stored = teacher.server.unwrap();
        assert_eq!(
            (stored.engine.as_str(), stored.version.as_str()),
            (engine.as_str(), "0.32.0")
        );
        assert_eq!((stored.answers.targets.len(), stored.answers.spread), (64, 0.0));
    }
}

#[test]
fn failures_that_pass_are_waited_for_and_leave_no_trace() {
    let project = Project::new();
    let server = serving(Form::Vllm);
    let whole = served(&project, "whole", &server, ServerEngine::Vllm);
    run_to_end(&whole);
    let disturbed = serving(Form::Vllm);
    disturbed.change(|manner| {
        manner.faults = vec![
            (0, Fault::Status(503, None)),
            (9, Fault::Status(429, Some(0))),
            (14, Fault::Cut),
            (21, Fault::Status(500, None)),
        ];
    });
    let pipeline = served(&project, "disturbed", &disturbed, ServerEngine::Vllm);
    let pipeline = Pipeline {
        teacher: crate::TeacherSettings {
            patience_seconds: 60,
            ..pipeline.teacher.clone()
        },
        ..pipeline
    };
    let waits: Vec<String> = events_of(&pipeline)
        .into_iter()
        .filter_map(|event| match event {
            Event::WaitingForServer(wait) => Some(wait.why),
            _ => None,
        })
        .collect();
    // Control characters of the server go nowhere.
    assert_eq!(waits[0], "status 503: told to  [31mfail");
    assert!(waits.iter().any(|why| why.starts_with("status 429")), "{waits:?}");
    assert!(waits.iter().any(|why| why.starts_with("status 500")), "{waits:?}");
    assert_eq!(waits.len(), 4, "{waits:?}");
    assert_eq!(shards(&pipeline), shards(&whole));
}

#[test]
fn a_capture_continues_with_the_same_server_and_with_no_other() {
    let project = Project::new();
    let mut server = serving(Form::Vllm);
    let whole = served(&project, "whole", &server, ServerEngine::Vllm);
    run_to_end(&whole);
    let pieces = served(&project, "pieces", &server, ServerEngine::Vllm);
    let pieces = Pipeline {
        cache: crate::CacheSettings {
            batch_tokens: Some(64),
            ..pieces.cache.clone()
        },
        ..pieces
    };
    let stop = AtomicBool::new(false);
    let outcome = run(&pieces, Worker::ALONE, &stop, &mut |event| {
        let committed = matches!(event, Event::UnitCommitted { .. });
        stop.fetch_or(committed, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(matches!(outcome.unwrap(), Outcome::Stopped(_)));
    // Other weights answer otherwise, by far more than rounding.
    server.change(|manner| manner.scale = 0.9);
    let (message, hint) = refused_with(&pieces);
    assert!(
        message.contains("does not answer as before: its log-probabilities at 64 fixed positions"),
        "{message}"
    );
    assert!(hint.contains("a new cache"), "{hint}");
    server.change(|manner| manner.scale = 1.0 + 1e-6);
    server.change(|manner| manner.version = "0.33.0");
    let error = refused(&pieces);
    assert!(
        matches!(&error, PrecomputeError::Cache(CacheError::IdentityMismatch { field, .. }) if field == "teacher.server.version"),
        "{error}"
    );
    server.change(|manner| manner.version = "0.32.0");
    // A cache of a stranger may remember no answers at all.
    let identity = pieces.cache_dir().join("identity.json");
    let text = fs::read_to_string(&identity).unwrap();
    let mut emptied: serde_json::Value = serde_json::from_str(&text).unwrap();
    emptied["identity"]["teacher"]["server"]["answers"] =
        serde_json::json!({"tokens": [5], "best": [], "targets": [], "spread": 0.0});
    fs::write(&identity, emptied.to_string()).unwrap();
    assert!(refused(&pieces).to_string().contains("does not answer as before"));
    fs::write(&identity, text).unwrap();
    let mut stated = pieces.clone();
    stated.teacher.quantisation = Some("fp8".to_owned());
    assert!(refused(&stated).to_string().contains("teacher.server.quantisation"));
    // It comes back at the same address, while it is waited for.
    let address = server.address();
    server.kill();
    let mut patient = pieces.clone();
    patient.teacher.patience_seconds = 60;
    let mut back = None;
    let outcome = run(&patient, Worker::ALONE, &AtomicBool::new(false), &mut |event| {
        if let Event::WaitingForServer(_) = event
            && back.is_none()
        {
            back = Some(StandIn::start_at(
                address,
                &fixture("tiny-teacher"),
                Manner::of(Form::Vllm),
            ));
        }
    });
    assert!(matches!(outcome.unwrap(), Outcome::Done(_)) && back.is_some());
    assert_eq!(shards(&pieces), shards(&whole));
}

#[test]
fn a_server_that_comes_back_with_other_weights_ends_the_capture() {
    let project = Project::new();
    let server = serving(Form::Vllm);
    server.change(|manner| manner.faults = vec![(FIRST + 3, Fault::Cut)]);
    let mut pipeline = served(&project, "changed", &server, ServerEngine::Vllm);
    pipeline.teacher.patience_seconds = 60;
    let error = run(&pipeline, Worker::ALONE, &AtomicBool::new(false), &mut |event| {
        if let Event::WaitingForServer(_) = event {
            server.change(|manner| manner.scale = 0.9);
        }
    });
    let error = error.unwrap_err();
    assert!(
        matches!(&error, PrecomputeError::Server(error) if matches!(**error, ServerError::OtherAnswers { .. })),
        "{error}"
    );
}

#[test]
fn a_served_cache_is_extended_by_the_same_server_alone() {
    let project = Project::new();
    let server = serving(Form::SglangBase64);
    let whole = served(&project, "whole", &server, ServerEngine::Sglang);
    run_to_end(&whole);
    let mut grown = served(&project, "grown", &server, ServerEngine::Sglang);
    grown.cache.lead_span_proportion = "0.5".parse().unwrap();
    run_to_end(&grown);
    grown.cache.lead_span_proportion = "1.0".parse().unwrap();
    server.change(|manner| manner.scale = 0.95);
    assert!(refused(&grown).to_string().contains("does not answer as before"));
    server.change(|manner| manner.scale = 1.0);
    run_to_end(&grown);
    for ((id, one), (_, other)) in read(&whole, "1.0").iter().zip(&read(&grown, "1.0")) {
        assert_close(one, other, id);
    }
}

#[test]
fn the_key_is_sent_and_left_nowhere() {
    let project = Project::new();
    let server = serving(Form::SglangBase64);
    server.change(|manner| manner.key = Some("open-sesame"));
    let mut pipeline = served(&project, "key", &server, ServerEngine::Sglang);
    pipeline.server_key = ServerKey::new("open-sesame\n".into());
    run_to_end(&pipeline);
    assert!(!format!("{pipeline:?}").contains("sesame"));
    for (path, bytes) in files(&pipeline.cache_dir()) {
        let found = bytes.windows(6).any(|window| window == b"sesame");
        assert!(!found, "{}", path.display());
    }
}

#[test]
fn plan_and_audit_ask_the_server() {
    let project = Project::new();
    let server = serving(Form::Vllm);
    let pipeline = served(&project, "planned", &server, ServerEngine::Vllm);
    let settings = PlanSettings {
        sample_rows: 100,
        calibration: Some(std::time::Duration::ZERO),
        scratch: project.folder.path().to_owned(),
    };
    let clock = std::time::Instant::now();
    let outcome = plan(
        &pipeline,
        &settings,
        &|| clock.elapsed(),
        &AtomicBool::new(false),
        &|_| (),
    );
    let PlanOutcome::Done(planned) = outcome.unwrap() else {
        panic!("nobody stopped it")
    };
    assert!(planned.calibration.unwrap().positions > 100 && planned.left.seconds.unwrap() > 0.0);
    run_to_end(&pipeline);
    let settings = AuditSettings {
        positions: 300,
        seed: 1,
    };
    let audited = || match audit(&pipeline, &settings, &AtomicBool::new(false), &mut |_| ()) {
        Ok(AuditOutcome::Done(audit)) => Ok(audit),
        Ok(AuditOutcome::Stopped) => panic!("nobody stopped it"),
        Err(error) => Err(error),
    };
    let found = audited().unwrap();
    assert_eq!((found.positions, found.device_class.as_str()), (300, "vllm 0.32.0"));
    assert!(
        found.mean_kl.abs() < 1e-6 && found.largest_logprob_error < 1e-4,
        "{found:?}"
    );
    found.check(&pipeline.cache_dir()).unwrap();
    server.change(|manner| manner.scale = 0.9);
    assert!(audited().unwrap_err().to_string().contains("does not answer as before"));
}
