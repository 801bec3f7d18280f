//! How a run resumes from its checkpoints, and which of them outlive it.

use crate::{
    AdamW, Event, RunSummary, TrainError,
    checkpoint::{Checkpoint, RunSoFar},
    checkpoints::{Checkpoints, Damaged},
    run_dir::RunDir,
    run_identity::RunIdentity,
    run_progress::{Measured, RunProgress},
};

/// Restores the optimizer and its parameters from the newest usable checkpoint, and returns its progress. Without a usable
/// checkpoint the run starts at its beginning. `steps` are those of the whole run.
pub(crate) fn resume(
    run_dir: &RunDir,
    checkpoints: &Checkpoints,
    identity: &RunIdentity,
    steps: usize,
    optimizer: &mut AdamW,
    events: &mut dyn FnMut(Event),
) -> Result<RunProgress, TrainError> {
    let metrics_bytes = std::fs::metadata(run_dir.metrics_path()).map_or(0, |metadata| metadata.len());
    let usable = |run: &RunSoFar| {
        let is_same = run.identity.difference(identity).is_none();
        if run.progress.step > steps && is_same {
            return Err(format!("it is after step {} of a run of {steps}", run.progress.step));
        }
        // A run of another identity is refused below, even if its metrics are damaged.
        if metrics_bytes < run.progress.metrics_bytes && is_same {
            return Err("`metrics.jsonl` lacks lines that were written before this checkpoint".to_owned());
        }
        Ok(())
    };
    let mut tell = |Damaged { path, because }| events(Event::CheckpointDamaged { path, because });
    let Some(mut checkpoint) = checkpoints.newest(&usable, &mut tell)? else {
        checkpoints.keep(&[])?;
        return Ok(RunProgress::default());
    };
    run_dir.require_same(&checkpoint.run.identity, identity)?;
    restore(optimizer, &mut checkpoint)?;
    let progress = checkpoint.run.progress;
    // Newer checkpoints are damaged, and would count among the newest when more are written.
    let older = checkpoints.steps()?.into_iter().filter(|&step| step <= progress.step);
    checkpoints.keep(&older.collect::<Vec<_>>())?;
    Ok(progress)
}

/// Gives the optimizer the best weights if they are not the last, and returns their held-out losses.
pub(crate) fn restore_best(
    checkpoints: &Checkpoints,
    progress: &RunProgress,
    optimizer: &mut AdamW,
) -> Result<Option<Measured>, TrainError> {
    let Some(best) = progress.best.filter(|best| best.step != progress.step) else {
        return Ok(None);
    };
    let path = checkpoints.path(best.step);
    let mut checkpoint = Checkpoint::open(&path).map_err(|problem| TrainError::BestLost {
        path: path.clone(),
        because: problem.to_string(),
    })?;
    restore(optimizer, &mut checkpoint)?;
    Ok(Some(best))
}

/// Removes the checkpoints of a finished run. The best student's stays if another student was exported.
pub(crate) fn keep_of_finished(checkpoints: &Checkpoints, summary: &RunSummary) -> Result<(), TrainError> {
    let best = summary.best_step.filter(|&best| best != summary.exported_step);
    checkpoints.keep(best.as_slice())
}

/// Restores the optimizer and its parameters from a checkpoint.
///
/// # Errors
///
/// If a tensor is missing, or the device fails.
pub(crate) fn restore(optimizer: &mut AdamW, checkpoint: &mut Checkpoint) -> Result<(), TrainError> {
    let step = checkpoint.run.progress.step as u32;
    Ok(optimizer.restore(step, &mut |name| checkpoint.tensor(name))?)
}
