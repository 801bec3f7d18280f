//! Plans a sweep: a run for every combination of a case and of the values of some keys, and baselines to compare with.
//!
//! Nothing is read here, and no run is started.

mod baselines;
mod checks;
mod name;
mod share;
#[cfg(test)]
mod tests;

use leadspan_sequence::LeadSpanProportion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use share::share;

use crate::ExperimentError;

/// The key of the lead-span proportion.
const PROPORTION: &str = "train.lead_span_proportion";

/// The keys that decide which positions are learnt, and their values if all of a lead span of one proportion are.
const EVERY_POSITION: [(&str, &str); 2] = [("train.lead_span", "\"constant\""), ("train.positions", "\"all\"")];
/// The key of the weights of positions, and its value if all weigh the same.
const WEIGHTS: (&str, &str) = ("train.position_weights", "\"flat\"");

/// A key and its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The key with its table, such as `train.seed`.
    pub key: String,
    /// Its values, in order.
    pub values: Vec<AxisValue>,
}

/// One of the values of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisValue {
    /// As TOML, as it was written.
    pub toml: String,
    /// As its setting reads it, so that two spellings of one value are equal.
    pub setting: Value,
}

/// Settings that runs have together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Case {
    /// What its runs are called; by default their names list the settings.
    pub name: Option<String>,
    /// Keys with their table, and one value of each.
    pub settings: Vec<(String, AxisValue)>,
}

/// A key that a run sets, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key with its table.
    pub key: String,
    /// The value as TOML.
    pub toml: String,
}

/// A baseline to compare the runs of a sweep with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// The student before training.
    Untrained,
    /// Whole sequences, learnt by cross-entropy alone.
    Supervised,
    /// Whole sequences, stopped at the number of operations of a run on shorter ones.
    EqualCompute,
}

impl Baseline {
    /// Its name in the pipeline file, and the beginning of the names of its runs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Untrained => "untrained",
            Self::Supervised => "supervised",
            Self::EqualCompute => "equal_compute",
        }
    }
}

/// One run of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRun {
    /// Its name, which is also that of its folder. It has only characters that every file system takes, and it is the same
    /// whenever the sweep is planned.
    pub name: String,
    /// The baseline, if it is one.
    pub baseline: Option<Baseline>,
    /// The keys that it sets.
    pub settings: Vec<Setting>,
    /// The lead-span proportion of its training, if it has one for all samples.
    pub proportion: LeadSpanProportion,
    /// Whether it learns every position of whole sequences.
    pub is_whole: bool,
    /// The index of the run whose operations limit this one; that run comes first.
    pub as_long_as: Option<usize>,
}

/// What the pipeline file says of keys that are not swept.
#[derive(Clone, Debug)]
pub struct Unswept {
    /// The lead-span proportion.
    pub proportion: LeadSpanProportion,
    /// The supervision policies that it sets, such as `train.lead_span`, to something else than their defaults.
    pub policies: Vec<String>,
}

impl From<LeadSpanProportion> for Unswept {
    fn from(proportion: LeadSpanProportion) -> Self {
        Self {
            proportion,
            policies: Vec::new(),
        }
    }
}

/// The settings of one case, and one value of each axis.
type Combination<'a> = Vec<(&'a str, &'a AxisValue)>;

/// The runs of a sweep: one for each combination of a case and of values, where cases change slowest and the last axis fastest, and
/// then the baselines. Without cases, the axes alone count. `unswept` has what the runs have of the pipeline file.
///
/// # Errors
///
/// If an axis has no values or the same value twice, if a case is listed twice, if a key is in two places, or if there are too many
/// runs.
pub fn plan(
    cases: &[Case],
    axes: &[Axis],
    unswept: &Unswept,
    baselines: &[Baseline],
) -> Result<Vec<PlannedRun>, ExperimentError> {
    checks::check(cases, axes)?;
    let mut runs = Vec::new();
    let of_each: usize = axes.iter().map(|axis| axis.values.len()).product();
    for (index, combination) in combinations(cases, axes).into_iter().enumerate() {
        let case = cases.get(index / of_each);
        let proportion = proportion_of(&combination, unswept.proportion)?;
        let learns_all = EVERY_POSITION
            .iter()
            .all(|key| has_default(&combination, unswept, *key));
        runs.push(PlannedRun {
            name: match case.and_then(|case| Some((case, case.name.as_deref()?))) {
                Some((case, name)) => name::of_case(name, &combination[case.settings.len()..]),
                None => name::of(None, &combination),
            },
            baseline: None,
            settings: settings(&combination),
            proportion,
            is_whole: proportion == LeadSpanProportion::WHOLE && learns_all,
            as_long_as: None,
        });
    }
    let swept = runs.len();
    // The order does not depend on the list: a run that another one needs comes before it.
    for baseline in [Baseline::Untrained, Baseline::Supervised, Baseline::EqualCompute] {
        if baselines.contains(&baseline) {
            let more = match baseline {
                Baseline::Untrained => baselines::untrained(cases, axes, unswept.proportion)?,
                Baseline::Supervised => baselines::supervised(cases, axes, unswept),
                Baseline::EqualCompute => baselines::equal_compute(&runs[..swept], unswept),
            };
            runs.extend(more);
        }
    }
    checks::check_names(&runs)?;
    Ok(runs)
}

/// Every combination of a case and of values, one of each axis. Without cases and axes there is one empty combination.
fn combinations<'a>(cases: &'a [Case], axes: &'a [Axis]) -> Vec<Combination<'a>> {
    let of_case = |case: &'a Case| case.settings.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let mut all: Vec<Combination<'a>> = cases.iter().map(of_case).collect();
    if all.is_empty() {
        all.push(Vec::new());
    }
    for axis in axes {
        let with = |shorter: &Combination<'a>| {
            let pairs = axis.values.iter().map(|value| (axis.key.as_str(), value));
            pairs
                .map(|pair| [shorter.as_slice(), &[pair]].concat())
                .collect::<Vec<_>>()
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

fn settings(combination: &Combination<'_>) -> Vec<Setting> {
    let setting = |(key, value): &(&str, &AxisValue)| Setting {
        key: (*key).to_owned(),
        toml: value.toml.clone(),
    };
    combination.iter().map(setting).collect()
}

fn proportion_of(
    combination: &Combination<'_>,
    otherwise: LeadSpanProportion,
) -> Result<LeadSpanProportion, ExperimentError> {
    let swept = combination.iter().find(|(key, _)| *key == PROPORTION);
    swept.map_or(Ok(otherwise), |(_, value)| proportion_in(value))
}

/// Whether a policy has the value that it has if nothing sets it.
fn has_default(combination: &Combination<'_>, unswept: &Unswept, (key, default): (&str, &str)) -> bool {
    let swept = combination.iter().find(|(swept, _)| *swept == key);
    // A proportion takes the place of lead spans that the file sets.
    let is_replaced = key == EVERY_POSITION[0].0 && combination.iter().any(|(swept, _)| *swept == PROPORTION);
    swept.map_or_else(
        || is_replaced || !unswept.policies.iter().any(|set| set == key),
        |(_, value)| {
            value
                .setting
                .as_str()
                .is_some_and(|text| format!("\"{text}\"") == default)
        },
    )
}

/// Sets a policy to its default if something else would be set.
fn reset(settings: &mut Vec<Setting>, unswept: &Unswept, (key, default): (&str, &str)) {
    if unswept.policies.iter().any(|set| set == key) || settings.iter().any(|setting| setting.key == key) {
        set(settings, key, default);
    }
}

fn proportion_in(value: &AxisValue) -> Result<LeadSpanProportion, ExperimentError> {
    let parsed = serde_json::from_value(value.setting.clone());
    parsed.map_err(|_| ExperimentError::NotAProportion {
        value: value.toml.clone(),
    })
}

/// Sets `key` to a value, replacing an earlier one.
fn set(settings: &mut Vec<Setting>, key: &str, toml: &str) {
    settings.retain(|setting| setting.key != key);
    settings.push(Setting {
        key: key.to_owned(),
        toml: toml.to_owned(),
    });
}
