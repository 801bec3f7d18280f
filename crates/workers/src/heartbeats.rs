//! What a worker tells of itself while it fills a cache, and what others make of its silence.
//!
//! Each worker has a small file of its own in `.workers/`, which it writes anew every few seconds: atomically, so that readers
//! see a whole one, but without syncing, because a lost one is no loss. Nothing that is stored depends on these files, and
//! nobody but `inspect --watch` reads them. The time of the last sign is the file's; how long ago that is follows from a file
//! that the reader touches in the same folder, not from clocks, which differ between machines.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use leadspan_files::{FileError, replace_bytes};

const FOLDER: &str = ".workers";

/// What a worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It loads the teacher.
    #[default]
    Loading,
    /// Batches go through the teacher.
    Capturing,
    /// It did all that it was to do.
    Done,
    /// It was stopped, and goes on when it is run again.
    Stopped,
    /// It failed.
    Failed,
}

impl WorkerState {
    /// Whether the process is there no more.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Stopped | Self::Failed)
    }

    /// Its name, as in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Capturing => "capturing",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// What a worker tells of itself. Counts are those of its process; the time is that of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// Which worker it is, such as `3/8`; a worker that is started again takes the place of what it was.
    pub worker: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// What it is doing.
    pub state: WorkerState,
    /// The work unit at hand.
    pub unit: Option<String>,
    /// Work units that it has committed.
    pub units_done: u64,
    /// Work units that it is to commit, those included.
    pub units: u64,
    /// Samples that went through the teacher.
    pub samples: u64,
    /// Tokens that went through the teacher.
    pub tokens: u64,
    /// Tokens for each second since the teacher was loaded.
    pub tokens_per_second: f64,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Seconds since a batch was finished, or since the teacher was loaded.
    pub quiet_seconds: f64,
}

/// A heartbeat, and how old it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// What the worker said.
    pub heartbeat: Heartbeat,
    /// How long ago.
    pub age: Duration,
}

impl Heard {
    /// Whether the worker has not ended and gave no sign for longer than `silence`.
    pub fn is_stalled(&self, silence: Duration) -> bool {
        !self.heartbeat.state.has_ended() && self.age > silence
    }
}

impl Heartbeat {
    /// Writes it in the place of the last of this worker.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be written to.
    pub fn write(&self, cache_dir: &Path) -> Result<(), FileError> {
        let folder = cache_dir.join(FOLDER);
        let path = folder.join(file_name(&self.worker));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(FileError::io("write", &path)(error));
            }
            _ => {}
        }
        replace_bytes(&path, &serde_json::to_vec(self).expect("a heartbeat serializes"))
    }
}

/// The heartbeats of all workers, in the order of their names; those that cannot be read are left out.
///
/// # Errors
///
/// Where the folder cannot be listed.
pub fn heartbeats(cache_dir: &Path) -> Result<Vec<Heard>, FileError> {
    let folder = cache_dir.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FileError::io("list", &folder))?,
    };
    let now = time_there(&folder);
    let mut heard: Vec<Heard> = entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "json"))
        .filter_map(|entry| {
            let heartbeat = serde_json::from_slice(&fs::read(entry.path()).ok()?).ok()?;
            let written = entry.metadata().and_then(|metadata| metadata.modified()).ok()?;
            let age = now.duration_since(written).unwrap_or_default();
            Some(Heard { heartbeat, age })
        })
        .collect();
    heard.sort_by_cached_key(|heard| order(&heard.heartbeat.worker));
    Ok(heard)
}

/// Removes the heartbeats of workers that have ended or given no sign for longer than `silence`, and the folder where there is
/// no other. Whatever cannot be removed is harmless and stays.
pub fn remove_heartbeats_of_gone(cache_dir: &Path, silence: Duration) {
    let folder = cache_dir.join(FOLDER);
    for heard in heartbeats(cache_dir).unwrap_or_default() {
        if heard.heartbeat.state.has_ended() || heard.is_stalled(silence) {
            let _ = fs::remove_file(folder.join(file_name(&heard.heartbeat.worker)));
        }
    }
    let _ = fs::remove_dir(folder);
}

/// The time where the folder is: that of a file that is touched there, or of this machine where none can be.
fn time_there(folder: &Path) -> SystemTime {
    let path: PathBuf = folder.join(format!("now.{}.tmp", std::process::id()));
    let touched = File::create(&path)
        .and_then(|file| file.metadata())
        .and_then(|metadata| metadata.modified());
    let _ = fs::remove_file(&path);
    touched.unwrap_or_else(|_| SystemTime::now())
}

/// Letters and digits of a worker's name, the rest as points: `3/8` is `3.8.json`.
fn file_name(worker: &str) -> String {
    let plain = |letter: char| if letter.is_alphanumeric() { letter } else { '.' };
    worker.chars().map(plain).collect::<String>() + ".json"
}

/// Numbers in names count as numbers: `2/10` is before `10/10`.
fn order(worker: &str) -> (Vec<u64>, String) {
    let numbers = worker
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok());
    (numbers.collect(), worker.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(worker: &str, state: WorkerState) -> Heartbeat {
        Heartbeat {
            worker: worker.to_owned(),
            host: "node".to_owned(),
            state,
            ..Heartbeat::default()
        }
    }

    /// Makes a heartbeat 90 seconds older.
    fn make_older(cache_dir: &Path, worker: &str) {
        let path = cache_dir.join(FOLDER).join(file_name(worker));
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(90)).unwrap();
    }

    #[test]
    fn a_worker_is_heard_of_once_and_the_newest_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(heartbeats(folder.path()).unwrap(), []);
        for (worker, state) in [
            ("10/12", WorkerState::Capturing),
            ("2/12", WorkerState::Loading),
            ("2/12", WorkerState::Capturing),
        ] {
            beat(worker, state).write(folder.path()).unwrap();
        }
        let heard = heartbeats(folder.path()).unwrap();
        let said: Vec<_> = heard
            .iter()
            .map(|heard| (heard.heartbeat.worker.as_str(), heard.heartbeat.state))
            .collect();
        assert_eq!(
            said,
            [("2/12", WorkerState::Capturing), ("10/12", WorkerState::Capturing)]
        );
        assert!(heard.iter().all(|heard| heard.age < Duration::from_secs(30)));
        let files = fs::read_dir(folder.path().join(FOLDER)).unwrap().count();
        assert_eq!(files, 2, "neither writing nor reading leaves anything else");
    }

    #[test]
    fn a_worker_that_goes_on_and_is_silent_is_stalled() {
        let folder = tempfile::tempdir().unwrap();
        for (worker, state) in [("0/2", WorkerState::Capturing), ("1/2", WorkerState::Stopped)] {
            beat(worker, state).write(folder.path()).unwrap();
            make_older(folder.path(), worker);
        }
        let heard = heartbeats(folder.path()).unwrap();
        let silence = Duration::from_mins(1);
        assert!(heard[0].is_stalled(silence) && !heard[1].is_stalled(silence));
        assert!(!heard[0].is_stalled(Duration::from_secs(200)));
    }

    #[test]
    fn heartbeats_of_workers_that_go_on_stay() {
        let silence = Duration::from_mins(1);
        let folder = tempfile::tempdir().unwrap();
        beat("0/2", WorkerState::Done).write(folder.path()).unwrap();
        beat("1/2", WorkerState::Capturing).write(folder.path()).unwrap();
        remove_heartbeats_of_gone(folder.path(), silence);
        let left = heartbeats(folder.path()).unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].heartbeat.worker, "1/2");
        // That of one that was killed goes as well.
        make_older(folder.path(), "1/2");
        remove_heartbeats_of_gone(folder.path(), silence);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_no_heartbeat_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        beat("0/1", WorkerState::Capturing).write(folder.path()).unwrap();
        fs::write(folder.path().join(FOLDER).join("1.1.json"), b"{\"worker\":").unwrap();
        assert_eq!(heartbeats(folder.path()).unwrap().len(), 1);
    }
}
