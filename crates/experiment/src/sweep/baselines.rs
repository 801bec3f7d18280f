//! The baselines of a sweep. Each takes only the keys that affect it.

use leadspan_sequence::LeadSpanProportion;

use super::{
    Axis, AxisValue, Baseline, Case, EVERY_POSITION, PROPORTION, PlannedRun, Unswept, WEIGHTS, checks::only,
    combinations, name, proportion_in, reset, set, settings,
};
use crate::ExperimentError;

/// Keys of distillation, which do not affect supervised training.
const OF_DISTILLATION: [&str; 6] = [
    "train.loss",
    "train.tail_policy",
    "train.jensen_shannon_beta",
    "train.skew",
    "train.distillation_weight",
    "train.temperature",
];

/// The student before training: one run for each combination of the keys of `[student]` and `[evaluate]`.
///
/// Other keys do not affect it. Each of their axes takes its first value, and the proportion its largest. Where only lead spans of
/// other forms are set, it has the first of them, because the cache may not reach as far as the file's proportion.
pub(super) fn untrained(
    cases: &[Case],
    axes: &[Axis],
    proportion: LeadSpanProportion,
) -> Result<Vec<PlannedRun>, ExperimentError> {
    let matters = |key: &str| ["student.", "evaluate."].iter().any(|table| key.starts_with(table));
    let kept_cases = only(cases, matters);
    let (kept, rest): (Vec<Axis>, Vec<Axis>) = axes.iter().cloned().partition(|axis| matters(&axis.key));
    let in_cases = cases
        .iter()
        .flat_map(|case| &case.settings)
        .filter(|(key, _)| key == PROPORTION);
    let in_axes = rest.iter().filter(|axis| axis.key == PROPORTION);
    let values = in_cases
        .map(|(_, value)| value)
        .chain(in_axes.flat_map(|axis| &axis.values));
    let mut longest: Option<(LeadSpanProportion, &AxisValue)> = None;
    for value in values {
        let found = proportion_in(value)?;
        if longest.is_none_or(|(longest, _)| found > longest) {
            longest = Some((found, value));
        }
    }
    let other_form = cases
        .iter()
        .flat_map(|case| &case.settings)
        .find(|(key, _)| longest.is_none() && key == EVERY_POSITION[0].0);
    let of_others = rest.iter().filter(|axis| axis.key != PROPORTION);
    let others: Vec<(&str, &AxisValue)> = longest
        .map(|(_, value)| (PROPORTION, value))
        .into_iter()
        .chain(other_form.map(|(key, value)| (key.as_str(), value)))
        .chain(of_others.map(|axis| (axis.key.as_str(), &axis.values[0])))
        .collect();
    let longest = longest.map_or(proportion, |(longest, _)| longest);
    let run = |combination: Vec<(&str, &AxisValue)>| {
        let name = name::of(Some(Baseline::Untrained), &combination);
        let mut settings = settings(&[others.as_slice(), combination.as_slice()].concat());
        set(&mut settings, "train.max_flops", "0");
        PlannedRun {
            name,
            baseline: Some(Baseline::Untrained),
            settings,
            proportion: longest,
            is_whole: longest == LeadSpanProportion::WHOLE,
            as_long_as: None,
        }
    };
    Ok(combinations(&kept_cases, &kept).into_iter().map(run).collect())
}

/// Whole sequences by cross-entropy alone, without replay: one run for each combination of the keys that are not of distillation.
pub(super) fn supervised(cases: &[Case], axes: &[Axis], unswept: &Unswept) -> Vec<PlannedRun> {
    let matters = |key: &str| {
        let is_policy = EVERY_POSITION
            .iter()
            .chain([&WEIGHTS])
            .any(|(policy, _)| key == *policy);
        key != PROPORTION && !is_policy && !key.starts_with("replay.") && !OF_DISTILLATION.contains(&key)
    };
    let kept_cases = only(cases, matters);
    let kept: Vec<Axis> = axes.iter().filter(|axis| matters(&axis.key)).cloned().collect();
    let run = |combination: Vec<(&str, &AxisValue)>| {
        let mut settings = settings(&combination);
        set(&mut settings, PROPORTION, "1.0");
        set(&mut settings, "train.distillation_weight", "0.0");
        set(&mut settings, "replay.share", "0.0");
        for policy in EVERY_POSITION.into_iter().chain([WEIGHTS]) {
            reset(&mut settings, unswept, policy);
        }
        PlannedRun {
            name: name::of(Some(Baseline::Supervised), &combination),
            baseline: Some(Baseline::Supervised),
            settings,
            proportion: LeadSpanProportion::WHOLE,
            is_whole: true,
            as_long_as: None,
        }
    };
    combinations(&kept_cases, &kept).into_iter().map(run).collect()
}

/// For each run on shorter sequences or some of their positions, the same run on every position of whole ones with as many
/// operations.
pub(super) fn equal_compute(runs: &[PlannedRun], unswept: &Unswept) -> Vec<PlannedRun> {
    let shorter = runs.iter().enumerate().filter(|(_, run)| !run.is_whole);
    let whole = |(index, run): (usize, &PlannedRun)| {
        let mut settings = run.settings.clone();
        set(&mut settings, PROPORTION, "1.0");
        for policy in EVERY_POSITION {
            reset(&mut settings, unswept, policy);
        }
        PlannedRun {
            name: name::after(Baseline::EqualCompute, &run.name),
            baseline: Some(Baseline::EqualCompute),
            settings,
            proportion: LeadSpanProportion::WHOLE,
            is_whole: true,
            as_long_as: Some(index),
        }
    };
    shorter.map(whole).collect()
}
