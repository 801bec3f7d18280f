//! Servers that are not one model: several behind one address, and one that is exchanged while no request fails.

use super::*;

#[test]
fn two_models_that_answer_in_turn_are_refused() {
    let project = Project::new();
    for (form, engine) in [
        (Form::Vllm, ServerEngine::Vllm),
        (Form::SglangBase64, ServerEngine::Sglang),
    ] {
        let server = serving(form);
        server.change(|manner| manner.in_turn = Some(0.3));
        let pipeline = served(&project, &format!("turns-{form:?}"), &server, engine);
        let (message, hint) = refused_with(&pipeline);
        assert!(
            message.contains(
                "answers the same question in different ways: its log-probabilities at 64 fixed positions differ by"
            ),
            "{message}"
        );
        assert!(message.ends_with("where rounding explains 0.25 at most"), "{message}");
        assert!(hint.contains("one server"), "{hint}");
        assert!(!pipeline.cache_dir().exists());
    }
}

#[test]
fn a_cache_that_two_models_filled_is_refused() {
    let project = Project::new();
    let server = serving(Form::Vllm);
    let pipeline = served(&project, "turns", &server, ServerEngine::Vllm);
    run_to_end(&pipeline);
    let path = pipeline.cache_dir().join("identity.json");
    let mut identity: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    identity["identity"]["teacher"]["server"]["answers"]["spread"] = serde_json::json!(2.28);
    fs::write(&path, identity.to_string()).unwrap();
    // As a cache of an earlier version.
    fs::remove_file(pipeline.cache_dir().join("inventory.json")).unwrap();
    let message = refused(&pipeline).to_string();
    assert!(message.contains("differ by 2.28 nats"), "{message}");
}

/// How a server becomes another one.
type Change = fn(&mut Manner);

/// Runs with a server that becomes another model after a batch of the second work unit. Returns the error.
fn exchanged(pipeline: &Pipeline, server: &StandIn, change: Change) -> PrecomputeError {
    let (mut first, mut done) = (None, false);
    let outcome = run(pipeline, Worker::ALONE, &AtomicBool::new(false), &mut |event| {
        let Event::Batch { unit, .. } = event else { return };
        if !done && first.get_or_insert_with(|| unit.clone()) != &unit {
            done = true;
            server.change(change);
        }
    });
    outcome.unwrap_err()
}

#[test]
fn a_server_that_is_exchanged_between_requests_leaves_no_shard_of_the_other_model() {
    let project = Project::new();
    let server = serving(Form::Vllm);
    let whole = served(&project, "whole", &server, ServerEngine::Vllm);
    run_to_end(&whole);
    let expected = shards(&whole);
    let changes: [(&str, Change); 3] = [
        ("weights", |manner| manner.scale = 1.05),
        ("version", |manner| manner.version = "0.33.0"),
        ("model", |manner| manner.models = vec!["another"]),
    ];
    for (name, change) in changes {
        let mut pipeline = served(&project, name, &server, ServerEngine::Vllm);
        pipeline.teacher.requests = 1;
        let error = exchanged(&pipeline, &server, change);
        let message = error.to_string();
        let unit = message
            .split("; the work unit `")
            .nth(1)
            .and_then(|rest| rest.split('`').next());
        let unit = unit.unwrap_or_else(|| panic!("{message}"));
        assert!(message.ends_with("captured meanwhile, was not stored"), "{message}");
        assert!(
            error.hint().unwrap().contains("the same command continues"),
            "{error:?}"
        );
        // What is stored is of the teacher, and the unit of the other model is not.
        let left = shards(&pipeline);
        assert!(
            !left.is_empty() && left.len() < expected.len(),
            "{name}: {:?}",
            left.keys()
        );
        for (path, bytes) in &left {
            assert_eq!(Some(bytes), expected.get(path), "{name}: {}", path.display());
            assert!(!path.display().to_string().contains(unit), "{name}: {unit}");
        }
        server.change(|manner| *manner = Manner::of(Form::Vllm));
        run_to_end(&pipeline);
        assert_eq!(shards(&pipeline), expected, "{name}");
    }
}

#[test]
fn a_server_is_compared_before_every_commit_and_seldom_else() {
    let project = Project::with_rows(&long_rows());
    let server = serving(Form::Vllm);
    let pipeline = served(&project, "long", &server, ServerEngine::Vllm);
    let before = server.questions();
    run_to_end(&pipeline);
    let corpus = Cache::open(&pipeline.cache_dir()).unwrap().require_corpus().unwrap();
    let comparisons = server.questions() - before - FIRST - corpus.len();
    let tokens: usize = corpus.samples().map(|sample| sample.token_count()).sum();
    // It is asked about 65 tokens each time: in between, less than a hundredth.
    assert!(comparisons >= corpus.units().len(), "{comparisons}");
    assert!(
        comparisons <= corpus.units().len() + tokens / 6500,
        "{comparisons} for {tokens} tokens"
    );
}

#[test]
fn an_audit_allows_a_server_what_its_answers_differed_by() {
    let project = Project::new();
    let server = serving(Form::Vllm);
    let pipeline = served(&project, "audited", &server, ServerEngine::Vllm);
    run_to_end(&pipeline);
    let settings = AuditSettings {
        positions: 300,
        seed: 1,
    };
    let audited = || match audit(&pipeline, &settings, &AtomicBool::new(false), &mut |_| ()).unwrap() {
        AuditOutcome::Done(audit) => audit,
        AuditOutcome::Stopped => panic!("nobody stopped it"),
    };
    let found = audited();
    found.check(&pipeline.cache_dir()).unwrap();
    // 1e-6 of the stored form and 2e-5 of the tail: the server repeated itself to the bit.
    let worst = found.worst.unwrap();
    let bound = 2.1e-5 * (1.0 + 4.0 / worst.positions as f64);
    assert!((worst.bound / bound - 1.0).abs() < 1e-9, "{worst:?}");
    // A model that differs by a twentieth answers the fixed positions as before, and all else otherwise.
    server.change(|manner| manner.others_scale = Some(1.05));
    let found = audited();
    let error = found.check(&pipeline.cache_dir()).unwrap_err();
    assert!(matches!(error, PrecomputeError::Disagrees { .. }), "{error}");
}

#[test]
fn a_plan_without_calibration_needs_no_server() {
    let project = Project::new();
    let mut server = serving(Form::Vllm);
    let mut pipeline = served(&project, "planned", &server, ServerEngine::Vllm);
    pipeline.teacher.served_model = None;
    pipeline.cache.lead_span_proportion = "0.5".parse().unwrap();
    let settings = PlanSettings {
        sample_rows: 100,
        calibration: None,
        scratch: project.folder.path().to_owned(),
    };
    let planned = |pipeline: &Pipeline| {
        let clock = std::time::Instant::now();
        let stop = AtomicBool::new(false);
        plan(pipeline, &settings, &|| clock.elapsed(), &stop, &|_| ())
    };
    let left = |pipeline: &Pipeline| match planned(pipeline).unwrap() {
        PlanOutcome::Done(plan) => plan.left.positions,
        PlanOutcome::Stopped => panic!("nobody stopped it"),
    };
    run_to_end(&pipeline);
    server.kill();
    assert_eq!(left(&pipeline), 0);
    pipeline.cache.lead_span_proportion = "1.0".parse().unwrap();
    assert!(left(&pipeline) > 100);
    // What is known without the server still has to agree.
    let refuses = |change: &dyn Fn(&mut crate::TeacherSettings), field: &str| {
        let mut other = pipeline.clone();
        change(&mut other.teacher);
        let error = planned(&other).unwrap_err();
        assert!(
            matches!(&error, PrecomputeError::Cache(CacheError::IdentityMismatch { field: found, .. }) if found == field),
            "{error}"
        );
    };
    refuses(
        &|teacher| teacher.engine = Some(ServerEngine::Sglang),
        "teacher.server.engine",
    );
    refuses(
        &|teacher| teacher.served_model = Some("another".to_owned()),
        "teacher.server.model",
    );
    refuses(
        &|teacher| teacher.revision = Some("v2".to_owned()),
        "teacher.server.revision",
    );
}
