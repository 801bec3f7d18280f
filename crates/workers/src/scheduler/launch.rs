//! Which of several processes a launcher started to work on one thing together.

use std::num::NonZeroUsize;

use super::{
    Assigned,
    environment::{TaskEnvironment, worker},
    unclear::UnclearWorker,
};
use crate::Worker;

/// The variables of launchers of MPI programs: the number of the process, counted from 0, and how many there are.
const LAUNCHERS: [(&str, &str); 3] = [
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
];

/// The process of a launch that this one is, as a worker; the only one if nothing started several processes together.
///
/// `mpirun` counts, and a step of Slurm (`srun`). The tasks of a job array do not: each is a job of its own. Neither does the
/// batch script of a job with several tasks.
///
/// # Errors
///
/// If a variable holds no number, or a number that is not below the count.
pub fn launched(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Assigned, UnclearWorker> {
    // The number of workers that is stated for other commands means nothing here.
    let environment = TaskEnvironment::new(lookup, Some(NonZeroUsize::MIN))?;
    let named = |rank: &'static str, count: &'static str| -> Result<Option<Assigned>, UnclearWorker> {
        let (Some(index), Some(all)) = (environment.number(rank)?, environment.number(count)?) else {
            return Ok(None);
        };
        let worker = worker(rank, index, all)?;
        let by = if worker == Worker::ALONE {
            Vec::new()
        } else {
            vec![rank]
        };
        Ok(Some(Assigned { worker, by }))
    };
    for (rank, count) in LAUNCHERS {
        if let Some(assigned) = named(rank, count)? {
            return Ok(assigned);
        }
    }
    let of_step = match environment.number("SLURM_STEP_ID")? {
        Some(_) => named("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")?,
        None => None,
    };
    Ok(of_step.unwrap_or(Assigned {
        worker: Worker::ALONE,
        by: Vec::new(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(environment: &str) -> String {
        let get = |name: &str| {
            let mut variables = environment.split_whitespace().filter_map(|pair| pair.split_once('='));
            variables
                .find(|(variable, _)| *variable == name)
                .map(|(_, value)| value.to_owned())
        };
        match launched(&get) {
            Ok(assigned) => assigned.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn launchers_say_which_process_this_is_and_schedulers_do_not() {
        for (environment, expected) in [
            ("", "worker 0 of 1"),
            (
                "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=4",
                "worker 1 of 4 (OMPI_COMM_WORLD_RANK)",
            ),
            ("OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1", "worker 0 of 1"),
            ("PMI_RANK=2 PMI_SIZE=3 LEADSPAN_WORKERS=9", "worker 2 of 3 (PMI_RANK)"),
            // mpirun starts its helpers by srun, one on each node: what it starts has the variables of both.
            (
                "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4 SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2",
                "worker 3 of 4 (OMPI_COMM_WORLD_RANK)",
            ),
            (
                "SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2 SLURM_NTASKS=8",
                "worker 1 of 2 (SLURM_PROCID)",
            ),
            (
                "SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1 SLURM_NTASKS=8",
                "worker 0 of 1",
            ),
            // A batch script, a task of an array, and an allocation's shell are processes of their own.
            ("SLURM_PROCID=0 SLURM_NTASKS=8", "worker 0 of 1"),
            (
                "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=16 SLURM_PROCID=0",
                "worker 0 of 1",
            ),
            (
                "SLURM_NTASKS=8 JOB_COMPLETION_INDEX=2 PBS_ARRAY_INDEX=5",
                "worker 0 of 1",
            ),
        ] {
            assert_eq!(found(environment), expected, "{environment}");
        }
        let not_a_number = found("OMPI_COMM_WORLD_RANK=x OMPI_COMM_WORLD_SIZE=2");
        assert!(not_a_number.contains("`OMPI_COMM_WORLD_RANK` is `x`"), "{not_a_number}");
        let beyond = found("PMI_RANK=2 PMI_SIZE=2");
        assert!(beyond.contains("`PMI_RANK` does not name a worker"), "{beyond}");
    }
}
