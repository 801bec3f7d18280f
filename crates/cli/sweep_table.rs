//! The `[sweep]` table: keys of its own, and any key of other tables with a list of the values that it takes.
//!
//! A key without a table is one of `[train]`; `"replay.share"` is one of `[replay]`. Whether each value is what its key takes is
//! found out when it is set for a run.

use std::path::PathBuf;

use leadspan_experiment::sweep::Baseline;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};

use crate::{configuration_error::Place, keys};

/// The `[sweep]` table.
#[derive(Clone, Debug)]
pub(crate) struct SweepSettings {
    pub(crate) own: OwnSettings,
    pub(crate) swept: Vec<SweptKey>,
}

/// The keys that are the table's own.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct OwnSettings {
    /// The folder of the runs' folders.
    pub(crate) dir: PathBuf,
    /// What the runs are compared with.
    #[serde(default)]
    pub(crate) baselines: Vec<Baseline>,
    /// Whether each student is evaluated; where it is not said, if there is an `[evaluate]`.
    #[serde(default)]
    pub(crate) evaluate: Option<bool>,
}

/// A key of another table, and the values that it takes.
#[derive(Clone, Debug)]
pub(crate) struct SweptKey {
    /// As it was written in `[sweep]`.
    pub(crate) written: String,
    /// With its table, such as `train.seed`.
    pub(crate) key: String,
    pub(crate) values: Vec<SweptValue>,
}

/// One value of a key.
#[derive(Clone, Debug)]
pub(crate) struct SweptValue {
    /// As TOML, on one line.
    pub(crate) toml: String,
    pub(crate) place: Place,
}

/// As it was written, each list as text.
impl Serialize for SweepSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("dir", &self.own.dir)?;
        map.serialize_entry("baselines", &self.own.baselines)?;
        map.serialize_entry("evaluate", &self.own.evaluate)?;
        for swept in &self.swept {
            let values: Vec<&str> = swept.values.iter().map(|value| value.toml.as_str()).collect();
            map.serialize_entry(&swept.key, &values)?;
        }
        map.end()
    }
}

/// What a name in `[sweep]` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A key of the table itself.
    Own,
    /// This key of another table.
    Swept(String),
    /// A key that there is, and that no sweep can be over, because of this.
    NotSwept(&'static str),
    /// No key; the nearest one, as it is written in `[sweep]`.
    Unknown(Option<String>),
}

impl Name {
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

/// A key of another table as it is written in `[sweep]`.
fn in_sweep(full: &str) -> String {
    match full.strip_prefix("train.") {
        Some(key) => key.to_owned(),
        None => format!("\"{full}\""),
    }
}

/// Why there is no sweep over a key.
fn because_not(full: &str) -> Option<&'static str> {
    const OTHER_CACHE: &str = "it would take another cache, and a sweep trains from one";
    match full.split_once('.')? {
        ("train", "dir") => Some("each run has a folder of its own in `sweep.dir`"),
        ("train", "max_flops") => Some("it is what `baselines = [\"equal_compute\"]` sets"),
        ("train", "device" | "checkpoint_steps" | "keep_checkpoints") | ("evaluate", "device") => {
            Some("it changes nothing in the result")
        }
        ("evaluate", "model" | "revision" | "dir") => Some("what is evaluated is the run's own student, in its folder"),
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
    fn names_are_keys_of_training_unless_they_say_of_what() {
        let swept = |full: &str| Name::Swept(full.to_owned());
        for (written, expected) in [
            ("dir", Name::Own),
            ("evaluate", Name::Own),
            ("seed", swept("train.seed")),
            ("student.seed", swept("student.seed")),
            ("train.loss", swept("train.loss")),
            ("evaluate.columns.answer", swept("evaluate.columns.answer")),
            (
                "lead_span_proprotion",
                Name::Unknown(Some("lead_span_proportion".into())),
            ),
            ("student.layer", Name::Unknown(Some("\"student.layers\"".into()))),
            ("baseline", Name::Unknown(Some("baselines".into()))),
            ("zzz", Name::Unknown(None)),
            ("zzz.seed", Name::Unknown(Some("seed".into()))),
        ] {
            assert_eq!(Name::of(written), expected, "{written}");
        }
        for written in [
            "cache.top_k",
            "data.seed",
            "train.dir",
            "replay.files",
            "student.tokenizer",
            "sweep.dir",
        ] {
            assert!(matches!(Name::of(written), Name::NotSwept(_)), "{written}");
        }
    }
}
