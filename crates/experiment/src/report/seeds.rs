//! Groups of runs that differ in their seeds alone: means and intervals are taken over such a group.
//!
//! A run of equal compute belongs to the runs whose operations are its limit. Close limits often end runs at the same step, so runs
//! of equal compute for several policies can be one and the same student: each policy counts it once, and no policy counts it as
//! several seeds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use leadspan_sequence::LeadSpanProportion;

use crate::{Kind, Run};

/// Keys in which the runs of one series may differ, or that do not affect what was learnt.
pub(super) const WITHIN: [&str; 7] = [
    "train.dir",
    "train.seed",
    "train.lead_span_proportion",
    "train.max_flops",
    "train.checkpoint_steps",
    "train.keep_checkpoints",
    "evaluate.dir",
];

/// Runs that differ in their seeds alone, each seed once. It is not empty.
#[derive(Clone, Debug)]
pub(super) struct Group<'a> {
    /// The label of their series, and of runs of equal compute also the case that they are for.
    pub(super) label: String,
    /// The runs.
    pub(super) runs: Vec<&'a Run>,
}

/// What tells apart the runs that runs of equal compute stand beside: the tokens that are kept, and the positions that are learnt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Case {
    proportion: Option<LeadSpanProportion>,
    lead_span: String,
    positions: String,
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "lead span {}", self.lead_span)?;
        match self.positions.as_str() {
            ALL => Ok(()),
            positions => write!(formatter, ", positions {positions}"),
        }
    }
}

/// The value of `train.positions` if all are learnt.
const ALL: &str = "all";

impl Case {
    /// The case of a run without a limit of operations on less than every position of whole sequences.
    fn of(run: &Run) -> Option<Self> {
        let positions = run.config.get("train.positions").map_or(ALL, String::as_str);
        let proportion = run.proportion();
        let is_limited = matches!(run.kind, Kind::EqualCompute | Kind::Untrained);
        let is_whole = proportion == Some(LeadSpanProportion::WHOLE) && positions == ALL;
        (!is_limited && !is_whole).then_some(Self {
            proportion,
            lead_span: run.shown_lead_span()?,
            positions: positions.to_owned(),
        })
    }
}

/// The cases whose operations limit `run`, by the runs among `all`; none if it is no run of equal compute or they are not there.
pub(super) fn cases_of(run: &Run, all: &[Run]) -> BTreeSet<Case> {
    let shorter = all.iter().filter(|other| is_as_long_as(run, other));
    shorter.filter_map(Case::of).collect()
}

/// Whether `whole` was stopped at the operations of `run`, with its seed and otherwise its settings.
pub(super) fn is_as_long_as(whole: &Run, run: &Run) -> bool {
    whole.kind == Kind::EqualCompute
        && limit(whole) == operations(run)
        && !ended_early(whole)
        && whole.seed() == run.seed()
        && same_but_for_span(whole, run)
}

/// Whether two runs agree in all settings that both have recorded, but for their seeds, limits of operations, and which tokens are
/// kept and learnt.
fn same_but_for_span(one: &Run, other: &Run) -> bool {
    let counts = |key: &str| {
        !WITHIN.contains(&key) && !["train.lead_span", "train.positions"].contains(&key) && !key.starts_with("sweep.")
    };
    let agrees =
        |(key, value): (&String, &String)| !counts(key) || other.config.get(key).is_none_or(|other| other == value);
    one.config.iter().all(agrees)
}

/// Whether a finished run has fewer operations than its limit, because its epochs or its patience ended before.
pub(super) fn ended_early(run: &Run) -> bool {
    operations(run)
        .zip(limit(run))
        .is_some_and(|(done, limit)| done * SAME_LIMIT < limit)
}

fn operations(run: &Run) -> Option<f64> {
    run.summary().and_then(|summary| summary.training_flops)
}

fn limit(run: &Run) -> Option<f64> {
    run.config.get("train.max_flops").and_then(|text| text.parse().ok())
}

/// The groups of the runs of one series with this label, by proportion and case, or by the limit of runs whose case is not known.
/// A run of equal compute is in the group of every case among the runs `all` whose operations limit it.
pub(super) fn over_seeds<'a>(label: &str, runs: &[&'a Run], all: &[Run]) -> Vec<Group<'a>> {
    let mut by_case: BTreeMap<(Option<LeadSpanProportion>, Case), Vec<&Run>> = BTreeMap::new();
    let mut others = Vec::new();
    for &run in runs {
        let cases = cases_of(run, all);
        if cases.is_empty() {
            others.push(run);
        }
        for case in cases {
            by_case.entry((run.proportion(), case)).or_default().push(run);
        }
    }
    let mut groups = Vec::new();
    for ((_, case), runs) in by_case {
        let label = format!("{label}, for {case}");
        let of_seeds = seeds_apart(runs).into_iter();
        groups.extend(of_seeds.map(|runs| Group {
            label: label.clone(),
            runs,
        }));
    }
    groups.extend(by_limit(others).into_iter().map(|runs| Group {
        label: label.to_owned(),
        runs,
    }));
    groups
}

/// How far numbers of operations may be apart to count as the same: lead spans that are drawn take other operations with each seed,
/// and a run ends after a whole step.
pub(super) const SAME_LIMIT: f64 = 1.02;

/// Runs of one proportion and about one limit of operations, by proportion and limit. If a seed repeats among them, they are of
/// several cases, and only those with exactly one limit belong together.
fn by_limit(mut runs: Vec<&Run>) -> Vec<Vec<&Run>> {
    // The bits of positive numbers are in the order of the numbers.
    runs.sort_by_key(|run| (run.proportion(), limit(run).map(f64::to_bits)));
    let about_same = |last: &Run, run: &Run| match (limit(last), limit(run)) {
        (Some(last), Some(limit)) => limit <= SAME_LIMIT * last,
        (last, limit) => last == limit,
    };
    let mut groups = Vec::new();
    for near in runs.chunk_by(|last, run| last.proportion() == run.proportion() && about_same(last, run)) {
        if seeds_apart(near.to_vec()).len() == 1 {
            groups.push(near.to_vec());
            continue;
        }
        for same in near.chunk_by(|last, run| limit(last) == limit(run)) {
            groups.extend(seeds_apart(same.to_vec()));
        }
    }
    groups
}

/// The runs in as few groups as there can be if no group has a seed twice. Runs without a seed are not known to be the same.
fn seeds_apart(runs: Vec<&Run>) -> Vec<Vec<&Run>> {
    let mut groups: Vec<Vec<&Run>> = Vec::new();
    for run in runs {
        let lacks =
            |group: &&mut Vec<&Run>| run.seed().is_none() || group.iter().all(|other| other.seed() != run.seed());
        match groups.iter_mut().find(lacks) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    groups
}
