//! `leadspan precompute`: stage one.

mod away;
mod shown;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Duration,
};

use leadspan_cache::Elsewhere;
use leadspan_precompute::{DataCheck, Outcome};
use leadspan_workers::Worker;
use serde::Serialize;
use serde_json::{Value, json};

use self::{
    away::{Away, Carrying},
    shown::Shown,
};
use super::{Ending, Showing, finalize, noted, prepare, stopped};
use crate::{
    amounts::{bytes, counted, grouped, rounded, spelt},
    arguments::PrecomputeArguments,
    configuration::Configuration,
    failure::{Context as _, Failure, Result},
    hub, last_line, path_text, signals, worker_here,
};

pub(super) fn run(arguments: &PrecomputeArguments, showing: Showing) -> Result<Ending> {
    signals::limit(arguments.stopping.stop_after, arguments.stopping.grace)?;
    let configuration = Configuration::load(&arguments.pipeline.config, &arguments.pipeline.overrides)?;
    if arguments.finalize {
        return finalized(arguments, configuration, showing);
    }
    let worker = worker(arguments)?;
    let mut replay = configuration.replayed()?;
    let mut pipeline = hub::with_teacher_found(configuration.stage_one(arguments.proportion)?)?;
    if arguments.verify_data {
        pipeline.data_check = DataCheck::Contents;
        if let Some(replay) = &mut replay {
            replay.pipeline.data_check = DataCheck::Contents;
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let cache_dir = pipeline.cache_dir();
    last_line::note(json!({ "cache": path_text::text(&cache_dir), "worker": worker.to_string() }));
    let away = away(arguments, &cache_dir, showing)?;
    if let Some(away) = &away {
        away.require_same(&pipeline)?;
    }
    let elsewhere = Arc::new(match &away {
        // Its disk may be its own, and then it needs no shards of others.
        Some(away) if worker.count() > 1 && worker.lease().is_none() => away.fetch_base()?,
        Some(away) => away.fetch().map(|()| Elsewhere::default())?,
        None => Elsewhere::default(),
    });
    tracing::info!("reading the teacher `{}`", pipeline.model_path().display());
    let mut shown = Shown::new(showing, &stop, cache_dir.clone());
    let outcome = thread::scope(|scope| {
        let carrying = away.as_ref().map(|away| away.begin(scope, &stop));
        let outcome = leadspan_precompute::run_beside(&pipeline, worker, &elsewhere, &stop, &mut |event| {
            if let Some(carrying) = &carrying {
                carrying.note(&event);
            }
            shown.show(event);
        });
        // What was committed is worth copying in any case.
        match carrying.and_then(Carrying::end) {
            Some(refusal) => Err(Failure::from(refusal)),
            None => outcome.map_err(Failure::from),
        }
    })
    .with_context(|| format!("could not precompute into `{}`", cache_dir.display()))?;
    let elapsed = shown.elapsed();
    shown.end(&outcome);
    // The samples to replay are stored inside the cache, so they come after it.
    if let (Some(replay), Outcome::Done(_)) = (replay, &outcome) {
        signals::exit_on_signals();
        let (_, copies) = prepare::prepare_replay(replay, showing)?;
        if copies > 0 {
            tracing::warn!("{}", prepare::left_out_of_replay(copies));
        }
        prepare::take_inventory(&cache_dir)?;
    }
    let captured = Captured {
        units_elsewhere: elsewhere.units(),
        ..Captured::new(outcome, cache_dir, elapsed)
    };
    last_line::note(captured.noted());
    if captured.outcome == "stopped" {
        showing.result_of_stopped(&captured);
        tracing::warn!("{}: run the same command again to do the rest", signals::stopped());
        return Ok(Ending::Stopped);
    }
    if let Some(away) = &away
        && away.finish(&stop)?
    {
        return Ok(stopped(&captured.cache, showing));
    }
    showing.result(&captured)?;
    if let Some(missing @ 1..) = captured.units_missing {
        tracing::info!(
            "still missing, of other workers: {}",
            counted(missing as u64, "work unit")
        );
    } else if elsewhere.units() > 0 {
        tracing::info!(
            "the store has every work unit: if it has no inventory yet, `leadspan precompute --finalize --push` on any node completes it"
        );
    }
    Ok(Ending::Done)
}

/// Checks and completes a cache, between a pull and a push if it is kept in a store.
fn finalized(arguments: &PrecomputeArguments, configuration: Configuration, showing: Showing) -> Result<Ending> {
    let pipeline = configuration.stage_one(arguments.proportion)?;
    let cache_dir = pipeline.cache_dir();
    let away = away(arguments, &cache_dir, showing)?;
    if let Some(away) = &away {
        away.fetch()?;
    }
    let ending = finalize::run(&pipeline, &arguments.workers, showing)?;
    if let Some(away) = away {
        let stop = signals::stop_on_signals("dropping the files at hand; what was copied is kept");
        if away.finish(&stop)? {
            return Ok(stopped(&cache_dir, showing));
        }
    }
    Ok(ending)
}

/// The store of `--push`.
fn away(arguments: &PrecomputeArguments, cache_dir: &Path, showing: Showing) -> Result<Option<Away>> {
    let Some(url) = &arguments.push else {
        return Ok(None);
    };
    Away::open(url, cache_dir, showing).map(Some)
}

/// The result of the command.
#[derive(Serialize)]
struct Captured {
    outcome: &'static str,
    #[serde(serialize_with = "path_text::as_text")]
    cache: PathBuf,
    units_written: usize,
    units_skipped: usize,
    /// Units that are in the store of `--push` and were not fetched. Those of this worker's share are among the skipped ones.
    units_elsewhere: usize,
    /// Units that other workers still have to do; `None` if this worker was stopped.
    units_missing: Option<usize>,
    samples: u64,
    tokens: u64,
    positions: u64,
    bytes: u64,
    seconds: f64,
    tokens_per_second: f64,
    peak_memory_bytes: u64,
}

impl Captured {
    fn new(outcome: Outcome, cache: PathBuf, elapsed: Duration) -> Self {
        let (outcome, summary, is_done) = match outcome {
            Outcome::Done(summary) => ("done", summary, true),
            Outcome::Stopped(summary) => ("stopped", summary, false),
        };
        let seconds = elapsed.as_secs_f64();
        Self {
            outcome,
            cache,
            units_written: summary.units_written,
            units_skipped: summary.units_skipped,
            units_elsewhere: 0,
            units_missing: is_done.then_some(summary.units_missing),
            samples: summary.samples,
            tokens: summary.tokens,
            positions: summary.positions,
            bytes: summary.bytes,
            seconds,
            tokens_per_second: summary.tokens as f64 / seconds.max(1e-9),
            peak_memory_bytes: leadspan_memory::peak_memory_bytes(),
        }
    }

    /// The counts for the closing line.
    fn noted(&self) -> Value {
        let counts = [
            "units_written",
            "units_skipped",
            "samples",
            "tokens",
            "positions",
            "bytes",
        ];
        noted(self, &[&counts[..], &["tokens_per_second"]].concat())
    }
}

impl fmt::Display for Captured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cache = self.cache.display();
        if self.units_written == 0 && self.outcome == "done" && self.units_elsewhere > 0 {
            let units = counted(self.units_elsewhere as u64, "work unit");
            return write!(formatter, "nothing was left to do: the store has {units} already");
        }
        if self.units_written == 0 && self.outcome == "done" {
            return write!(formatter, "`{cache}` has everything already: nothing was left to do");
        }
        write!(
            formatter,
            "wrote {} to `{cache}` ({} were there): {} positions of {} samples, {}; {} tokens in {}, {} tokens/s",
            counted(self.units_written as u64, "work unit"),
            grouped(self.units_skipped as u64),
            grouped(self.positions),
            grouped(self.samples),
            bytes(self.bytes),
            grouped(self.tokens),
            spelt(self.seconds),
            rounded(self.tokens_per_second)
        )
    }
}

/// The worker that this process is, and whether it claims units. Workers that claim units need no number.
fn worker(arguments: &PrecomputeArguments) -> Result<Worker> {
    let assigned = worker_here::here(&arguments.workers);
    if !arguments.claim {
        return Ok(assigned?.worker);
    }
    let worker = match assigned {
        Err(unclear) if unclear.is_only_a_number() => Worker::ALONE,
        assigned => assigned?.worker,
    };
    Ok(worker.claiming(arguments.lease.0))
}
