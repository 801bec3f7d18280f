//! The folder of a run as a sweep sees it: the state of the run, whether another process works in it, and the record.
//!
//! ```text
//! RUN/
//!   …              what `leadspan train` writes
//!   evaluation/    what `leadspan evaluate` writes
//!   train.log      the log of all attempts to train; `evaluate.log` is that of the evaluation
//!   sweep.json     the record: the settings of the run, its time and its results
//! ```

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use leadspan_experiment::sweep::PlannedRun;
use leadspan_files::{commit_bytes, open_own, open_unlinked, read_unlinked};
use leadspan_workers::FolderLock;
use serde_json::{Map, Value, json};

use super::error::SweepError;
use crate::failure::{Context as _, Result};

const RECORD: &str = "sweep.json";

/// The most bytes of a JSON file of a run.
const MOST_BYTES: u64 = 16 << 20;

/// How long to wait for the folder of a run. A child whose sweep was killed needs a moment to write its checkpoint. On a file system
/// without locks, the folder of a killed child is held for two minutes.
const PATIENCE: Duration = Duration::from_secs(150);
/// How long to wait before that is logged.
const SILENCE: Duration = Duration::from_secs(2);

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    New,
    Begun,
    /// Trained, but not evaluated yet.
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
    /// The state of the run, derived from its files.
    pub(super) fn state(self, evaluate: bool) -> State {
        let has = |name: &str| self.0.join(name).is_file();
        // Without its answers, it is for `evaluate` to say what is missing.
        let is_evaluated = has("evaluation/summary.json") && has("evaluation/answers.jsonl");
        match (has("run.json"), has("summary.json"), is_evaluated) {
            (_, true, true) => State::Finished,
            (_, true, false) if !evaluate => State::Finished,
            (_, true, false) => State::Trained,
            (true, ..) => State::Begun,
            _ => State::New,
        }
    }

    /// The operations of the training as TOML; `None` if it has not ended or did not record them.
    pub(super) fn training_flops(self) -> Result<Option<String>> {
        let summary = self.json("summary.json")?;
        let flops = summary
            .as_ref()
            .and_then(|summary| summary["training_flops"].as_number());
        // With a decimal point, because the integers of TOML end at half the largest possible count.
        Ok(flops.map(|flops| match flops.as_u64() {
            Some(whole) => format!("{whole}.0"),
            None => flops.to_string(),
        }))
    }

    /// Waits until no other process holds the folder. Returns `false` if one still does after a while, or when `stop` is set.
    pub(super) fn wait_until_free(self, stop: &AtomicBool) -> Result<bool> {
        let began = Instant::now();
        let mut said = false;
        while self.is_held()? {
            if stop.load(Ordering::Relaxed) || began.elapsed() > PATIENCE {
                return Ok(false);
            }
            if !said && began.elapsed() > SILENCE {
                said = true;
                tracing::info!("waiting for another process that works in `{}`", self.0.display());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(true)
    }

    /// Whether a process trains or evaluates in the folder, or may do so.
    fn is_held(self) -> Result<bool> {
        Ok(FolderLock::is_held(self.0)? || FolderLock::is_held(&self.0.join("evaluation"))?)
    }

    /// The recorded seconds of all attempts so far.
    pub(super) fn wall_seconds(self) -> Result<Option<f64>> {
        Ok(self.json(RECORD)?.and_then(|record| record["wall_seconds"].as_f64()))
    }

    /// Writes the record: the settings of the run, its time, and its results so far.
    pub(super) fn record(self, planned: &PlannedRun, wall_seconds: Option<f64>) -> Result<()> {
        let settings: Map<String, Value> = planned
            .settings
            .iter()
            .map(|setting| (setting.key.clone(), setting.toml.clone().into()))
            .collect();
        let summary = self.json("summary.json")?.unwrap_or_default();
        let evaluation = self.json("evaluation/summary.json")?;
        let evaluation = evaluation.map(|evaluation| {
            let keys = [
                "problems",
                "correct",
                "ungraded",
                "accuracy",
                "accuracy_interval",
                "held_out",
            ];
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
        if read_unlinked(&path, MOST_BYTES).is_ok_and(|stored| stored == bytes) {
            return Ok(());
        }
        Ok(commit_bytes(&path, &bytes)?)
    }

    /// A JSON file of the folder; `None` if it is missing.
    pub(super) fn json(self, name: &str) -> Result<Option<Value>> {
        let path = self.0.join(name);
        let bytes = match read_unlinked(&path, MOST_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("could not read `{}`", path.display()))?,
        };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(source) => Err(SweepError::Damaged { path, source }.into()),
        }
    }
}

/// A log file to which the messages of a child are appended.
pub(super) struct Log {
    pub(super) path: PathBuf,
    /// Where the messages of this child begin, in bytes.
    from: u64,
}

impl Log {
    /// Opens the file, and returns it with the handle for the child. On a file system without write access, the messages are
    /// dropped: a child that has nothing left to do succeeds there.
    pub(super) fn open(path: PathBuf) -> Result<(Self, File)> {
        let open = || -> io::Result<(u64, File)> {
            let file = match open_own(&path, File::options().create(true).append(true)) {
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                    let bytes = path.symlink_metadata().map_or(0, |found| found.len());
                    return Ok((bytes, File::options().write(true).open("/dev/null")?));
                }
                opened => opened?,
            };
            Ok((file.metadata()?.len(), file))
        };
        let (from, file) = open().with_context(|| format!("could not open `{}`", path.display()))?;
        Ok((Self { path, from }, file))
    }

    /// The messages about the child's failure: all lines from the error on, or the last lines if there is no error.
    pub(super) fn end(&self) -> String {
        const LINES: usize = 8;
        const BYTES: u64 = 1 << 16;
        let read = || -> io::Result<String> {
            let mut file = open_unlinked(&self.path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.from.max(length.saturating_sub(BYTES))))?;
            let mut bytes = Vec::new();
            file.take(BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        // The closing line is for scripts and repeats the error.
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("{\"leadspan\":"))
            .collect();
        let error = lines.iter().rposition(|line| line.starts_with("error: "));
        let first = error.unwrap_or(lines.len().saturating_sub(LINES));
        lines[first..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use leadspan_files::faults;

    use super::*;

    #[test]
    fn a_damaged_record_is_wrong_input_and_says_how_to_mend_it() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder(folder.path());
        assert_eq!(run.wall_seconds().unwrap(), None);
        for damaged in ["", "mine", "{\"wall_seconds\": 1"] {
            fs::write(folder.path().join(RECORD), damaged).unwrap();
            let failure = run.wall_seconds().unwrap_err();
            assert_eq!(failure.exit_code(), crate::exit_code::WRONG_INPUT);
            let described = failure.described();
            assert!(
                described.contains(RECORD) && described.contains("hint: remove"),
                "{described}"
            );
        }
    }

    #[test]
    fn a_log_is_no_obstacle_where_nothing_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.log");
        for before in ["", "error: of an earlier attempt\n"] {
            let (log, mut messages) = faults::read_only(|| Log::open(path.clone())).unwrap();
            messages.write_all(b"dropped\n").unwrap();
            assert_eq!(log.end(), "");
            assert_eq!(fs::read_to_string(&path).unwrap_or_default(), before);
            fs::write(&path, "error: of an earlier attempt\n").unwrap();
        }
    }
}
