//! Heartbeats: what a worker reports about itself while it fills a cache, and whether a silent worker has stalled.
//!
//! Each worker has a small file of its own in `.workers/`, which it replaces every few seconds. The replacement is atomic, so
//! that readers see a whole file, but it is not synced, because a lost heartbeat does no harm. No stored byte depends on these
//! files, and only `inspect --watch` reads them. The age of a heartbeat is the difference between the modification time of its
//! file and that of a file that the reader creates in the same folder. Clocks are not used, since they differ between machines.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use leadspan_files::{
    FileError, PendingFile, read_unlinked, remove_if_dead, replace_bytes, require_own_folder, temporary_of,
};

const FOLDER: &str = ".workers";

/// The most bytes of a heartbeat. The folder may be somebody else's, and the file anything.
const MOST_BYTES: u64 = 1 << 12;

/// What a worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It is loading the teacher.
    #[default]
    Loading,
    /// It is running batches through the teacher.
    Capturing,
    /// It has finished its work.
    Done,
    /// It was stopped, and continues when it is run again.
    Stopped,
    /// It failed.
    Failed,
}

impl WorkerState {
    /// Whether the process has ended.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Stopped | Self::Failed)
    }

    /// Its name in the file.
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

/// What a worker reports about itself. Counts are those of its process. The time is that of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// The name of the worker, such as `3/8`. A worker that is started again replaces its earlier heartbeat.
    pub worker: String,
    /// The name of its machine.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// Its state.
    pub state: WorkerState,
    /// The current work unit.
    pub unit: Option<String>,
    /// The work units that it has committed.
    pub units_done: u64,
    /// The work units that it has to commit in total.
    pub units: u64,
    /// The samples that went through the teacher.
    pub samples: u64,
    /// The tokens that went through the teacher.
    pub tokens: u64,
    /// Tokens per second since the teacher was loaded.
    pub tokens_per_second: f64,
    /// Resident memory, in bytes.
    pub memory_bytes: u64,
    /// Seconds since the last batch, or since the teacher was loaded.
    pub quiet_seconds: f64,
}

/// A heartbeat and its age.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// What the worker reported.
    pub heartbeat: Heartbeat,
    /// How long ago it was written.
    pub age: Duration,
}

impl Heard {
    /// Whether the worker has not ended, and its last heartbeat is older than `silence`.
    pub fn is_stalled(&self, silence: Duration) -> bool {
        !self.heartbeat.state.has_ended() && self.age > silence
    }
}

impl Heartbeat {
    /// Writes it, replacing the last heartbeat of this worker.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written to.
    pub fn write(&self, cache_dir: &Path) -> Result<(), FileError> {
        let folder = cache_dir.join(FOLDER);
        let path = folder.join(file_name(&self.worker));
        require_own_folder(&folder).map_err(FileError::io("write", &path))?;
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(FileError::io("write", &path)(error));
            }
            _ => {}
        }
        replace_bytes(&path, &serde_json::to_vec(self).expect("a heartbeat serializes"))
    }
}

/// What the folder of heartbeats holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signs {
    /// The heartbeats of all workers, in the order of their names.
    pub heard: Vec<Heard>,
    /// The files that are no heartbeats: the name of each, and why. Names are in order.
    pub ignored: Vec<(PathBuf, String)>,
}

/// The heartbeats of all workers, in the order of their names, without the files that are none.
///
/// # Errors
///
/// If the folder cannot be listed.
pub fn heartbeats(cache_dir: &Path) -> Result<Vec<Heard>, FileError> {
    Ok(signs(cache_dir)?.heard)
}

/// The heartbeats of all workers, and the files that are none.
///
/// # Errors
///
/// If the folder cannot be listed, or is no folder.
pub fn signs(cache_dir: &Path) -> Result<Signs, FileError> {
    let folder = cache_dir.join(FOLDER);
    require_own_folder(&folder).map_err(FileError::io("list", &folder))?;
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Signs::default()),
        entries => entries.map_err(FileError::io("list", &folder))?,
    };
    let now = time_there(&folder);
    let mut signs = Signs::default();
    let files = entries.flatten().map(|entry| entry.path());
    for path in files.filter(|path| path.extension().is_some_and(|end| end == "json")) {
        match read(&path, now) {
            Ok(heard) => signs.heard.push(heard),
            // It was replaced or removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => signs.ignored.push((path, error.to_string())),
        }
    }
    signs.heard.sort_by_cached_key(|heard| order(&heard.heartbeat.worker));
    signs.ignored.sort();
    Ok(signs)
}

/// The heartbeat in a file, at the file server's time `now`.
fn read(path: &Path, now: SystemTime) -> io::Result<Heard> {
    let heartbeat = serde_json::from_slice(&read_unlinked(path, MOST_BYTES)?)?;
    let written = fs::symlink_metadata(path)?.modified()?;
    let age = now.duration_since(written).unwrap_or_default();
    Ok(Heard { heartbeat, age })
}

/// Removes all heartbeats, and then the folder if it is empty. For a cache in which nothing is left to do: a worker that is still
/// about to end may write its heartbeat once more, and removes it then in the same way. Files that cannot be removed are harmless
/// and stay.
pub fn remove_heartbeats(cache_dir: &Path) {
    let folder = cache_dir.join(FOLDER);
    for heard in heartbeats(cache_dir).unwrap_or_default() {
        let _ = fs::remove_file(folder.join(file_name(&heard.heartbeat.worker)));
    }
    remove_dead_heartbeats(cache_dir);
}

/// Removes the temporary files of workers that were killed while they wrote a heartbeat, and then the folder if it is empty.
/// Files that cannot be removed are harmless and stay.
pub fn remove_dead_heartbeats(cache_dir: &Path) {
    let folder = cache_dir.join(FOLDER);
    if require_own_folder(&folder).is_err() {
        return;
    }
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().and_then(temporary_of).is_some() {
            remove_if_dead(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// The current time of the file server: that of a file created in the folder. If none can be created, the time of this machine.
fn time_there(folder: &Path) -> SystemTime {
    let modified = |mut touched: PendingFile| {
        touched
            .file_mut()
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    let touched = PendingFile::create(&folder.join("now")).ok();
    touched.and_then(modified).unwrap_or_else(SystemTime::now)
}

/// The name of a worker's file: characters other than letters and digits become dots, so `3/8` is `3.8.json`.
fn file_name(worker: &str) -> String {
    let plain = |letter: char| if letter.is_alphanumeric() { letter } else { '.' };
    worker.chars().map(plain).collect::<String>() + ".json"
}

/// Sorts names by their numbers: `2/10` comes before `10/10`.
fn order(worker: &str) -> (Vec<u64>, String) {
    let numbers = worker
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok());
    (numbers.collect(), worker.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

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
    fn each_worker_has_one_heartbeat_and_the_newest_counts() {
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
        assert_eq!(files, 2, "neither writing nor reading leaves other files");
    }

    #[test]
    fn a_worker_that_has_not_ended_and_is_silent_is_stalled() {
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
    fn the_last_worker_removes_the_heartbeats_of_killed_ones_and_a_slower_one_its_own() {
        let folder = tempfile::tempdir().unwrap();
        beat("0/3", WorkerState::Done).write(folder.path()).unwrap();
        // It was killed a moment ago.
        beat("1/3", WorkerState::Capturing).write(folder.path()).unwrap();
        remove_heartbeats(folder.path());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        beat("2/3", WorkerState::Done).write(folder.path()).unwrap();
        remove_heartbeats(folder.path());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        // What is no heartbeat stays.
        beat("0/3", WorkerState::Done).write(folder.path()).unwrap();
        fs::write(folder.path().join(FOLDER).join("notes"), "mine").unwrap();
        remove_heartbeats(folder.path());
        assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_worker_was_writing_is_removed_and_what_a_living_one_writes_stays() {
        let folder = tempfile::tempdir().unwrap();
        beat("0/2", WorkerState::Capturing).write(folder.path()).unwrap();
        let target = folder.path().join(FOLDER).join("1.2.json");
        let living = PendingFile::create(&target).unwrap();
        fs::write(folder.path().join(FOLDER).join(".0.2.json.A1b2C3.tmp"), b"{\"wor").unwrap();
        remove_dead_heartbeats(folder.path());
        let left = || fs::read_dir(folder.path().join(FOLDER)).unwrap().count();
        assert_eq!(left(), 2, "a heartbeat and a file that is being written");
        drop(living);
        assert_eq!(left(), 1);
    }

    #[test]
    fn a_file_that_is_not_a_heartbeat_is_ignored_and_named() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        beat("0/1", WorkerState::Capturing).write(folder.path()).unwrap();
        let at = |name: &str| folder.path().join(FOLDER).join(name);
        fs::write(at("1.cut.json"), b"{\"worker\":").unwrap();
        let name = "x".repeat(1_000_000);
        fs::write(at("2.long.json"), format!("{{\"worker\": \"{name}\"}}")).unwrap();
        symlink("/dev/zero", at("3.device.json")).unwrap();
        symlink("0.1.json", at("4.link.json")).unwrap();
        fs::create_dir(at("5.folder.json")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(at("6.pipe.json")).status();
        assert!(made.unwrap().success());
        let Signs { heard, ignored } = signs(folder.path()).unwrap();
        assert_eq!(heard.len(), 1);
        let told: Vec<(String, &str)> = ignored
            .iter()
            .map(|(path, why)| (path.file_name().unwrap().to_string_lossy().into_owned(), why.as_str()))
            .collect();
        let expected = [
            ("1.cut.json", "EOF while parsing"),
            ("2.long.json", "more than the 4096 bytes"),
            ("3.device.json", "a symbolic link"),
            ("4.link.json", "a symbolic link"),
            ("5.folder.json", "a folder"),
            ("6.pipe.json", "a named pipe"),
        ];
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for ((name, why), (expected, because)) in told.iter().zip(expected) {
            assert!(name == expected && why.contains(because), "{name}: {why}");
        }
    }

    #[test]
    fn a_link_in_place_of_the_folder_is_refused() {
        let (outside, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), cache.path().join(FOLDER)).unwrap();
        let beat = beat("0/1", WorkerState::Done);
        for error in [beat.write(cache.path()).unwrap_err(), signs(cache.path()).unwrap_err()] {
            assert!(error.source.to_string().contains("a symbolic link, not a folder"));
        }
        remove_heartbeats(cache.path());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
