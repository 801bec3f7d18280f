//! Work units that are committed in another place: they are neither captured nor missing.

use std::sync::Arc;

use leadspan_cache::Elsewhere;

use super::*;
use crate::run_beside;

const LAYER: &str = "0-1.0-prompt+chain_of_thought+answer";

fn elsewhere(units: &[&str]) -> Elsewhere {
    units
        .iter()
        .map(|unit| (LAYER.to_owned(), (*unit).to_owned()))
        .collect()
}

fn run_with(pipeline: &Pipeline, elsewhere: Elsewhere) -> Summary {
    let go = AtomicBool::new(false);
    match run_beside(pipeline, Worker::ALONE, &Arc::new(elsewhere), &go, &mut |_| ()).unwrap() {
        Outcome::Done(summary) => summary,
        Outcome::Stopped(_) => panic!("nobody asked it to stop"),
    }
}

#[test]
fn what_is_committed_elsewhere_is_not_captured_and_nothing_is_called_complete_without_it() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    let whole = shards(&project.pipeline);
    let own = project.another("own", |_| ());
    let summary = run_with(&own, elsewhere(&["train-000001", "validation-000000"]));
    let counts = |summary: Summary| (summary.units_written, summary.units_skipped, summary.units_missing);
    assert_eq!(counts(summary), (3, 2, 0));
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut expected = whole.clone();
    expected.retain(|path, _| !["train-000001", "validation-000000", "manifest"].contains(&&*stem(path)));
    assert_eq!(shards(&own), expected);
    assert!(!own.cache_dir().join("inventory.json").exists());
    // Without the other place, the rest is captured here.
    assert_eq!(counts(run_to_end(&own)), (2, 3, 0));
    assert_eq!(shards(&own), whole);
    assert!(own.cache_dir().join("inventory.json").exists());
}

#[test]
fn a_layer_that_is_complete_elsewhere_serves_a_shorter_lead_span() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    let shorter = project.another("shorter", |pipeline| {
        pipeline.cache.lead_span_proportion = "0.5".parse().unwrap();
    });
    crate::prepare(&shorter, &mut |_| ()).unwrap();
    let layer = shorter.cache_dir().join("layers").join(LAYER);
    fs::create_dir_all(&layer).unwrap();
    let description = project
        .pipeline
        .cache_dir()
        .join("layers")
        .join(LAYER)
        .join("layer.json");
    fs::copy(description, layer.join("layer.json")).unwrap();
    let units: Vec<String> = shards(&project.pipeline)
        .into_keys()
        .filter(|path| path.extension().is_some_and(|kind| kind == "parquet"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let units: Vec<&str> = units.iter().map(String::as_str).collect();
    assert_eq!(units.len(), 5);
    let summary = run_with(&shorter, elsewhere(&units));
    assert_eq!((summary.units_written, summary.units_missing), (0, 0));
    assert_eq!(shards(&shorter).len(), 1);
}
