//! Stores as the program uses them: the environment for their settings and credentials, tries in the log, progress, results.

use std::{
    fmt,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use leadspan_cache::Made;
use leadspan_stores::{Address, Environment, Event, Opened, PulledCut, Retrying, StoreError, Summary};
use serde::Serialize;

use crate::{
    amounts::{bytes, grouped, spelt},
    arguments::ProgressStyle,
    failure::Result,
    path_text,
    progress::{Counted, ProgressMeter},
};

/// The shortest time between two lines about tries.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Opens the folder of a store. It is parsed here and not by the command line's parser, which would repeat a wrong URL with the
/// password in it.
pub(crate) fn open(url: &str, parallel: NonZeroUsize) -> Result<(Address, Opened)> {
    let address: Address = url.parse()?;
    let environment = Environment::read(|name| std::env::var(name).ok());
    let (shown, last) = (address.to_string(), Mutex::new(None::<Instant>));
    let retrying = move |wait: Duration| {
        let Ok(mut last) = last.lock() else {
            return;
        };
        if last.is_none_or(|last| last.elapsed() >= LINE_INTERVAL) {
            *last = Some(Instant::now());
            tracing::warn!(
                "the store of `{shown}` is busy or failed: trying again in {:.1} s",
                wait.as_secs_f64()
            );
        }
    };
    let retrying: Retrying = Arc::new(retrying);
    let opened = leadspan_stores::open(&address, &environment, parallel.get(), &retrying)?;
    Ok((address, opened))
}

/// Shows the progress of a copy.
pub(crate) struct Copying {
    style: ProgressStyle,
    what: &'static str,
    meter: Option<ProgressMeter>,
    moved: u64,
    started: Instant,
}

impl Copying {
    pub(crate) fn new(style: ProgressStyle, what: &'static str) -> Self {
        Self {
            style,
            what,
            meter: None,
            moved: 0,
            started: Instant::now(),
        }
    }

    pub(crate) fn show(&mut self, event: Event) {
        match event {
            Event::Begun { bytes, .. } => {
                self.moved = 0;
                self.meter = (bytes > 0).then(|| ProgressMeter::new(self.style, Counted::Bytes, bytes));
            }
            Event::Moved(bytes) => {
                self.moved += bytes;
                let (moved, what) = (self.moved, self.what);
                if let Some(meter) = &mut self.meter {
                    meter.advance(moved, true, || what.to_owned());
                }
            }
            Event::Passed(bytes) => {
                if let Some(meter) = &mut self.meter {
                    meter.lower_total(bytes);
                }
            }
        }
    }

    /// Removes the progress from the screen. Returns how long the copy took.
    pub(crate) fn end(self) -> Duration {
        self.started.elapsed()
    }
}

/// The result of a copy.
#[derive(Serialize)]
pub(crate) struct CopiedCache {
    outcome: &'static str,
    #[serde(serialize_with = "path_text::as_text")]
    dir: PathBuf,
    url: String,
    /// Whether it was copied into the store.
    is_push: bool,
    files_copied: u64,
    bytes_copied: u64,
    files_there: u64,
    bytes_there: u64,
    complete: bool,
    passed_over: Vec<String>,
    problems: Vec<String>,
    seconds: f64,
}

impl CopiedCache {
    pub(crate) fn new(summary: &Summary, dir: &Path, address: &Address, is_push: bool, took: Duration) -> Self {
        Self {
            outcome: if summary.problems.is_empty() { "done" } else { "failed" },
            dir: dir.to_owned(),
            url: address.to_string(),
            is_push,
            files_copied: summary.files_copied,
            bytes_copied: summary.bytes_copied,
            files_there: summary.files_there,
            bytes_there: summary.bytes_there,
            complete: summary.complete,
            passed_over: summary.passed_over.clone(),
            problems: summary.problems.iter().map(StoreError::to_string).collect(),
            seconds: took.as_secs_f64(),
        }
    }
}

impl fmt::Display for CopiedCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(formatter, "problem: {problem}")?;
        }
        for name in &self.passed_over {
            writeln!(formatter, "not copied, as it is no file of a cache: `{name}`")?;
        }
        let (dir, url) = (self.dir.display(), &self.url);
        let (verb, from, to): (_, &dyn fmt::Display, &dyn fmt::Display) = if self.is_push {
            ("pushed", &dir, url)
        } else {
            ("pulled", url, &dir)
        };
        write!(
            formatter,
            "{verb} {} files, {}, from `{from}` to `{to}` in {} ({} files were there){}",
            grouped(self.files_copied),
            bytes(self.bytes_copied),
            spelt(self.seconds),
            grouped(self.files_there),
            if self.complete {
                ""
            } else {
                "; the cache is not complete"
            }
        )
    }
}

/// The result of a cut of a cache in a store.
#[derive(Serialize)]
pub(crate) struct CutFromStore {
    outcome: &'static str,
    #[serde(serialize_with = "path_text::as_text")]
    dir: PathBuf,
    url: String,
    /// Number of bytes that this command has fetched.
    bytes_fetched: u64,
    /// Size of the cache in the store.
    store_bytes: u64,
    #[serde(flatten)]
    made: Made,
    seconds: f64,
}

impl CutFromStore {
    pub(crate) fn new(pulled: &PulledCut, dir: &Path, address: &Address, took: Duration) -> Self {
        Self {
            outcome: "done",
            dir: dir.to_owned(),
            url: address.to_string(),
            bytes_fetched: pulled.bytes_fetched,
            store_bytes: pulled.store_bytes,
            made: pulled.made,
            seconds: took.as_secs_f64(),
        }
    }
}

impl fmt::Display for CutFromStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Made {
            samples,
            positions,
            shards,
            shard_bytes,
            ..
        } = self.made;
        write!(
            formatter,
            "`{}` has {} samples and {} positions in {} shards, {}: fetched {:.2} of the store's bytes ({} of {}) from `{}` in {}",
            self.dir.display(),
            grouped(samples),
            grouped(positions),
            grouped(shards),
            bytes(shard_bytes),
            self.bytes_fetched as f64 / self.store_bytes.max(1) as f64,
            bytes(self.bytes_fetched),
            bytes(self.store_bytes),
            self.url,
            spelt(self.seconds)
        )
    }
}
