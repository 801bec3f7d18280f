//! The measure of quality, and the share of quality that is retained.

use crate::{
    Estimate, Kind, Run,
    report::series::{Point, Series, at_proportions, by_proportion},
};
use leadspan_sequence::LeadSpanProportion;

/// The measure by which students are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// The share of problems answered right.
    Accuracy,
    /// Held-out KL(teacher ‖ student).
    ForwardKl,
    /// Held-out cross-entropy.
    CrossEntropy,
}

impl Measure {
    /// The first measure that distilled runs have or, if no run is distilled, that any run has.
    pub(super) fn choose(runs: &[Run]) -> Option<Self> {
        let distilled = runs
            .iter()
            .any(|run| run.kind == Kind::Distilled && run.summary().is_some());
        let counts = |run: &&Run| !distilled || run.kind == Kind::Distilled;
        [Self::Accuracy, Self::ForwardKl, Self::CrossEntropy]
            .into_iter()
            .find(|measure| runs.iter().filter(counts).any(|run| measure.of(run).is_some()))
    }

    /// The value for a run's student.
    pub(super) fn of(self, run: &Run) -> Option<f64> {
        run.summary()?;
        match self {
            Self::Accuracy => run.evaluation.as_ref().map(|evaluation| evaluation.accuracy),
            Self::ForwardKl => run.held_out()?.forward_kl,
            Self::CrossEntropy => run.held_out()?.cross_entropy,
        }
    }

    /// An estimate over these runs; `None` if none of them has the measure. The interval is over seeds, but that of the accuracy of
    /// one run is over problems.
    pub(super) fn estimate<'a>(self, runs: impl IntoIterator<Item = &'a Run>) -> Option<Estimate> {
        let measured = runs.into_iter().filter_map(|run| Some((run, self.of(run)?)));
        if self != Self::Accuracy {
            return Estimate::of(&measured.map(|(_, value)| value).collect::<Vec<_>>());
        }
        let mut over_problems = None;
        let counts = measured.filter_map(|(run, accuracy)| {
            let evaluation = run.evaluation.as_ref()?;
            over_problems = evaluation.accuracy_interval;
            let problems = evaluation.problems;
            Some(((accuracy * problems as f64).round() as u64, problems))
        });
        let estimate = Estimate::of_shares(&counts.collect::<Vec<_>>())?;
        let interval = match estimate.values {
            1 => over_problems,
            _ => estimate.interval,
        };
        Some(Estimate { interval, ..estimate })
    }

    /// What the intervals of a table are over.
    pub(super) fn intervals(self) -> &'static str {
        match self {
            Self::Accuracy => "95 % intervals over seeds; of the accuracy of one seed, over problems",
            Self::ForwardKl | Self::CrossEntropy => "95 % intervals over seeds",
        }
    }

    /// An estimate at each proportion at which at least one run has the measure.
    pub(super) fn by_proportion(self, runs: &[&Run]) -> Vec<Point> {
        let point = |(proportion, runs): (_, Vec<&Run>)| {
            let estimate = self.estimate(runs)?;
            Some(Point { proportion, estimate })
        };
        at_proportions(runs).into_iter().filter_map(point).collect()
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::ForwardKl => "held-out forward KL",
            Self::CrossEntropy => "held-out cross-entropy",
        }
    }

    /// Whether higher is better, so that the ratio of two values is the share that is retained.
    pub(super) fn can_be_retained(self) -> bool {
        self == Self::Accuracy
    }

    /// Formats a value.
    pub(super) fn shown(self, value: f64) -> String {
        match self {
            Self::Accuracy => super::shown::percent(value),
            Self::ForwardKl | Self::CrossEntropy => format!("{value:.3}"),
        }
    }
}

/// The ratio of `value` of each run to that of the run of `whole` on whole sequences with the same seed, as an estimate at each
/// proportion. Runs for which the latter is missing or 0 are left out.
pub(super) fn relative(series: &Series, whole: &Series, value: impl Fn(&Run) -> Option<f64>) -> Vec<Point> {
    by_proportion(&series.runs, |run| ratio(run, whole, &value))
}

/// The same as one estimate over all of these runs, also of runs whose samples have lead spans of their own.
pub(super) fn relative_of(runs: &[&Run], whole: &Series, value: impl Fn(&Run) -> Option<f64>) -> Option<Estimate> {
    let ratios: Vec<f64> = runs.iter().filter_map(|run| ratio(run, whole, &value)).collect();
    Estimate::of(&ratios)
}

fn ratio(run: &Run, whole: &Series, value: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
    let same = |other: &&&Run| other.proportion() == Some(LeadSpanProportion::WHOLE) && other.seed() == run.seed();
    let of_whole = whole.runs.iter().find(same).and_then(|run| value(run));
    Some(value(run)? / of_whole.filter(|&value| value != 0.0)?)
}

/// The estimate at a proportion.
pub(super) fn at(points: &[Point], proportion: LeadSpanProportion) -> Option<Estimate> {
    points
        .iter()
        .find(|point| point.proportion == proportion)
        .map(|point| point.estimate)
}

/// The seconds of all steps of a run.
pub(super) fn seconds(run: &Run) -> Option<f64> {
    run.summary().map(|summary| summary.seconds)
}

/// The operations of a run's training.
pub(super) fn flops(run: &Run) -> Option<f64> {
    run.summary()?.training_flops
}

/// The mean of the operations of these runs' trainings; `None` if none of them has recorded them.
pub(super) fn mean_flops(runs: &[&Run]) -> Option<f64> {
    let each: Vec<f64> = runs.iter().filter_map(|run| flops(run)).collect();
    Some(Estimate::of(&each)?.mean)
}

/// The peak memory of a run's process, in bytes.
pub(super) fn memory(run: &Run) -> Option<f64> {
    run.summary()?.peak_memory_bytes.map(|bytes| bytes as f64)
}
