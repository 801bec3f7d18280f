//! `leadspan cache inspect --watch`: the workers that fill a cache, and their progress.

mod table;
mod terminal;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use leadspan_cache::{Cache, CacheError};
use leadspan_precompute::unit_tokens;
use leadspan_workers::{WorkerState, signs};
use serde::Serialize;

use self::terminal::Screen;
use crate::{
    commands::{Ending, Showing},
    failure::{Context as _, Result},
    heartbeat::SILENCE,
    output, path_text, signals,
};

/// How often a stop is checked for.
const GLANCE: Duration = Duration::from_millis(50);

/// The state of the cache and its workers at one moment.
#[derive(Debug, Serialize)]
struct View {
    layers: Vec<LayerView>,
    workers: Vec<WorkerView>,
    /// Tokens per second of all active workers together.
    tokens_per_second: f64,
    /// Tokens that still have to go through the teacher, for the layers that exist.
    tokens_left: u64,
    /// The time for these at the current rate; `None` if no worker is active.
    seconds_left: Option<f64>,
    complete: bool,
    /// Files among the signs of life that are none, each with the reason.
    ignored: Vec<IgnoredView>,
}

#[derive(Debug, Serialize)]
struct IgnoredView {
    #[serde(serialize_with = "path_text::as_text")]
    file: PathBuf,
    because: String,
}

#[derive(Debug, Serialize)]
struct LayerView {
    name: String,
    units: usize,
    units_committed: usize,
}

#[derive(Debug, Serialize)]
struct WorkerView {
    worker: String,
    host: String,
    pid: u32,
    state: WorkerState,
    stalled: bool,
    unit: Option<String>,
    units_done: u64,
    units: u64,
    samples: u64,
    tokens: u64,
    tokens_per_second: f64,
    memory_bytes: u64,
    /// Seconds since the last heartbeat.
    age_seconds: f64,
    /// Seconds since the last batch.
    quiet_seconds: f64,
}

pub(super) fn run(dir: &Path, every: Duration, showing: Showing) -> Result<Ending> {
    let stop = signals::stop_on_signals("ending the watch");
    let mut watching = Watching::default();
    let mut screen = (!showing.json).then(Screen::of_stdout).flatten();
    loop {
        let view = watching
            .look(dir)
            .with_context(|| format!("could not look at `{}`", dir.display()))?;
        if showing.json {
            output::json(&view)?;
        } else if let Some(screen) = &mut screen {
            screen.show(&table::lines(dir, view.as_ref(), Some(Screen::size())))?;
        } else {
            output::text(table::lines(dir, view.as_ref(), None).join("\n") + "\n")?;
        }
        // Nobody watches any more.
        if output::reader_is_gone() || view.is_some_and(|view| view.complete) {
            return Ok(Ending::Done);
        }
        if !waited(every, &stop) {
            return Ok(Ending::Stopped);
        }
    }
}

/// Waits for `time`. Returns `false` if it was stopped.
fn waited(time: Duration, stop: &AtomicBool) -> bool {
    let began = Instant::now();
    while began.elapsed() < time {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        thread::sleep(GLANCE.min(time));
    }
    true
}

/// What is kept from one look to the next.
#[derive(Default)]
struct Watching {
    cache: Option<Cache>,
    /// The tokens of each work unit, by layer and unit.
    tokens: BTreeMap<(String, String), u64>,
}

impl Watching {
    /// The current state; `None` if there is no prepared cache yet.
    fn look(&mut self, dir: &Path) -> Result<Option<View>, CacheError> {
        let cache = match self.cache.take() {
            Some(cache) => cache,
            None => match Cache::open(dir) {
                Err(CacheError::NotACache { .. }) => return Ok(None),
                cache => cache?,
            },
        };
        if cache.corpus()?.is_none() {
            return Ok(None);
        }
        let mut layers = Vec::new();
        let mut tokens_left = 0;
        for layer in cache.layers()? {
            let (name, corpus) = (layer.layer().folder_name(), layer.corpus());
            let missing = layer.missing_units()?;
            for unit in &missing {
                let tokens = self.tokens.entry((name.clone(), unit.to_string()));
                tokens_left += *tokens.or_insert_with(|| unit_tokens(layer.layer(), corpus, unit));
            }
            let units = corpus.units().len();
            layers.push(LayerView {
                name,
                units,
                units_committed: units - missing.len(),
            });
        }
        self.cache = Some(cache);
        let signs = signs(dir)?;
        let workers: Vec<WorkerView> = signs.heard.into_iter().map(WorkerView::of).collect();
        let ignored = signs.ignored.into_iter();
        let ignored = ignored.map(|(file, because)| IgnoredView { file, because }).collect();
        let active = workers.iter().filter(|worker| worker.is_active());
        let tokens_per_second = active
            .map(|worker| worker.tokens_per_second)
            .fold(0.0, |sum, rate| sum + rate);
        let complete = !layers.is_empty() && layers.iter().all(|layer| layer.units_committed == layer.units);
        Ok(Some(View {
            layers,
            workers,
            tokens_per_second,
            tokens_left,
            seconds_left: (tokens_per_second > 0.0).then(|| tokens_left as f64 / tokens_per_second),
            complete,
            ignored,
        }))
    }
}

impl WorkerView {
    fn of(heard: leadspan_workers::Heard) -> Self {
        let stalled = heard.is_stalled(SILENCE);
        let said = heard.heartbeat;
        Self {
            worker: said.worker,
            host: said.host,
            pid: said.pid,
            state: said.state,
            stalled,
            unit: said.unit,
            units_done: said.units_done,
            units: said.units,
            samples: said.samples,
            tokens: said.tokens,
            tokens_per_second: said.tokens_per_second,
            memory_bytes: said.memory_bytes,
            age_seconds: heard.age.as_secs_f64(),
            quiet_seconds: said.quiet_seconds,
        }
    }

    /// Whether it adds to the rate.
    fn is_active(&self) -> bool {
        self.state == WorkerState::Capturing && !self.stalled
    }
}
