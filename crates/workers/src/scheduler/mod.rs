//! Which worker a process is, according to the environment that a batch scheduler gives it.
//!
//! Pure: the caller passes a function that looks up a variable. `docs/clusters.md` has the table for users.

mod environment;
mod launch;
mod slurm;
mod unclear;

use std::{fmt, num::NonZeroUsize};

use self::environment::{Named, TaskEnvironment};
pub use self::{launch::launched, unclear::UnclearWorker};
use crate::Worker;

/// The variable that states the number of workers, if the scheduler does not give it or only some tasks of an array are submitted.
pub const WORKERS: &str = "LEADSPAN_WORKERS";

/// A worker, and what named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The worker.
    pub worker: Worker,
    /// The flag or the variables with the index; empty if nothing names a worker, which is then the only one.
    pub by: Vec<&'static str>,
}

impl fmt::Display for Assigned {
    /// Such as `worker 3 of 16 (SLURM_ARRAY_TASK_ID)`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "worker {} of {}", self.worker.index(), self.worker.count())?;
        if self.by.is_empty() {
            Ok(())
        } else {
            write!(formatter, " ({})", self.by.join(", "))
        }
    }
}

/// The worker that the environment names; the only worker if it names none.
///
/// `lookup` returns the value of a variable. `workers` is the number of workers on the command line.
///
/// # Errors
///
/// If the variables do not say which worker this is, or contradict each other.
pub fn assigned(
    lookup: &dyn Fn(&str) -> Option<String>,
    workers: Option<NonZeroUsize>,
) -> Result<Assigned, UnclearWorker> {
    let environment = TaskEnvironment::new(lookup, workers)?;
    let named = [
        slurm::named(&environment)?,
        environment.index_and_count("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE")?,
        environment.index_alone("JOB_COMPLETION_INDEX")?,
        environment.index_alone("PBS_ARRAY_INDEX")?,
        environment.index_alone("PBS_ARRAYID")?,
        environment.lsf()?,
        environment.sge()?,
        environment.index_and_count("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")?,
    ];
    let mut named: Vec<Named> = named.into_iter().flatten().collect();
    // A scheduler with a single task does not contradict another one with several.
    if named.iter().any(|named| named.worker.count() > 1) {
        named.retain(|named| named.worker.count() > 1);
    }
    if let Some(other) = named.iter().find(|other| other.worker != named[0].worker) {
        return Err(UnclearWorker::Conflict {
            one: named[0].by[0],
            other: other.by[0],
            workers: [named[0].worker, other.worker],
        });
    }
    match (named.into_iter().next(), environment.stated()) {
        (Some(Named { by, worker }), _) => Ok(Assigned { worker, by }),
        (None, None | Some((1, _))) => Ok(Assigned {
            worker: Worker::ALONE,
            by: Vec::new(),
        }),
        (None, Some((count, by))) => Err(UnclearWorker::IndexUnknown { count, by }),
    }
}

/// The number of workers that the command line (`workers`) or the environment states.
///
/// # Errors
///
/// If the variable does not hold a positive number.
pub fn stated_workers(
    lookup: &dyn Fn(&str) -> Option<String>,
    workers: Option<NonZeroUsize>,
) -> Result<Option<usize>, UnclearWorker> {
    Ok(TaskEnvironment::new(lookup, workers)?.stated().map(|(count, _)| count))
}

#[cfg(test)]
mod tests;
