//! `leadspan precompute --finalize`: checks that every work unit is stored.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    ops::RangeInclusive,
    path::PathBuf,
};

use leadspan_cache::{Manifest, WorkUnit};
use leadspan_diagnosis::Diagnosis;
use leadspan_precompute::{Finalized, Pipeline};
use leadspan_workers::scheduler::WORKERS;
use serde::{Serialize, Serializer};

use super::{Ending, Showing, prepare::Waited};
use crate::{
    amounts::{bytes, counted, grouped},
    arguments::WorkerArguments,
    failure::{Context as _, Result},
    path_text, worker_here,
};

/// Some work units are not captured.
#[derive(Debug, thiserror::Error)]
#[error("{missing} of {units} work units are missing")]
struct Incomplete {
    missing: usize,
    units: usize,
    /// The tasks whose shares they are in, and the number of workers.
    tasks: Option<(String, usize)>,
}

impl Diagnosis for Incomplete {
    fn hint(&self) -> Option<String> {
        Some(match &self.tasks {
            Some((array, workers)) => format!(
                "submit these tasks again: `--array={array}` (plus 1 where arrays count from 1: LSF, SGE), with \
                 `--workers {workers}` or `{WORKERS}={workers}` for `leadspan precompute`"
            ),
            None => format!(
                "run `leadspan precompute` again; with `--workers N` or `{WORKERS}=N`, this command lists those of N tasks that \
                 have missing units"
            ),
        })
    }
}

pub(super) fn run(pipeline: &Pipeline, workers: &WorkerArguments, showing: Showing) -> Result<Ending> {
    let workers = worker_here::stated_here(workers)?;
    let attempt = || format!("could not finalize the cache `{}`", pipeline.cache_dir().display());
    let finalized = leadspan_precompute::finalize(pipeline, workers, &mut Waited::telling()).with_context(attempt)?;
    let checked = Checked::new(pipeline.cache_dir(), finalized, workers);
    showing.result(&checked)?;
    if checked.complete {
        return Ok(Ending::Done);
    }
    let incomplete = Incomplete {
        missing: checked.units_missing,
        units: checked.units * checked.layers.len(),
        tasks: checked.array.zip(workers),
    };
    Err(incomplete).with_context(attempt)
}

/// The result of the command.
#[derive(Serialize)]
struct Checked {
    #[serde(serialize_with = "path_text::as_text")]
    cache: PathBuf,
    complete: bool,
    units: usize,
    units_missing: usize,
    workers: Option<usize>,
    /// The tasks whose shares have missing units, as a job array is written.
    array: Option<String>,
    layers: Vec<CheckedLayer>,
}

#[derive(Serialize)]
struct CheckedLayer {
    layer: String,
    #[serde(serialize_with = "as_names")]
    missing: Vec<WorkUnit>,
    manifest: Option<Manifest>,
}

impl Checked {
    fn new(cache: PathBuf, finalized: Finalized, workers: Option<usize>) -> Self {
        let units_missing = finalized.missing();
        let layers = finalized.layers.into_iter().map(|layer| CheckedLayer {
            layer: layer.name,
            missing: layer.missing,
            manifest: layer.manifest,
        });
        Self {
            cache,
            complete: units_missing == 0,
            units: finalized.units,
            units_missing,
            workers,
            array: finalized.tasks.as_ref().map(array_expression),
            layers: layers.collect(),
        }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, layer) in self.layers.iter().enumerate() {
            let gap = if place == 0 { "" } else { "\n" };
            let path = self.cache.join("layers").join(&layer.layer);
            if let Some(manifest) = &layer.manifest {
                write!(
                    formatter,
                    "{gap}`{}` is complete: {}, {} positions, {}; blake3 {}",
                    path.display(),
                    counted(manifest.units as u64, "work unit"),
                    grouped(manifest.positions),
                    bytes(manifest.shard_bytes),
                    manifest.shards_blake3
                )?;
            } else {
                write!(
                    formatter,
                    "{gap}`{}` lacks {} of {} work units: {}",
                    path.display(),
                    grouped(layer.missing.len() as u64),
                    grouped(self.units as u64),
                    named(&layer.missing)
                )?;
            }
        }
        Ok(())
    }
}

fn as_names<S: Serializer>(units: &[WorkUnit], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(units.iter().map(ToString::to_string))
}

/// Writes numbers as a job array: `3,17-19`.
fn array_expression(tasks: &BTreeSet<usize>) -> String {
    let mut text = String::new();
    for range in ranges(tasks.iter().copied()) {
        let comma = if text.is_empty() { "" } else { "," };
        let (first, last) = range.into_inner();
        let _ = match last - first {
            0 => write!(text, "{comma}{first}"),
            _ => write!(text, "{comma}{first}-{last}"),
        };
    }
    text
}

/// Writes consecutive units as a range: `train-000003, train-000017 to train-000019`.
fn named(units: &[WorkUnit]) -> String {
    let mut named: Vec<String> = Vec::new();
    for of_split in units.chunk_by(|one, next| one.split == next.split) {
        let split = of_split[0].split;
        for range in ranges(of_split.iter().map(|unit| unit.number as usize)) {
            let (first, last) = range.into_inner();
            named.push(match last - first {
                0 => format!("{split}-{first:06}"),
                _ => format!("{split}-{first:06} to {split}-{last:06}"),
            });
        }
    }
    named.join(", ")
}

/// Groups ascending numbers into ranges.
fn ranges(numbers: impl Iterator<Item = usize>) -> Vec<RangeInclusive<usize>> {
    let mut ranges: Vec<RangeInclusive<usize>> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if *last.end() + 1 == number => *last = *last.start()..=number,
            _ => ranges.push(number..=number),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use leadspan_sequence::Split;

    use super::*;

    #[test]
    fn tasks_and_units_are_written_as_ranges() {
        let array = |tasks: &[usize]| array_expression(&tasks.iter().copied().collect());
        assert_eq!(array(&[17, 3, 18, 19]), "3,17-19");
        assert_eq!(array(&[0]), "0");
        assert_eq!(array(&[]), "");
        assert_eq!(array(&[0, 1, 3, 5, 6]), "0-1,3,5-6");
        let unit = |(split, number)| WorkUnit {
            split,
            number,
            samples: 0..1,
        };
        let units = [
            (Split::Train, 3),
            (Split::Train, 4),
            (Split::Validation, 5),
            (Split::Train, 6),
        ]
        .map(unit);
        assert_eq!(
            named(&units),
            "train-000003 to train-000004, validation-000005, train-000006"
        );
    }
}
