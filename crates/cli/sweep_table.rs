//! The `[sweep]` table: keys of its own, and any key of other tables with a list of the values that it takes.
//!
//! A key without a table is one of `[train]`; `"replay.share"` is one of `[replay]`. Whether each value is what its key takes is
//! found out when it is set for a run.

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

/// The keys that are the table's own.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct OwnSettings {
    /// The folder of the runs' folders.
    pub(crate) dir: PathBuf,
    /// What the runs are compared with.
    #[serde(default)]
    pub(crate) baselines: Vec<Baseline>,
    /// Whether each student is evaluated; if it is not set, whether there is an `[evaluate]`.
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
