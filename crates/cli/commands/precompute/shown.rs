//! The progress of `leadspan precompute`: first of preparing, then of the tokens that go through the teacher.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use leadspan_cache::Layer;
use leadspan_precompute::{Event, MemoryBound, Origin, Outcome, Remaining, Streaming};
use leadspan_workers::{Worker, WorkerState};
use serde_json::json;

use crate::{
    amounts::{bytes, grouped},
    commands::{
        Showing,
        prepare::{self, Preparing, Waited},
    },
    heartbeat::{self, Beating},
    last_line,
    progress::{Counted, ProgressMeter},
    signals,
};

/// The name of a worker in heartbeats. Workers that claim units may have no number, so they are named by host and process.
fn name(worker: Worker) -> String {
    if worker.lease().is_some() && worker.count() == 1 {
        format!("{} {}", last_line::host(), std::process::id())
    } else {
        worker.to_string()
    }
}

/// Shows progress, writes heartbeats and notes counts for the closing line.
pub(super) struct Shown<'a> {
    showing: Showing,
    stop: &'a Arc<AtomicBool>,
    cache_dir: PathBuf,
    waited: Waited,
    preparing: Option<Preparing>,
    capturing: Option<Capturing>,
}

struct Capturing {
    progress: ProgressMeter,
    beating: Beating,
    started: Instant,
    samples: u64,
    tokens: u64,
    units: usize,
    units_planned: usize,
}

impl<'a> Shown<'a> {
    pub(super) fn new(showing: Showing, stop: &'a Arc<AtomicBool>, cache_dir: PathBuf) -> Self {
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
    pub(super) fn elapsed(&self) -> Duration {
        self.capturing
            .as_ref()
            .map_or(Duration::ZERO, |capturing| capturing.started.elapsed())
    }

    /// Removes the progress from the screen and writes the last heartbeat. In a complete cache, no heartbeat is left.
    pub(super) fn end(self, outcome: &Outcome) {
        let state = match outcome {
            Outcome::Done(_) => WorkerState::Done,
            Outcome::Stopped(_) => WorkerState::Stopped,
        };
        if let Some(Capturing { progress, beating, .. }) = self.capturing {
            drop(progress);
            beating.end(state);
        }
        if state == WorkerState::Done {
            heartbeat::remove_from_complete(&self.cache_dir);
        }
    }

    pub(super) fn show(&mut self, event: Event) {
        match event {
            Event::WaitingForServer(wait) => prepare::waiting_for_server(&wait),
            Event::WaitingForLock(awaited) => self.waited.for_lock(&awaited),
            Event::TokenizerRestored(names) => prepare::restored(&self.cache_dir, &names),
            Event::WaitingForUnits { units, holder } => self.waited.for_units(units, &holder),
            Event::Preparing(progress) => {
                if let Some(preparing) = &mut self.preparing {
                    preparing.advance(progress);
                }
            }
            Event::NoEndOfTurn => prepare::warn_of_no_end_of_turn(),
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
            Event::StockKernels(distrust) => {
                tracing::warn!("the teacher runs in stock operations, which are slower: {distrust}");
            }
            Event::Streaming(streaming) => streamed(&streaming),
            Event::Loaded => {
                // Until now there was nothing to save.
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
                let progress = ProgressMeter::new(self.showing.progress, Counted::Tokens, remaining.tokens);
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
    /// Notes the counts for the closing line and the heartbeat.
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

/// Says how the weights are streamed, and warns if that takes more memory than the setting says.
fn streamed(streaming: &Streaming) {
    let [weights, memory, layer, least] = [
        streaming.weight_bytes,
        streaming.memory_bytes,
        streaming.layer_bytes,
        streaming.least_bytes,
    ]
    .map(bytes);
    let bound = match streaming.memory_bound {
        MemoryBound::Setting => "`teacher.memory`",
        MemoryBound::Machine => "the memory that the machine has for them",
    };
    tracing::info!(
        "{weights} of weights do not fit into {bound} ({memory}): layers of {layer} are read one after the other, for up to {} \
         tokens at a time",
        grouped(streaming.pass_tokens as u64)
    );
    if streaming.is_too_little() {
        tracing::warn!("{bound} ({memory}) is too little: two layers and a batch take {least}");
    }
}
