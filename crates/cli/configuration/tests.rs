mod alternatives;

use std::collections::BTreeMap;

use leadspan_diagnosis::Diagnosis as _;

use super::*;
use crate::keys::{self, Unset};

const WHOLE: &str = r#"
        [teacher]
        model = "models/teacher"
        [data]
        files = ["*.jsonl"]
        [cache]
        dir = "cache"
        [student]
        model = "/students/one"
        layers = [0, 2]
        [train]
        dir = "runs/half"
        [evaluate]
        [sweep]
        dir = "sweep"
    "#;

const LORA: &str = "student.lora={ rank = 1, alpha = 1.0, targets = \"all-linear\" }";

fn parse(text: &str, overrides: &[&str]) -> Result<Configuration, ConfigurationError> {
    let overrides: Vec<_> = overrides.iter().map(|given| Override::parse(given).unwrap()).collect();
    Configuration::parse(Path::new("some/where/pipeline.toml"), text, &overrides)
}

fn stage_two_message(overrides: &[&str]) -> String {
    parse(WHOLE, overrides)
        .and_then(Configuration::stage_two)
        .unwrap_err()
        .to_string()
}

fn leaves(prefix: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(entries) if prefix.is_empty() || !entries.is_empty() => {
            for (name, value) in entries {
                let full = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                leaves(&full, value, found);
            }
        }
        value => drop(found.insert(prefix.to_owned(), value.clone())),
    }
}

#[test]
fn the_keys_agree_with_the_settings_in_names_and_defaults() {
    let minimal = WHOLE
        .replace("model = \"/students/one\"", "")
        .replace("layers = [0, 2]", "")
        .replace("files = [\"*.jsonl\"]", "");
    let mut settings = BTreeMap::new();
    leaves("", &parse(&minimal, &[]).unwrap().resolved(), &mut settings);
    // These are left out if they are not set: a format that is named differs from the default.
    for format in ["data.format", "replay.format"] {
        let unset = settings.insert(format.to_owned(), "messages".into());
        assert_eq!(unset, None, "{format}");
    }
    let mut documented = BTreeMap::new();
    for key in keys::all() {
        let full = format!("{}.{}", key.table, key.name);
        // A default is read as its setting's type, so that `1.0` and `"1.0"` are the same proportion.
        let value = match &key.default {
            Unset::Required => settings.get(&full).cloned().unwrap_or_default(),
            Unset::Absent => Value::Null,
            Unset::Is(default) => {
                let mut given = BTreeMap::new();
                leaves(
                    "",
                    &parse(&minimal, &[&format!("{full}={default}")]).unwrap().resolved(),
                    &mut given,
                );
                given.get(&full).cloned().unwrap_or_default()
            }
        };
        documented.insert(full, value);
    }
    // The keys of a table that need not be there have no settings without it.
    let is_optional = |name: &String| name.starts_with("student.lora.");
    let (optional, documented): (BTreeMap<_, _>, BTreeMap<_, _>) =
        documented.into_iter().partition(|(name, _)| is_optional(name));
    assert_eq!(documented, settings);
    let mut given = BTreeMap::new();
    leaves("", &parse(&minimal, &[LORA]).unwrap().resolved(), &mut given);
    given.retain(|name, _| is_optional(name));
    assert_eq!(given.keys().collect::<Vec<_>>(), optional.keys().collect::<Vec<_>>());
}

#[test]
fn every_key_of_the_reference_is_accepted() {
    for key in keys::all() {
        let full = format!("{}.{}", key.table, key.name);
        // A key without a default takes any value of its type.
        let value = match (&key.default, key.kind.as_str()) {
            (Unset::Is(default), _) => default.as_str(),
            (_, "string") if full == "teacher.server" => "'http://host'",
            (_, "string") if full == "teacher.memory" => "'8 GiB'",
            (_, "string") => "'text'",
            (_, words) if words.starts_with('"') => words.split(" | ").next().unwrap_or(words),
            (_, "integer") => "1",
            (_, "number") => "0.5",
            (_, "boolean") => "true",
            (_, "[integer, …]") => "[0, 1]",
            (_, "[table, …]") => "[{ seed = 1 }]",
            (_, "[string, …] | \"all-linear\"") => "['q_proj']",
            (_, kind) => panic!("`{full}` is of the type {kind}"),
        };
        let given = format!("{full}={value}");
        // The keys of a table that need not be there stand beside those that it needs.
        let table = full.starts_with("student.lora.").then_some(LORA);
        let overrides: Vec<&str> = table.into_iter().chain([given.as_str()]).collect();
        parse(WHOLE, &overrides).unwrap_or_else(|error| panic!("{given}: {error}"));
    }
}

#[test]
fn paths_are_relative_to_the_file() {
    let one = parse(WHOLE, &[]).unwrap().stage_one(None).unwrap();
    assert_eq!(one.base, Path::new("some/where"));
    assert_eq!(one.model_path(), Path::new("some/where/models/teacher"));
    assert_eq!(one.cache_dir(), Path::new("some/where/cache"));
    let two = parse(WHOLE, &[]).unwrap().stage_two().unwrap();
    assert_eq!(two.student.model.as_deref(), Some(Path::new("/students/one")));
    assert_eq!(two.train.dir, Path::new("some/where/runs/half"));
    assert_eq!(two.resolved["train"]["dir"], "runs/half");
}

#[test]
fn capturing_less_than_the_file_trains_on_is_refused_before_anything_runs() {
    let stage_one = |overrides: &[&str], proportion: Option<&str>| {
        parse(WHOLE, overrides)
            .unwrap()
            .stage_one(proportion.map(|proportion| proportion.parse().unwrap()))
    };
    let shorter = ["cache.lead_span_proportion=0.25"];
    assert_eq!(
        stage_one(&shorter, None).unwrap_err().to_string(),
        "`train.lead_span_proportion` is 0.5, but `cache.lead_span_proportion` is only 0.25"
    );
    let extended = stage_one(&shorter, Some("0.75")).unwrap();
    assert_eq!(extended.cache.lead_span_proportion.to_string(), "0.75");
    let other_sections = [
        "cache.supervised_sections=[\"answer\"]",
        "train.supervised_sections=[\"prompt\"]",
    ];
    assert_eq!(
        stage_one(&other_sections, None).unwrap_err().to_string(),
        "`train.supervised_sections` is `prompt`, but `cache.supervised_sections` is only `answer`"
    );
    // The cache may hold more than the file says, so the check is left to the cache.
    assert!(parse(WHOLE, &shorter).unwrap().stage_two().is_ok());
}

#[test]
fn training_on_tokens_alone_may_ask_for_all_of_them() {
    let overrides = ["cache.lead_span_proportion=0.25", "train.distillation_weight=0"];
    assert!(parse(WHOLE, &overrides).unwrap().stage_one(None).is_ok());
}

#[test]
fn without_a_teacher_the_corpus_is_prepared_with_the_tokenizer_of_the_student() {
    let without = WHOLE.replace("[teacher]", "").replace("model = \"models/teacher\"", "");
    let tokenizer = |text: &str| match parse(text, &[]).and_then(Configuration::preparing) {
        Ok(PreparedFor::Text(text)) => Ok(text.pipeline.tokenizer),
        Ok(PreparedFor::Teacher(_)) => panic!("there is no teacher"),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(tokenizer(&without).unwrap(), Path::new("/students/one"));
    let random = without.replace("model = \"/students/one\"", "config = 'c.json'\ntokenizer = 'text'");
    assert_eq!(tokenizer(&random).unwrap(), Path::new("text"));
    let message = tokenizer(&random.replace("tokenizer = 'text'", "")).unwrap_err();
    assert!(message.contains("does not say whose tokenizer"), "{message}");
    assert!(matches!(
        parse(WHOLE, &[]).unwrap().preparing(),
        Ok(PreparedFor::Teacher(_))
    ));
}

#[test]
fn replayed_samples_go_into_a_cache_inside_the_cache() {
    assert!(parse(WHOLE, &[]).unwrap().replayed().unwrap().is_none());
    let replayed = parse(WHOLE, &["replay.files=['chats.jsonl']", "replay.format=columns"]);
    let TextOfModel { pipeline, .. } = replayed.unwrap().replayed().unwrap().unwrap();
    assert_eq!(pipeline.cache.dir, Path::new("cache/replay"));
    assert_eq!(pipeline.tokenizer, Path::new("models/teacher"));
    assert_eq!(pipeline.data.files, ["chats.jsonl"]);
    assert_eq!(
        pipeline.sections.without_markers,
        leadspan_corpus::WithoutMarkers::Answer
    );
}

#[test]
fn a_run_and_a_cache_need_folders_apart_from_each_other() {
    let refused = |run: &str| {
        let message = stage_two_message(&[&format!("train.dir={run}")]);
        assert_eq!(
            message,
            format!(
                "`train.dir` is `{run}` and `cache.dir` is `cache`, but a run and a cache need folders apart from each other"
            )
        );
        let one = parse(WHOLE, &[&format!("train.dir={run}")]).and_then(|read| read.stage_one(None));
        assert_eq!(one.unwrap_err().to_string(), message);
    };
    for run in ["cache", "./cache/", "cache/run", "runs/../cache", ".."] {
        refused(run);
    }
    assert_eq!(
        stage_two_message(&["train.dir=."]),
        "`train.dir` is `.`, which is the folder of the pipeline file"
    );
    for run in ["caches", "cache-run", "runs/cache", "cache/../run", "../cache"] {
        parse(WHOLE, &[&format!("train.dir={run}")])
            .and_then(Configuration::stage_two)
            .unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_run_that_reaches_the_cache_through_a_link_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("cache")).unwrap();
    std::os::unix::fs::symlink("cache", folder.path().join("link")).unwrap();
    let file = folder.path().join("pipeline.toml");
    for run in ["link", "link/run", "link/../cache/run"] {
        let overrides = [Override::parse(&format!("train.dir={run}")).unwrap()];
        let error = Configuration::parse(&file, WHOLE, &overrides)
            .and_then(Configuration::stage_two)
            .unwrap_err();
        assert!(matches!(error, ConfigurationError::RunInCache { .. }), "{run}: {error}");
    }
}

#[test]
fn a_proportion_outside_its_range_is_refused_at_its_line() {
    for (given, shown) in [("0", "0"), ("1.5", "1.5"), ("-0.1", "-0.1")] {
        let text = WHOLE.replace(
            "dir = \"cache\"",
            &format!("dir = \"cache\"\nlead_span_proportion = {given}"),
        );
        let message = parse(&text, &[]).unwrap_err().to_string();
        let expected = format!(
            "`some/where/pipeline.toml`, line 8: `cache.lead_span_proportion` cannot be used: `{shown}` is not a \
             lead-span proportion"
        );
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn a_student_starts_from_a_model_or_a_configuration() {
    assert!(stage_two_message(&["student.config=c.json"]).contains("one of them, not both"));
    let without = WHOLE.replace("model = \"/students/one\"", "");
    let refused = |text: &str| {
        parse(text, &[])
            .and_then(Configuration::stage_two)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&without).contains("does not say what the student starts from"));
    assert!(refused(&without.replace("layers", "config = 'c.json'\nlayers")).contains("layers are chosen from"));
    let revision = without.replace("layers = [0, 2]", "config = 'c.json'\nrevision = 'main'");
    assert!(refused(&revision).contains("a revision belongs to a model"));
    assert!(stage_two_message(&["student.tokenizer=t"]).contains("a model has a tokenizer of its own"));
}

#[test]
fn a_command_names_the_missing_key() {
    let text = "[cache]\ndir = 'cache'\n";
    let message = parse(text, &[])
        .and_then(|read| read.stage_one(None))
        .unwrap_err()
        .to_string();
    assert_eq!(message, "`some/where/pipeline.toml` does not set `teacher.model`");
    assert_eq!(
        parse(text, &[]).unwrap().cache_dir().unwrap(),
        Path::new("some/where/cache")
    );
}

#[test]
fn problems_get_the_system_prompt_of_the_data_unless_they_have_their_own() {
    let system = |overrides: &[&str]| {
        let evaluation = parse(WHOLE, overrides).unwrap().evaluation(None).unwrap();
        evaluation.settings.system
    };
    assert_eq!(system(&[]), None);
    assert_eq!(system(&["data.system='Be brief.'"]).as_deref(), Some("Be brief."));
    let own = ["data.system='Be brief.'", "evaluate.system=''"];
    assert_eq!(system(&own).as_deref(), Some(""));
}

#[test]
fn an_adapter_goes_with_the_model_of_an_evaluation_alone() {
    let adapter = |overrides: &[&str], model: Option<&str>| {
        let evaluation = parse(WHOLE, overrides).unwrap().evaluation(model.map(Path::new));
        evaluation.map(|evaluation| evaluation.settings.adapter)
    };
    let both = ["evaluate.model='models/other'", "evaluate.adapter='lora'"];
    assert_eq!(adapter(&both, None).unwrap().as_deref(), Some(Path::new("lora")));
    assert_eq!(adapter(&both, Some("students/one")).unwrap(), None);
    let message = adapter(&["evaluate.adapter='lora'"], None).unwrap_err().to_string();
    assert_eq!(
        message,
        "`train.dir` and `evaluate.adapter` are both set, but an adapter belongs to `evaluate.model`, and there is none"
    );
}

#[test]
fn an_adapter_that_a_run_exported_is_evaluated_with_the_model_that_it_started_from() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("runs/half/model");
    std::fs::create_dir_all(&model).unwrap();
    let evaluated = |text: &str, given: Option<&Path>| {
        let file = folder.path().join("pipeline.toml");
        let overrides = [Override::parse("student.revision=v1").unwrap()];
        let evaluation = Configuration::parse(&file, text, &overrides).unwrap().evaluation(given);
        let evaluation = evaluation.unwrap();
        (evaluation.model, evaluation.exported, evaluation.settings.revision)
    };
    let text = WHOLE.replace("/students/one", "students/one");
    let whole = (model.clone(), None, None);
    assert_eq!(evaluated(&text, None), whole);
    std::fs::write(model.join("adapter_config.json"), "{}").unwrap();
    let based = (
        folder.path().join("students/one"),
        Some(model.clone()),
        Some("v1".to_owned()),
    );
    assert_eq!(evaluated(&text, None), based);
    assert_eq!(evaluated(&text, Some(&model)), based);
    // What the file says is taken as it stands.
    let named = text.replace("[evaluate]", "[evaluate]\nmodel = \"runs/half/model\"");
    assert_eq!(evaluated(&named, None), whole);
    // A whole student, and a pipeline that does not say what the student started from.
    assert_eq!(evaluated(&text.replace("model = \"students/one\"", ""), None), whole);
    std::fs::write(model.join("config.json"), "{}").unwrap();
    assert_eq!(evaluated(&text, None), whole);
}
