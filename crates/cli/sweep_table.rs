//! The `[sweep]` table: its own keys, and keys of other tables, each with a list of values.
//!
//! A key without a table belongs to `[train]`; `"replay.share"` belongs to `[replay]`. A value is checked when it is set for a
//! run.

use std::path::PathBuf;

use leadspan_experiment::sweep::Baseline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};

use crate::place::Place;

/// The `[sweep]` table.
#[derive(Clone, Debug)]
pub(crate) struct SweepSettings {
    pub(crate) own: OwnSettings,
    pub(crate) swept: Vec<SweptKey>,
}

/// The table's own keys.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct OwnSettings {
    /// The folder of the runs' folders.
    pub(crate) dir: PathBuf,
    /// The baselines that the runs are compared with.
    #[serde(default)]
    pub(crate) baselines: Vec<Baseline>,
    /// Whether each student is evaluated; if it is not set, students are evaluated if the file has an `[evaluate]` table.
    #[serde(default)]
    pub(crate) evaluate: Option<bool>,
}

/// A key of another table, and the values that it takes.
#[derive(Clone, Debug)]
pub(crate) struct SweptKey {
    /// Its name in `[sweep]`.
    pub(crate) written: String,
    /// Its full name, such as `train.seed`.
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

/// Each list is serialized as the texts of its values.
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
