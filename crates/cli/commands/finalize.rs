//! `leadspan precompute --finalize`: whether every work unit is there.

use std::{collections::BTreeSet, fmt::Write as _, ops::RangeInclusive};

use leadspan_cache::WorkUnit;
use leadspan_diagnosis::Diagnosis;
use leadspan_precompute::{Finalized, Pipeline};
use serde_json::json;

use super::{Ending, Showing};
use crate::{
    amounts::{bytes, grouped},
    arguments::WorkerArguments,
    failure::{Context as _, Result},
    output,
    scheduler::{self, WORKERS},
};

/// Work units that nobody has captured.
#[derive(Debug, thiserror::Error)]
#[error("{missing} of {units} work units are missing")]
struct Incomplete {
    missing: usize,
    units: usize,
    /// The tasks that have them, and how many workers there are.
    tasks: Option<(String, usize)>,
}

impl Diagnosis for Incomplete {
    fn hint(&self) -> Option<String> {
        Some(match &self.tasks {
            Some((array, workers)) => format!(
                "submit these tasks again: `--array={array}`, with `--workers {workers}` or `{WORKERS}={workers}` for \
                 `leadspan precompute`"
            ),
            None => format!(
                "run `leadspan precompute` again; with `--workers N` or `{WORKERS}=N`, this command says which of N tasks \
                 have them"
            ),
        })
    }
}

pub(super) fn run(pipeline: &Pipeline, workers: &WorkerArguments, showing: Showing) -> Result<Ending> {
    let workers = scheduler::stated_here(workers)?;
    let attempt = || format!("could not finalize the cache `{}`", pipeline.cache_dir().display());
    let finalized = leadspan_precompute::finalize(pipeline, workers).with_context(attempt)?;
    let array = finalized.tasks.as_ref().map(array_expression);
    if showing.json {
        as_json(pipeline, &finalized, array.as_deref(), workers)?;
    } else {
        as_text(pipeline, &finalized)?;
    }
    if finalized.missing() == 0 {
        return Ok(Ending::Done);
    }
    let incomplete = Incomplete {
        missing: finalized.missing(),
        units: finalized.units * finalized.layers.len(),
        tasks: array.zip(workers),
    };
    Err(incomplete).with_context(attempt)
}

fn as_json(pipeline: &Pipeline, finalized: &Finalized, array: Option<&str>, workers: Option<usize>) -> Result<()> {
    let layers: Vec<_> = finalized
        .layers
        .iter()
        .map(|layer| {
            let missing: Vec<String> = layer.missing.iter().map(ToString::to_string).collect();
            json!({"layer": layer.name, "missing": missing, "manifest": layer.manifest})
        })
        .collect();
    output::json(&json!({
        "cache": pipeline.cache_dir(), "complete": finalized.missing() == 0, "units": finalized.units,
        "units_missing": finalized.missing(), "workers": workers, "array": array, "layers": layers,
    }))?;
    Ok(())
}

fn as_text(pipeline: &Pipeline, finalized: &Finalized) -> Result<()> {
    for layer in &finalized.layers {
        if let Some(manifest) = &layer.manifest {
            output::text(format_args!(
                "`{}` is complete: {} work units, {} positions, {}; blake3 {}",
                pipeline.cache_dir().join("layers").join(&layer.name).display(),
                grouped(manifest.units as u64),
                grouped(manifest.positions),
                bytes(manifest.shard_bytes),
                manifest.shards_blake3
            ))?;
        } else {
            output::text(format_args!(
                "`{}` lacks {} of {} work units: {}",
                pipeline.cache_dir().join("layers").join(&layer.name).display(),
                grouped(layer.missing.len() as u64),
                grouped(finalized.units as u64),
                named(&layer.missing)
            ))?;
        }
    }
    Ok(())
}

/// Numbers as a job array is written: `3,17-19`.
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

/// Units that follow each other together: `train-000003, train-000017 to train-000019`.
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

/// Ascending numbers as the ranges that they form.
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
