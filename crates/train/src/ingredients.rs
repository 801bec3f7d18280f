//! What a run depends on, so that none goes on as another.

use leadspan_cache::{Cache, Reader};
use serde_json::{Value, json};

use crate::{TrainSettings, replay::Replay};

/// Settings of `[train]` that change no weight: where it is written and how often, on which device, in how much memory.
const OF_NO_CONSEQUENCE: [&str; 5] = [
    "dir",
    "device",
    "activation_checkpointing",
    "checkpoint_steps",
    "keep_checkpoints",
];

/// What the trained weights depend on. `student` says so of the student's first weights.
pub(crate) fn ingredients(
    cache: &Cache,
    reader: &Reader,
    student: &Value,
    settings: &TrainSettings,
    replay: Option<&Replay>,
) -> Value {
    let mut train = serde_json::to_value(settings).expect("settings serialize");
    if let Some(table) = train.as_object_mut() {
        table.retain(|key, _| !OF_NO_CONSEQUENCE.contains(&key.as_str()));
    }
    let missing: Vec<String> = reader.missing_units().map(ToString::to_string).collect();
    json!({
        "student": student,
        "train": train,
        "cache": { "identity": cache.identity(), "rows": rows(reader), "missing": missing },
        "replay": replay.map(|replay| json!({ "share": replay.share, "rows": rows(&replay.reader) })),
    })
}

/// A digest of the rows of a corpus, in their order.
fn rows(reader: &Reader) -> String {
    let mut rows = blake3::Hasher::new();
    let corpus = reader.corpus();
    for index in 0..corpus.len() {
        rows.update(corpus.row_hash(index));
    }
    rows.finalize().to_hex().to_string()
}

/// The first leaf in which two JSON values differ: its key with dots, both values.
pub fn first_difference(stored: &Value, asked: &Value) -> Option<(String, String, String)> {
    let (Value::Object(stored_map), Value::Object(asked_map)) = (stored, asked) else {
        return (stored != asked).then(|| (String::new(), stored.to_string(), asked.to_string()));
    };
    let keys = asked_map
        .keys()
        .chain(stored_map.keys().filter(|key| !asked_map.contains_key(*key)));
    keys.into_iter().find_map(|key| {
        let (key_difference, stored, asked) = first_difference(
            stored_map.get(key).unwrap_or(&Value::Null),
            asked_map.get(key).unwrap_or(&Value::Null),
        )?;
        let separator = if key_difference.is_empty() { "" } else { "." };
        Some((format!("{key}{separator}{key_difference}"), stored, asked))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_differing_key_is_named_with_its_table() {
        let stored = json!({ "train": { "seed": 1, "epochs": 2 }, "cache": "a" });
        assert_eq!(first_difference(&stored, &stored), None);
        let asked = json!({ "train": { "seed": 1, "epochs": 3 }, "cache": "b" });
        let difference = first_difference(&stored, &asked).unwrap();
        assert_eq!(difference, ("train.epochs".into(), "2".into(), "3".into()));
        let (key, stored, asked) = first_difference(&stored, &json!({ "cache": "a" })).unwrap();
        assert_eq!((key.as_str(), asked.as_str()), ("train", "null"));
        assert!(stored.contains("epochs"));
    }
}
