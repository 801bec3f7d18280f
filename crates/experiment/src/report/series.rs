//! Groups runs that differ only in proportion and seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use leadspan_sequence::LeadSpanProportion;

use super::seeds::{Group, WITHIN, over_seeds};
use crate::{Estimate, Kind, Run, runs::PROBLEMS};

/// Runs that differ only in proportion and seed, and those of equal compute also in the limit of operations.
#[derive(Clone, Debug)]
pub(super) struct Series<'a> {
    /// Their kind.
    pub(super) kind: Kind,
    /// The settings in which they differ from other series.
    pub(super) label: String,
    /// The runs.
    pub(super) runs: Vec<&'a Run>,
    /// The same runs, in groups over whose seeds means are taken.
    pub(super) groups: Vec<Group<'a>>,
}

/// The estimate at one proportion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) proportion: LeadSpanProportion,
    pub(super) estimate: Estimate,
}

/// Keys that do not affect what was learnt, nor how it was measured.
const OF_NO_EFFECT: [&str; 4] = [
    "train.dir",
    "train.checkpoint_steps",
    "train.keep_checkpoints",
    "evaluate.dir",
];

/// The values of keys by which every position of one proportion is learnt alike.
const NO_POLICY: [(&str, &str); 3] = [
    ("train.lead_span", "constant"),
    ("train.positions", "all"),
    ("train.position_weights", "flat"),
];

/// Groups runs into series, each run once: distilled ones first, then by the settings in which they differ.
pub(super) fn series(every: &[Run]) -> Vec<Series<'_>> {
    let mut by_kind: BTreeMap<Kind, Vec<&Run>> = BTreeMap::new();
    for run in every {
        by_kind.entry(run.kind).or_default().push(run);
    }
    let mut all = Vec::new();
    for (kind, runs) in by_kind {
        let runs = without_repetitions(runs);
        let apart: Vec<String> = differing_keys(&runs)
            .into_iter()
            .filter(|key| !WITHIN.contains(&key.as_str()) && !key.starts_with("sweep."))
            .collect();
        let mut groups: BTreeMap<Vec<Option<&String>>, Vec<&Run>> = BTreeMap::new();
        for run in runs {
            let values = apart.iter().map(|key| run.config.get(key)).collect();
            groups.entry(values).or_default().push(run);
        }
        for (values, runs) in groups {
            let mut label = vec![kind.name().to_owned()];
            for (key, value) in apart.iter().zip(values) {
                let value = value.map_or("not recorded", |value| value);
                // A policy that is none is seen by the policies of others.
                if NO_POLICY.contains(&(key.as_str(), value)) {
                    continue;
                }
                // Of the two keys that say how long a run is, the one that does.
                if value == "none" && ["train.epochs", "train.steps"].contains(&key.as_str()) {
                    continue;
                }
                label.push(match key.as_str() {
                    "train.supervised_sections" => sections_in_words(value),
                    _ => format!("{} {value}", key.trim_start_matches("train.").replace('_', " ")),
                });
            }
            let label = label.join(", ");
            all.push(Series {
                kind,
                groups: over_seeds(&label, &runs, every),
                label,
                runs,
            });
        }
    }
    // The series without policies, with the most sections and the most proportions comes first, because the others are compared with it.
    let sections = |series: &Series| {
        series.runs[0]
            .sections()
            .map_or(0, |sections| sections.split('+').count())
    };
    let proportions = |series: &Series| {
        let found: BTreeSet<_> = series.runs.iter().map(|run| run.proportion()).collect();
        found.len()
    };
    all.sort_by_key(|series| {
        let most = (Reverse(sections(series)), Reverse(proportions(series)));
        (series.kind, series.runs[0].policies(), most)
    });
    all
}

/// Each run once: copies of a run agree in its configuration and its seed, and must not count as further seeds. The one that is
/// finished and evaluated stays; copies that were evaluated on other problems do, too.
fn without_repetitions(runs: Vec<&Run>) -> Vec<&Run> {
    let ingredients = |run: &Run| -> Vec<(String, String)> {
        let counts = |key: &str| !OF_NO_EFFECT.contains(&key) && key != PROBLEMS && !key.starts_with("sweep.");
        let entries = run.config.iter().filter(|(key, _)| counts(key));
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let worth = |run: &Run| (run.summary().is_some(), run.evaluation.is_some());
    let asked = |run: &Run| run.config.get(PROBLEMS).cloned();
    let mut places: BTreeMap<Vec<(String, String)>, Vec<usize>> = BTreeMap::new();
    let mut kept: Vec<&Run> = Vec::with_capacity(runs.len());
    for run in runs {
        let copies = places.entry(ingredients(run)).or_default();
        let same = |&&place: &&usize| {
            let (one, other) = (asked(run), asked(kept[place]));
            // Nobody knows whether runs without a seed are the same.
            run.seed().is_some() && (one.is_none() || other.is_none() || one == other)
        };
        match copies.iter().find(same).copied() {
            Some(place) if worth(run) > worth(kept[place]) => kept[place] = run,
            Some(_) => {}
            None => {
                copies.push(kept.len());
                kept.push(run);
            }
        }
    }
    kept
}

/// The keys whose values differ among the runs that have them, in alphabetical order.
pub(super) fn differing_keys(runs: &[&Run]) -> Vec<String> {
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.config.keys()).collect();
    let differ = |key: &&String| {
        let values: BTreeSet<&String> = runs.iter().filter_map(|run| run.config.get(*key)).collect();
        values.len() > 1
    };
    keys.into_iter().filter(differ).cloned().collect()
}

/// Formats `prompt+chain_of_thought` for people.
pub(super) fn sections_in_words(sections: &str) -> String {
    sections.replace('+', " + ").replace('_', " ")
}

/// The runs of each proportion.
pub(super) fn at_proportions<'a>(runs: &[&'a Run]) -> BTreeMap<LeadSpanProportion, Vec<&'a Run>> {
    let mut all: BTreeMap<_, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        if let Some(proportion) = run.proportion() {
            all.entry(proportion).or_default().push(run);
        }
    }
    all
}

/// An estimate of `value` at each proportion at which at least one run has it.
pub(super) fn by_proportion(runs: &[&Run], value: impl Fn(&Run) -> Option<f64>) -> Vec<Point> {
    let point = |(proportion, runs): (_, Vec<&Run>)| {
        let values: Vec<f64> = runs.into_iter().filter_map(&value).collect();
        Estimate::of(&values).map(|estimate| Point { proportion, estimate })
    };
    at_proportions(runs).into_iter().filter_map(point).collect()
}
