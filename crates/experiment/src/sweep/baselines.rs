//! The baselines of a sweep. Each takes only the axes that affect it.

use leadspan_sequence::LeadSpanProportion;

use super::{
    Axis, AxisValue, Baseline, EVERY_POSITION, PROPORTION, PlannedRun, Unswept, WEIGHTS, combinations, name,
    proportion_in, reset, set, settings,
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
/// Other axes do not affect it. Each of them takes its first value, and the proportion its largest.
pub(super) fn untrained(axes: &[Axis], proportion: LeadSpanProportion) -> Result<Vec<PlannedRun>, ExperimentError> {
    let matters = |axis: &&Axis| {
        ["student.", "evaluate."]
            .iter()
            .any(|table| axis.key.starts_with(table))
    };
    let kept: Vec<Axis> = axes.iter().filter(matters).cloned().collect();
    let mut longest = proportion;
    let mut others = Vec::new();
    for axis in axes.iter().filter(|axis| !matters(axis)) {
        let mut value: &AxisValue = &axis.values[0];
        if axis.key == PROPORTION {
            longest = proportion_in(value)?;
            for other in &axis.values[1..] {
                let found = proportion_in(other)?;
                if found > longest {
                    (longest, value) = (found, other);
                }
            }
        }
        others.push((axis.key.as_str(), value));
    }
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
    Ok(combinations(&kept).into_iter().map(run).collect())
}

/// Whole sequences by cross-entropy alone, without replay: one run for each combination of the keys that are not of distillation.
pub(super) fn supervised(axes: &[Axis], unswept: &Unswept) -> Vec<PlannedRun> {
    let matters = |axis: &&Axis| {
        let key = axis.key.as_str();
        let is_policy = EVERY_POSITION
            .iter()
            .chain([&WEIGHTS])
            .any(|(policy, _)| key == *policy);
        key != PROPORTION && !is_policy && !key.starts_with("replay.") && !OF_DISTILLATION.contains(&key)
    };
    let kept: Vec<Axis> = axes.iter().filter(matters).cloned().collect();
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
    combinations(&kept).into_iter().map(run).collect()
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
