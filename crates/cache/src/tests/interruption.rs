//! What a failure at any write operation leaves behind, and what happens if two writers write one shard.

use std::{fs, path::Path};

use leadspan_diagnosis::Diagnosis as _;
use leadspan_sequence::SectionSet;

use crate::{
    Cache, CacheError, Coverage, LayerDir, WorkUnit, adopt,
    tests::synthetic::{self, files},
    verify,
};

/// Everything that stage one does to a cache: creates it, prepares it, captures a half and then the rest, unit by unit.
fn fill(dir: &Path) -> Result<(), CacheError> {
    let tokenizer = [("tokenizer.json".to_owned(), b"{}".to_vec())];
    let cache = Cache::create_or_open(dir, &synthetic::identity(), &tokenizer)?;
    if cache.corpus()?.is_none() {
        let corpus = synthetic::corpus(6, 2, 4);
        let (samples, hashes) = (synthetic::samples_of(&corpus), synthetic::row_hashes_of(&corpus));
        cache.write_corpus(
            &samples,
            &hashes,
            corpus.samples_per_shard(),
            corpus.provenance().clone(),
        )?;
    }
    for proportion in ["0.5", "1"] {
        let asked: Coverage = synthetic::coverage(proportion, SectionSet::ALL);
        for layer in cache.layers_to_capture(&asked)? {
            for unit in layer.missing_units()? {
                if adopt(&layer, &unit)?.is_none() {
                    synthetic::try_write_shard(&layer, &unit, None)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn whichever_write_fails_nothing_partial_is_accepted_and_the_next_run_ends_with_the_same_bytes() {
    let whole = tempfile::tempdir().unwrap();
    fill(whole.path()).unwrap();
    let expected = files(whole.path());
    assert_eq!(
        expected
            .keys()
            .filter(|path| path.extension().is_some_and(|end| end == "parquet"))
            .count(),
        6
    );
    let mut number = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("cache");
        let (result, failed) = leadspan_files::faults::failing_at(number, || fill(&dir));
        if !failed {
            result.unwrap();
            break;
        }
        // A folder that could not be made durable may go unnoticed if it exists already. Every other failure is an
        // error.
        if let Err(error) = result {
            assert!(
                !error.is_unexpected() && error.hint().is_some(),
                "operation {number}: {error}"
            );
        }
        let left = files(&dir);
        for (path, bytes) in &left {
            assert!(
                path.extension().is_none_or(|end| end != "tmp"),
                "operation {number} left {path:?}"
            );
            assert_eq!(Some(bytes), expected.get(path), "operation {number}: {path:?}");
        }
        if let Ok(cache) = Cache::open(&dir) {
            let problems = verify(&cache, &mut |_| {}).unwrap().problems;
            assert!(problems.is_empty(), "operation {number}: {problems:?}");
        }
        fill(&dir).unwrap();
        assert_eq!(files(&dir), expected, "operation {number}");
        number += 1;
    }
    assert!(number > 100, "only {number} operations were tried");
}

#[test]
fn a_process_that_dies_at_any_write_leaves_a_cache_that_the_next_one_completes() {
    // A kill leaves what an error leaves, and also the temporary file.
    let whole = tempfile::tempdir().unwrap();
    fill(whole.path()).unwrap();
    let expected = files(whole.path());
    for (path, bytes) in expected.iter().filter(|(path, _)| path.starts_with("layers")) {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path()).unwrap();
        let target = folder.path().join(path);
        fs::remove_file(&target).unwrap();
        let name = target.file_name().unwrap().to_str().unwrap();
        fs::write(
            target.with_file_name(format!(".{name}.kill00.tmp")),
            &bytes[..bytes.len() / 2],
        )
        .unwrap();
        fill(folder.path()).unwrap();
        let left = files(folder.path());
        assert!(left.keys().eq(expected.keys()), "{path:?}: {:?}", left.keys());
        assert_eq!(left, expected, "{path:?}");
    }
}

#[test]
fn writers_that_race_for_a_unit_agree_on_one_shard_and_its_receipt() {
    for round in 0..40 {
        let prepared = synthetic::prepared(6, 2, 4);
        let asked = synthetic::coverage("1", SectionSet::ALL);
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let (cache, barrier) = (&prepared.cache, &barrier);
                scope.spawn(move || {
                    // All writers ask for the layer at the same time and get the same one.
                    let layer: LayerDir = cache.layers_to_capture(&asked).unwrap().remove(0);
                    let unit: WorkUnit = layer.corpus().units()[0].clone();
                    barrier.wait();
                    synthetic::try_write_shard(&layer, &unit, Some(&format!("device {writer}"))).unwrap();
                    assert!(layer.is_committed(&unit));
                });
            }
        });
        let found = verify(&prepared.cache, &mut |_| {}).unwrap();
        assert!(found.problems.is_empty(), "round {round}: {:?}", found.problems);
        assert_eq!(prepared.cache.layers().unwrap().len(), 1);
        let left = files(prepared.cache.dir());
        assert!(
            left.keys().all(|path| path.extension().is_none_or(|end| end != "tmp")),
            "{left:?}"
        );
    }
}
