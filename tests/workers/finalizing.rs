//! `precompute --finalize` lists missing units.

use std::fs;

use serde_json::Value;

use super::{PRECOMPUTE, layer, message, remove_units, rows};

#[test]
fn finalizing_lists_what_is_missing_with_the_tasks_to_submit_again() {
    let place = rows();
    place.succeed(&PRECOMPUTE);
    let expected = place.visible("cache");
    let finalize = [&PRECOMPUTE[..], &["--finalize"]].concat();
    let whole = place.succeed(&finalize);
    assert!(
        whole.contains("is complete: 13 work units") && whole.contains("blake3"),
        "{whole}"
    );
    remove_units(&place, &["train-000002", "train-000003", "validation-000000"]);
    let output = place.run(&finalize);
    let (said, text) = (message(&output), String::from_utf8_lossy(&output.stdout).into_owned());
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        text.contains("train-000002 to train-000003, validation-000000"),
        "{text}"
    );
    assert!(
        said.contains("3 of 13 work units are missing") && said.contains("--workers N"),
        "{said}"
    );
    // With the number of workers, it names the tasks whose shares have missing units. These tasks complete the cache.
    let output = place.run(&[&finalize[..], &["--workers", "20", "--json"]].concat());
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let array = told["array"].as_str().unwrap().to_owned();
    assert_eq!((&told["units_missing"], &told["complete"]), (&3.into(), &false.into()));
    assert!(
        message(&output).contains(&format!("`--array={array}`")),
        "{}",
        message(&output)
    );
    let tasks: Vec<usize> = array
        .split(',')
        .flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse::<usize>().unwrap()..=last.parse().unwrap()
        })
        .collect();
    assert_eq!(tasks.len(), 3, "{array}");
    for task in &tasks {
        let mut command = place.command(&PRECOMPUTE);
        command
            .env("LEADSPAN_WORKERS", "20")
            .env("SLURM_ARRAY_TASK_ID", task.to_string());
        command.env("SLURM_ARRAY_TASK_COUNT", tasks.len().to_string());
        command.env("SLURM_ARRAY_TASK_MIN", tasks[0].to_string());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", message(&output));
    }
    assert!(place.visible("cache") == expected);
    place.succeed(&finalize);
}

#[test]
fn finalizing_takes_up_a_shard_whose_writer_died_before_its_receipt() {
    let place = rows();
    place.succeed(&PRECOMPUTE);
    let expected = place.visible("cache");
    fs::remove_file(layer(&place).join("train-000002.json")).unwrap();
    fs::remove_file(layer(&place).join("manifest.json")).unwrap();
    place.succeed(&[&PRECOMPUTE[..], &["--finalize"]].concat());
    assert!(place.visible("cache") == expected);
}
