//! Which worker this process is, as a batch scheduler's environment says it.
//!
//! Pure but for [`here`]: the environment is a function that is handed in. `docs/clusters.md` has the table for
//! users.

use std::{env, fmt, num::NonZeroUsize};

use leadspan_diagnosis::Diagnosis;
use leadspan_workers::{InvalidWorker, Worker};

use crate::arguments::WorkerArguments;

/// Where the number of workers is stated when a scheduler does not say it, or when a job array is submitted in part.
pub(crate) const WORKERS: &str = "LEADSPAN_WORKERS";

/// A worker, and which variables say so; none where nothing does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) worker: Worker,
    /// The variables with the index; empty where this is no task of any scheduler.
    pub(crate) by: Vec<&'static str>,
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

/// An environment that does not say which worker this is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnclearWorker {
    /// A variable has no number in it.
    #[error("the environment's `{variable}` is `{value}`, which is no number of a task")]
    NotANumber { variable: &'static str, value: String },
    /// One of two variables that belong together is there.
    #[error("the environment has `{there}` without `{missing}`")]
    HalfAPair { there: &'static str, missing: &'static str },
    /// The scheduler does not say how many tasks there are.
    #[error("`{index}` says which task this is, but not of how many")]
    CountUnknown { index: &'static str },
    /// How many workers there are is stated, but nothing says which of them this is.
    #[error("{count} workers are stated (`{by}`), but nothing says which of them this is")]
    IndexUnknown { count: usize, by: &'static str },
    /// Part of a job array, whose tasks would be counted anew.
    #[error(
        "the job array has {tasks} tasks between {first} and {last}: which workers of how many they are cannot be told"
    )]
    PartOfAnArray { tasks: usize, first: usize, last: usize },
    /// With the number of workers stated, a task's id is the worker's index, but there are ids beyond.
    #[error("the job array has a task {last}, but there are {count} workers, 0 to {}", count - 1)]
    BeyondCount { last: usize, count: usize },
    /// The batch script of a job of several tasks, which is not one of them.
    #[error("this job has {tasks} tasks (`SLURM_NTASKS`), but this process is its script and none of them")]
    OutsideOfStep { tasks: usize },
    /// The tasks of each job do not divide the workers.
    #[error("{count} workers are stated (`{by}`), which is no multiple of the {ranks} tasks of each job")]
    UnevenRanks {
        count: usize,
        by: &'static str,
        ranks: usize,
    },
    /// Two schedulers say different things.
    #[error("`{one}` says worker {} and `{other}` says worker {}", .workers[0], .workers[1])]
    Conflict {
        one: &'static str,
        other: &'static str,
        workers: [Worker; 2],
    },
    /// An index that is not below the count.
    #[error("the environment's `{variable}` names no worker")]
    NoSuchWorker {
        variable: &'static str,
        #[source]
        source: InvalidWorker,
    },
}

impl UnclearWorker {
    /// Whether it does not matter to workers that claim what they do: they are not numbered, that is all.
    pub(crate) fn is_only_a_number(&self) -> bool {
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
                format!("{state}; a task's id is then its worker's index, counted from 0, whatever else is submitted")
            }
            Self::IndexUnknown { .. } => {
                format!("say which with `--worker I/N`, or unset `{WORKERS}` to be the only one")
            }
            Self::BeyondCount { count, .. } => format!(
                "with the number of workers stated, tasks are numbered from 0: submit `--array=0-{}`",
                count - 1
            ),
            Self::OutsideOfStep { .. } => {
                "start it with `srun`, ask for one task and several CPUs (`--cpus-per-task`), or say `--worker I/N`"
                    .to_owned()
            }
            Self::NotANumber { .. }
            | Self::HalfAPair { .. }
            | Self::UnevenRanks { .. }
            | Self::Conflict { .. }
            | Self::NoSuchWorker { .. } => {
                "say which worker this is with `--worker I/N` (`--worker 0/1`: the only one)".to_owned()
            }
        })
    }
}

/// Which worker this process is: as the command line says, else as its environment does.
///
/// # Errors
///
/// Where that cannot be told.
pub(crate) fn here(arguments: &WorkerArguments) -> Result<Assigned, UnclearWorker> {
    let assigned = match arguments.worker {
        Some(worker) => Assigned {
            worker,
            by: vec!["--worker"],
        },
        None => assigned(&environment, arguments.workers)?,
    };
    if assigned.worker != Worker::ALONE {
        tracing::info!("{assigned}");
    }
    Ok(assigned)
}

/// How many workers the command line or the environment states.
///
/// # Errors
///
/// Where the environment's number is none.
pub(crate) fn stated_here(arguments: &WorkerArguments) -> Result<Option<usize>, UnclearWorker> {
    Ok(stated(&environment, arguments.workers)?.map(|(count, _)| count))
}

fn environment(variable: &str) -> Option<String> {
    env::var(variable).ok()
}

/// The environment, and how many workers were stated beside it.
struct Surroundings<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    stated: Option<(usize, &'static str)>,
}

/// What one scheduler says: an index, and how many there are if it says so.
struct Said {
    by: Vec<&'static str>,
    worker: Worker,
}

/// Which worker the environment says this is; the only one where it says nothing.
///
/// `workers` is how many there are according to the command line.
///
/// # Errors
///
/// Where that cannot be told.
pub(crate) fn assigned(
    get: &dyn Fn(&str) -> Option<String>,
    workers: Option<NonZeroUsize>,
) -> Result<Assigned, UnclearWorker> {
    let surroundings = Surroundings {
        get,
        stated: stated(get, workers)?,
    };
    let said = [
        surroundings.slurm()?,
        surroundings.pair("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE")?,
        surroundings.index_alone("JOB_COMPLETION_INDEX")?,
        surroundings.index_alone("PBS_ARRAY_INDEX")?,
        surroundings.index_alone("PBS_ARRAYID")?,
        surroundings.lsf()?,
        surroundings.pair("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")?,
    ];
    let mut said: Vec<Said> = said.into_iter().flatten().collect();
    // Who says that there is one worker says nothing against others.
    if said.iter().any(|said| said.worker.count() > 1) {
        said.retain(|said| said.worker.count() > 1);
    }
    if let Some(other) = said.iter().find(|other| other.worker != said[0].worker) {
        return Err(UnclearWorker::Conflict {
            one: said[0].by[0],
            other: other.by[0],
            workers: [said[0].worker, other.worker],
        });
    }
    match (said.into_iter().next(), surroundings.stated) {
        (Some(Said { by, worker }), _) => Ok(Assigned { worker, by }),
        (None, None | Some((1, _))) => Ok(Assigned {
            worker: Worker::ALONE,
            by: Vec::new(),
        }),
        (None, Some((count, by))) => Err(UnclearWorker::IndexUnknown { count, by }),
    }
}

/// How many workers are stated, whichever this is, and by what.
///
/// # Errors
///
/// Where the environment's number is none.
pub(crate) fn stated(
    get: &dyn Fn(&str) -> Option<String>,
    workers: Option<NonZeroUsize>,
) -> Result<Option<(usize, &'static str)>, UnclearWorker> {
    if let Some(workers) = workers {
        return Ok(Some((workers.get(), "--workers")));
    }
    match number(get, WORKERS)? {
        Some(0) => Err(UnclearWorker::NotANumber {
            variable: WORKERS,
            value: "0".to_owned(),
        }),
        count => Ok(count.map(|count| (count, WORKERS))),
    }
}

/// A variable's number; none where it is not set, or empty.
fn number(get: &dyn Fn(&str) -> Option<String>, variable: &'static str) -> Result<Option<usize>, UnclearWorker> {
    let Some(value) = get(variable).filter(|value| !value.trim().is_empty()) else {
        return Ok(None);
    };
    let digits = value.trim();
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse().ok().filter(|_| plain) {
        Some(number) => Ok(Some(number)),
        None => Err(UnclearWorker::NotANumber { variable, value }),
    }
}

fn worker(variable: &'static str, index: usize, count: usize) -> Result<Worker, UnclearWorker> {
    Worker::new(index, count).map_err(|source| UnclearWorker::NoSuchWorker { variable, source })
}

impl Surroundings<'_> {
    fn number(&self, variable: &'static str) -> Result<Option<usize>, UnclearWorker> {
        number(self.get, variable)
    }

    /// The number of a variable that belongs to one that is there.
    fn beside(&self, there: &'static str, missing: &'static str) -> Result<usize, UnclearWorker> {
        self.number(missing)?.ok_or(UnclearWorker::HalfAPair { there, missing })
    }

    /// A scheduler that says which of how many, counted from 0.
    fn pair(&self, index: &'static str, count: &'static str) -> Result<Option<Said>, UnclearWorker> {
        let said = match (self.number(index)?, self.number(count)?) {
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                return Err(UnclearWorker::HalfAPair {
                    there: count,
                    missing: index,
                });
            }
            (Some(at), _) if self.stated.is_some() => self.numbered(index, at, at)?,
            (Some(at), Some(all)) => worker(index, at, all)?,
            (Some(_), None) => {
                return Err(UnclearWorker::HalfAPair {
                    there: index,
                    missing: count,
                });
            }
        };
        Ok(Some(Said {
            by: vec![index],
            worker: said,
        }))
    }

    /// A scheduler that says which, but not of how many.
    fn index_alone(&self, index: &'static str) -> Result<Option<Said>, UnclearWorker> {
        let Some(at) = self.number(index)? else {
            return Ok(None);
        };
        if self.stated.is_none() {
            return Err(UnclearWorker::CountUnknown { index });
        }
        Ok(Some(Said {
            by: vec![index],
            worker: self.numbered(index, at, at)?,
        }))
    }

    /// The worker with this index of those that are stated, `last` being the largest index that is known of.
    fn numbered(&self, variable: &'static str, at: usize, last: usize) -> Result<Worker, UnclearWorker> {
        let (count, _) = self.stated.expect("asked only where a number is stated");
        if last >= count {
            return Err(UnclearWorker::BeyondCount { last, count });
        }
        worker(variable, at, count)
    }

    /// LSF counts from 1; 0 is a job that is no array.
    fn lsf(&self) -> Result<Option<Said>, UnclearWorker> {
        const INDEX: &str = "LSB_JOBINDEX";
        const END: &str = "LSB_JOBINDEX_END";
        let Some(at) = self.number(INDEX)?.and_then(|index| index.checked_sub(1)) else {
            return Ok(None);
        };
        let said = if self.stated.is_some() {
            self.numbered(INDEX, at, at)?
        } else {
            let end = self.beside(INDEX, END)?;
            let step = self.number("LSB_JOBINDEX_STEP")?.unwrap_or(1).max(1);
            worker(INDEX, at / step, end.saturating_sub(1) / step + 1)?
        };
        Ok(Some(Said {
            by: vec![INDEX],
            worker: said,
        }))
    }

    /// A task of an array, a task of a step, or a task of a step of an array's task.
    fn slurm(&self) -> Result<Option<Said>, UnclearWorker> {
        let ranks = self.slurm_ranks()?;
        let (rank, rank_count) = ranks.unwrap_or((0, 1));
        let Some(id) = self.number(ARRAY_ID)? else {
            let Some((rank, count)) = ranks else { return Ok(None) };
            let worker = match self.stated {
                Some(_) => self.numbered(RANK, rank, count - 1)?,
                None => worker(RANK, rank, count)?,
            };
            return Ok(Some(Said { by: vec![RANK], worker }));
        };
        let (index, count) = match self.stated {
            Some((count, by)) => {
                if count % rank_count != 0 {
                    let ranks = rank_count;
                    return Err(UnclearWorker::UnevenRanks { count, by, ranks });
                }
                let (tasks, last) = (count / rank_count, self.number(ARRAY_LAST)?.unwrap_or(id).max(id));
                if last >= tasks {
                    return Err(UnclearWorker::BeyondCount { last, count: tasks });
                }
                (id, tasks)
            }
            None => self.slurm_array(id)?,
        };
        let mut by = vec![ARRAY_ID];
        by.extend((rank_count > 1).then_some(RANK));
        let count = count.saturating_mul(rank_count);
        Ok(Some(Said {
            by,
            worker: worker(ARRAY_ID, index.saturating_mul(rank_count) + rank, count)?,
        }))
    }

    /// Which task of how many, where the array is a whole one.
    fn slurm_array(&self, id: usize) -> Result<(usize, usize), UnclearWorker> {
        let first = self.beside(ARRAY_ID, "SLURM_ARRAY_TASK_MIN")?;
        let tasks = self.beside(ARRAY_ID, "SLURM_ARRAY_TASK_COUNT")?;
        let step = self.number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
        let regular = first.saturating_add(step.saturating_mul(tasks.saturating_sub(1)));
        let last = self.number(ARRAY_LAST)?.unwrap_or(regular);
        // A whole array counts from 0 or from 1 (or, with a step, from below it) and leaves nothing out.
        let whole = last == regular && first <= step && id >= first && (id - first).is_multiple_of(step);
        if !whole {
            return Err(UnclearWorker::PartOfAnArray { tasks, first, last });
        }
        Ok(((id - first) / step, tasks))
    }

    /// Which task of a step of several this is.
    fn slurm_ranks(&self) -> Result<Option<(usize, usize)>, UnclearWorker> {
        let Some(rank) = self.number(RANK)? else {
            // The shell of an allocation knows the tasks that it may start, and is none of them.
            return Ok(None);
        };
        let in_step = self.number("SLURM_STEP_ID")?.is_some();
        let of_step = self.number("SLURM_STEP_NUM_TASKS")?.filter(|_| in_step);
        let Some(count) = of_step.map_or_else(|| self.number("SLURM_NTASKS"), |count| Ok(Some(count)))? else {
            // A job that did not ask for a number of tasks has one.
            return if rank == 0 {
                Ok(None)
            } else {
                let (there, missing) = (RANK, "SLURM_NTASKS");
                Err(UnclearWorker::HalfAPair { there, missing })
            };
        };
        match (rank, count) {
            (0, 0 | 1) => Ok(None),
            // The script of a job has a rank of 0 too, though nobody started it as a task.
            (0, tasks) if !in_step => Err(UnclearWorker::OutsideOfStep { tasks }),
            _ => {
                worker(RANK, rank, count)?;
                Ok(Some((rank, count)))
            }
        }
    }
}

const ARRAY_ID: &str = "SLURM_ARRAY_TASK_ID";
const ARRAY_LAST: &str = "SLURM_ARRAY_TASK_MAX";
const RANK: &str = "SLURM_PROCID";

#[cfg(test)]
mod tests;
