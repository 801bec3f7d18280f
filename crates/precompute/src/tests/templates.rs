//! What the chat template leaves in the cache.

use leadspan_cache::CacheError;
use serde_json::{Value, json};

use super::*;
use crate::{prepare, student_files};

#[test]
fn the_token_with_which_the_template_ends_a_turn_is_a_stop_token_of_what_is_exported() {
    let project = Project::new();
    let teacher = project.folder.path().join("teacher");
    fs::create_dir(&teacher).unwrap();
    for (name, bytes) in files(&fixture("tiny-teacher")) {
        fs::write(teacher.join(name), bytes).unwrap();
    }
    // The model of a base model: it ends with `<|endoftext|>`, which the template does not write.
    fs::write(
        teacher.join("generation_config.json"),
        r#"{"eos_token_id": 0, "do_sample": true}"#,
    )
    .unwrap();
    let stored = |name: &str, change: &dyn Fn(&mut Pipeline)| -> Value {
        let pipeline = project.another(name, |pipeline| {
            pipeline.teacher.model = "teacher".into();
            change(pipeline);
        });
        let cache = prepare(&pipeline, &mut |_| {}).unwrap().cache;
        serde_json::from_slice(&fs::read(cache.tokenizer_dir().join("generation_config.json")).unwrap()).unwrap()
    };
    assert_eq!(
        stored("one", &|_| {}),
        json!({"eos_token_id": [0, 2], "do_sample": true})
    );
    fs::remove_file(teacher.join("generation_config.json")).unwrap();
    // The token of `config.json`, which is the same.
    assert_eq!(stored("two", &|_| {}), json!({"eos_token_id": [2]}));
}

#[test]
fn a_student_of_an_earlier_versions_cache_has_the_stop_token_that_the_cache_lacks() {
    let project = Project::new();
    let made = prepare(&project.pipeline, &mut |_| {}).unwrap().cache;
    let mut files = made.tokenizer_contents().unwrap();
    let generation = |files: &[(String, Vec<u8>)]| -> Value {
        let (_, bytes) = files.iter().find(|(name, _)| name == "generation_config.json").unwrap();
        serde_json::from_slice(bytes).unwrap()
    };
    let exported = |cache: &Cache| student_files(cache).unwrap().files;
    assert_eq!(exported(&made), files);
    let (_, bytes) = files
        .iter_mut()
        .find(|(name, _)| name == "generation_config.json")
        .unwrap();
    *bytes = br#"{"eos_token_id": 0, "top_k": 20}"#.to_vec();
    let open = |name: &str, files: &[(String, Vec<u8>)]| {
        Cache::create_or_open(&project.folder.path().join(name), made.identity(), files).unwrap()
    };
    let student = exported(&open("old", &files));
    assert_eq!(generation(&student), json!({"eos_token_id": [0, 2], "top_k": 20}));
    // A template that cannot be used, and a tokenizer that is refused, leave the files as they are.
    let (_, bytes) = files
        .iter_mut()
        .find(|(name, _)| name == "chat_template.jinja")
        .unwrap();
    *bytes = b"{% if".to_vec();
    let unread = student_files(&open("no-template", &files)).unwrap();
    assert_eq!((&unread.files, unread.lacks_end_of_turn), (&files, false));
    let (_, bytes) = files.iter_mut().find(|(name, _)| name == "tokenizer.json").unwrap();
    *bytes = b"{}".to_vec();
    assert_eq!(exported(&open("no-tokenizer", &files)), files);
}

#[test]
fn the_end_of_a_turn_is_the_eos_token_of_a_student_unless_the_template_writes_that_elsewhere() {
    let project = Project::new();
    let teacher = project.folder.path().join("teacher");
    fs::create_dir(&teacher).unwrap();
    for (name, bytes) in files(&fixture("tiny-teacher")) {
        fs::write(teacher.join(name), bytes).unwrap();
    }
    // The tokenizer of a base model. A token may be an object, and older versions of transformers name it twice.
    let config = fs::read_to_string(teacher.join("tokenizer_config.json")).unwrap();
    let base = config.replace(
        "\"eos_token\": \"<|im_end|>\"",
        "\"eos_token\": {\"content\": \"<|endoftext|>\"}",
    );
    assert_ne!(base, config);
    fs::write(teacher.join("tokenizer_config.json"), base).unwrap();
    let map = r#"{"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}"#;
    fs::write(teacher.join("special_tokens_map.json"), map).unwrap();
    let exported = |name: &str| {
        let pipeline = project.another(name, |pipeline| pipeline.teacher.model = "teacher".into());
        let cache = prepare(&pipeline, &mut |_| {}).unwrap().cache;
        let before = cache.tokenizer_contents().unwrap();
        let after = student_files(&cache).unwrap().files;
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
        changed
            .map(|(_, (name, bytes))| (name.clone(), serde_json::from_slice::<Value>(bytes).unwrap()))
            .collect::<Vec<_>>()
    };
    let [(first, map), (second, config)] = &exported("one")[..] else {
        panic!("two files name it")
    };
    assert_eq!(
        [first.as_str(), second.as_str()],
        ["special_tokens_map.json", "tokenizer_config.json"]
    );
    assert_eq!(map, &json!({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}));
    let token = |name: &str| config[name].as_str();
    assert_eq!(
        [token("eos_token"), token("bos_token"), token("pad_token")],
        [Some("<|im_end|>"), Some("<|im_start|>"), Some("<|endoftext|>")]
    );
    // This template ends a conversation with the `eos_token`, behind the end of the turn.
    let path = teacher.join("chat_template.jinja");
    let template = fs::read_to_string(&path).unwrap() + "{{ eos_token }}";
    fs::write(path, template).unwrap();
    assert_eq!(exported("two"), []);
}

#[test]
fn a_template_that_shows_no_end_of_a_turn_is_reported_once() {
    let project = Project::new();
    let teacher = project.folder.path().join("teacher");
    fs::create_dir(&teacher).unwrap();
    for (name, bytes) in files(&fixture("tiny-teacher")) {
        fs::write(teacher.join(name), bytes).unwrap();
    }
    let reports = |name: &str, template: &str| {
        fs::write(teacher.join("chat_template.jinja"), template).unwrap();
        let pipeline = project.another(name, |pipeline| pipeline.teacher.model = "teacher".into());
        let mut reports = 0;
        let mut count = |event| reports += usize::from(matches!(event, Event::NoEndOfTurn));
        let cache = prepare(&pipeline, &mut count).unwrap().cache;
        // A student of this cache is told the same every time.
        let lacks = student_files(&cache).unwrap().lacks_end_of_turn;
        (reports, lacks)
    };
    let bare = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    assert_eq!(reports("bare", bare), (1, true));
    // The corpus is there.
    assert_eq!(reports("bare", bare), (0, true));
    let wrapped = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{{ eos_token }}{% endfor %}";
    assert_eq!(reports("wrapped", wrapped), (0, false));
}

#[test]
fn template_arguments_reach_the_template_and_belong_to_the_identity() {
    let project = Project::new();
    let teacher = project.folder.path().join("teacher");
    fs::create_dir(&teacher).unwrap();
    for (name, bytes) in files(&fixture("tiny-teacher")) {
        fs::write(teacher.join(name), bytes).unwrap();
    }
    let template = teacher.join("chat_template.jinja");
    let text = fs::read_to_string(&template).unwrap();
    fs::write(
        &template,
        format!("{{% if loud %}}LOUD {{% endif %}}{{{{ pad_token }}}}{text}"),
    )
    .unwrap();
    let pipeline = |loud: Option<Value>| {
        project.another("one", |pipeline| {
            pipeline.teacher.model = "teacher".into();
            pipeline
                .sections
                .template_arguments
                .extend(loud.map(|loud| ("loud".to_owned(), loud)));
        })
    };
    let quiet = prepare(&pipeline(None), &mut |_| {}).unwrap();
    let identity = &quiet.cache.identity().sections;
    assert!(identity.get("template_arguments").is_none(), "{identity}");
    let tokens = quiet.corpus.tokens(0).unwrap().to_vec();
    assert_eq!(tokens[0], 0, "the template writes the token for padding");

    let error = prepare(&pipeline(Some(json!(true))), &mut |_| {}).err().unwrap();
    let PrecomputeError::Cache(CacheError::IdentityMismatch {
        field, stored, asked, ..
    }) = error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (field.as_str(), stored.as_str(), asked.as_str()),
        ("sections.template_arguments.loud", "(absent)", "true")
    );
    fs::remove_dir_all(project.folder.path().join("caches")).unwrap();
    let loud = prepare(&pipeline(Some(json!(true))), &mut |_| {}).unwrap();
    assert_eq!(
        loud.cache.identity().sections["template_arguments"],
        json!({"loud": true})
    );
    assert_ne!(loud.corpus.tokens(0).unwrap().to_vec(), tokens);
}
