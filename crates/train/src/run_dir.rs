//! The folder of a run: who may write it, what it was made with, whether it is done.
//!
//! ```text
//! RUN/
//!   run.json        the resolved configuration, and what the result depends on
//!   metrics.jsonl   one line per step and per validation
//!   tensorboard/    the same numbers for TensorBoard, a file for each process
//!   checkpoints/    what an interrupted run resumes from; after the end, the best student if another one was exported
//!   model/          the trained student, a Hugging Face directory; appears complete
//!   summary.json    written last: a run that has it is done
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use leadspan_files::{commit_bytes, read_unlinked, require_own_folder};
use leadspan_workers::{FolderLock, Holder, LockedFolder};
use serde_json::{Value, json};

use crate::{RunSummary, TrainError, exported, run_identity::RunIdentity};

/// The file that makes a folder that of a run, and the one that says that the run is done.
const RUN: &str = "run.json";
const SUMMARY: &str = "summary.json";

/// The most bytes of a JSON file of a run that are read.
const MOST_BYTES: u64 = 64 << 20;

/// The folder of a run, held by this process.
pub(crate) struct RunDir {
    path: PathBuf,
    /// Held until the run ends; `None` if the run is finished, and this process may not write there.
    lock: Option<FolderLock>,
}

impl RunDir {
    /// Creates and locks the folder. Calls `waiting` with another process that may be working in it, if the file system has no
    /// locks to tell.
    ///
    /// # Errors
    ///
    /// [`TrainError::NotARun`] if it has what a run would replace or remove, and is not the folder of a run;
    /// [`TrainError::Busy`] if another process works in it; [`TrainError::Io`] if one of its own folders is a link that leads
    /// elsewhere, or if it cannot be written and has no finished run.
    pub(crate) fn open(path: &Path, waiting: &mut dyn FnMut(&Holder)) -> Result<Self, TrainError> {
        require_run_or_nothing(path)?;
        let lock = match FolderLock::take(path, SUMMARY, waiting)? {
            LockedFolder::Locked(lock) => Some(lock),
            LockedFolder::Finished => None,
            LockedFolder::Held(holder) => {
                let dir = path.to_owned();
                return Err(TrainError::Busy { dir, holder });
            }
        };
        let run_dir = Self {
            path: path.to_owned(),
            lock,
        };
        // Files in them are removed.
        for folder in [run_dir.checkpoints_path(), run_dir.model_path()] {
            require_own_folder(&folder).map_err(|source| TrainError::Io {
                action: "use",
                path: folder.clone(),
                source,
            })?;
        }
        Ok(run_dir)
    }

    /// Refuses to go on in a folder that another process has taken over: both would write the same files.
    ///
    /// # Errors
    ///
    /// [`TrainError::Displaced`].
    pub(crate) fn require_held(&self) -> Result<(), TrainError> {
        self.refuse_if(self.lock.as_ref().is_some_and(FolderLock::is_lost))
    }

    /// Like [`require_held`](Self::require_held), for each step: it costs nothing, and learns of it some seconds late.
    pub(crate) fn require_not_lost_so_far(&self) -> Result<(), TrainError> {
        self.refuse_if(self.lock.as_ref().is_some_and(FolderLock::was_lost))
    }

    /// Whether this process may write in the folder. It may not only if the run is finished.
    pub(crate) fn is_writable(&self) -> bool {
        self.lock.is_some()
    }

    fn refuse_if(&self, lost: bool) -> Result<(), TrainError> {
        if lost {
            let dir = self.path.clone();
            return Err(TrainError::Displaced { dir });
        }
        Ok(())
    }

    pub(crate) fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    pub(crate) fn tensorboard_path(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    pub(crate) fn checkpoints_path(&self) -> PathBuf {
        Self::checkpoints_in(&self.path)
    }

    /// The checkpoints of the run in a folder that this process may not hold.
    pub(crate) fn checkpoints_in(path: &Path) -> PathBuf {
        path.join("checkpoints")
    }

    pub(crate) fn model_path(&self) -> PathBuf {
        self.path.join("model")
    }

    /// The summary of a finished run of the same `identity`; `None` if the run is not finished.
    ///
    /// # Errors
    ///
    /// [`TrainError::OtherRun`] if the finished run has another identity; [`TrainError::StudentGone`] if its student, with
    /// these tokenizer files, is not there any more.
    pub(crate) fn finished<'a>(
        &self,
        identity: &RunIdentity,
        tokenizer_files: impl Iterator<Item = &'a String>,
    ) -> Result<Option<RunSummary>, TrainError> {
        let Some(summary) = self.read(SUMMARY)? else {
            return Ok(None);
        };
        let stored = self.read(RUN)?.map_or(Value::Null, |mut run| run["ingredients"].take());
        self.require_same(&RunIdentity::stored(stored), identity)?;
        let summary: RunSummary = serde_json::from_value(summary).map_err(not_understood(&self.path.join(SUMMARY)))?;
        let blake3 = summary.weights_blake3.as_deref();
        if let Some(problem) = exported::problem(&self.model_path(), tokenizer_files, blake3, &summary.files_blake3) {
            let dir = self.path.clone();
            return Err(TrainError::StudentGone { dir, problem });
        }
        Ok(Some(summary))
    }

    /// Refuses to continue a run of another identity.
    ///
    /// # Errors
    ///
    /// [`TrainError::OtherRun`] with the first difference.
    pub(crate) fn require_same(&self, stored: &RunIdentity, asked: &RunIdentity) -> Result<(), TrainError> {
        match stored.difference(asked) {
            None => Ok(()),
            Some((key, stored, asked)) => Err(TrainError::OtherRun {
                dir: self.path.clone(),
                key,
                stored,
                asked,
            }),
        }
    }

    /// Removes the student of an unfinished run, and writes down what this run depends on.
    pub(crate) fn start(&self, identity: &RunIdentity, resolved_config: &Value) -> Result<(), TrainError> {
        self.require_held()?;
        let entries = fs::read_dir(&self.path).map_err(|source| TrainError::Io {
            action: "list",
            path: self.path.clone(),
            source,
        })?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name == "model" || name.to_string_lossy().starts_with(".model-") {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(|source| TrainError::Io {
                    action: "remove",
                    path,
                    source,
                })?;
            }
        }
        self.write(RUN, &json!({ "ingredients": identity, "config": resolved_config }))
    }

    /// Marks the run as done.
    pub(crate) fn finish(&self, summary: &RunSummary) -> Result<(), TrainError> {
        self.require_held()?;
        self.write(SUMMARY, &serde_json::to_value(summary).expect("numbers serialize"))
    }

    fn write(&self, name: &str, value: &Value) -> Result<(), TrainError> {
        let mut bytes = serde_json::to_vec_pretty(value).expect("a JSON value serializes");
        bytes.push(b'\n');
        Ok(commit_bytes(&self.path.join(name), &bytes)?)
    }

    fn read(&self, name: &str) -> Result<Option<Value>, TrainError> {
        read(&self.path.join(name))
    }
}

/// The value in a JSON file; `None` if there is no file.
fn read(path: &Path) -> Result<Option<Value>, TrainError> {
    let bytes = match read_unlinked(path, MOST_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(TrainError::Io {
                action: "read",
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&bytes).map(Some).map_err(not_understood(path))
}

fn not_understood(path: &Path) -> impl FnOnce(serde_json::Error) -> TrainError {
    let path = path.to_owned();
    move |source| TrainError::NotUnderstood { path, source }
}

/// Refuses a folder that has what a run replaces or removes, but is not the folder of a run: it would be somebody's model.
fn require_run_or_nothing(path: &Path) -> Result<(), TrainError> {
    let has = |name: &str| fs::symlink_metadata(path.join(name)).is_ok();
    if has(RUN) {
        let path = path.join(RUN);
        return match read(&path)? {
            Some(run) if run.get("ingredients").is_none() => Err(TrainError::OtherPrograms { path }),
            _ => Ok(()),
        };
    }
    match ["model", "checkpoints", "metrics.jsonl", SUMMARY]
        .into_iter()
        .find(|name| has(name))
    {
        Some(found) => Err(TrainError::NotARun {
            dir: path.to_owned(),
            found,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use leadspan_diagnosis::Diagnosis as _;
    use leadspan_files::faults;

    use super::*;

    const OF_A_RUN: &str = r#"{ "ingredients": {} }"#;

    #[test]
    fn a_run_of_a_stranger_leads_nowhere() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("letter"), b"untouched").unwrap();
        let refusal = |name: &str, target: &Path| {
            let folder = tempfile::tempdir().unwrap();
            let run = folder.path().join("run");
            fs::create_dir(&run).unwrap();
            fs::write(run.join(RUN), OF_A_RUN).unwrap();
            symlink(target, run.join(name)).unwrap();
            let found =
                RunDir::open(&run, &mut |_| ()).and_then(|run| run.finished(&RunIdentity::default(), [].into_iter()));
            let error = found.expect_err("it is refused");
            assert!(!error.is_unexpected() && error.to_string().contains(name), "{error}");
        };
        for name in ["checkpoints", "model"] {
            refusal(name, outside.path());
        }
        for name in [".lock", "summary.json"] {
            refusal(name, &outside.path().join("letter"));
        }
        assert_eq!(fs::read(outside.path().join("letter")).unwrap(), b"untouched");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_on_a_file_system_without_locks_is_used_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        faults::without_locks(37, || {
            let run = RunDir::open(folder.path(), &mut |_| panic!("nobody else is there")).unwrap();
            assert!(run.finished(&RunIdentity::default(), [].into_iter()).unwrap().is_none());
        });
        assert!(!folder.path().join(".claims").exists());
    }

    #[test]
    fn a_run_that_another_process_took_over_writes_nothing_more() {
        faults::without_locks(37, || {
            let folder = tempfile::tempdir().unwrap();
            let first = RunDir::open(folder.path(), &mut |_| ()).unwrap();
            first.start(&RunIdentity::default(), &json!({ "by": "first" })).unwrap();
            let claim = fs::File::options()
                .write(true)
                .open(folder.path().join(".claims/run"))
                .unwrap();
            let past = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
            claim.set_modified(past).unwrap();
            let second = RunDir::open(folder.path(), &mut |_| panic!("the claim has run out")).unwrap();
            second.require_held().unwrap();
            let before = fs::read(folder.path().join("run.json")).unwrap();
            for error in [
                first.require_held().unwrap_err(),
                first.start(&RunIdentity::default(), &json!({})).unwrap_err(),
            ] {
                assert!(
                    matches!(&error, TrainError::Displaced { dir } if dir == folder.path()),
                    "{error}"
                );
                assert!(!error.is_unexpected() && error.hint().is_some());
            }
            assert_eq!(fs::read(folder.path().join("run.json")).unwrap(), before);
            drop(first);
            second.require_held().unwrap();
        });
    }

    #[test]
    fn a_folder_with_somebody_elses_model_is_no_run_and_stays_as_it_is() {
        for name in ["model", "checkpoints", "metrics.jsonl", "summary.json"] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join(name)).unwrap();
            let error = RunDir::open(folder.path(), &mut |_| ()).map(drop).unwrap_err();
            assert!(
                matches!(&error, TrainError::NotARun { found, .. } if *found == name),
                "{error}"
            );
            assert!(error.hint().is_some() && !error.is_unexpected(), "{error}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
            fs::write(folder.path().join(RUN), OF_A_RUN).unwrap();
            RunDir::open(folder.path(), &mut |_| ()).unwrap();
        }
    }

    #[test]
    fn links_and_pipes_in_place_of_a_runs_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::open(folder.path(), &mut |_| ()).unwrap();
        let path = folder.path().join("summary.json");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(matches!(run.read("summary.json"), Err(TrainError::Io { path: found, .. }) if found == path));
        fs::remove_file(&path).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        assert!(matches!(run.read("summary.json"), Err(TrainError::Io { path: found, .. }) if found == path));
    }

    #[test]
    fn the_run_file_of_another_program_is_named_and_stays() {
        for (text, is_json) in [("run: 1", false), ("{\"name\": \"sunny-lake-3\"}", true), ("[]", true)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(RUN);
            fs::write(&path, text).unwrap();
            fs::create_dir(folder.path().join("model")).unwrap();
            let error = RunDir::open(folder.path(), &mut |_| ()).map(drop).unwrap_err();
            let found = match &error {
                TrainError::NotUnderstood { path, .. } if !is_json => path,
                TrainError::OtherPrograms { path } if is_json => path,
                error => panic!("{text}: {error}"),
            };
            assert_eq!(*found, path);
            assert!(
                !error.is_unexpected() && error.hint().unwrap().contains("train.dir"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is written");
        }
    }

    #[test]
    fn a_finished_run_is_found_where_nothing_can_be_written_and_an_unfinished_one_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let open = || RunDir::open(folder.path(), &mut |_| ());
        let run = open().unwrap();
        run.start(&RunIdentity::default(), &json!({})).unwrap();
        drop(run);
        let error = faults::read_only(open).map(drop).unwrap_err();
        assert!(error.to_string().contains(".lock") && error.hint().is_some(), "{error}");
        fs::write(folder.path().join(SUMMARY), "{}").unwrap();
        let run = faults::read_only(open).unwrap();
        assert!(!run.is_writable());
        let error = run.finished(&RunIdentity::default(), [].into_iter()).unwrap_err();
        assert!(
            matches!(&error, TrainError::NotUnderstood { path, .. } if path.ends_with(SUMMARY)),
            "{error}"
        );
        assert!(open().unwrap().is_writable());
    }
}
