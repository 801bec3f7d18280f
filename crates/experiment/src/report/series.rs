//! Groups runs that differ only in proportion and seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use leadspan_sequence::LeadSpanProportion;

use crate::{Estimate, Kind, Run};

/// Runs that differ only in proportion and seed, and those of equal compute also in the limit of operations.
#[derive(Clone, Debug)]
pub(super) struct Series<'a> {
    /// Their kind.
    pub(super) kind: Kind,
    /// The settings in which they differ from other series.
    pub(super) label: String,
    /// The runs.
    pub(super) runs: Vec<&'a Run>,
}

/// The estimate at one proportion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) proportion: LeadSpanProportion,
    pub(super) estimate: Estimate,
}

/// Keys in which the runs of one series may differ, or that do not affect what was learnt.
const WITHIN: [&str; 7] = [
    "train.dir",
    "train.seed",
    "train.lead_span_proportion",
    "train.max_flops",
    "train.checkpoint_steps",
    "train.keep_checkpoints",
    "evaluate.dir",
];

/// Those of them that do not affect what was learnt, nor how it was measured.
const OF_NO_EFFECT: [&str; 4] = [
    "train.dir",
    "train.checkpoint_steps",
    "train.keep_checkpoints",
    "evaluate.dir",
];

/// Groups runs into series, each run once: distilled ones first, then by the settings in which they differ.
pub(super) fn series(runs: &[Run]) -> Vec<Series<'_>> {
    let mut by_kind: BTreeMap<Kind, Vec<&Run>> = BTreeMap::new();
    for run in runs {
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
                label.push(match key.as_str() {
                    "train.supervised_sections" => sections_in_words(value),
                    _ => format!("{} {value}", key.trim_start_matches("train.").replace('_', " ")),
                });
            }
            all.push(Series {
                kind,
                label: label.join(", "),
                runs,
            });
        }
    }
    // The series without policies and with the most sections comes first, because the others are compared with it.
    let sections = |series: &Series| {
        series.runs[0]
            .sections()
            .map_or(0, |sections| sections.split('+').count())
    };
    all.sort_by_key(|series| (series.kind, series.runs[0].policies(), Reverse(sections(series))));
    all
}

/// Each run once: copies of a run agree in its configuration and its seed, and must not count as further seeds. The one that is
/// finished and evaluated stays.
fn without_repetitions(runs: Vec<&Run>) -> Vec<&Run> {
    let ingredients = |run: &Run| -> Vec<(String, String)> {
        let counts = |key: &str| !OF_NO_EFFECT.contains(&key) && !key.starts_with("sweep.");
        let entries = run.config.iter().filter(|(key, _)| counts(key));
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let worth = |run: &Run| (run.summary().is_some(), run.evaluation.is_some());
    let mut places: BTreeMap<Vec<(String, String)>, usize> = BTreeMap::new();
    let mut kept: Vec<&Run> = Vec::with_capacity(runs.len());
    for run in runs {
        // Nobody knows whether runs without a seed are the same.
        let known = run.seed().and_then(|_| places.get(&ingredients(run)).copied());
        match known {
            Some(place) if worth(run) > worth(kept[place]) => kept[place] = run,
            Some(_) => {}
            None => {
                places.insert(ingredients(run), kept.len());
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

/// Whether two runs agree in all settings that both have recorded, but for their seeds, limits of operations, and which tokens are
/// kept and learnt.
pub(super) fn same_but_for_span(one: &Run, other: &Run) -> bool {
    let counts = |key: &str| {
        !WITHIN.contains(&key) && !["train.lead_span", "train.positions"].contains(&key) && !key.starts_with("sweep.")
    };
    let agrees =
        |(key, value): (&String, &String)| !counts(key) || other.config.get(key).is_none_or(|other| other == value);
    one.config.iter().all(agrees)
}

/// Formats `prompt+chain_of_thought` for people.
pub(super) fn sections_in_words(sections: &str) -> String {
    sections.replace('+', " + ").replace('_', " ")
}

/// How far the limits of operations of two runs may be apart for runs that differ in their seeds: lead spans that are drawn take
/// other operations with each seed.
const SAME_LIMIT: f64 = 1.02;

/// Runs of one proportion and about one limit of operations, which differ in their seeds, by proportion and limit.
pub(super) fn over_seeds<'a>(runs: impl Iterator<Item = &'a Run>) -> Vec<Vec<&'a Run>> {
    let limit = |run: &Run| {
        let limit = run.config.get("train.max_flops");
        limit.and_then(|text| text.parse::<f64>().ok())
    };
    let mut runs: Vec<&Run> = runs.collect();
    // The bits of positive numbers are in the order of the numbers.
    runs.sort_by_key(|run| (run.proportion(), limit(run).map(f64::to_bits)));
    let mut groups: Vec<Vec<&Run>> = Vec::new();
    for run in runs {
        let goes_with = |last: &&Run| {
            let is_same = match (limit(last), limit(run)) {
                (Some(last), Some(limit)) => limit <= SAME_LIMIT * last,
                (last, limit) => last == limit,
            };
            is_same && last.proportion() == run.proportion()
        };
        match groups.last_mut() {
            Some(group) if group.last().is_some_and(goes_with) => group.push(run),
            _ => groups.push(vec![run]),
        }
    }
    groups
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
