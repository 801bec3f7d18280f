//! Folders that are the same as, inside, or around what is read.

use std::path::PathBuf;

use crate::{configuration::Configuration, configuration_error::ConfigurationError, overrides::Override};

/// A folder with a teacher, data and another cache, and the pipeline file for them.
fn workplace() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for made in [
        "models/teacher",
        "models/other",
        "data",
        "problems",
        "cache/tokenizer",
        "other/corpus",
        "old/model",
    ] {
        std::fs::create_dir_all(folder.path().join(made)).unwrap();
    }
    for file in [
        "cache/identity.json",
        "other/identity.json",
        "old/run.json",
        "rows.jsonl",
        "models/base.gguf",
        "models/other/config.json",
    ] {
        std::fs::write(folder.path().join(file), b"{}").unwrap();
    }
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling")).unwrap();
    let file = folder.path().join("pipeline.toml");
    (folder, file)
}

const APART: &str = r#"
        [teacher]
        model = "models/teacher"
        [data]
        files = ["rows.jsonl", "data/*.jsonl"]
        [cache]
        dir = "cache"
        [student]
        model = "models/base.gguf"
        [train]
        dir = "runs/half"
        [evaluate]
        path = "problems"
        [sweep]
        dir = "sweep"
    "#;

#[test]
fn what_is_written_is_apart_from_what_is_read() {
    let (folder, file) = workplace();
    let check = |given: &str, stage: &dyn Fn(Configuration) -> Result<(), ConfigurationError>| {
        let overrides = [Override::parse(given).unwrap()];
        Configuration::parse(&file, APART, &overrides).and_then(stage)
    };
    let train = |configuration: Configuration| configuration.stage_two().map(drop);
    let capture = |configuration: Configuration| configuration.stage_one(None).map(drop);
    let evaluate = |configuration: Configuration| configuration.evaluation(None).map(drop);
    let sweep = |configuration: Configuration| configuration.sweep().map(drop);
    let other = folder.path().join("other").display().to_string();
    for (given, said) in [
        (
            "train.dir=models/teacher",
            "which is the same as `teacher.model` (`models/teacher`)",
        ),
        (
            "train.dir=models/teacher/run",
            "which is inside `teacher.model` (`models/teacher`)",
        ),
        ("train.dir=models", "which holds `teacher.model` (`models/teacher`)"),
        ("train.dir=data", "which is the same as `data.files` (`data/*.jsonl`)"),
        (
            "train.dir=problems",
            "which is the same as `evaluate.path` (`problems`)",
        ),
        ("train.dir=models/other", "which is the folder of a model"),
        ("train.dir=other", &format!("which is inside the cache `{other}`")),
        ("train.dir=other/run", &format!("which is inside the cache `{other}`")),
        ("student.model=runs", "which is inside `student.model` (`runs`)"),
        ("train.dir=\"\"", "which is no path"),
        ("train.dir=.", "which is the folder of the pipeline file"),
        ("train.dir=models/..", "which is the folder of the pipeline file"),
        ("train.dir=rows.jsonl", "which is a file"),
        ("train.dir=dangling", "which is a symbolic link that leads nowhere"),
        ("train.dir=/dev", "which is in `/dev`, which belongs to the system"),
        ("train.dir=/dev/null", "which is in `/dev`, which belongs to the system"),
        (
            "train.dir=/proc/run",
            "which is in `/proc`, which belongs to the system",
        ),
    ] {
        std::fs::create_dir_all(folder.path().join("runs")).unwrap();
        let error = check(given, &train).unwrap_err();
        assert!(error.to_string().ends_with(said), "{given}: {error}");
        assert!(leadspan_diagnosis::Diagnosis::hint(&error).is_some());
    }
    for (given, said) in [
        (
            "cache.dir=models/teacher/cache",
            "which is inside `teacher.model` (`models/teacher`)",
        ),
        (
            "cache.dir=problems/cache",
            "which is inside `evaluate.path` (`problems`)",
        ),
        ("cache.dir=old", "which is the folder of a run"),
        ("cache.dir=models/other", "which is the folder of a model"),
        ("cache.dir=other/inner", &format!("which is inside the cache `{other}`")),
        ("cache.dir=rows.jsonl", "which is a file"),
        ("cache.dir=\"\"", "which is no path"),
        (
            "cache.dir=/dev/cache",
            "which is in `/dev`, which belongs to the system",
        ),
    ] {
        let error = check(given, &capture).unwrap_err();
        assert!(error.to_string().ends_with(said), "{given}: {error}");
    }
    for (given, said) in [
        (
            "evaluate.dir=models/teacher",
            "which is the same as `teacher.model` (`models/teacher`)",
        ),
        ("evaluate.dir=old", "which is the folder of a run"),
        (
            "evaluate.dir=runs/half",
            "which is the same as `train.dir` (`runs/half`)",
        ),
        (
            "evaluate.dir=runs/half/model",
            "which is the same as `evaluate.model` (`runs/half/model`)",
        ),
        (
            "evaluate.dir=models/teacher/evaluation",
            "which is inside `teacher.model` (`models/teacher`)",
        ),
        (
            "evaluate.dir=runs/half/model/evaluation",
            "which is inside `evaluate.model` (`runs/half/model`)",
        ),
        (
            "evaluate.dir=problems/mine",
            "which is inside `evaluate.path` (`problems`)",
        ),
        ("evaluate.dir=\"\"", "which is the folder of the pipeline file"),
        ("evaluate.dir=.", "which is the folder of the pipeline file"),
        ("evaluate.dir=/dev", "which is in `/dev`, which belongs to the system"),
        (
            "evaluate.dir=rows.jsonl/mine",
            "which is inside `rows.jsonl`, which is a file",
        ),
        (
            "evaluate.dir=cache/evaluation",
            &format!("which is inside the cache `{}`", folder.path().join("cache").display()),
        ),
    ] {
        let error = check(given, &evaluate).unwrap_err();
        assert!(error.to_string().ends_with(said), "{given}: {error}");
    }
    for (given, said) in [
        (
            "sweep.dir=models/teacher",
            "which is the same as `teacher.model` (`models/teacher`)",
        ),
        ("sweep.dir=old", "which is the folder of a run"),
        ("sweep.dir=\"\"", "which is no path"),
        (
            "sweep.dir=/sys/sweep",
            "which is in `/sys`, which belongs to the system",
        ),
        ("sweep.dir=other/runs", &format!("which is inside the cache `{other}`")),
    ] {
        let error = check(given, &sweep).unwrap_err();
        assert!(error.to_string().ends_with(said), "{given}: {error}");
    }
    // A run that is there is continued, and so is a cache. Beside what is read is apart.
    for given in [
        "train.dir=runs/half",
        "train.dir=data/run",
        "train.dir=models/student",
        "student.model=old/model",
    ] {
        check(given, &train).unwrap_or_else(|error| panic!("{given}: {error}"));
    }
    for given in ["cache.dir=other", "cache.dir=models/cache"] {
        check(given, &capture).unwrap_or_else(|error| panic!("{given}: {error}"));
    }
    // So are evaluations in data, in a model and in a run in a model, which earlier versions made.
    for made in [
        "problems/made/evaluation.json",
        "models/teacher/made/evaluation.json",
        "models/teacher/run/run.json",
    ] {
        let made = folder.path().join(made);
        std::fs::create_dir(made.parent().unwrap()).unwrap();
        std::fs::write(made, b"{}").unwrap();
    }
    for given in [
        "evaluate.dir=problems/made",
        "evaluate.dir=runs/half/evaluation",
        "evaluate.dir=models/teacher/made",
        "evaluate.dir=models/teacher/run/evaluation",
    ] {
        check(given, &evaluate).unwrap_or_else(|error| panic!("{given}: {error}"));
    }
}

#[test]
fn what_only_a_shell_replaces_makes_no_folder_of_that_name() {
    use leadspan_diagnosis::Diagnosis as _;

    let (folder, file) = workplace();
    let check = |given: &str| {
        let overrides = [Override::parse(given).unwrap()];
        let configuration = Configuration::parse(&file, APART, &overrides)?;
        configuration.stage_two().map(drop)
    };
    for (written, part) in [
        ("~/r", "~"),
        ("~user/r", "~user"),
        ("$HOME/r", "$HOME"),
        ("a/${NAME}/r", "${NAME}"),
    ] {
        let error = check(&format!("train.dir={written}")).unwrap_err();
        assert!(
            matches!(&error, ConfigurationError::NotWrittenOut { part: found, .. } if found == part),
            "{written}: {error}"
        );
        assert!(error.hint().unwrap().contains("whole path"));
    }
    for fine in ["a/~/r", "a~/r", "cost-in-$/r", "$1/r"] {
        check(&format!("train.dir={fine}")).unwrap();
    }
    // A folder that is there under this name is meant.
    std::fs::create_dir(folder.path().join("$HOME")).unwrap();
    check("train.dir=$HOME/r").unwrap();
}
