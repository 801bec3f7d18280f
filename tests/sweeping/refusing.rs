//! Sweeps that are refused before anything runs.

use std::{fs, os::unix::fs::symlink};

use super::{NAMES, SWEEP, captured, folders, stderr};
use crate::program::Workplace;

#[test]
fn an_invalid_sweep_is_refused_before_anything_runs() {
    let place = captured();
    let refused = |settings: &[&str], expected: &[&str]| {
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let output = place.run(&[&SWEEP[..], &settings].concat());
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{settings:?}: {message}");
        for part in expected {
            assert!(message.contains(part), "{settings:?}: {message}");
        }
    };
    refused(
        &["sweep.seeed=[1]"],
        &[
            "`sweep.seeed` is not a key of the pipeline file",
            "did you mean `seed`?",
        ],
    );
    refused(&["sweep.seed=3"], &["`sweep.seed` cannot be used: a list of values"]);
    refused(
        &["sweep.seed=[0, \"one\"]"],
        &[
            "`--set sweep.seed=[0, \"one\"]`: `sweep.seed` cannot be used",
            "a whole number",
        ],
    );
    refused(&["sweep.seed=[]"], &["`train.seed` has no values"]);
    refused(&["sweep.seed=[1, 1]"], &["`train.seed` has the value 1 twice"]);
    refused(
        &["sweep.seed=[0]", "sweep.cases=[{ seed = 5 }]"],
        &["`train.seed` is twice in `[sweep]`", "hint: give `train.seed` once"],
    );
    refused(
        &["sweep.cases=[{ epochs = 1 }, { epochs = 1 }]"],
        &["case 2 of `sweep.cases` is the same as case 1"],
    );
    refused(
        &["sweep.cases=[{ loss = \"backward_kl\" }]"],
        &["`sweep.loss` cannot be used: unknown value `backward_kl`"],
    );
    refused(&["sweep.cases={ epochs = 1 }"], &["`sweep.cases` cannot be used"]);
    refused(
        &["sweep.cases=[{ dir = \"x\" }]"],
        &["a sweep cannot be over `dir`: it belongs to the whole sweep, not to a case"],
    );
    refused(
        &["sweep.cache.top_k=[4, 8]"],
        &["a sweep cannot be over `cache.top_k`: it would need another cache"],
    );
    refused(
        &["sweep.max_flops=[1e9]"],
        &["it is what `baselines = [\"equal_compute\"]` sets"],
    );
    refused(
        &["sweep.baselines=[\"trained\"]"],
        &["`sweep.baselines` cannot be used: unknown value `trained`"],
    );
    refused(&["sweep.learning_rate=[-1.0]"], &["`train.learning_rate` is `-1`"]);
    refused(
        &["sweep.student.config=[\"config.json\"]"],
        &["`student.model` and `student.config` are both set"],
    );
    place.replace(
        "pipeline.toml",
        "seed = [0, 1]",
        "seed = [0, 1]\nloss = [\"forward_kl\",\n  \"backward_kl\"]",
    );
    let line = 1 + fs::read_to_string(place.path("pipeline.toml"))
        .unwrap()
        .lines()
        .position(|line| line.contains("backward_kl"))
        .unwrap();
    refused(
        &[],
        &[&format!(
            "`pipeline.toml`, line {line}: `sweep.loss` cannot be used: unknown value `backward_kl`"
        )],
    );
    assert!(!place.path("runs").exists());
}

#[test]
fn proportions_beyond_the_cache_are_refused_together() {
    let place = Workplace::new();
    place.succeed(&["precompute", "-c", "pipeline.toml", "--proportion", "0.5"]);
    let pipeline = fs::read_to_string(place.path("pipeline.toml")).unwrap();
    let sweep = |keys: &str| {
        place.write(
            "pipeline.toml",
            &format!("{pipeline}\n[sweep]\ndir = \"runs\"\n{keys}\n"),
        );
    };
    let message = || {
        let output = place.run(&SWEEP);
        (output.status.code(), stderr(&output))
    };
    sweep("lead_span_proportion = [0.25, 0.75, 0.9]\nbaselines = [\"equal_compute\"]");
    let (code, said) = message();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("has lead spans up to 0.5, but the sweep asks for 0.75, 0.9, 1.0 (the baseline `equal_compute`)")
            && said.contains("`--proportion 1.0`"),
        "{said}"
    );
    // What may end before its limit is no run of equal compute.
    sweep("lead_span_proportion = [0.25, 0.5]\nbaselines = [\"equal_compute\"]");
    let output = place.run(&[&SWEEP[..], &["--set", "train.patience=2"]].concat());
    let said = stderr(&output);
    assert!(
        output.status.code() == Some(1)
            && said.contains("`train.patience` is 2, which may end runs of the baseline `equal_compute`")
            && said.contains("hint: leave out `train.patience` or that baseline"),
        "{said}"
    );
    // Supervised training needs no distributions, and without `[evaluate]` nothing is evaluated.
    sweep("lead_span_proportion = [0.25, 0.5]\nbaselines = [\"supervised\"]");
    let (code, said) = message();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(folders(&place, "runs").len(), 3);
}

#[test]
fn a_run_whose_folder_is_a_link_is_refused_by_name_and_nothing_is_written_outside() {
    let place = captured();
    for name in ["outside", "elsewhere", "elsewhere/untrained"] {
        fs::create_dir(place.path(name)).unwrap();
    }
    // The folder that the user names may be a link.
    symlink("elsewhere", place.path("runs")).unwrap();
    for name in NAMES.iter().filter(|name| **name != "untrained") {
        symlink("../outside", place.path("runs").join(name)).unwrap();
    }
    symlink("../../outside", place.path("runs/untrained/evaluation")).unwrap();
    let output = place.run(&SWEEP);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for name in ["supervised-seed-0", "untrained/evaluation"] {
        let said = format!("could not use `runs/{name}`: it is a symbolic link, not a folder");
        assert!(message.contains(&said), "{message}");
    }
    for name in ["outside", "elsewhere/untrained"] {
        let count = fs::read_dir(place.path(name)).unwrap().count();
        assert_eq!(count, usize::from(name != "outside"), "nothing is written");
    }
}
