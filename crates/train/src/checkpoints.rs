//! The folder of a run's checkpoints: which exist, which the run resumes from, which are kept.
//!
//! Only the process that holds the run's lock uses the folder, so a file that belongs to no checkpoint was left by a dead
//! process.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use candle_core::Tensor;
use leadspan_files::{Refusal, temporary_of};

use crate::{
    TrainError,
    checkpoint::{self, Checkpoint, RunSoFar, Unusable},
};

/// The folder of a run's checkpoints.
pub(crate) struct Checkpoints {
    dir: PathBuf,
}

/// A checkpoint that cannot be used.
#[derive(Debug, PartialEq)]
pub(crate) struct Damaged {
    /// Its path.
    pub(crate) path: PathBuf,
    /// The reason.
    pub(crate) because: String,
}

impl Checkpoints {
    /// The checkpoints in `dir`, which need not exist.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The path of the checkpoint after `step` steps.
    pub(crate) fn path(&self, step: usize) -> PathBuf {
        self.dir.join(format!("step-{step:08}.safetensors"))
    }

    /// Writes the checkpoint of a run beside the existing ones.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn save(&self, run: &RunSoFar, tensors: &BTreeMap<String, Tensor>) -> Result<PathBuf, TrainError> {
        fs::create_dir_all(&self.dir).map_err(|source| TrainError::Io {
            action: "create",
            path: self.dir.clone(),
            source,
        })?;
        let path = self.path(run.progress.step);
        checkpoint::write(&path, run, tensors)?;
        Ok(path)
    }

    /// The newest checkpoint that is undamaged and that `usable` accepts. Newer ones are reported to `damaged`.
    ///
    /// # Errors
    ///
    /// If the folder cannot be listed, or a checkpoint could not be read that may be whole: it must not count as damaged, because
    /// damaged ones are removed.
    pub(crate) fn newest(
        &self,
        usable: &dyn Fn(&RunSoFar) -> Result<(), String>,
        damaged: &mut dyn FnMut(Damaged),
    ) -> Result<Option<Checkpoint>, TrainError> {
        for step in self.steps()?.into_iter().rev() {
            let path = self.path(step);
            let opened = Checkpoint::open(&path);
            match opened.and_then(|found| usable(&found.run).map(|()| found).map_err(Unusable::Damaged)) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(Unusable::Damaged(because)) => damaged(Damaged { path, because }),
                Err(Unusable::Unread(source)) => {
                    let action = "use";
                    return Err(TrainError::Io { action, path, source });
                }
            }
        }
        Ok(None)
    }

    /// Removes all checkpoints but those of the steps in `kept`, and what dead processes left of others. Files of other names are
    /// somebody else's and stay. Removes the folder if nothing is left.
    ///
    /// # Errors
    ///
    /// If something cannot be removed.
    pub(crate) fn keep(&self, kept: &[usize]) -> Result<(), TrainError> {
        let steps = self.steps()?;
        for &step in steps.iter().filter(|step| !kept.contains(step)) {
            checkpoint::remove(&self.path(step))?;
        }
        // Temporary files, and tensors without a receipt.
        let stems: Vec<String> = kept.iter().map(|&step| format!("step-{step:08}.")).collect();
        for name in self.names()?.into_iter().filter(|name| is_ours(name)) {
            if !stems.iter().any(|stem| name.starts_with(stem.as_str())) {
                let path = self.dir.join(name);
                fs::remove_file(&path).map_err(|source| TrainError::Io {
                    action: "remove",
                    path,
                    source,
                })?;
            }
        }
        // Fails if something is left, which is fine.
        let _ = fs::remove_dir(&self.dir);
        Ok(())
    }

    /// The steps after which checkpoints were written, ascending.
    ///
    /// # Errors
    ///
    /// If the folder cannot be listed.
    pub(crate) fn steps(&self) -> Result<Vec<usize>, TrainError> {
        let names = self.names()?;
        let step = |name: &String| name.strip_prefix("step-")?.strip_suffix(".json")?.parse().ok();
        let mut steps: Vec<usize> = names.iter().filter_map(step).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn names(&self) -> Result<Vec<String>, TrainError> {
        let list = |dir: &Path| -> io::Result<Vec<String>> {
            let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect()
        };
        let names = match list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.map_err(|source| TrainError::Io {
                action: "list",
                path: self.dir.clone(),
                source,
            })?,
        };
        // Neither a checkpoint, nor can it be replaced by one.
        let is_folder =
            |name: &&String| is_ours(name) && fs::symlink_metadata(self.dir.join(name)).is_ok_and(|at| at.is_dir());
        match names.iter().find(is_folder) {
            Some(name) => Err(TrainError::Io {
                action: "use",
                path: self.dir.join(name),
                source: Refusal::NotRegular("a folder").into(),
            }),
            None => Ok(names),
        }
    }
}

/// Whether a file of this name belongs to a checkpoint: its tensors, its receipt, or a temporary of one of them.
fn is_ours(name: &str) -> bool {
    let target = temporary_of(name).unwrap_or(name);
    let step = target
        .strip_prefix("step-")
        .and_then(|rest| rest.strip_suffix(".json").or_else(|| rest.strip_suffix(".safetensors")));
    step.is_some_and(|step| !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_identity::RunIdentity;
    use crate::run_progress::RunProgress;
    use candle_core::Device;

    fn run(step: usize) -> RunSoFar {
        let progress = RunProgress {
            step,
            ..RunProgress::default()
        };
        RunSoFar {
            identity: RunIdentity::default(),
            progress,
        }
    }

    fn saved(steps: &[usize]) -> (tempfile::TempDir, Checkpoints) {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"));
        let tensors = BTreeMap::from([("w".to_owned(), Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap())]);
        for &step in steps {
            checkpoints.save(&run(step), &tensors).unwrap();
        }
        (folder, checkpoints)
    }

    #[test]
    fn a_folder_in_the_place_of_a_checkpoint_is_refused_with_what_to_do() {
        use leadspan_diagnosis::Diagnosis as _;

        for name in ["step-00000009.json", "step-00000009.safetensors"] {
            let (_folder, checkpoints) = saved(&[3]);
            let path = checkpoints.path(9).with_file_name(name);
            fs::create_dir(&path).unwrap();
            let error = checkpoints.steps().unwrap_err();
            assert!(error.to_string().contains(name) && !error.is_unexpected(), "{error}");
            assert_eq!(
                error.hint().unwrap(),
                format!("remove the folder `{}`: checkpoints have such names", path.display())
            );
        }
    }

    fn newest(checkpoints: &Checkpoints) -> (Option<usize>, Vec<Damaged>) {
        let mut damaged = Vec::new();
        let found = checkpoints.newest(&|_| Ok(()), &mut |one| damaged.push(one)).unwrap();
        (found.map(|found| found.run.progress.step), damaged)
    }

    #[test]
    fn the_newest_checkpoint_that_is_whole_is_gone_on_from() {
        let (_folder, checkpoints) = saved(&[9, 10, 100_000_000]);
        assert_eq!(newest(&checkpoints), (Some(100_000_000), vec![]));
        fs::write(checkpoints.path(100_000_000), b"nothing").unwrap();
        let (step, damaged) = newest(&checkpoints);
        assert_eq!((step, &damaged[0].path), (Some(10), &checkpoints.path(100_000_000)));
        // A killed process leaves a file without its receipt. It is not a checkpoint, and not reported as damaged.
        fs::remove_file(checkpoints.path(10).with_extension("json")).unwrap();
        assert_eq!(newest(&checkpoints).0, Some(9));
        checkpoints.keep(&[]).unwrap();
        assert_eq!(newest(&checkpoints), (None, vec![]));
        assert!(!checkpoints.dir.exists());
    }

    #[test]
    fn a_checkpoint_that_may_be_whole_stops_the_run_and_stays() {
        use leadspan_diagnosis::Diagnosis as _;

        let (_folder, checkpoints) = saved(&[3, 6]);
        let path = checkpoints.path(6);
        // Its tensors and its receipt are right, and its header has another form.
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(11).position(|window| window == b"ingredients").unwrap();
        let other = [&bytes[..at], b"ingredientz".as_slice(), &bytes[at + 11..]].concat();
        fs::write(&path, &other).unwrap();
        let receipt = format!(
            r#"{{"bytes":{},"blake3":"{}"}}"#,
            other.len(),
            blake3::hash(&other).to_hex()
        );
        fs::write(path.with_extension("json"), receipt).unwrap();
        let error = checkpoints
            .newest(&|_| Ok(()), &mut |one| panic!("{one:?}"))
            .err()
            .unwrap();
        assert!(
            matches!(&error, TrainError::Io { path: at, .. } if *at == path),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("checkpoint before it"), "{error}");
        assert_eq!(checkpoints.steps().unwrap(), [3, 6]);
    }

    #[test]
    fn a_checkpoint_that_does_not_fit_is_passed_over() {
        let (_folder, checkpoints) = saved(&[1, 2]);
        let usable = |run: &RunSoFar| {
            if run.progress.step == 2 {
                return Err("not this one".to_owned());
            }
            Ok(())
        };
        let mut damaged = Vec::new();
        let found = checkpoints.newest(&usable, &mut |one| damaged.push(one)).unwrap();
        assert_eq!(found.unwrap().run.progress.step, 1);
        assert_eq!(damaged[0].because, "not this one");
    }

    #[test]
    fn what_is_not_kept_goes_and_so_does_what_dead_processes_left() {
        let (_folder, checkpoints) = saved(&[2, 4, 6]);
        fs::write(checkpoints.dir.join(".step-00000008.safetensors.Ab12cd.tmp"), b"half").unwrap();
        fs::write(checkpoints.path(8), b"without a receipt").unwrap();
        fs::write(checkpoints.dir.join("notes.txt"), b"of somebody else").unwrap();
        checkpoints.keep(&[2, 6]).unwrap();
        let mut names = checkpoints.names().unwrap();
        names.sort();
        assert_eq!(
            names,
            [
                "notes.txt",
                "step-00000002.json",
                "step-00000002.safetensors",
                "step-00000006.json",
                "step-00000006.safetensors"
            ]
        );
    }
}
