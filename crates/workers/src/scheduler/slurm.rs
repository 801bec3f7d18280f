//! Slurm's variables: a process is a task of an array, a task of a step, or a task of a step of an array's task.

use super::{
    environment::{Named, TaskEnvironment, worker},
    unclear::UnclearWorker,
};

const ARRAY_ID: &str = "SLURM_ARRAY_TASK_ID";
const ARRAY_LAST: &str = "SLURM_ARRAY_TASK_MAX";
const RANK: &str = "SLURM_PROCID";

/// The worker that Slurm's variables name; `None` if this is not one of several tasks.
///
/// # Errors
///
/// If the variables do not say which worker this is.
pub(super) fn named(environment: &TaskEnvironment<'_>) -> Result<Option<Named>, UnclearWorker> {
    let ranks = ranks(environment)?;
    let (rank, rank_count) = ranks.unwrap_or((0, 1));
    let Some(id) = environment.number(ARRAY_ID)? else {
        let Some((rank, count)) = ranks else { return Ok(None) };
        let worker = match environment.stated() {
            Some(_) => environment.numbered(RANK, rank, count - 1)?,
            None => worker(RANK, rank, count)?,
        };
        return Ok(Some(Named::new(RANK, worker)));
    };
    let (index, count) = match environment.stated() {
        Some((count, by)) => {
            if count % rank_count != 0 {
                let ranks = rank_count;
                return Err(UnclearWorker::UnevenRanks { count, by, ranks });
            }
            let (tasks, last) = (
                count / rank_count,
                environment.number(ARRAY_LAST)?.unwrap_or(id).max(id),
            );
            if last >= tasks {
                return Err(UnclearWorker::BeyondCount {
                    variable: ARRAY_ID,
                    last,
                    count: tasks,
                });
            }
            (id, tasks)
        }
        None => array_index(environment, id)?,
    };
    let mut by = vec![ARRAY_ID];
    by.extend((rank_count > 1).then_some(RANK));
    let count = count.saturating_mul(rank_count);
    Ok(Some(Named {
        by,
        worker: worker(ARRAY_ID, index.saturating_mul(rank_count) + rank, count)?,
    }))
}

/// The index of the task `id` and the number of tasks, if the whole array is submitted.
fn array_index(environment: &TaskEnvironment<'_>, id: usize) -> Result<(usize, usize), UnclearWorker> {
    let first = environment.beside(ARRAY_ID, "SLURM_ARRAY_TASK_MIN")?;
    let tasks = environment.beside(ARRAY_ID, "SLURM_ARRAY_TASK_COUNT")?;
    let step = environment.number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
    let regular = first.saturating_add(step.saturating_mul(tasks.saturating_sub(1)));
    let last = environment.number(ARRAY_LAST)?.unwrap_or(regular);
    // A whole array has no gaps and counts from 0 or 1, or with a step from at most that step.
    let whole = last == regular && first <= step && id >= first && (id - first).is_multiple_of(step);
    if !whole {
        return Err(UnclearWorker::PartOfAnArray { tasks, first, last });
    }
    Ok(((id - first) / step, tasks))
}

/// The rank of this task in its step and the number of ranks; `None` if it is the only one.
fn ranks(environment: &TaskEnvironment<'_>) -> Result<Option<(usize, usize)>, UnclearWorker> {
    let Some(rank) = environment.number(RANK)? else {
        // The shell of an allocation has the number of tasks that it may start, but is not one of them.
        return Ok(None);
    };
    let in_step = environment.number("SLURM_STEP_ID")?.is_some();
    let of_step = environment.number("SLURM_STEP_NUM_TASKS")?.filter(|_| in_step);
    let Some(count) = of_step.map_or_else(|| environment.number("SLURM_NTASKS"), |count| Ok(Some(count)))? else {
        // A job that did not request a number of tasks has one task.
        return if rank == 0 {
            Ok(None)
        } else {
            let (there, missing) = (RANK, "SLURM_NTASKS");
            Err(UnclearWorker::HalfAPair { there, missing })
        };
    };
    match (rank, count) {
        (0, 0 | 1) => Ok(None),
        // The batch script has rank 0 too, although it was not started as a task.
        (0, tasks) if !in_step => Err(UnclearWorker::OutsideOfStep { tasks }),
        _ => {
            worker(RANK, rank, count)?;
            Ok(Some((rank, count)))
        }
    }
}
