//! One table of environments and the worker that each names, and one of environments that are refused.

use leadspan_diagnosis::Diagnosis as _;

use super::*;

fn named_by(environment: &str, workers: Option<usize>) -> Result<String, UnclearWorker> {
    let get = |name: &str| {
        let mut variables = environment.split_whitespace().filter_map(|pair| pair.split_once('='));
        variables
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| value.to_owned())
    };
    assigned(&get, workers.and_then(NonZeroUsize::new)).map(|assigned| assigned.to_string())
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn every_scheduler_names_the_worker() {
    let array = |rest: &str| format!("SLURM_ARRAY_TASK_ID={rest}");
    let whole =
        array("3 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=15 SLURM_ARRAY_TASK_COUNT=16 SLURM_ARRAY_TASK_STEP=1");
    let from_one = array("16 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=16 SLURM_ARRAY_TASK_COUNT=16");
    let stepped =
        array("8 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=12 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_STEP=4");
    let part =
        array("17 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_MAX=19 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_STEP=1");
    let step = "SLURM_PROCID=1 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=4 SLURM_NTASKS=8";
    let table: Vec<(String, Option<usize>, &str)> = vec![
        (String::new(), None, "worker 0 of 1"),
        ("LEADSPAN_WORKERS=1".into(), None, "worker 0 of 1"),
        (whole.clone(), None, "worker 3 of 16 (SLURM_ARRAY_TASK_ID)"),
        (
            format!("{whole} SLURM_PROCID=0 SLURM_NTASKS=1"),
            None,
            "worker 3 of 16 (SLURM_ARRAY_TASK_ID)",
        ),
        (
            format!("{whole} SLURM_PROCID=0"),
            None,
            "worker 3 of 16 (SLURM_ARRAY_TASK_ID)",
        ),
        (from_one, None, "worker 15 of 16 (SLURM_ARRAY_TASK_ID)"),
        (stepped, None, "worker 2 of 4 (SLURM_ARRAY_TASK_ID)"),
        // A part of an array keeps its numbers if the number of workers is stated.
        (part.clone(), Some(20), "worker 17 of 20 (SLURM_ARRAY_TASK_ID)"),
        (
            format!("{part} LEADSPAN_WORKERS=32"),
            None,
            "worker 17 of 32 (SLURM_ARRAY_TASK_ID)",
        ),
        (
            format!("{part} LEADSPAN_WORKERS=32"),
            Some(64),
            "worker 17 of 64 (SLURM_ARRAY_TASK_ID)",
        ),
        (step.into(), None, "worker 1 of 4 (SLURM_PROCID)"),
        (
            "SLURM_PROCID=2 SLURM_NTASKS=4".into(),
            None,
            "worker 2 of 4 (SLURM_PROCID)",
        ),
        ("SLURM_NTASKS=4".into(), None, "worker 0 of 1"),
        (
            format!("{whole} {step}"),
            None,
            "worker 13 of 64 (SLURM_ARRAY_TASK_ID, SLURM_PROCID)",
        ),
        (
            format!("{part} {step}"),
            Some(80),
            "worker 69 of 80 (SLURM_ARRAY_TASK_ID, SLURM_PROCID)",
        ),
        (
            "AWS_BATCH_JOB_ARRAY_INDEX=9 AWS_BATCH_JOB_ARRAY_SIZE=10".into(),
            None,
            "worker 9 of 10 (AWS_BATCH_JOB_ARRAY_INDEX)",
        ),
        (
            "JOB_COMPLETION_INDEX=2 LEADSPAN_WORKERS=5".into(),
            None,
            "worker 2 of 5 (JOB_COMPLETION_INDEX)",
        ),
        (
            "JOB_COMPLETION_INDEX=2".into(),
            Some(5),
            "worker 2 of 5 (JOB_COMPLETION_INDEX)",
        ),
        (
            "PBS_ARRAY_INDEX=0 LEADSPAN_WORKERS=5".into(),
            None,
            "worker 0 of 5 (PBS_ARRAY_INDEX)",
        ),
        (
            "PBS_ARRAYID=4 LEADSPAN_WORKERS=5".into(),
            None,
            "worker 4 of 5 (PBS_ARRAYID)",
        ),
        (
            "LSB_JOBINDEX=1 LSB_JOBINDEX_END=16".into(),
            None,
            "worker 0 of 16 (LSB_JOBINDEX)",
        ),
        (
            "LSB_JOBINDEX=9 LSB_JOBINDEX_END=16 LSB_JOBINDEX_STEP=4".into(),
            None,
            "worker 2 of 4 (LSB_JOBINDEX)",
        ),
        (
            "LSB_JOBINDEX=3 LSB_JOBINDEX_END=3".into(),
            Some(16),
            "worker 2 of 16 (LSB_JOBINDEX)",
        ),
        ("LSB_JOBINDEX=0 LSB_JOBINDEX_END=0".into(), None, "worker 0 of 1"),
        // Grid Engine: `qsub -t 1-16`, `-t 2-8:2`, and a job that is no array.
        (
            "SGE_TASK_ID=16 SGE_TASK_FIRST=1 SGE_TASK_LAST=16 SGE_TASK_STEPSIZE=1".into(),
            None,
            "worker 15 of 16 (SGE_TASK_ID)",
        ),
        (
            "SGE_TASK_ID=4 SGE_TASK_FIRST=2 SGE_TASK_LAST=8 SGE_TASK_STEPSIZE=2".into(),
            None,
            "worker 1 of 4 (SGE_TASK_ID)",
        ),
        (
            "SGE_TASK_ID=7 SGE_TASK_FIRST=1 SGE_TASK_LAST=8 SGE_TASK_STEPSIZE=3".into(),
            None,
            "worker 2 of 3 (SGE_TASK_ID)",
        ),
        (
            "SGE_TASK_ID=undefined SGE_TASK_FIRST=undefined SGE_TASK_LAST=undefined SGE_TASK_STEPSIZE=undefined".into(),
            None,
            "worker 0 of 1",
        ),
        // A part of an array, with the number of workers stated: the id less 1.
        (
            "SGE_TASK_ID=5 SGE_TASK_FIRST=5 SGE_TASK_LAST=6 SGE_TASK_STEPSIZE=1".into(),
            Some(16),
            "worker 4 of 16 (SGE_TASK_ID)",
        ),
        (
            "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4".into(),
            None,
            "worker 3 of 4 (OMPI_COMM_WORLD_RANK)",
        ),
        // Schedulers that agree do not conflict, nor does one that has a single task.
        (
            format!("{step} OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=4"),
            None,
            "worker 1 of 4 (SLURM_PROCID)",
        ),
        (
            "AWS_BATCH_JOB_ARRAY_INDEX=0 AWS_BATCH_JOB_ARRAY_SIZE=1 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2"
                .into(),
            None,
            "worker 1 of 2 (OMPI_COMM_WORLD_RANK)",
        ),
    ];
    for (environment, workers, expected) in table {
        assert_eq!(
            named_by(&environment, workers).as_deref(),
            Ok(expected),
            "{environment} {workers:?}"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn an_environment_that_names_no_worker_is_refused_with_a_hint() {
    let array = |rest: &str| format!("SLURM_ARRAY_TASK_ID={rest}");
    let table: Vec<(String, Option<usize>, &[&str])> = vec![
        // Parts of an array.
        (
            array("3 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_MAX=19 SLURM_ARRAY_TASK_COUNT=4"),
            None,
            &["4 tasks between 3 and 19", "--workers"],
        ),
        (
            array("17 SLURM_ARRAY_TASK_MIN=17 SLURM_ARRAY_TASK_MAX=19 SLURM_ARRAY_TASK_COUNT=3"),
            None,
            &["cannot be derived"],
        ),
        (
            array("3 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_MAX=3 SLURM_ARRAY_TASK_COUNT=1"),
            None,
            &["cannot be derived"],
        ),
        (
            array("3 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=5 SLURM_ARRAY_TASK_COUNT=3"),
            None,
            &["cannot be derived"],
        ),
        // Counted from 1 although the number is stated: every task is refused, not only the last one.
        (
            array("1 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=16 SLURM_ARRAY_TASK_COUNT=16"),
            Some(16),
            &["a task 16", "--array=0-15"],
        ),
        (array("3"), None, &["SLURM_ARRAY_TASK_MIN", "--worker I/N"]),
        (array("3 SLURM_ARRAY_TASK_MIN=0"), None, &["SLURM_ARRAY_TASK_COUNT"]),
        (
            array("2 SLURM_PROCID=1 SLURM_NTASKS=2"),
            Some(5),
            &["5 workers", "the 2 tasks"],
        ),
        ("SLURM_PROCID=0 SLURM_NTASKS=4".into(), None, &["4 tasks", "srun"]),
        (
            "SLURM_PROCID=3".into(),
            None,
            &["`SLURM_PROCID` without `SLURM_NTASKS`"],
        ),
        ("SLURM_PROCID=4 SLURM_NTASKS=4".into(), None, &["SLURM_PROCID"]),
        (
            "JOB_COMPLETION_INDEX=2".into(),
            None,
            &["JOB_COMPLETION_INDEX", "LEADSPAN_WORKERS=N"],
        ),
        ("JOB_COMPLETION_INDEX=5 LEADSPAN_WORKERS=5".into(), None, &["5 workers"]),
        ("PBS_ARRAY_INDEX=2".into(), None, &["PBS_ARRAY_INDEX"]),
        ("PBS_ARRAYID=2".into(), None, &["PBS_ARRAYID"]),
        (
            "AWS_BATCH_JOB_ARRAY_INDEX=2".into(),
            None,
            &["AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"],
        ),
        (
            "AWS_BATCH_JOB_ARRAY_SIZE=2".into(),
            None,
            &["AWS_BATCH_JOB_ARRAY_INDEX"],
        ),
        (
            "SGE_TASK_ID=5 SGE_TASK_FIRST=5 SGE_TASK_LAST=6 SGE_TASK_STEPSIZE=1".into(),
            None,
            &["2 tasks between 5 and 6", "--workers N"],
        ),
        ("SGE_TASK_ID=2".into(), None, &["SGE_TASK_FIRST", "--worker I/N"]),
        ("SGE_TASK_ID=2 SGE_TASK_FIRST=1".into(), None, &["SGE_TASK_LAST"]),
        ("SGE_TASK_ID=17".into(), Some(16), &["the 16 workers", "`-t 1-16`"]),
        ("SGE_TASK_ID=two".into(), None, &["SGE_TASK_ID", "`two`"]),
        ("LSB_JOBINDEX=17".into(), Some(16), &["the 16 workers", "`[1-16]`"]),
        ("PBS_ARRAY_INDEX=16".into(), Some(16), &["the 16 workers", "`-J 0-15`"]),
        ("PBS_ARRAYID=16".into(), Some(16), &["the 16 workers", "`-t 0-15`"]),
        ("LSB_JOBINDEX=2".into(), None, &["LSB_JOBINDEX_END"]),
        ("LSB_JOBINDEX=5 LSB_JOBINDEX_END=4".into(), None, &["LSB_JOBINDEX"]),
        ("OMPI_COMM_WORLD_RANK=2".into(), None, &["OMPI_COMM_WORLD_SIZE"]),
        ("OMPI_COMM_WORLD_SIZE=2".into(), None, &["OMPI_COMM_WORLD_RANK"]),
        (
            "LEADSPAN_WORKERS=4".into(),
            None,
            &["4 workers", "--worker I/N", "unset `LEADSPAN_WORKERS`"],
        ),
        (String::new(), Some(4), &["4 workers", "leave out `--workers`"]),
        (
            "LEADSPAN_WORKERS=0".into(),
            None,
            &["LEADSPAN_WORKERS", "a whole number from 1 on"],
        ),
        ("LEADSPAN_WORKERS=many".into(), None, &["LEADSPAN_WORKERS", "`many`"]),
        ("OMPI_COMM_WORLD_RANK=-1 OMPI_COMM_WORLD_SIZE=2".into(), None, &["`-1`"]),
        (
            "AWS_BATCH_JOB_ARRAY_INDEX=1 AWS_BATCH_JOB_ARRAY_SIZE=8 OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4"
                .into(),
            None,
            &[
                "`AWS_BATCH_JOB_ARRAY_INDEX` says worker 1/8",
                "`OMPI_COMM_WORLD_RANK` says worker 3/4",
            ],
        ),
    ];
    for (environment, workers, parts) in table {
        let error = named_by(&environment, workers).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let text = format!(
            "{error}; {}; {}",
            cause.unwrap_or_default(),
            error.hint().unwrap_or_default()
        );
        for part in parts {
            assert!(text.contains(part), "{environment}: {text}");
        }
    }
}
