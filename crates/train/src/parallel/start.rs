//! Where a run of several processes begins: all must have the same run, and restore the checkpoint that the first one names.

use std::path::{Path, PathBuf, absolute};

use leadspan_files::read_unlinked;

use super::{
    error::ParallelError,
    processes::Processes,
    team::{Place, Team},
};
use crate::{
    AdamW, TrainError,
    checkpoint::{Checkpoint, MAX_RECEIPT_BYTES, receipt_path},
    checkpoints::Checkpoints,
    resumption::restore,
    run_identity::RunIdentity,
    run_progress::RunProgress,
};

/// A blake3 as it is exchanged.
type Hash = [u64; 4];

/// What the first process says about the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// It is finished.
    Finished,
    /// It begins.
    New,
    /// It resumes from the checkpoint after so many steps, whose receipt has this hash.
    After(usize, Hash),
}

/// The words of each.
const FINISHED: u64 = 0;
const NEW: u64 = 1;
const AFTER: u64 = 2;

/// Why a process cannot begin, as it tells the others.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Its message.
    pub text: &'a str,
    /// Whether its error was unexpected.
    pub unexpected: bool,
}

/// Tells all processes whether this one can begin, with the `train.dir` that it was given, or why it cannot.
///
/// Every process of a launch calls this once, before [`run`](crate::run). If it returns no error, the process begins, or shows its
/// own message and ends.
///
/// # Errors
///
/// [`ParallelError::Failed`] if another process cannot begin and shows its message, which may be the message of this one too;
/// [`ParallelError::OtherFolder`] if one has another folder than the first.
pub fn agree_to_begin(processes: &dyn Processes, mine: Result<&Path, Refusal<'_>>) -> Result<(), TrainError> {
    let team = Team::new(processes);
    match mine {
        Ok(dir) => require_same_folder(&team, dir),
        Err(refusal) => {
            let earlier = team.tell_failure(refusal.text, refusal.unexpected);
            earlier.map_or(Ok(()), Err)
        }
    }
}

/// Refuses to train together with a process that has another folder: it would not see the checkpoint to resume from.
fn require_same_folder(team: &Team<'_>, dir: &Path) -> Result<(), TrainError> {
    // However it is written, and wherever the process was started.
    let whole = absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let whole: PathBuf = whole.components().collect();
    let hash = blake3::hash(whole.as_os_str().as_encoded_bytes());
    let all = team.exchange(Place::Begin, &words(&hash))?;
    match all.iter().position(|hash| *hash != all[0]) {
        None => Ok(()),
        Some(rank) => {
            let (count, dir) = (team.count(), dir.to_owned());
            Err(team.verdict(ParallelError::OtherFolder { rank, count, dir }))
        }
    }
}

/// Refuses more processes than a step has samples.
///
/// # Errors
///
/// [`ParallelError::TooMany`].
pub(crate) fn require_work(team: &Team<'_>, batch_samples: usize) -> Result<(), TrainError> {
    if team.count() > batch_samples {
        let (count, samples) = (team.count(), batch_samples);
        return Err(ParallelError::TooMany { count, samples }.into());
    }
    Ok(())
}

/// Refuses to train together with a process that has another run.
///
/// # Errors
///
/// [`ParallelError::Other`] with the first such process.
pub(crate) fn require_same(team: &Team<'_>, identity: &RunIdentity) -> Result<(), TrainError> {
    let text = serde_json::to_vec(identity).expect("JSON serializes");
    let all = team.exchange(Place::Identity, &words(&blake3::hash(&text)))?;
    match all.iter().position(|hash| *hash != all[0]) {
        None => Ok(()),
        Some(rank) => {
            let count = team.count();
            Err(team.verdict(ParallelError::Other { rank, count }))
        }
    }
}

impl Start {
    /// The start of a run that has this progress.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Unseen`] if the checkpoint's receipt cannot be read.
    pub(crate) fn of(team: &Team<'_>, checkpoints: &Checkpoints, progress: &RunProgress) -> Result<Self, TrainError> {
        match progress.step {
            _ if team.is_alone() => Ok(Self::New),
            0 => Ok(Self::New),
            step => Ok(Self::After(step, receipt(team, checkpoints, step)?)),
        }
    }

    /// Tells the other processes.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Failed`] if one of them has failed.
    pub(crate) fn tell(self, team: &Team<'_>) -> Result<(), TrainError> {
        let words = match self {
            Self::Finished => [FINISHED, 0, 0, 0, 0, 0],
            Self::New => [NEW, 0, 0, 0, 0, 0],
            Self::After(step, [a, b, c, d]) => [AFTER, step as u64, a, b, c, d],
        };
        team.exchange(Place::Start, &words).map(drop)
    }

    /// What the first process tells.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Failed`] if a process has failed.
    fn heard(team: &Team<'_>) -> Result<Self, TrainError> {
        let [kind, step, a, b, c, d] = team.exchange(Place::Start, &[0; 6])?[0];
        Ok(match kind {
            FINISHED => Self::Finished,
            NEW => Self::New,
            _ => Self::After(step as usize, [a, b, c, d]),
        })
    }
}

/// Restores what the first process restores, and returns its progress; `None` if the run is finished.
///
/// # Errors
///
/// [`ParallelError::Failed`] if a process has failed; [`ParallelError::Unseen`] if the checkpoint is not there, or not the same.
pub(crate) fn follow(
    team: &Team<'_>,
    checkpoints: &Checkpoints,
    optimizer: &mut AdamW,
) -> Result<Option<RunProgress>, TrainError> {
    let (step, hash) = match Start::heard(team)? {
        Start::Finished => return Ok(None),
        Start::New => return Ok(Some(RunProgress::default())),
        Start::After(step, hash) => (step, hash),
    };
    if receipt(team, checkpoints, step)? != hash {
        return Err(unseen(team, checkpoints, step, "it is another one"));
    }
    let opened = Checkpoint::open(&checkpoints.path(step));
    let mut checkpoint = opened.map_err(|problem| unseen(team, checkpoints, step, &problem.to_string()))?;
    restore(optimizer, &mut checkpoint)?;
    Ok(Some(checkpoint.run.progress))
}

/// The hash of a checkpoint's receipt, which has the size and the checksum of the checkpoint.
fn receipt(team: &Team<'_>, checkpoints: &Checkpoints, step: usize) -> Result<Hash, TrainError> {
    match read_unlinked(&receipt_path(&checkpoints.path(step)), MAX_RECEIPT_BYTES) {
        Ok(bytes) => Ok(words(&blake3::hash(&bytes))),
        Err(error) => {
            let because = format!("its receipt cannot be read: {error}");
            Err(unseen(team, checkpoints, step, &because))
        }
    }
}

fn unseen(team: &Team<'_>, checkpoints: &Checkpoints, step: usize, because: &str) -> TrainError {
    let (path, rank, because) = (checkpoints.path(step), team.rank(), because.to_owned());
    ParallelError::Unseen { path, rank, because }.into()
}

fn words(hash: &blake3::Hash) -> Hash {
    let (words, _) = hash.as_bytes().as_chunks();
    std::array::from_fn(|word| u64::from_le_bytes(words[word]))
}
