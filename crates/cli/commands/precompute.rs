//! `leadspan precompute`: stage one.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use leadspan_cache::{Layer, WorkerState};
use leadspan_precompute::{Event, Origin, Outcome, Remaining, Summary, Worker};
use serde_json::json;

use super::{
    Ending, Showing, finalize,
    prepare::{self, Preparing, Waited},
};
use crate::{
    amounts::{bytes, duration, grouped, rounded},
    arguments::Precompute,
    configuration::Configuration,
    failure::{Context as _, Result},
    heartbeat::Beating,
    hub, last_line, output,
    progress::{Counted, Progress},
    scheduler, signals,
};

pub(super) fn run(arguments: &Precompute, showing: Showing) -> Result<Ending> {
    signals::limit(arguments.stopping.stop_after, arguments.stopping.grace)?;
    let configuration = Configuration::load(&arguments.pipeline.config, &arguments.pipeline.overrides)?;
    if arguments.finalize {
        return finalize::run(
            &configuration.stage_one(arguments.proportion)?,
            &arguments.workers,
            showing,
        );
    }
    let worker = worker(arguments)?;
    let replay = configuration.replayed()?;
    let pipeline = hub::with_teacher_found(configuration.stage_one(arguments.proportion)?)?;
    let stop = Arc::new(AtomicBool::new(false));
    let cache_dir = pipeline.cache_dir();
    last_line::note(json!({ "cache": cache_dir, "worker": worker.to_string() }));
    tracing::info!("reading the teacher `{}`", pipeline.model_path().display());
    let mut shown = Shown::new(showing, &stop, cache_dir.clone());
    let outcome = leadspan_precompute::run(&pipeline, worker, &stop, &mut |event| shown.show(event))
        .with_context(|| format!("could not precompute into `{}`", cache_dir.display()))?;
    let elapsed = shown.elapsed();
    shown.end(&outcome);
    // Inside the cache, and so after it.
    if let (Some(replay), Outcome::Done(_)) = (replay, &outcome) {
        signals::exit_on_signals();
        prepare::prepare_replay(replay, showing)?;
    }
    let (name, summary, ending) = match outcome {
        Outcome::Done(summary) => ("done", summary, Ending::Done),
        Outcome::Stopped(summary) => ("stopped", summary, Ending::Stopped),
    };
    let tokens_per_second = summary.tokens as f64 / elapsed.as_secs_f64().max(1e-9);
    last_line::note(json!({
        "units_written": summary.units_written, "units_skipped": summary.units_skipped, "samples": summary.samples,
        "tokens": summary.tokens, "positions": summary.positions, "bytes": summary.bytes,
        "tokens_per_second": tokens_per_second,
    }));
    if showing.json {
        let Summary {
            units_written,
            units_skipped,
            samples,
            tokens,
            positions,
            bytes,
            units_missing,
        } = summary;
        output::json(&json!({
            "outcome": name, "cache": cache_dir, "units_written": units_written, "units_skipped": units_skipped,
            "units_missing": (ending == Ending::Done).then_some(units_missing),
            "samples": samples, "tokens": tokens, "positions": positions, "bytes": bytes,
            "seconds": elapsed.as_secs_f64(), "tokens_per_second": tokens_per_second,
            "peak_memory_bytes": leadspan_memory::peak_memory_bytes(),
        }))?;
    } else if summary.units_written == 0 && ending == Ending::Done {
        output::text(format_args!(
            "`{}` has everything already: nothing was left to do",
            cache_dir.display()
        ))?;
    } else {
        output::text(format_args!(
            "wrote {} work units to `{}` ({} were there): {} positions of {} samples, {}; {} tokens in {}, {} tokens/s",
            grouped(summary.units_written as u64),
            cache_dir.display(),
            grouped(summary.units_skipped as u64),
            grouped(summary.positions),
            grouped(summary.samples),
            bytes(summary.bytes),
            grouped(summary.tokens),
            duration(elapsed),
            rounded(tokens_per_second)
        ))?;
    }
    if ending == Ending::Done && summary.units_missing > 0 {
        tracing::info!(
            "{} work units are still missing, of other workers",
            grouped(summary.units_missing as u64)
        );
    }
    if ending == Ending::Stopped {
        tracing::warn!("{}: run the same command again to do the rest", signals::stopped());
    }
    Ok(ending)
}

/// Which worker this is, and whether it claims what it does. Workers that claim need not be numbered.
fn worker(arguments: &Precompute) -> Result<Worker> {
    let assigned = scheduler::here(&arguments.workers);
    if !arguments.claim {
        return Ok(assigned?.worker);
    }
    let worker = match assigned {
        Err(unclear) if unclear.is_only_a_number() => Worker::ALONE,
        assigned => assigned?.worker,
    };
    Ok(worker.claiming(arguments.lease.0))
}

/// What whoever watches knows a worker by: those that claim may all be without a number.
fn name(worker: Worker) -> String {
    if worker.lease().is_some() && worker.count() == 1 {
        format!("{} {}", last_line::host(), std::process::id())
    } else {
        worker.to_string()
    }
}

/// What is on the screen: first preparing, then the tokens that go through the teacher.
struct Shown<'a> {
    showing: Showing,
    stop: &'a Arc<AtomicBool>,
    cache_dir: PathBuf,
    waited: Waited,
    preparing: Option<Preparing>,
    capturing: Option<Capturing>,
}

struct Capturing {
    progress: Progress,
    beating: Beating,
    started: Instant,
    samples: u64,
    tokens: u64,
    units: usize,
    units_planned: usize,
}

impl<'a> Shown<'a> {
    fn new(showing: Showing, stop: &'a Arc<AtomicBool>, cache_dir: PathBuf) -> Self {
        Self {
            showing,
            stop,
            cache_dir,
            waited: Waited::default(),
            preparing: Some(Preparing::new(showing)),
            capturing: None,
        }
    }

    /// Time since capturing began.
    fn elapsed(&self) -> Duration {
        self.capturing
            .as_ref()
            .map_or(Duration::ZERO, |capturing| capturing.started.elapsed())
    }

    /// Takes the progress off the screen, and gives the last sign of life.
    fn end(self, outcome: &Outcome) {
        let state = match outcome {
            Outcome::Done(_) => WorkerState::Done,
            Outcome::Stopped(_) => WorkerState::Stopped,
        };
        if let Some(Capturing { progress, beating, .. }) = self.capturing {
            drop(progress);
            beating.end(state);
        }
    }

    fn show(&mut self, event: Event) {
        match event {
            Event::WaitingForPreparation(holder) => {
                self.waited.for_preparation(&holder);
            }
            Event::WaitingForUnits { units } => self.waited.for_units(units),
            Event::Preparing(progress) => {
                if let Some(preparing) = &mut self.preparing {
                    preparing.advance(progress);
                }
            }
            Event::Prepared { report, origin } => {
                self.preparing = None;
                let how = match origin {
                    Origin::Made => "prepared the corpus".to_owned(),
                    Origin::Found => "the corpus was prepared before".to_owned(),
                    Origin::Extended { samples, units } => format!("the corpus {}", prepare::extended(samples, units)),
                };
                tracing::info!("{how}: {}", prepare::described(&report));
                if origin != Origin::Found {
                    for line in prepare::losses(&report) {
                        tracing::warn!("{line}");
                    }
                }
            }
            Event::Begun(remaining) => self.begin(&remaining),
            Event::Loaded => {
                // Until now there was nothing to keep.
                signals::ask_first(self.stop, "dropping the work unit at hand; finished ones are kept");
                if let Some(capturing) = &mut self.capturing {
                    capturing.beating.loaded();
                }
            }
            Event::Batch {
                unit, samples, tokens, ..
            } => {
                if let Some(capturing) = &mut self.capturing {
                    capturing.tokens += tokens;
                    capturing.samples += samples;
                    capturing.beating.batch(unit.to_string(), samples, tokens);
                    capturing.note();
                    capturing.advance(|| unit.to_string());
                }
            }
            Event::UnitCommitted { unit, bytes: size, .. } => {
                if let Some(capturing) = &mut self.capturing {
                    capturing.units += 1;
                    capturing.note();
                    let detail = capturing.detail(&format!("committed {unit} ({})", bytes(size)));
                    capturing.progress.advance_by_a_unit(capturing.tokens, || detail);
                }
            }
            Event::UnitFound { tokens, .. } => {
                if let Some(capturing) = &mut self.capturing {
                    capturing.units_planned -= 1;
                    capturing.note();
                    capturing.progress.lower_total(tokens);
                }
            }
        }
    }

    fn begin(&mut self, remaining: &Remaining) {
        let units_planned = remaining.units_mine - remaining.units_skipped;
        let layer = format!("lead spans of {}", remaining.asked);
        match &remaining.layers[..] {
            [] => tracing::info!("{layer} are all there"),
            _ if units_planned == 0 => tracing::info!("{layer}: nothing is left for worker {}", remaining.worker),
            missing => {
                if missing != [Layer::from(remaining.asked)] {
                    let names: Vec<String> = missing
                        .iter()
                        .map(|layer| format!("`{}`", layer.folder_name()))
                        .collect();
                    tracing::info!(
                        "{layer} are there in part: what is missing goes to {}",
                        names.join(" and ")
                    );
                }
                tracing::info!(
                    "{layer}: {units_planned} of {} work units to do (worker {}), {} tokens, {} positions",
                    remaining.units_mine,
                    remaining.worker,
                    grouped(remaining.tokens),
                    grouped(remaining.positions)
                );
                let progress = Progress::new(self.showing.progress, Counted::Tokens, remaining.tokens);
                self.capturing = Some(Capturing {
                    progress,
                    beating: Beating::start(self.cache_dir.clone(), name(remaining.worker), units_planned as u64),
                    started: Instant::now(),
                    samples: 0,
                    tokens: 0,
                    units: 0,
                    units_planned,
                });
            }
        }
    }
}

impl Capturing {
    /// Notes how far it has come, for the last line and for whoever watches.
    fn note(&self) {
        self.beating.units(self.units as u64, self.units_planned as u64);
        last_line::note(json!({
            "units_written": self.units,
            "units_planned": self.units_planned,
            "samples": self.samples,
            "tokens": self.tokens,
            "tokens_per_second": self.tokens as f64 / self.started.elapsed().as_secs_f64().max(1e-9),
        }));
    }

    fn advance(&mut self, detail: impl FnOnce() -> String) {
        let (units, planned) = (self.units, self.units_planned);
        let detail = || format!("{units}/{planned} work units, {}", detail());
        self.progress.advance(self.tokens, false, detail);
    }

    fn detail(&self, what: &str) -> String {
        format!("{}/{} work units, {what}", self.units, self.units_planned)
    }
}
