//! Exchanging caches with other programs, with the real program: exports that are folders, imports that train, cards.

use std::fs;

use serde_json::Value;

use crate::program::Workplace;

fn json(place: &Workplace, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    serde_json::from_str(&place.succeed(&arguments)).unwrap()
}

/// Runs a command that must fail with exit code 1, and returns its error.
fn refused(place: &Workplace, arguments: &[&str]) -> String {
    let output = place.run(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
    error
}

#[test]
fn what_is_exported_is_imported_verified_described_and_trained_from() {
    let place = Workplace::new();
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    let inspected = json(&place, &["cache", "inspect", "cache"]);
    for (format, out) in [("dataset", "table"), ("distillkit", "rows")] {
        let export = [
            "cache",
            "export",
            "cache",
            "--out",
            out,
            "--format",
            format,
            "--file-rows",
            "200",
        ];
        let exported = json(&place, &export);
        assert_eq!(exported["rows"], inspected["layers"][0]["positions"]);
        assert!(refused(&place, &export).contains("exists already"));
        place.succeed(&[&export[..], &["--overwrite", "--license", "mit"]].concat());
        let readme = fs::read_to_string(place.path(out).join("README.md")).unwrap();
        assert!(
            readme.starts_with("---\nlicense: mit\n") && readme.contains("path: data/validation-*"),
            "{readme}"
        );
        let dir = format!("from-{out}");
        let import = ["cache", "import", out, "--out", &dir, "--tokenizer", "teacher"];
        let imported = json(&place, &import);
        assert_eq!(
            (&imported["positions"], &imported["written"]),
            (&exported["rows"], &exported["rows"])
        );
        assert_eq!(json(&place, &import)["written"], 0, "everything is there");
        place.succeed(&["cache", "verify", &dir]);
        let shown = place.succeed(&["cache", "inspect", &dir]);
        assert!(shown.contains("teacher    unknown: imported ("), "{shown}");
        let card = place.succeed(&["cache", "card", &dir]);
        assert!(
            card.contains("| teacher | **unknown**: imported (") && card.starts_with("---\ntask_categories"),
            "{card}"
        );
        let cache = format!("cache.dir={dir}");
        for command in ["precompute", "plan"] {
            let error = refused(&place, &[command, "-c", "pipeline.toml", "--set", &cache]);
            assert!(
                error.contains("was imported: its teacher is unknown") && error.contains("hint: "),
                "{error}"
            );
        }
        let run = format!("train.dir=run-{out}");
        let sections = "train.supervised_sections=[\"answer\"]";
        let whole = "train.lead_span_proportion=1.0";
        place.succeed(&[
            "train",
            "-c",
            "pipeline.toml",
            "--set",
            &cache,
            "--set",
            &run,
            "--set",
            sections,
            "--set",
            whole,
        ]);
        assert!(place.path(&format!("run-{out}/model/model.safetensors")).exists());
    }
}

#[test]
fn a_card_states_the_audit_of_its_cache_and_of_no_other() {
    let place = Workplace::new();
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    let other = [
        "precompute",
        "-c",
        "pipeline.toml",
        "--set",
        "cache.dir=other",
        "--set",
        "cache.top_k=4",
    ];
    place.succeed(&other);
    let audit = place.succeed(&["cache", "audit", "-c", "pipeline.toml", "--positions", "20", "--json"]);
    fs::write(place.path("audit.json"), &audit).unwrap();
    let card = place.succeed(&["cache", "card", "cache", "--audit", "audit.json"]);
    assert!(
        card.contains("| KL(teacher ‖ cache), mean | ") && card.contains("at 20 random positions"),
        "{card}"
    );
    let table = [
        "cache",
        "export",
        "cache",
        "--out",
        "table",
        "--format",
        "dataset",
        "--audit",
        "audit.json",
    ];
    place.succeed(&table);
    assert!(
        fs::read_to_string(place.path("table/README.md"))
            .unwrap()
            .contains("at 20 random positions")
    );
    let error = refused(&place, &["cache", "card", "other", "--audit", "audit.json"]);
    assert!(
        error.contains("`audit.json` is an audit of a cache with the identity"),
        "{error}"
    );
    for (text, said) in [
        ("{}".to_owned(), "is not the result of `leadspan cache audit --json`"),
        (
            audit.replace("\"top_1_agreement\":", "\"top_1_agreement\":1"),
            "has an impossible `top_1_agreement`",
        ),
    ] {
        fs::write(place.path("wrong.json"), text).unwrap();
        let error = refused(&place, &["cache", "card", "cache", "--audit", "wrong.json"]);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn cards_exports_and_imports_replace_nothing_of_others() {
    let place = Workplace::new();
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    place.succeed(&["cache", "card", "cache", "--out", "card.md"]);
    assert!(refused(&place, &["cache", "card", "cache", "--out", "card.md"]).contains("--overwrite"));
    assert!(
        refused(
            &place,
            &["cache", "card", "cache", "--out", "text.jsonl", "--overwrite"]
        )
        .contains("did not write it")
    );
    let error = refused(
        &place,
        &["cache", "export", "cache", "--out", "one.parquet", "--license", "mit"],
    );
    assert!(
        error.contains("`--license` is for an export that is a folder"),
        "{error}"
    );
    for out in ["cache/table", "teacher", "pipeline.toml"] {
        refused(
            &place,
            &[
                "cache",
                "export",
                "cache",
                "--out",
                out,
                "--format",
                "dataset",
                "--overwrite",
            ],
        );
    }
    let error = refused(
        &place,
        &[
            "cache",
            "import",
            "text.jsonl",
            "--out",
            "new",
            "--tokenizer",
            "teacher",
        ],
    );
    assert!(
        error.contains("cannot be read as a Parquet file") && !place.path("new").exists(),
        "{error}"
    );
}
