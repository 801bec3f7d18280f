//! `train` as one of several processes that a launcher started, with the real program.

use std::process::Output;

use crate::program::Workplace;

/// Runs `train` with these variables.
fn launched(place: &Workplace, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let line = [&["train", "-c", "pipeline.toml"], arguments].concat();
    let mut command = place.command(&line);
    command.envs(variables.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn without_mpi_one_of_several_processes_is_refused_unless_it_trains_alone() {
    let place = Workplace::new();
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    let second = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2")];
    let output = launched(&place, &[], &second);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(text(&output.stderr), @r"
    process 1 of 2: error: this is process 1 of 2 (`OMPI_COMM_WORLD_RANK`), which would train one student together, but this program was built without MPI
    process 1 of 2: hint: build the program with `cargo build --release --features mpi`, start a single process, or add `--alone` if each process trains a student of its own, in a folder of its own
    ");
    let step = [
        ("SLURM_STEP_ID", "0"),
        ("SLURM_PROCID", "0"),
        ("SLURM_STEP_NUM_TASKS", "2"),
    ];
    let output = launched(&place, &[], &step);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.contains("process 0 of 2 (`SLURM_PROCID`)") && message.contains("\n{\"leadspan\":\"train\""),
        "{message}"
    );
    assert!(!place.path("run").exists());

    let output = launched(&place, &["--alone"], &second);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // A single task of a job with several, and a task of an array, train as ever.
    let alone = [
        ("SLURM_STEP_ID", "0"),
        ("SLURM_PROCID", "0"),
        ("SLURM_STEP_NUM_TASKS", "1"),
        ("SLURM_NTASKS", "4"),
        ("SLURM_ARRAY_TASK_ID", "3"),
    ];
    let output = launched(
        &place,
        &["--set", "train.max_flops=0", "--set", "train.dir=array"],
        &alone,
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}
