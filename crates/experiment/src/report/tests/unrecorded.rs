//! Settings that only some runs record.

use std::fs;

use crate::{read_runs, report::series::differing_keys};

#[test]
fn runs_with_a_setting_that_others_do_not_record_are_runs_apart() {
    let folder = tempfile::tempdir().unwrap();
    let differing = |config: &str| {
        let old = r#"{ "train": { "epochs": 2 }, "student": { "model": "a" } }"#;
        let folders = [("old", old), ("new", config)].map(|(name, config)| {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("run.json"), format!(r#"{{ "config": {config} }}"#)).unwrap();
            path
        });
        let runs = read_runs(&folders).unwrap();
        differing_keys(&runs.iter().collect::<Vec<_>>())
    };
    for (key, config) in [
        (
            "student.lora.rank",
            r#"{ "train": { "epochs": 2 }, "student": { "lora": { "rank": 8 } } }"#,
        ),
        ("train.patience", r#"{ "train": { "epochs": 2, "patience": 1 } }"#),
        (
            "train.schedule",
            r#"{ "train": { "epochs": 2, "schedule": "linear" } }"#,
        ),
    ] {
        assert_eq!(differing(config), [key]);
    }
    // Epochs beside steps have no effect.
    let steps = r#"{ "train": { "epochs": 2, "steps": 100 } }"#;
    assert_eq!(differing(steps), ["train.epochs", "train.steps"]);
    let same = r#"{ "train": { "epochs": 2, "steps": null, "patience": null, "schedule": "cosine" } }"#;
    assert!(differing(same).is_empty());
}
