//! Why an environment does not say which worker a process is.

use leadspan_diagnosis::Diagnosis;

use super::WORKERS;
use crate::{InvalidWorker, Worker};

/// An environment that does not say which worker this process is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnclearWorker {
    /// A variable does not hold a number, or holds 0 workers.
    #[error("the environment variable `{variable}` is `{value}`, which is not a valid number")]
    NotANumber {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// Only one of two variables that belong together is set.
    #[error("the environment has `{there}` without `{missing}`")]
    HalfAPair {
        /// The variable that is set.
        there: &'static str,
        /// The variable that is not.
        missing: &'static str,
    },
    /// The scheduler does not give the number of tasks.
    #[error("`{index}` gives the number of this task, but not the number of tasks")]
    CountUnknown {
        /// The variable with the number of this task.
        index: &'static str,
    },
    /// The number of workers is stated, but not which of them this is.
    #[error("there are {count} workers (`{by}`), but nothing says which of them this process is")]
    IndexUnknown {
        /// The number of workers.
        count: usize,
        /// The flag or variable that states it.
        by: &'static str,
    },
    /// Only some tasks of a job array are submitted, so their ids do not give the number of workers.
    #[error(
        "the job array has {tasks} tasks between {first} and {last}: the number of workers cannot be derived from that"
    )]
    PartOfAnArray {
        /// The number of tasks that are submitted.
        tasks: usize,
        /// The lowest id of a task.
        first: usize,
        /// The highest id of a task.
        last: usize,
    },
    /// The number of workers is stated, so ids of tasks are indices of workers, but one of them is too large.
    #[error("the job array has a task {}, but the {count} workers are numbered 0 to {}", id(variable, *last), count - 1)]
    BeyondCount {
        /// The variable with the id of the task.
        variable: &'static str,
        /// The highest id of a task, less one if the scheduler counts from 1.
        last: usize,
        /// The number of workers, or of tasks with several workers each.
        count: usize,
    },
    /// This is the batch script of a job with several tasks, and not one of the tasks.
    #[error("this job has {tasks} tasks (`SLURM_NTASKS`), but this process is its batch script, not one of them")]
    OutsideOfStep {
        /// The number of tasks.
        tasks: usize,
    },
    /// The number of workers is not a multiple of the tasks of each job.
    #[error("{count} workers (`{by}`) is not a multiple of the {ranks} tasks of each job")]
    UnevenRanks {
        /// The number of workers.
        count: usize,
        /// The flag or variable that states it.
        by: &'static str,
        /// The tasks of each job.
        ranks: usize,
    },
    /// Two schedulers contradict each other.
    #[error("`{one}` says worker {} and `{other}` says worker {}", .workers[0], .workers[1])]
    Conflict {
        /// A variable of the one scheduler.
        one: &'static str,
        /// A variable of the other.
        other: &'static str,
        /// The worker that each of them names.
        workers: [Worker; 2],
    },
    /// An index that is not below the number of workers.
    #[error("the environment variable `{variable}` does not name a worker")]
    NoSuchWorker {
        /// The variable.
        variable: &'static str,
        /// The index and the number.
        #[source]
        source: InvalidWorker,
    },
}

/// The id of the task with this index.
fn id(variable: &str, index: usize) -> usize {
    index + usize::from(["LSB_JOBINDEX", "SGE_TASK_ID"].contains(&variable))
}

impl UnclearWorker {
    /// Whether only the number of this worker is unknown. Workers that claim their units can do without a number.
    pub fn is_only_a_number(&self) -> bool {
        matches!(
            self,
            Self::CountUnknown { .. } | Self::IndexUnknown { .. } | Self::PartOfAnArray { .. }
        )
    }
}

impl Diagnosis for UnclearWorker {
    fn hint(&self) -> Option<String> {
        let state = format!("state the number of workers with `--workers N` or `{WORKERS}=N`");
        Some(match self {
            Self::CountUnknown { .. } => state,
            Self::PartOfAnArray { .. } => {
                format!("{state}; the id of a task is then the index of its worker, counted from 0")
            }
            Self::IndexUnknown { by, .. } if *by == WORKERS => {
                format!("name it with `--worker I/N`, or unset `{WORKERS}` to run as the only worker")
            }
            Self::IndexUnknown { by, .. } => {
                format!("name it with `--worker I/N`, or leave out `{by}` to run as the only worker")
            }
            Self::BeyondCount { variable, count, .. } => format!(
                "if the number of workers is stated, {}",
                match *variable {
                    "LSB_JOBINDEX" => format!("tasks are numbered from 1: submit `[1-{count}]`"),
                    "SGE_TASK_ID" => format!("tasks are numbered from 1: submit `-t 1-{count}`"),
                    "PBS_ARRAY_INDEX" => format!("tasks are numbered from 0: submit `-J 0-{}`", count - 1),
                    "PBS_ARRAYID" => format!("tasks are numbered from 0: submit `-t 0-{}`", count - 1),
                    "SLURM_ARRAY_TASK_ID" => format!("tasks are numbered from 0: submit `--array=0-{}`", count - 1),
                    _ => "there must be no more tasks than workers".to_owned(),
                }
            ),
            Self::NotANumber { variable, .. } if *variable == WORKERS => {
                format!("set `{WORKERS}` to a whole number from 1 on, or unset it")
            }
            Self::UnevenRanks { ranks, .. } => {
                format!("state a multiple of {ranks}, or name the worker with `--worker I/N`")
            }
            Self::OutsideOfStep { .. } => "start it with `srun`, request one task with several CPUs \
                                           (`--cpus-per-task`), or name the worker with `--worker I/N`"
                .to_owned(),
            Self::NotANumber { .. } | Self::HalfAPair { .. } | Self::Conflict { .. } | Self::NoSuchWorker { .. } => {
                "name the worker with `--worker I/N` (`--worker 0/1` for the only worker)".to_owned()
            }
        })
    }
}
