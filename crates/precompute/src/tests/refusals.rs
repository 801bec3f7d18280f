//! Refusals: each has an error of its own, is expected, and leaves nothing behind.

use leadspan_cache::CacheError;
use leadspan_corpus::CorpusError;
use leadspan_diagnosis::Diagnosis as _;
use leadspan_model::ModelError;
use serde_json::Value;

use super::*;
use crate::{AuditSettings, audit, prepare};

/// A copy of the tiny teacher's directory that can be damaged.
fn copy_teacher(project: &Project) -> PathBuf {
    let copy = project.folder.path().join("teacher");
    fs::create_dir(&copy).unwrap();
    for (name, bytes) in files(&fixture("tiny-teacher")) {
        fs::write(copy.join(name), bytes).unwrap();
    }
    copy
}

/// Checks that a run is refused with an expected error, and leaves the project's folder as it was.
fn refused_without_trace(project: &Project, pipeline: &Pipeline) -> PrecomputeError {
    let before = files(project.folder.path());
    let error = refused(pipeline);
    assert!(!error.is_unexpected(), "{error}");
    assert_eq!(files(project.folder.path()), before, "{error}");
    assert!(!project.folder.path().join("caches").exists(), "{error}");
    error
}

#[test]
fn a_model_without_a_chat_template_is_named() {
    let project = Project::new();
    let teacher = copy_teacher(&project);
    fs::remove_file(teacher.join("chat_template.jinja")).unwrap();
    let pipeline = project.another("one", |pipeline| pipeline.teacher.model = "teacher".into());
    let error = refused_without_trace(&project, &pipeline);
    assert!(matches!(&error, PrecomputeError::NoChatTemplate { model } if *model == teacher));
    assert!(error.hint().unwrap().contains("chat_template.jinja"));
}

#[test]
fn bad_rows_and_missing_files_leave_no_cache_behind() {
    let project = Project::with_rows("{\"question\": 1}\n");
    let error = refused_without_trace(&project, &project.pipeline);
    assert!(
        matches!(error, PrecomputeError::Corpus(CorpusError::BadRow { line: 1, .. })),
        "{error}"
    );
    let missing = project.another("one", |pipeline| pipeline.data.files = vec!["nothing.jsonl".into()]);
    let error = refused_without_trace(&project, &missing);
    assert!(
        matches!(error, PrecomputeError::Corpus(CorpusError::MissingFile { .. })),
        "{error}"
    );
}

#[test]
fn taking_a_cache_back_spares_what_others_put_there() {
    let project = Project::with_rows("{\"question\": 1}\n");
    let dir = project.pipeline.cache_dir();
    fs::create_dir_all(&dir).unwrap();
    refused(&project.pipeline);
    assert!(
        dir.is_dir() && files(&dir).is_empty(),
        "an empty folder that was there is there still"
    );
    fs::create_dir(dir.join("tokenizer")).unwrap();
    fs::write(dir.join("tokenizer/notes.txt"), "mine").unwrap();
    refused(&project.pipeline);
    assert_eq!(fs::read(dir.join("tokenizer/notes.txt")).unwrap(), b"mine");
    assert!(matches!(Cache::open(&dir), Err(CacheError::NotACache { .. })));
    // What a cache would replace is refused before anything is made.
    for name in ["tokenizer/tokenizer.json", "corpus/samples.arrow", ".data.json"] {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let before = fs::read(&path).ok();
        fs::write(&path, "mine").unwrap();
        let there = files(&dir);
        let error = refused(&project.pipeline);
        assert!(
            matches!(&error, PrecomputeError::Cache(CacheError::Occupied { found, .. }) if path.starts_with(found)),
            "{error}"
        );
        assert_eq!(files(&dir), there);
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    }
    // With good rows the same call succeeds.
    fs::copy(
        fixture("tiny-teacher-text.jsonl"),
        project.folder.path().join("rows.jsonl"),
    )
    .unwrap();
    assert_eq!(run_to_end(&project.pipeline).samples, 40);
}

#[test]
fn truncated_weights_do_not_become_the_identity_of_a_new_cache() {
    let project = Project::new();
    let weights = copy_teacher(&project).join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    let pipeline = project.another("one", |pipeline| pipeline.teacher.model = "teacher".into());
    let error = refused_without_trace(&project, &pipeline);
    assert!(
        matches!(error, PrecomputeError::Model(ModelError::Weights { .. })),
        "{error}"
    );
    fs::write(&weights, whole).unwrap();
    run_to_end(&pipeline);
}

#[test]
fn a_strangers_corpus_with_tokens_that_the_teacher_does_not_know_is_refused() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    let dir = project.pipeline.cache_dir();
    let corpus = Cache::open(&dir).unwrap().require_corpus().unwrap();
    let largest: Vec<u8> = (0..corpus.len())
        .flat_map(|index| corpus.largest_token(index).to_le_bytes())
        .collect();
    let (path, description) = (dir.join("corpus/samples.arrow"), dir.join("corpus/prepared.json"));
    let mut table = fs::read(&path).unwrap();
    let at = table
        .windows(largest.len())
        .position(|window| window == largest)
        .unwrap();
    table[at..at + 4].copy_from_slice(&320u32.to_le_bytes());
    fs::write(&path, &table).unwrap();
    let mut stated: Value = serde_json::from_slice(&fs::read(&description).unwrap()).unwrap();
    stated["table"]["blake3"] = blake3::hash(&table).to_hex().as_str().into();
    fs::write(&description, serde_json::to_vec(&stated).unwrap()).unwrap();
    let error = refused(&project.pipeline);
    assert!(error.to_string().contains("inventory.json"), "{error}");
    // Without the inventory, the file as it is forged is all there is.
    fs::remove_file(dir.join("inventory.json")).unwrap();
    let error = refused(&project.pipeline);
    assert!(
        matches!(
            error,
            PrecomputeError::BeyondVocabulary {
                token: 320,
                vocabulary: 320,
                ..
            }
        ),
        "{error}"
    );
    let settings = AuditSettings {
        positions: usize::MAX,
        seed: 0,
    };
    let audited = audit(&project.pipeline, &settings, &AtomicBool::new(false), &mut |_| {});
    assert!(
        matches!(audited, Err(PrecomputeError::BeyondVocabulary { token: 320, .. })),
        "{audited:?}"
    );
}

#[test]
fn samples_beyond_the_context_or_the_vocabulary_are_refused_before_the_run() {
    let project = Project::new();
    let longer = project.another("one", |pipeline| pipeline.data.max_tokens = Some(4097));
    let error = refused_without_trace(&project, &longer);
    assert!(
        matches!(
            error,
            PrecomputeError::BeyondContext {
                max_tokens: 4097,
                context: 4096,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("data.max_tokens = 4096"));

    let tokenizer = copy_teacher(&project).join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&tokenizer).unwrap()).unwrap();
    let added = json["added_tokens"].as_array_mut().unwrap();
    let mut new = added[added.len() - 1].clone();
    // The next free ids are 302 to 319; the rest of the vocabulary of 320 is padding.
    for id in 302..321 {
        new["id"] = id.into();
        new["content"] = format!("<extra-{id}>").into();
        new["special"] = false.into();
        added.push(new.clone());
    }
    fs::write(&tokenizer, serde_json::to_vec(&json).unwrap()).unwrap();
    let rows = |id: u32| {
        let row = format!(r#"{{"id": "a", "question": "<extra-{id}>", "chain_of_thought": "b", "answer": "c"}}"#);
        fs::write(project.folder.path().join("rows.jsonl"), row + "\n").unwrap();
    };
    let pipeline = project.another("one", |pipeline| {
        pipeline.teacher.model = "teacher".into();
        pipeline.data.validation = from_json("0");
    });
    rows(320);
    let error = refused_without_trace(&project, &pipeline);
    let expected = matches!(&error, PrecomputeError::BeyondVocabulary { sample, token: 320, vocabulary: 320, .. } if sample == "a");
    assert!(expected, "{error}");
    rows(319);
    run_to_end(&pipeline);
}

#[test]
fn the_most_tokens_are_those_of_the_context_unless_they_are_set() {
    let project = Project::new();
    let config = copy_teacher(&project).join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let short = text.replace("\"max_position_embeddings\": 4096", "\"max_position_embeddings\": 100");
    assert_ne!(short, text);
    fs::write(&config, short).unwrap();
    let unset = project.another("short", |pipeline| {
        pipeline.teacher.model = "teacher".into();
        pipeline.data.max_tokens = None;
    });
    let corpus = crate::prepare(&unset, &mut |_| ()).unwrap().corpus;
    assert!(corpus.samples().all(|sample| sample.bounds.tokens() <= 100));
    let provenance = crate::Provenance::of(&corpus, &unset.cache_dir()).unwrap();
    assert_eq!(provenance.data.max_tokens, Some(100));
}

#[test]
fn settings_that_changed_since_the_data_were_prepared_are_refused_by_key() {
    let project = Project::new();
    prepare(&project.pipeline, &mut |_| ()).unwrap();
    let before = files(&project.pipeline.cache_dir());
    let refused = |change: &dyn Fn(&mut Pipeline)| {
        let mut other = project.pipeline.clone();
        change(&mut other);
        let error = prepare(&other, &mut |_| ()).unwrap_err();
        assert!(!error.is_unexpected() && error.hint().is_some(), "{error}");
        assert_eq!(files(&project.pipeline.cache_dir()), before);
        match error {
            PrecomputeError::SettingChanged { key, stored, asked, .. } => (key, stored, asked),
            other => panic!("{other}"),
        }
    };
    let of = |key: &str, stored: &str, asked: &str| (key.to_owned(), stored.to_owned(), asked.to_owned());
    assert_eq!(refused(&|other| other.data.seed = 4), of("data.seed", "3", "4"));
    assert_eq!(
        refused(&|other| other.data.validation = from_json("9")),
        of("data.validation", "8", "9")
    );
    assert_eq!(
        refused(&|other| other.cache.samples_per_shard = 11),
        of("cache.samples_per_shard", "10", "11")
    );
    // Appended rows do not replace it.
    fs::write(project.folder.path().join("more.jsonl"), appended_row("more-0")).unwrap();
    assert_eq!(refused(&|other| other.data.seed = 4), of("data.seed", "3", "4"));
}

#[test]
fn a_cache_of_another_identity_is_refused_with_both_values() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    let before = files(&project.pipeline.cache_dir());
    let differs = |change: &dyn Fn(&mut Pipeline)| {
        let mut other = project.pipeline.clone();
        change(&mut other);
        let error = refused(&other);
        assert_eq!(files(&project.pipeline.cache_dir()), before);
        match error {
            PrecomputeError::Cache(CacheError::IdentityMismatch {
                field, stored, asked, ..
            }) => (field, stored, asked),
            other => panic!("{other}"),
        }
    };
    let of = |field: &str, stored: &str, asked: &str| (field.to_owned(), stored.to_owned(), asked.to_owned());
    assert_eq!(differs(&|other| other.cache.top_k = 32), of("top_k", "16", "32"));
    let bf16 = |other: &mut Pipeline| other.teacher.dtype = leadspan_model::StoredDtype::Bf16;
    assert_eq!(differs(&bf16), of("teacher.dtype", "f32", "bf16"));
    let (field, stored, asked) = differs(&|other| other.teacher.adapter = Some(fixture("adapters/tiny")));
    assert!(field == "teacher.lora_blake3" && stored == "(absent)" && asked.len() == 64);
    assert_eq!(
        differs(&|other| other.sections.thinking_end = "</t>".into()),
        of("sections.thinking_end", "</think>", "</t>")
    );

    let teacher = copy_teacher(&project);
    let template = teacher.join("chat_template.jinja");
    fs::write(&template, fs::read_to_string(&template).unwrap() + "{# changed #}").unwrap();
    assert_eq!(
        differs(&|other| other.teacher.model = "teacher".into()).0,
        "chat_template"
    );
    let tokenizer = teacher.join("tokenizer.json");
    fs::write(
        &tokenizer,
        fs::read_to_string(&tokenizer).unwrap().replace("<think>", "<reason>"),
    )
    .unwrap();
    let (field, stored, asked) = differs(&|other| other.teacher.model = "teacher".into());
    assert!(field == "tokenizer" && stored.len() == 64 && asked.len() == 64 && stored != asked);
    let weights = teacher.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    assert_eq!(
        differs(&|other| other.teacher.model = "teacher".into()).0,
        "teacher.weights_blake3"
    );
}

#[test]
fn logits_that_are_not_finite_name_sample_and_position() {
    let project = Project::new();
    let weights = copy_teacher(&project).join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let header_bytes = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header_bytes]).unwrap();
    let start = header["model.embed_tokens.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
    // Token 310 occurs in no sample, but has a logit at every position.
    let row = 8 + header_bytes + start + 310 * 32 * size_of::<f32>();
    bytes[row..row + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, bytes).unwrap();
    let pipeline = project.another("one", |pipeline| {
        pipeline.teacher.model = "teacher".into();
        pipeline.cache.supervised_sections = from_json(r#"["answer"]"#);
    });
    let error = refused(&pipeline);
    let PrecomputeError::NonFiniteLogits {
        sample,
        position,
        token,
    } = &error
    else {
        panic!("{error}")
    };
    let corpus = Cache::open(&pipeline.cache_dir()).unwrap().require_corpus().unwrap();
    let first = corpus.sample(corpus.units()[0].samples.start);
    assert_eq!(
        (sample.as_str(), *position, *token),
        (first.id, first.bounds.chain_of_thought_end() - 1, 310)
    );
    assert!(
        shards(&pipeline).keys().all(|path| path.ends_with("layer.json")),
        "a shard was left behind"
    );
}

#[test]
fn what_was_changed_in_a_complete_cache_is_refused_by_name_and_a_missing_tokenizer_is_written_anew() {
    let project = Project::new();
    let pipeline = &project.pipeline;
    run_to_end(pipeline);
    let dir = pipeline.cache_dir();
    let sound = files(&dir);
    fs::remove_dir_all(dir.join("tokenizer")).unwrap();
    let mut restored = Vec::new();
    run(pipeline, Worker::ALONE, &AtomicBool::new(false), &mut |event| {
        if let Event::TokenizerRestored(names) = event {
            restored.extend(names);
        }
    })
    .unwrap();
    assert_eq!(files(&dir), sound);
    let names = sound.keys().filter_map(|path| path.strip_prefix("tokenizer").ok());
    assert!(names.map(|name| name.display().to_string()).eq(restored));
    for name in ["tokenizer/tokenizer.json", "corpus/tokens.u32", "corpus/samples.arrow"] {
        let path = dir.join(name);
        let found = sound.keys().find(|found| path.ends_with(found)).unwrap();
        let mut bytes = sound[found].clone();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        for error in [refused(pipeline), prepare(pipeline, &mut |_| ()).unwrap_err()] {
            assert!(
                matches!(&error, PrecomputeError::Cache(CacheError::Damaged { path: found, .. }) if *found == path),
                "{name}: {error}"
            );
            assert!(error.hint().unwrap().contains(name), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
        fs::write(&path, &sound[found]).unwrap();
    }
    fs::remove_file(dir.join("corpus/tokens.u32")).unwrap();
    for error in [refused(pipeline), prepare(pipeline, &mut |_| ()).unwrap_err()] {
        assert!(error.to_string().contains("corpus/tokens.u32"), "{error}");
    }
}
