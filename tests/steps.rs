//! Runs of so many optimizer steps instead of epochs, with the real program.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;

use crate::program::Workplace;

/// A captured cache of 36 training samples, which are five steps an epoch, and a pipeline that does not say how long a run is.
fn captured() -> Workplace {
    let place = Workplace::with_rows(40, 40);
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    place.replace("pipeline.toml", "epochs = 1\n", "checkpoint_steps = 2\n");
    place
}

fn train<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    ["train", "-c", "pipeline.toml"].into_iter().chain(settings).collect()
}

fn summary(place: &Workplace, dir: &str) -> Value {
    serde_json::from_slice(&fs::read(place.path(dir).join("summary.json")).unwrap()).unwrap()
}

fn metrics(place: &Workplace, dir: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(dir).join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The student of a run, and what was measured, by step.
fn ended(place: &Workplace, dir: &str) -> (BTreeMap<PathBuf, Vec<u8>>, Vec<[Value; 4]>) {
    let of = |line: Value| ["event", "step", "loss", "learning_rate"].map(|key| line[key].clone());
    let metrics = metrics(place, dir).into_iter().map(of).collect();
    (place.visible(&format!("{dir}/model")), metrics)
}

#[test]
fn a_run_of_so_many_steps_is_killed_and_resumed_to_the_same_bits() {
    let place = captured();
    place.succeed(&train(&["train.dir=whole", "train.steps=8"]));
    let summary = summary(&place, "whole");
    assert_eq!((&summary["steps"], &summary["exported_step"]), (&8.into(), &8.into()));
    // The first step rises to the highest rate, and the other seven fall along half a cosine. An epoch has five steps; held-out losses
    // are measured before the first, after every epoch and at the end.
    let lines = metrics(&place, "whole");
    let of = |event: &str, key: &str| -> Vec<f64> {
        let lines = lines.iter().filter(|line| line["event"] == event);
        lines.map(|line| line[key].as_f64().unwrap()).collect()
    };
    let expected = [
        1.0, 1.0, 0.950_484, 0.811_745, 0.611_260, 0.388_740, 0.188_255, 0.049_516,
    ];
    let rates = of("step", "learning_rate");
    assert_eq!(rates.len(), 8);
    for (rate, expected) in rates.iter().zip(expected) {
        assert!((rate / 1e-3 - expected).abs() < 1e-6, "{rates:?}");
    }
    assert_eq!(of("step", "epoch"), [1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    assert_eq!(of("step", "steps"), [8.0; 8]);
    assert_eq!(of("validation", "step"), [0.0, 5.0, 8.0]);

    let killed = train(&["train.dir=killed", "train.steps=8"]);
    assert!(place.start_held(&killed, "steps", 7).kill());
    place.succeed(&killed);
    assert!(ended(&place, "killed") == ended(&place, "whole"));
    // Another length is another run.
    let output = place.run(&train(&["train.dir=whole", "train.steps=9"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1)
            && said.contains("differs in `train.steps`: it has `8`, but now `9` is asked for"),
        "{said}"
    );
}

#[test]
fn a_sweep_over_steps_compares_each_with_whole_sequences_at_equal_compute() {
    let place = captured();
    let table =
        "\n[sweep]\ndir = \"runs\"\nsteps = [2, 7]\nlead_span_proportion = [0.5]\nbaselines = [\"equal_compute\"]\n";
    let pipeline = fs::read_to_string(place.path("pipeline.toml")).unwrap();
    place.write("pipeline.toml", &(pipeline.clone() + table));
    let said = place.succeed(&["sweep", "-c", "pipeline.toml"]);
    assert!(said.ends_with("\n`runs`: 4 of 4 runs finished\n"), "{said}");
    let number = |name: &str, key: &str| summary(&place, &format!("runs/{name}"))[key].as_f64().unwrap();
    for (steps, name) in [(2.0, "steps-2-proportion-0.5"), (7.0, "steps-7-proportion-0.5")] {
        assert_eq!(number(name, "steps"), steps);
        let equal = format!("equal_compute-{name}");
        assert!(number(&equal, "training_flops") >= number(name, "training_flops"));
        assert!(number(&equal, "steps") < steps);
    }
    // The key of the sweep takes the place of the epochs in the file: these are the same runs.
    place.write(
        "pipeline.toml",
        &(pipeline.replace("[train]", "[train]\nepochs = 1") + table),
    );
    let before = summary(&place, "runs/steps-7-proportion-0.5");
    let said = place.succeed(&["sweep", "-c", "pipeline.toml"]);
    assert!(said.ends_with("\n`runs`: 4 of 4 runs finished\n"), "{said}");
    assert_eq!(summary(&place, "runs/steps-7-proportion-0.5"), before);
}
