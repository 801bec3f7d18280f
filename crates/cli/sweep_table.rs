//! The `[sweep]` table: its own keys, and keys of other tables, each with a list of values.
//!
//! A key without a table belongs to `[train]`; `"replay.share"` belongs to `[replay]`. `cases` has such keys with one value each. A
//! value is checked when it is set for a run.

use std::{collections::BTreeMap, path::PathBuf};

use leadspan_experiment::sweep::Baseline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Value;

use crate::place::Place;

/// The `[sweep]` table.
#[derive(Clone, Debug)]
pub(crate) struct SweepSettings {
    pub(crate) own: OwnSettings,
    pub(crate) cases: Vec<SweptCase>,
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
    /// Settings that belong together, a table of keys and values for each case; every combination of a case and of the values of
    /// other keys is a run. `name` in a case is what its runs are called.
    #[serde(default)]
    #[schemars(with = "Option<Vec<BTreeMap<String, Value>>>")]
    pub(crate) cases: Option<Vec<toml::Table>>,
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

/// A case of the sweep.
#[derive(Clone, Debug)]
pub(crate) struct SweptCase {
    /// What its runs are called, if it says so.
    pub(crate) name: Option<String>,
    pub(crate) settings: Vec<CaseSetting>,
}

/// A key of another table that a case sets.
#[derive(Clone, Debug)]
pub(crate) struct CaseSetting {
    /// Its name in the case.
    pub(crate) written: String,
    /// Its full name.
    pub(crate) key: String,
    pub(crate) value: SweptValue,
}

impl CaseSetting {
    /// Its key, and where it was given.
    pub(crate) fn place(&self) -> (String, Place) {
        (self.key.clone(), self.value.place.clone())
    }
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
        map.serialize_entry("cases", &self.own.cases)?;
        for swept in &self.swept {
            let values: Vec<&str> = swept.values.iter().map(|value| value.toml.as_str()).collect();
            map.serialize_entry(&swept.key, &values)?;
        }
        map.end()
    }
}
