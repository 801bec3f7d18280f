//! What becomes of the files of a tokenizer.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::*;
use crate::ModelError;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tokenizer")
}

/// The files of the fixture's tokenizer, with `change` made to its `tokenizer.json`, and the given files.
fn files(change: impl FnOnce(&mut Value), others: &Map<String, Value>) -> Vec<(String, Vec<u8>)> {
    let mut json: Value = serde_json::from_slice(&fs::read(fixtures().join("tokenizer.json")).unwrap()).unwrap();
    change(&mut json);
    let mut files: Vec<(String, Vec<u8>)> = others
        .iter()
        .map(|(name, content)| (name.clone(), serde_json::to_vec(content).unwrap()))
        .collect();
    files.push(("tokenizer.json".to_owned(), serde_json::to_vec(&json).unwrap()));
    files.sort();
    files
}

fn bundle(change: impl FnOnce(&mut Value), others: Value) -> Result<TokenizerBundle, String> {
    let Value::Object(others) = others else {
        panic!("files by name")
    };
    TokenizerBundle::from_files(Path::new("model"), files(change, &others)).map_err(|error| error.to_string())
}

fn tokens(bundle: &TokenizerBundle, text: &str) -> Vec<u32> {
    bundle.tokenizer.encode(text, false).unwrap().get_ids().to_vec()
}

#[test]
fn another_template_for_tools_is_noticed() {
    let templates = |templates: Value| json!({"tokenizer_config.json": {"chat_template": templates}});
    let named = |name: &str| json!({"name": name, "template": name});
    let of = |others: Value| {
        let bundle = bundle(|_| {}, others).unwrap();
        (bundle.chat_template, bundle.has_tool_use_template)
    };
    let default = || Some("default".to_owned());
    assert_eq!(of(templates(json!("default"))), (default(), false));
    assert_eq!(
        of(templates(json!([named("default"), named("rag")]))),
        (default(), false)
    );
    assert_eq!(
        of(templates(json!([named("tool_use"), named("default")]))),
        (default(), true)
    );

    let model = tempfile::tempdir().unwrap();
    let path = model.path();
    fs::copy(fixtures().join("tokenizer.json"), path.join("tokenizer.json")).unwrap();
    fs::write(path.join("chat_template.jinja"), "default").unwrap();
    let config = json!({"chat_template": [named("default"), named("tool_use")]});
    fs::write(path.join("tokenizer_config.json"), config.to_string()).unwrap();
    // The file replaces the list.
    assert!(!TokenizerBundle::from_dir(path).unwrap().has_tool_use_template);
    fs::create_dir(path.join("additional_chat_templates")).unwrap();
    fs::write(path.join("additional_chat_templates/tool_use.jinja"), "tool_use").unwrap();
    let bundle = TokenizerBundle::from_dir(path).unwrap();
    assert_eq!((bundle.chat_template, bundle.has_tool_use_template), (default(), true));
}

#[test]
fn tokens_of_the_files_beside_tokenizer_json_are_those_of_transformers() {
    let lines = fs::read_to_string(fixtures().join("added_tokens.jsonl")).unwrap();
    for line in lines.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let name = row["name"].as_str().unwrap();
        let bundle = bundle(|_| {}, row["files"].clone()).unwrap();
        assert_eq!(
            json!(tokens(&bundle, row["text"].as_str().unwrap())),
            row["tokens"],
            "{name}"
        );
        let mut named: Vec<(&str, &str)> = bundle.named_tokens().collect();
        named.sort_unstable();
        let mut expected: Vec<(&str, &str)> = (row["special_tokens"].as_object().unwrap().iter())
            .map(|(name, token)| (name.as_str(), token.as_str().unwrap()))
            .collect();
        expected.sort_unstable();
        assert_eq!(named, expected, "{name}");
        let ids: Vec<u32> = serde_json::from_value(row["tokens"].clone()).unwrap();
        assert_eq!(bundle.tokenizer.decode(&ids, true).unwrap(), row["decoded"], "{name}");
    }
}

#[test]
fn a_token_that_would_get_another_id_than_its_file_says_is_refused() {
    let content = |content: &str| json!({"content": content, "special": true});
    let config = json!({"tokenizer_config.json": {"added_tokens_decoder": {"310": content("<far>")}}});
    assert_eq!(
        bundle(|_| {}, config).err().unwrap(),
        "the tokenizer of `model` cannot be used: `tokenizer_config.json` gives the token `<far>` the id 310, but with \
         `tokenizer.json` it gets 302"
    );
    let added = json!({"added_tokens.json": {"<think>": 7}});
    assert!(
        bundle(|_| {}, added)
            .err()
            .unwrap()
            .contains("`added_tokens.json` gives the token `<think>` the id 7")
    );
    for wrong in [
        json!({"tokenizer_config.json": {"eos_token": 2}}),
        json!({"tokenizer_config.json": {"added_tokens_decoder": {"x": content("a")}}}),
        json!({"tokenizer_config.json": {"added_tokens_decoder": []}}),
        json!({"tokenizer_config.json": {"additional_special_tokens": [1]}}),
        json!({"added_tokens.json": {"a": -1}}),
        json!({"special_tokens_map.json": {"eos_token": {"lstrip": true}}}),
        json!({"special_tokens_map.json": []}),
        json!({"tokenizer_config.json": {"model_specific_special_tokens": ["<a>"]}}),
        json!({"tokenizer_config.json": {"model_specific_special_tokens": {"a_token": null}}}),
        json!({"special_tokens_map.json": {"model_specific_special_tokens": {"a_token": "<a>"}}}),
    ] {
        assert!(bundle(|_| {}, wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn the_added_tokens_of_a_text_are_found() {
    let more = json!({"tokenizer_config.json": {"extra_special_tokens": ["<|im_end|>>", "</s>", "\n", "\n\n"]}});
    let bundle = bundle(|_| {}, more).unwrap();
    let tokens = |text: &str| bundle.added_tokens_in(text);
    assert_eq!(tokens("<|im_end|>\n"), [2]);
    let of_two = tokens("\n</answer> x</think><|im_end|>");
    assert_eq!((of_two[0], of_two[1]), (301, 2));
    assert_eq!(tokens("a<|im_end|>></s>")[0], 302);
    assert!(tokens("\n\n### user:\n").is_empty());
}

#[test]
fn merges_that_are_left_out_at_random_are_refused() {
    for harmless in [json!(null), json!(0.0)] {
        bundle(|json| json["model"]["dropout"] = harmless, json!({})).unwrap();
    }
    let refused = bundle(|json| json["model"]["dropout"] = json!(0.1), json!({}))
        .err()
        .unwrap();
    assert!(
        refused.contains("`model.dropout` in its `tokenizer.json` is 0.1"),
        "{refused}"
    );
}

#[test]
fn special_tokens_that_would_be_read_as_plain_text_are_refused() {
    let split = |value: Value| {
        bundle(
            |_| {},
            json!({"tokenizer_config.json": {"split_special_tokens": value}}),
        )
    };
    for harmless in [json!(false), json!(null)] {
        split(harmless).unwrap();
    }
    let refused = split(json!(true)).err().unwrap();
    assert!(
        refused.contains("`split_special_tokens` in its `tokenizer_config.json` is `true`")
            && refused.contains("set it to `false`"),
        "{refused}"
    );
    assert!(split(json!("false")).is_err());
}

#[test]
fn truncation_and_padding_of_the_file_do_nothing() {
    let plain = bundle(|_| {}, json!({})).unwrap();
    let cutting = bundle(
        |json| {
            json["truncation"] = json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
            json["padding"] = json!({
                "strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
                "pad_token": "<|endoftext|>",
            });
        },
        json!({}),
    )
    .unwrap();
    let text = "a rather long text";
    assert_eq!(tokens(&cutting, text), tokens(&plain, text));
}

#[test]
fn a_regular_expression_of_exponential_time_is_refused() {
    let refused = bundle(
        |json| {
            json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "(a+)+b"}, "behavior": "Isolated", "invert": false},
                json["pre_tokenizer"],
            ]});
        },
        json!({}),
    );
    let refused = refused.err().unwrap();
    assert!(
        refused.contains("`(a+)+b` in its `tokenizer.json` takes very long for texts that repeat `a`"),
        "{refused}"
    );
}

#[test]
fn files_that_are_no_regular_files_are_refused_and_links_only_in_folders_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let io = |result: Result<TokenizerBundle, ModelError>| match result.err().unwrap() {
        ModelError::Io { path, source, .. } => (path, source.to_string()),
        other => panic!("{other}"),
    };
    assert!(matches!(
        TokenizerBundle::from_dir(dir.path()),
        Err(ModelError::MissingFile {
            file: "tokenizer.json",
            ..
        })
    ));
    std::os::unix::fs::symlink(fixtures().join("tokenizer.json"), at("tokenizer.json")).unwrap();
    TokenizerBundle::from_dir(dir.path()).unwrap();
    let refused = io(TokenizerBundle::from_unlinked_dir(dir.path()));
    assert_eq!(refused.0, at("tokenizer.json"));
    assert!(refused.1.contains("a symbolic link"), "{}", refused.1);
    fs::remove_file(at("tokenizer.json")).unwrap();
    fs::copy(fixtures().join("tokenizer.json"), at("tokenizer.json")).unwrap();
    TokenizerBundle::from_unlinked_dir(dir.path()).unwrap();
    fs::create_dir(at("vocab.json")).unwrap();
    assert!(io(TokenizerBundle::from_dir(dir.path())).1.contains("a folder"));
    fs::remove_dir(at("vocab.json")).unwrap();
    fs::write(
        at("tokenizer.json"),
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    )
    .unwrap();
    assert!(io(TokenizerBundle::from_dir(dir.path())).1.contains("Git LFS pointer"));
}

#[test]
fn tokenizers_of_older_caches_have_the_fingerprint_that_the_caches_state() {
    let caches = fixtures().join("../caches");
    let mut count = 0;
    for entry in fs::read_dir(&caches).unwrap() {
        let cache = entry.unwrap().path();
        let Ok(identity) = fs::read(cache.join("identity.json")) else {
            continue;
        };
        let identity: Value = serde_json::from_slice(&identity).unwrap();
        let bundle = TokenizerBundle::from_unlinked_dir(&cache.join("tokenizer")).unwrap();
        assert_eq!(
            identity["identity"]["tokenizer"],
            bundle.fingerprint,
            "{}",
            cache.display()
        );
        count += 1;
    }
    assert!(count >= 4, "{count}");
}
