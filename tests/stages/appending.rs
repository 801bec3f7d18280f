//! Rows that are added later extend a cache.

use std::{fs, path::Path};

use serde_json::Value;

use super::PRECOMPUTE;
use crate::program::{Workplace, fixtures};

#[test]
fn a_data_sets_piece_is_captured_and_its_further_pieces_appended() {
    let place = Workplace::new();
    let piece = |n: usize| format!("data/train-{n:05}-of-00002.parquet");
    let copy = |n: usize| {
        let from = fixtures().join("data-sets/hub").join(piece(n));
        fs::copy(from, place.path("set").join(piece(n))).unwrap();
    };
    fs::create_dir_all(place.path("set/data")).unwrap();
    copy(0);
    place.replace("pipeline.toml", "text.jsonl", &format!("set/{}", piece(0)));
    place.replace("pipeline.toml", "format = \"columns\"", "format = \"open-thoughts\"");
    place.replace("pipeline.toml", "validation = 4", "validation = 1");
    place.succeed(&PRECOMPUTE);
    copy(1);
    place.replace("pipeline.toml", "-00000-of-00002.parquet", "-*.parquet");
    let text = place.succeed(&["prepare", "-c", "pipeline.toml"]);
    assert_eq!(
        text.split(", ").next().unwrap(),
        "`cache` extended by 2 training samples in 1 work unit: 3 training and 1 validation samples of 4 rows"
    );
    place.succeed(&PRECOMPUTE);
    place.succeed(&["cache", "verify", "cache"]);
}

#[test]
fn rows_that_are_appended_later_are_captured_alone_and_learnt_from() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let before = place.visible("cache");
    let row = r#"{"question": "How many?", "chain_of_thought": "1 + 2 = 3.", "answer": "3"}"#;
    place.write("more.jsonl", &format!("{row}\n").repeat(12));
    place.replace("pipeline.toml", "\"text.jsonl\"", "\"text.jsonl\", \"more.jsonl\"");
    // 36 samples are for training. Unit 3 has six of them and does not change.
    let text = place.succeed(&["prepare", "-c", "pipeline.toml"]);
    assert_eq!(
        text.split(", ").next().unwrap(),
        "`cache` extended by 12 training samples in 2 work units: 48 training and 4 validation samples of 52 rows"
    );
    let outcome: Value =
        serde_json::from_str(&place.succeed(&["--json", "precompute", "-c", "pipeline.toml"])).unwrap();
    assert_eq!(
        (
            &outcome["units_written"],
            &outcome["units_skipped"],
            &outcome["samples"]
        ),
        (&2.into(), &5.into(), &12.into())
    );
    let after = place.visible("cache");
    // Only the layer's manifest and the inventory change.
    let sums_up = |path: &Path| path.ends_with("manifest.json") || path.ends_with("inventory.json");
    for (path, bytes) in before.iter().filter(|(path, _)| !sums_up(path)) {
        assert_eq!(after.get(path), Some(bytes), "`{}` changed", path.display());
    }
    assert_eq!(
        after.len(),
        before.len() + 7,
        "three files of the corpus, two shards and their receipts"
    );
    let inspection: Value = serde_json::from_str(&place.succeed(&["--json", "cache", "inspect", "cache"])).unwrap();
    let corpus = &inspection["corpus"];
    assert_eq!(
        (
            &corpus["train_samples"],
            &corpus["validation_samples"],
            &corpus["units"]
        ),
        (&48.into(), &4.into(), &7.into())
    );
    place.succeed(&["cache", "verify", "cache"]);
    let outcome: Value = serde_json::from_str(&place.succeed(&["--json", "train", "-c", "pipeline.toml"])).unwrap();
    assert_eq!(outcome["summary"]["steps"], 48 / 8, "{outcome}");
}
