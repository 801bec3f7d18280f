//! Failures that stay, and servers that are not the teacher's: each by name, before anything wrong is stored.

use super::*;

#[test]
fn every_failure_that_stays_is_named() {
    let project = Project::new();
    let server = serving(Form::Vllm);
    let faults = [
        (
            Fault::Status(500, None),
            "did not answer: status 500: told to",
            "the same command continues",
        ),
        (
            Fault::Status(400, None),
            "refused `/v1/completions` with status 400",
            "server's log",
        ),
        (Fault::Status(401, None), "with status 401", "LEADSPAN_SERVER_KEY"),
        (Fault::Status(404, None), "with status 404", "`teacher.engine`"),
        (
            Fault::Redirect,
            "redirects `/v1/completions` to `http://elsewhere.example/v1`",
            "answers itself",
        ),
        (Fault::Cut, "did not answer", "continues"),
        (
            Fault::Text("<html>busy</html>"),
            "is not what vllm answers: sample `",
            "`teacher.engine`",
        ),
        (Fault::Text("{}"), "is not what vllm answers", ""),
        (Fault::Endless, "has more than", "server's log"),
        (Fault::Short, "the server answered sample `", "no shard was written"),
        (Fault::Value(f32::NAN), "is not what vllm answers", ""),
        (
            Fault::Value(0.5),
            "which is no logarithm of a probability",
            "raw log-probabilities",
        ),
        (Fault::Value(0.0), "the probabilities sum to 1.", ""),
        (Fault::Token(320), "token 320 is not in the vocabulary of 320", ""),
        (
            Fault::Model("another"),
            "with the model `another`, where `teacher` was asked",
            "`teacher.served_model`",
        ),
        (
            Fault::Lowered(3.0),
            "and the tokens that are not listed have at most",
            "raw log-probabilities",
        ),
        (Fault::Shifted, "has rank ", "`teacher.engine`"),
    ];
    for (number, (fault, message, hint)) in faults.into_iter().enumerate() {
        let asked = server.questions();
        server.change(|manner| manner.faults = vec![(asked + FIRST + 3, fault.clone())]);
        let pipeline = served(&project, &format!("{number}"), &server, ServerEngine::Vllm);
        let (found, found_hint) = refused_with(&pipeline);
        assert!(found.contains(message), "{fault:?}: {found}");
        assert!(found_hint.contains(hint), "{fault:?}: {found_hint}");
        assert!(
            !shards(&pipeline)
                .keys()
                .any(|path| path.extension().is_some_and(|end| end == "parquet"))
        );
    }
    // In base64, what is not a number can be written.
    let sglang = serving(Form::SglangBase64);
    for (name, fault, message) in [
        ("nan", Fault::Value(f32::NAN), "is NaN"),
        (
            "lowered",
            Fault::Lowered(3.0),
            "and the tokens that are not listed have at most",
        ),
        ("shifted", Fault::Shifted, "which follows, "),
    ] {
        sglang.change(|manner| manner.faults = vec![(sglang.questions() + FIRST, fault.clone())]);
        let (found, _) = refused_with(&served(&project, name, &sglang, ServerEngine::Sglang));
        assert!(
            found.contains("position ") && found.contains(message),
            "{fault:?}: {found}"
        );
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up_after_the_limits() {
    let project = Project::new();
    let server = serving(Form::SglangLists);
    server.change(|manner| manner.faults = vec![(FIRST, Fault::Silence)]);
    let mut pipeline = served(&project, "silent", &server, ServerEngine::Sglang);
    pipeline.teacher.request_seconds = 1;
    let (message, hint) = refused_with(&pipeline);
    assert!(
        message.ends_with("did not answer: no answer within 1 s (tries: 1)"),
        "{message}"
    );
    assert!(hint.contains("`teacher.patience_seconds`"), "{hint}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn a_server_that_is_not_the_teachers_is_refused_before_anything_is_made() {
    let project = Project::new();
    let server = serving(Form::Vllm);
    let check = |change: &dyn Fn(&mut Manner), adapt: &dyn Fn(&mut Pipeline), message: &str, hint: &str| {
        server.change(|manner| {
            *manner = Manner::of(Form::Vllm);
            change(manner);
        });
        let mut pipeline = served(&project, "refused", &server, ServerEngine::Vllm);
        adapt(&mut pipeline);
        let (found, found_hint) = refused_with(&pipeline);
        assert!(found.contains(message), "{found}");
        assert!(found_hint.contains(hint), "{found_hint}");
        assert!(!pipeline.cache_dir().exists(), "{message}");
    };
    check(
        &|manner| manner.models = vec!["a", "b"],
        &|_| (),
        "serves `a`, `b`, not `teacher`",
        "`teacher.served_model`",
    );
    check(
        &|manner| manner.models = vec!["a", "b"],
        &|pipeline| pipeline.teacher.served_model = None,
        "does not say which is the teacher",
        "`teacher.served_model`",
    );
    check(
        &|manner| manner.tokenizes = Some(1),
        &|_| (),
        "the server's tokenizer is another",
        "`teacher.model`",
    );
    check(
        &|manner| manner.most_logprobs = 15,
        &|_| (),
        "Requested prompt logprobs of 16",
        "`--max-logprobs 16`",
    );
    check(
        &|manner| manner.form = Form::SglangBase64,
        &|_| (),
        "refused `/version` with status 404",
        "`teacher.engine`",
    );
    check(
        &|manner| manner.key = Some("sesame"),
        &|_| (),
        "status 401",
        "LEADSPAN_SERVER_KEY",
    );
    let key = |text: &str| ServerKey::new(text.into());
    check(
        &|manner| manner.key = Some("sesame"),
        &|pipeline| pipeline.server_key = key("hush"),
        "Incorrect key: Bearer …",
        "LEADSPAN_SERVER_KEY",
    );
    check(
        &|_| (),
        &|pipeline| pipeline.server_key = key("a\nb"),
        "`LEADSPAN_SERVER_KEY` has a character",
        "",
    );
    let set = |pipeline: &mut Pipeline, address: &str| pipeline.teacher.server = Some(address.to_owned());
    check(
        &|_| (),
        &|pipeline| set(pipeline, "http://127.0.0.1:1"),
        "did not answer",
        "`teacher.patience_seconds`",
    );
    check(
        &|_| (),
        &|pipeline| set(pipeline, "http://me:word@host"),
        "user name or a password",
        "environment",
    );
    check(
        &|_| (),
        &|pipeline| set(pipeline, "https://127.0.0.1:1/v1"),
        "ends in `/v1`",
        "leave out",
    );
    // What cannot be had is refused before the server is asked.
    let asked = server.questions();
    check(
        &|_| (),
        &|pipeline| pipeline.cache.temperatures = vec![2.0],
        "`cache.temperatures` cannot be had",
        "remove",
    );
    check(
        &|_| (),
        &|pipeline| pipeline.cache.tail_samples = 3,
        "`cache.tail_samples` cannot be had",
        "remove",
    );
    check(
        &|_| (),
        &|pipeline| pipeline.teacher.engine = None,
        "`teacher.engine` is not set",
        "`vllm` or `sglang`",
    );
    check(
        &|_| (),
        &|pipeline| pipeline.teacher.dtype = leadspan_model::StoredDtype::Bf16,
        "`teacher.dtype` does not go with `teacher.server`",
        "`teacher.quantisation`",
    );
    check(
        &|_| (),
        &|pipeline| pipeline.teacher.adapter = Some("adapter".into()),
        "`teacher.adapter` does not go with `teacher.server`",
        "remove",
    );
    check(
        &|_| (),
        &|pipeline| pipeline.teacher.requests = 0,
        "`teacher.requests` must be at least 1",
        "",
    );
    check(
        &|_| (),
        &|pipeline| pipeline.teacher.requests = 9999,
        "at most 1024",
        "",
    );
    check(
        &|_| (),
        &|pipeline| pipeline.teacher.server = None,
        "`teacher.engine` is set, but `teacher.server` is not",
        "set `teacher.server`",
    );
    assert_eq!(server.questions(), asked);
}

#[test]
fn a_sample_beyond_the_servers_context_is_named_before_anything_is_captured() {
    let project = Project::new();
    let server = serving(Form::Vllm);
    server.change(|manner| manner.context = 70);
    let pipeline = served(&project, "context", &server, ServerEngine::Vllm);
    let (message, hint) = refused_with(&pipeline);
    assert!(message.contains("the server has a context of 70 tokens"), "{message}");
    assert!(hint.contains("`data.max_tokens = 69`"), "{hint}");
    assert_eq!(server.questions(), FIRST);
}

#[test]
fn a_model_that_leadspan_cannot_run_is_served_if_its_vocabulary_is_known() {
    let project = Project::new();
    let server = serving(Form::Vllm);
    let pipeline = served(&project, "unknown", &server, ServerEngine::Vllm);
    let config = pipeline.model_path().join("config.json");
    fs::write(&config, r#"{"model_type": "mammoth"}"#).unwrap();
    let (message, hint) = refused_with(&pipeline);
    assert!(
        message.ends_with("does not say the size of the vocabulary (`vocab_size`)"),
        "{message}"
    );
    assert!(hint.contains("`config.json`"), "{hint}");
    let text = r#"{"model_type": "mammoth", "text_config": {"vocab_size": 320, "max_position_embeddings": 4096}}"#;
    fs::write(&config, text).unwrap();
    assert_eq!(run_to_end(&pipeline).samples, 40);
    // A family that leadspan knows has its defaults: Gemma 3 with 4 thousand million parameters leaves the size out.
    let text = r#"{"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 2560}}"#;
    fs::write(&config, text).unwrap();
    let gemma = project.another("gemma", |gemma| gemma.teacher = pipeline.teacher.clone());
    let prepared = crate::prepare(&gemma, &mut |_| ()).unwrap();
    assert_eq!(prepared.corpus.len(), 40);
    fs::write(
        &config,
        r#"{"model_type": "mammoth", "text_config": {"vocab_size": 320}}"#,
    )
    .unwrap();
    // A plan counts tokens, and no operations that nobody knows.
    let settings = PlanSettings {
        sample_rows: 100,
        calibration: Some(std::time::Duration::ZERO),
        scratch: project.folder.path().to_owned(),
    };
    let larger = project.another("larger", |larger| {
        larger.teacher = pipeline.teacher.clone();
    });
    let clock = std::time::Instant::now();
    let outcome = plan(
        &larger,
        &settings,
        &|| clock.elapsed(),
        &AtomicBool::new(false),
        &|_| (),
    );
    let PlanOutcome::Done(planned) = outcome.unwrap() else {
        panic!("nobody stopped it")
    };
    assert_eq!(planned.left.teacher_flops, 0.0);
    assert!(planned.left.teacher_tokens > 1000 && planned.left.seconds.unwrap() > 0.0);
}
