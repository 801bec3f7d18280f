//! One run of a sweep. One child process trains, another evaluates. An unfinished run is continued.

use std::{
    ffi::OsString,
    fs,
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use leadspan_files::require_own_folder;

use super::{
    folder::{Log, RunFolder, State},
    jobs::{self, Job},
};
use crate::{
    arguments,
    child::{self, ChildEnd},
    commands::Showing,
    exit_code,
    failure::{Context as _, Result},
};

/// How often the time of a run is recorded. If the sweep is killed, at most this much time goes unrecorded.
const NOTED: Duration = Duration::from_secs(10);

/// How a run ended.
#[derive(Debug)]
pub(super) enum JobEnd {
    /// It was finished now.
    Finished,
    /// It had been finished before.
    AlreadyFinished,
    /// It was stopped, and continues when the sweep is run again.
    Stopped,
    /// It failed.
    Failed(FailedRun),
    /// It was not run, because another process works in its folder.
    Held,
    /// It was not run, because a run that it needs is not finished.
    LeftOut,
}

impl JobEnd {
    /// Whether the folder holds the complete results of this run.
    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Finished | Self::AlreadyFinished)
    }
}

/// Why a run failed.
#[derive(Debug)]
pub(super) struct FailedRun {
    pub(super) exit_code: u8,
    pub(super) because: String,
    /// The path of its log, and the end of the log.
    pub(super) log: Option<(PathBuf, String)>,
}

/// What all runs have in common.
pub(super) struct Running<'a> {
    pub(super) arguments: &'a arguments::SweepArguments,
    pub(super) showing: Showing,
    pub(super) evaluate: bool,
    /// The threads of each child, unless it may have all.
    pub(super) threads: Option<usize>,
    pub(super) stop: &'a AtomicBool,
}

impl Running<'_> {
    /// Completes a run; `max_flops` limits its operations if that depends on another run.
    ///
    /// The children also start for a finished run: they refuse it if it was made with other settings.
    ///
    /// # Errors
    ///
    /// If a child cannot be started, or the folder cannot be written. A child that fails is not an error here.
    pub(super) fn run(
        &self,
        job: &Job,
        max_flops: Option<&str>,
        meanwhile: &mut dyn FnMut(&'static str),
    ) -> Result<JobEnd> {
        let folder = RunFolder(&job.folder);
        // `sweep.dir` may be a link, what is inside may not: its target would be written to.
        for inside in [job.folder.clone(), job.folder.join("evaluation")] {
            if let Err(refused) = require_own_folder(&inside) {
                return Ok(JobEnd::Failed(FailedRun {
                    exit_code: exit_code::WRONG_INPUT,
                    because: format!("could not use `{}`: {refused}", inside.display()),
                    log: None,
                }));
            }
        }
        fs::create_dir_all(&job.folder).with_context(|| format!("could not create `{}`", job.folder.display()))?;
        if !folder.wait_until_free(self.stop)? {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(JobEnd::Stopped);
            }
            return Ok(JobEnd::Held);
        }
        let finished_before = folder.state(self.evaluate) == State::Finished;
        let before = folder.wall_seconds()?;
        let began = Instant::now();
        let mut noted = began;
        let wall_seconds = || {
            // The time for checking that a run is finished does not count.
            let now = (!finished_before).then(|| began.elapsed().as_secs_f64());
            now.map_or(before, |seconds| Some(before.unwrap_or(0.0) + seconds))
        };
        let train = ("training", "train.log", job.train_arguments(self.arguments, max_flops));
        let evaluate = (
            "evaluating",
            "evaluate.log",
            job.evaluate_arguments(self.arguments, max_flops),
        );
        for (doing, log, arguments) in [Some(train), self.evaluate.then_some(evaluate)].into_iter().flatten() {
            let mut failed_to_note = Ok(());
            let end = self.child(job.folder.join(log), arguments, &mut || {
                meanwhile(doing);
                if !finished_before && noted.elapsed() >= NOTED {
                    noted = Instant::now();
                    failed_to_note = folder.record(&job.planned, wall_seconds());
                }
            })?;
            failed_to_note?;
            if let Some(end) = end {
                folder.record(&job.planned, wall_seconds())?;
                return Ok(end);
            }
        }
        folder.record(&job.planned, wall_seconds())?;
        Ok(if finished_before {
            JobEnd::AlreadyFinished
        } else {
            JobEnd::Finished
        })
    }

    /// Runs a child; `None` if it finished its work.
    fn child(&self, log: PathBuf, mut arguments: Vec<OsString>, meanwhile: &mut dyn FnMut()) -> Result<Option<JobEnd>> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(Some(JobEnd::Stopped));
        }
        arguments.extend(jobs::shown_as(self.showing));
        let (log, messages) = Log::open(log)?;
        let end = child::run(
            &arguments,
            self.threads,
            (Stdio::null(), messages.into()),
            self.stop,
            meanwhile,
        )
        .with_context(|| "could not run leadspan again, for a run of the sweep".to_owned())?;
        let because = match end {
            ChildEnd::Done => return Ok(None),
            ChildEnd::Stopped => return Ok(Some(JobEnd::Stopped)),
            ChildEnd::Failed(code) => format!("exit code {code}"),
            ChildEnd::Died(status) => status.to_string(),
        };
        let said = log.end();
        Ok(Some(JobEnd::Failed(FailedRun {
            exit_code: end.exit_code(),
            because,
            log: Some((log.path, said)),
        })))
    }
}
