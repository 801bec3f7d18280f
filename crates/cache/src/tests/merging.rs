//! Caches of different samples become one that reads as they did, and those that do not fit together are refused by name.

use std::{fs, num::NonZeroU32, path::Path};

use leadspan_diagnosis::Diagnosis as _;
use leadspan_distribution::codec::Precision;
use leadspan_sequence::{Sample, SectionSet, Split};

use super::{
    cutting::{assert_reads_the_same, opened_sound, unfollowed},
    synthetic::{self, coverage, files},
};
use crate::{Cache, CacheError, CutSettings, Identity, ImportedIdentity, Made, cut, merge};

fn try_merge(caches: &[&Cache], out: &Path) -> Result<Made, CacheError> {
    let caches: Vec<Cache> = caches.iter().map(|&cache| cache.clone()).collect();
    unfollowed(|following| merge(&caches, out, following))
}

/// Samples with these numbers, the last `validation` of them held out.
fn samples(numbers: std::ops::Range<usize>, validation: usize) -> Vec<Sample> {
    let train = numbers.len() - validation;
    let split = |place| if place < train { Split::Train } else { Split::Validation };
    let of = |(place, number): (usize, usize)| synthetic::sample(number, split(place), 5 + number * 11 % 67);
    numbers.enumerate().map(of).collect()
}

/// A cache of these samples, captured layer by layer.
fn captured(dir: &Path, identity: &Identity, samples: &[Sample], proportions: &[&str]) -> Cache {
    let tokenizer = [("tokenizer.json".to_owned(), b"{}".to_vec())];
    let cache = Cache::create_or_open(dir, identity, &tokenizer).unwrap();
    let hashes = synthetic::row_hashes(samples);
    let per_shard = NonZeroU32::new(4).unwrap();
    let name = dir.file_name().unwrap().to_str().unwrap();
    cache.write_corpus(samples, &hashes, per_shard, name.into()).unwrap();
    let cache = Cache::open(dir).unwrap();
    for proportion in proportions {
        for layer in cache.layers_to_capture(&coverage(proportion, SectionSet::ALL)).unwrap() {
            for unit in layer.missing_units().unwrap() {
                synthetic::try_write_shard(&layer, &unit, Some(name)).unwrap();
            }
            layer.write_manifest().unwrap();
        }
    }
    cache.take_inventory().unwrap();
    Cache::open(dir).unwrap()
}

#[test]
fn merged_caches_read_as_they_did_and_keep_their_work_units() {
    let folder = tempfile::tempdir().unwrap();
    let identity = synthetic::identity();
    let path = |name: &str| folder.path().join(name);
    let mut one = captured(&path("one"), &identity, &samples(0..10, 3), &["0.5", "1"]);
    // The first cache has a later part.
    let more = samples(20..25, 0);
    one.extend_corpus(&more, &synthetic::row_hashes(&more), "later".into())
        .unwrap();
    let one = Cache::open(&path("one")).unwrap();
    for layer in one.layers().unwrap() {
        synthetic::capture(&one, layer.layer());
    }
    let one = Cache::open(&path("one")).unwrap();
    let other = captured(&path("other"), &identity, &samples(40..49, 2), &["0.5", "1"]);
    let third = captured(&path("third"), &identity, &samples(60..61, 0), &["0.5", "1"]);
    let made = try_merge(&[&one, &other, &third], &path("merged")).unwrap();
    let merged = opened_sound(&path("merged"));
    assert!(made.complete && made.samples == 25);
    let inspection = merged.inspect().unwrap();
    let of = |cache: &Cache| cache.inspect().unwrap();
    assert!(!inspection.layers[0].estimated, "whole shards keep their sums");
    for layer in 0..2 {
        let sums = [&one, &other, &third].map(|cache| of(cache).layers[layer].entries);
        assert_eq!(inspection.layers[layer].entries, sums.iter().sum::<u64>());
    }
    for proportion in ["0.3", "1"] {
        let asked = coverage(proportion, SectionSet::ALL);
        let parts = [&one, &other, &third].map(|cache| {
            let ids: Vec<String> = cache
                .require_corpus()
                .unwrap()
                .samples()
                .map(|s| s.id.to_owned())
                .collect();
            let out = path(&format!("{proportion} {}", ids.len()));
            let settings = CutSettings {
                samples: Some(ids),
                ..CutSettings::default()
            };
            unfollowed(|following| cut(&merged, &out, &settings, following)).unwrap();
            assert_reads_the_same(&opened_sound(&out), cache, asked)
        });
        assert!(parts.iter().all(|&positions| positions > 0));
    }
    // The shards of the first cache are the same files.
    for (name, bytes) in files(&path("one/layers")) {
        let there = fs::read(path("merged/layers").join(&name)).unwrap();
        assert!(there == bytes || name.ends_with("manifest.json"), "{name:?}");
    }
    let corpus = merged.require_corpus().unwrap();
    let units: Vec<String> = corpus.units().iter().map(ToString::to_string).collect();
    assert_eq!(
        units,
        [
            "train-000000",
            "train-000001",
            "validation-000000",
            "train-000002",
            "train-000003",
            "train-000004",
            "train-000005",
            "validation-000001",
            "train-000006"
        ]
    );
    // What is there already is not made again, and another order is another cache.
    let again = try_merge(&[&one, &other, &third], &path("merged")).unwrap();
    assert_eq!((again.shards_made, again.positions), (0, made.positions));
    let error = try_merge(&[&other, &one, &third], &path("merged")).unwrap_err();
    assert!(matches!(error, CacheError::OtherOrigin { .. }), "{error}");
}

#[test]
fn caches_that_reach_equally_far_in_other_layers_get_one_layer_and_read_as_they_did() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for precision in [Precision::Exact, Precision::Fine, Precision::Standard] {
        let identity = Identity {
            precision,
            ..synthetic::identity()
        };
        let name = |name: &str| path(&format!("{name} {precision:?}"));
        let extended = captured(
            &name("extended"),
            &identity,
            &samples(0..13, 3),
            &["0.3", "0.5", "0.75"],
        );
        let at_once = captured(&name("at once"), &identity, &samples(40..49, 2), &["0.75"]);
        for (number, caches) in [[&extended, &at_once], [&at_once, &extended]].into_iter().enumerate() {
            let out = name(&format!("merged {number}"));
            let made = try_merge(&caches, &out).unwrap();
            let merged = opened_sound(&out);
            let layers: Vec<String> = merged
                .layers()
                .unwrap()
                .iter()
                .map(|dir| dir.layer().folder_name())
                .collect();
            assert_eq!(layers, ["0-0.75-prompt+chain_of_thought+answer"]);
            let again = try_merge(&caches, &out).unwrap();
            assert_eq!((again.shards_made, again.positions), (0, made.positions));
            for (cache, proportion) in [(&extended, "0.4"), (&extended, "0.75"), (&at_once, "0.75")] {
                let corpus = cache.require_corpus().unwrap();
                let ids = corpus.samples().map(|sample| sample.id.to_owned()).collect();
                let some = name(&format!("{number} {proportion} {}", corpus.len()));
                let settings = CutSettings {
                    samples: Some(ids),
                    ..CutSettings::default()
                };
                unfollowed(|following| cut(&merged, &some, &settings, following)).unwrap();
                assert_reads_the_same(&opened_sound(&some), cache, coverage(proportion, SectionSet::ALL));
            }
        }
    }
    // A gap is not joined.
    let gap = captured(
        &path("gap"),
        &synthetic::identity(),
        &samples(0..4, 0),
        &["0.3", "0.5", "0.75"],
    );
    fs::remove_dir_all(gap.layers().unwrap()[1].path()).unwrap();
    fs::remove_file(path("gap/inventory.json")).unwrap();
    let whole = captured(&path("whole"), &synthetic::identity(), &samples(10..14, 0), &["0.3"]);
    let error = try_merge(&[&whole, &Cache::open(gap.dir()).unwrap()], &path("none")).unwrap_err();
    assert!(
        error.to_string().contains("different layers") && error.hint().is_some(),
        "{error}"
    );
}

#[test]
fn caches_that_do_not_fit_together_are_refused_with_both_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let identity = synthetic::identity();
    let one = captured(&path("one"), &identity, &samples(0..6, 2), &["0.5"]);
    let refused = |other: &Cache, said: &str| {
        let out = path("merged");
        let error = try_merge(&[&one, other], &out).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(said) && text.contains("/one`") && text.contains(other.dir().to_str().unwrap()),
            "{text}"
        );
        assert!(
            error.hint().is_some() && !error.is_unexpected() && !out.exists(),
            "{text}"
        );
    };
    let mut teacher = identity.clone();
    teacher.teacher.as_mut().unwrap().weights_blake3 = "another".into();
    refused(
        &captured(&path("a"), &teacher, &samples(10..14, 0), &["0.5"]),
        "different teacher.weights_blake3: `weights` and `another`",
    );
    let mut imported = identity.clone();
    imported.teacher.as_mut().unwrap().imported = Some(ImportedIdentity {
        layout: "distillkit".into(),
        blake3: "ab".into(),
        tail: String::new(),
        targets: String::new(),
        stated_teacher: None,
    });
    refused(
        &captured(&path("i"), &imported, &samples(10..14, 0), &["0.5"]),
        "/i` was imported, so its teacher is unknown",
    );
    refused(
        &captured(&path("b"), &identity, &samples(10..14, 0), &["0.6"]),
        "different layers: `0-0.5-prompt+chain_of_thought+answer` and `0-0.6-",
    );
    refused(
        &captured(&path("c"), &identity, &samples(5..9, 0), &["0.5"]),
        "both have the sample `sample 5`",
    );
    // The tokens of a held-out sample under another id.
    let mut copy = samples(10..14, 0);
    copy[1] = Sample {
        id: "copy".to_owned(),
        split: Split::Train,
        ..samples(0..6, 2).remove(5)
    };
    refused(
        &captured(&path("d"), &identity, &copy, &["0.5"]),
        "the training sample `copy` of the second has the tokens of a validation sample",
    );
    let unfinished = captured(&path("e"), &identity, &samples(10..14, 0), &["0.5"]);
    let layer = unfinished.layers().unwrap().remove(0);
    fs::remove_file(layer.receipt_path(&layer.corpus().units()[0])).unwrap();
    let error = try_merge(&[&one, &unfinished], &path("merged")).unwrap_err();
    assert!(matches!(error, CacheError::IncompleteLayer { .. }), "{error}");
}

#[test]
fn whichever_write_of_a_merge_fails_the_same_merge_ends_with_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let identity = synthetic::identity();
    let one = captured(&path("one"), &identity, &samples(0..5, 1), &["0.5"]);
    let other = captured(&path("other"), &identity, &samples(10..13, 1), &["0.5"]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let run = |out: &Path| try_merge(&[&one, &other], out);
    run(&path("whole")).unwrap();
    let (expected, out) = (files(&path("whole")), path("out"));
    // Every seventh operation: the others are of the same kinds.
    for number in (0..).step_by(7) {
        let (result, failed) = pool.install(|| leadspan_files::faults::failing_at(number, || run(&out)));
        if !failed {
            result.unwrap();
            assert!(number > 60, "only {number} operations were tried");
            break;
        }
        run(&out).unwrap();
        assert!(files(&out) == expected, "operation {number}");
        fs::remove_dir_all(&out).unwrap();
    }
}
