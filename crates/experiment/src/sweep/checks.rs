//! What a sweep must not be: too large, or with the same run twice.

use std::collections::BTreeSet;

use super::{Axis, Case, PlannedRun, name};
use crate::ExperimentError;

/// The most runs of a sweep. More are most likely a mistake.
const MOST_RUNS: usize = 10_000;

/// Checks the cases and the axes of a sweep.
pub(super) fn check(cases: &[Case], axes: &[Axis]) -> Result<(), ExperimentError> {
    let mut runs = cases.len().max(1);
    for axis in axes {
        if axis.values.is_empty() {
            return Err(ExperimentError::NoValues { key: axis.key.clone() });
        }
        for (index, value) in axis.values.iter().enumerate() {
            if axis.values[..index]
                .iter()
                .any(|earlier| earlier.setting == value.setting)
            {
                return Err(ExperimentError::RepeatedValue {
                    key: axis.key.clone(),
                    value: value.toml.clone(),
                });
            }
        }
        runs = runs.saturating_mul(axis.values.len());
    }
    if runs > MOST_RUNS {
        return Err(ExperimentError::TooManyRuns { runs, most: MOST_RUNS });
    }
    // The axes alone, too, if there are no cases.
    for case in cases.iter().chain([&Case::default()]) {
        let mut keys = BTreeSet::new();
        let all = case
            .settings
            .iter()
            .map(|(key, _)| key)
            .chain(axes.iter().map(|axis| &axis.key));
        for key in all {
            if !keys.insert(key) {
                return Err(ExperimentError::RepeatedKey { key: key.clone() });
            }
        }
    }
    for (index, case) in cases.iter().enumerate() {
        if let Some(name) = case.name.as_ref().filter(|name| !name::is_plain(name)) {
            return Err(ExperimentError::CaseName { name: name.clone() });
        }
        if let Some(first) = cases[..index].iter().position(|earlier| is_same(earlier, case)) {
            return Err(ExperimentError::RepeatedCase {
                first: first + 1,
                second: index + 1,
            });
        }
    }
    Ok(())
}

/// Checks that each run has a name of its own: runs share no folder.
pub(super) fn check_names(runs: &[PlannedRun]) -> Result<(), ExperimentError> {
    let mut names = BTreeSet::new();
    match runs.iter().find(|run| !names.insert(run.name.as_str())) {
        Some(run) => Err(ExperimentError::RepeatedName { name: run.name.clone() }),
        None => Ok(()),
    }
}

/// Whether two cases have the same settings, in whatever order.
fn is_same(one: &Case, other: &Case) -> bool {
    let is_in_other = |(key, value): &(String, super::AxisValue)| {
        other
            .settings
            .iter()
            .any(|(other_key, other)| other_key == key && other.setting == value.setting)
    };
    one.settings.len() == other.settings.len() && one.settings.iter().all(is_in_other)
}

/// The cases with only the keys that `matters` selects, each case once and without a name.
pub(super) fn only(cases: &[Case], matters: impl Fn(&str) -> bool) -> Vec<Case> {
    let mut kept: Vec<Case> = Vec::new();
    for case in cases {
        let settings = case.settings.iter().filter(|(key, _)| matters(key)).cloned();
        let case = Case {
            name: None,
            settings: settings.collect(),
        };
        if !kept.iter().any(|earlier| is_same(earlier, &case)) {
            kept.push(case);
        }
    }
    kept
}
