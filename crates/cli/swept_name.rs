//! The meaning of a name in `[sweep]`: a key of the table itself, or a key of another table to sweep over.

use serde_json::{Map, Value, json};

use crate::{keys, tables::Tables};

/// The meaning of a name in `[sweep]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SweptName {
    /// A key of the table itself.
    Own,
    /// This key of another table.
    Swept(String),
    /// A key over which no sweep is possible, and the reason.
    NotSwept(&'static str),
    /// Not a key; the most similar one, as it is written in `[sweep]`.
    Unknown(Option<String>),
}

impl SweptName {
    pub(crate) fn of(written: &str) -> Self {
        if keys::is_key("sweep", written) {
            return Self::Own;
        }
        let (table, key) = written.split_once('.').unwrap_or(("train", written));
        if !keys::is_key(table, key) {
            let swept = |full: &String| because_not(full).is_none();
            let nearest = keys::nearest_key(table, key).filter(swept);
            let nearest = nearest.or_else(|| keys::nearest_key("train", key).filter(swept));
            let own = keys::nearest_key("sweep", written);
            let own = own.and_then(|full| full.strip_prefix("sweep.").map(str::to_owned));
            return Self::Unknown(own.or_else(|| nearest.map(|full| in_sweep(&full))));
        }
        let full = format!("{table}.{key}");
        match because_not(&full) {
            Some(because) => Self::NotSwept(because),
            None => Self::Swept(full),
        }
    }
}

/// The JSON schema of a pipeline file. `[sweep]` has a list for each key of another table that can be swept over, and a case has a
/// value for each of them.
pub(crate) fn whole_schema() -> Value {
    let mut schema = Tables::schema();
    let (mut lists, mut settings) = (Vec::new(), Map::new());
    for key in keys::all() {
        let full = format!("{}.{}", key.table, key.name);
        if SweptName::of(&full) != SweptName::Swept(full.clone()) {
            continue;
        }
        let path = key.name.replace('.', "/properties/");
        let mut value = schema["properties"][&key.table].clone();
        value = value
            .pointer(&format!("/properties/{path}"))
            .cloned()
            .unwrap_or_default();
        if let Some(entries) = value.as_object_mut() {
            entries.shift_remove("default");
            entries.shift_remove("description");
        }
        for name in [Some(full.as_str()), full.strip_prefix("train.")].into_iter().flatten() {
            if let Some((table, _)) = name.split_once('.') {
                settings.entry(table).or_insert_with(|| json!({ "type": "object" }));
            }
            settings.insert(name.to_owned(), value.clone());
        }
        let list = json!({
            "description": key.about, "type": "array", "items": value, "minItems": 1, "uniqueItems": true,
        });
        if let Some(of_train) = full.strip_prefix("train.") {
            lists.push((of_train.to_owned(), list.clone()));
        }
        lists.push((full, list));
    }
    let own = &mut schema["properties"]["sweep"]["properties"];
    for (name, list) in lists {
        // Nested tables have the same meaning as dotted names.
        if let Some((table, _)) = name.split_once('.')
            && own.get(table).is_none()
        {
            own[table] = json!({ "type": "object" });
        }
        own[name] = list;
    }
    settings.insert(
        "name".to_owned(),
        json!({ "type": "string", "description": "What the runs of this case are called." }),
    );
    own["cases"]["items"] = json!({ "type": "object", "properties": settings, "additionalProperties": false });
    own["evaluate"]["type"] = json!(["boolean", "object"]);
    schema["properties"]["sweep"]["additionalProperties"] = false.into();
    schema
}

/// A key of another table, as it is written in `[sweep]`.
fn in_sweep(full: &str) -> String {
    match full.strip_prefix("train.") {
        Some(key) => key.to_owned(),
        None => format!("\"{full}\""),
    }
}

/// Why a key cannot be swept over; `None` if it can.
fn because_not(full: &str) -> Option<&'static str> {
    const OTHER_CACHE: &str = "it would need another cache, and a sweep trains from one cache";
    match full.split_once('.')? {
        ("train", "dir") => Some("each run has a folder of its own in `sweep.dir`"),
        ("train", "max_flops") => Some("it is what `baselines = [\"equal_compute\"]` sets"),
        ("train", "device" | "checkpoint_steps" | "keep_checkpoints") | ("evaluate", "device") => {
            Some("it does not change the result")
        }
        ("evaluate", "model" | "revision" | "adapter" | "dir") => {
            Some("each run evaluates its own student in its own folder")
        }
        ("student", "tokenizer") => Some(OTHER_CACHE),
        ("replay", "share") | ("train" | "student" | "evaluate", _) => None,
        ("sweep", _) => Some("a sweep is over keys of other tables"),
        _ => Some(OTHER_CACHE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_keys_of_training_unless_they_name_a_table() {
        let swept = |full: &str| SweptName::Swept(full.to_owned());
        for (written, expected) in [
            ("dir", SweptName::Own),
            ("evaluate", SweptName::Own),
            ("cases", SweptName::Own),
            ("seed", swept("train.seed")),
            ("student.seed", swept("student.seed")),
            ("train.loss", swept("train.loss")),
            ("evaluate.columns.answer", swept("evaluate.columns.answer")),
            ("student.lora.rank", swept("student.lora.rank")),
            ("student.lora", SweptName::Unknown(Some("\"student.lora.rank\"".into()))),
            (
                "lead_span_proprotion",
                SweptName::Unknown(Some("lead_span_proportion".into())),
            ),
            ("student.layer", SweptName::Unknown(Some("\"student.layers\"".into()))),
            ("baseline", SweptName::Unknown(Some("baselines".into()))),
            ("zzz", SweptName::Unknown(None)),
            ("zzz.seed", SweptName::Unknown(Some("seed".into()))),
        ] {
            assert_eq!(SweptName::of(written), expected, "{written}");
        }
        for written in [
            "cache.top_k",
            "data.seed",
            "train.dir",
            "replay.files",
            "student.tokenizer",
            "sweep.dir",
        ] {
            assert!(matches!(SweptName::of(written), SweptName::NotSwept(_)), "{written}");
        }
    }
    #[test]
    fn the_schema_has_lists_for_the_keys_that_can_be_swept_over_only() {
        let schema = whole_schema();
        let sweep = &schema["properties"]["sweep"]["properties"];
        assert_eq!(sweep["seed"]["items"]["type"], "integer");
        assert_eq!(sweep["replay.share"]["items"]["type"], "number");
        assert_eq!(sweep["train.loss"]["type"], "array");
        assert_eq!(sweep["evaluate.columns.answer"]["items"]["type"], "string");
        let case = &sweep["cases"]["items"]["properties"];
        assert_eq!(case["seed"]["type"], "integer");
        assert_eq!(case["replay.share"]["type"], "number");
        for name in ["cache.top_k", "max_flops", "train.dir", "replay.files"] {
            assert!(sweep.get(name).is_none() && case.get(name).is_none(), "{name}");
        }
    }
}
