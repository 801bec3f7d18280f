//! The folder of a run, as a sweep sees it: how far the run has come, whether somebody is at it, what is noted of it.
//!
//! ```text
//! RUN/
//!   …              what `leadspan train` writes
//!   evaluation/    what `leadspan evaluate` writes
//!   train.log      what the training said, in all attempts; of the evaluation, `evaluate.log`
//!   sweep.json     what the run is of the sweep, what it took and what came of it
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use leadspan_experiment::sweep::PlannedRun;
use leadspan_files::commit_bytes;
use serde_json::{Map, Value, json};

use crate::failure::{Context as _, Result};

const RECORD: &str = "sweep.json";

/// How long a run's folder is waited for: a child whose sweep was killed needs a moment to write its checkpoint.
const PATIENCE: Duration = Duration::from_mins(2);
/// When it is said that it is waited for.
const SILENCE: Duration = Duration::from_secs(2);

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    New,
    Begun,
    /// Trained, and not evaluated yet.
    Trained,
    Finished,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::New => "not begun",
            Self::Begun => "begun",
            Self::Trained => "trained, not evaluated",
            Self::Finished => "finished",
        }
    }
}

/// The folder of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunFolder<'a>(pub(super) &'a Path);

impl RunFolder<'_> {
    /// How far the run has come, by the files that are there.
    pub(super) fn state(self, evaluate: bool) -> State {
        let has = |name: &str| self.0.join(name).is_file();
        match (has("run.json"), has("summary.json"), has("evaluation/summary.json")) {
            (_, true, true) => State::Finished,
            (_, true, false) if !evaluate => State::Finished,
            (_, true, false) => State::Trained,
            (true, ..) => State::Begun,
            _ => State::New,
        }
    }

    /// The operations of the training as TOML; `None` where it has not ended or does not say.
    pub(super) fn training_flops(self) -> Result<Option<String>> {
        let summary = self.json("summary.json")?;
        let flops = summary
            .as_ref()
            .and_then(|summary| summary["training_flops"].as_number());
        // All digits, and a point: as whole numbers TOML has only half as many as there may be operations.
        Ok(flops.map(|flops| match flops.as_u64() {
            Some(whole) => format!("{whole}.0"),
            None => flops.to_string(),
        }))
    }

    /// Waits until no other process holds the folder; `false` where one still does, after a while or when `stop` is set.
    pub(super) fn wait_until_free(self, stop: &AtomicBool) -> Result<bool> {
        let began = Instant::now();
        let mut said = false;
        while self.is_held()? {
            if stop.load(Ordering::Relaxed) || began.elapsed() > PATIENCE {
                return Ok(false);
            }
            if !said && began.elapsed() > SILENCE {
                said = true;
                tracing::info!("waiting for another process to let go of `{}`", self.0.display());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(true)
    }

    /// Whether a process trains or evaluates there.
    fn is_held(self) -> Result<bool> {
        for name in [".lock", "evaluation/.lock"] {
            let path = self.0.join(name);
            let tried = match File::open(&path) {
                Ok(lock) => lock.try_lock(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(TryLockError::Error(error)),
            };
            match tried {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(true),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("could not look at `{}`", path.display()));
                }
            }
        }
        Ok(false)
    }

    /// The seconds that attempts so far have taken, as far as they were noted.
    pub(super) fn wall_seconds(self) -> Result<Option<f64>> {
        Ok(self.json(RECORD)?.and_then(|record| record["wall_seconds"].as_f64()))
    }

    /// Notes what the run is, what it has taken, and what has come of it so far.
    pub(super) fn record(self, planned: &PlannedRun, wall_seconds: Option<f64>) -> Result<()> {
        let settings: Map<String, Value> = planned
            .settings
            .iter()
            .map(|setting| (setting.key.clone(), setting.toml.clone().into()))
            .collect();
        let summary = self.json("summary.json")?.unwrap_or_default();
        let evaluation = self.json("evaluation/summary.json")?;
        let evaluation = evaluation.map(|evaluation| {
            let keys = ["problems", "correct", "accuracy", "accuracy_interval", "held_out"];
            keys.map(|key| (key.to_owned(), evaluation[key].clone()))
                .into_iter()
                .collect::<Map<_, _>>()
        });
        let record = json!({
            "name": planned.name,
            "baseline": planned.baseline,
            "settings": settings,
            "wall_seconds": wall_seconds,
            "training_flops": summary["training_flops"],
            "peak_memory_bytes": summary["peak_memory_bytes"],
            "tokens": summary["tokens"],
            "cache_bytes_read": summary["cache_bytes_read"],
            "held_out_before": summary["held_out_before"],
            "held_out_after": summary["held_out_after"],
            "evaluation": evaluation,
        });
        let mut bytes = serde_json::to_vec_pretty(&record).expect("a JSON value serializes");
        bytes.push(b'\n');
        let path = self.0.join(RECORD);
        if fs::read(&path).is_ok_and(|stored| stored == bytes) {
            return Ok(());
        }
        Ok(commit_bytes(&path, &bytes)?)
    }

    /// A file of the folder; `None` where there is none.
    pub(super) fn json(self, name: &str) -> Result<Option<Value>> {
        let path = self.0.join(name);
        let read = || -> io::Result<Option<Value>> {
            match fs::read(&path) {
                Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        };
        read().with_context(|| format!("could not read `{}`", path.display()))
    }
}

/// A file that a child's messages are added to.
pub(super) struct Log {
    pub(super) path: PathBuf,
    /// Where this child's begin.
    from: u64,
}

impl Log {
    /// Opens it, and the handle for the child.
    pub(super) fn open(path: PathBuf) -> Result<(Self, File)> {
        let open = || -> io::Result<(u64, File)> {
            let file = File::options().create(true).append(true).open(&path)?;
            Ok((file.metadata()?.len(), file))
        };
        let (from, file) = open().with_context(|| format!("could not open `{}`", path.display()))?;
        Ok((Self { path, from }, file))
    }

    /// What the child said of its failure: from the error on, or the last lines where there is none.
    pub(super) fn end(&self) -> String {
        const LINES: usize = 8;
        const BYTES: u64 = 1 << 16;
        let read = || -> io::Result<String> {
            let mut file = File::open(&self.path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.from.max(length.saturating_sub(BYTES))))?;
            let mut bytes = Vec::new();
            file.take(BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        // The last line is for scripts, and says the same.
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("{\"leadspan\":"))
            .collect();
        let error = lines.iter().rposition(|line| line.starts_with("error: "));
        let first = error.unwrap_or(lines.len().saturating_sub(LINES));
        lines[first..].join("\n")
    }
}
