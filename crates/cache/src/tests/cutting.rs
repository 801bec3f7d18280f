//! Caches that are cut from others hold the same values to the bit, and are like captured ones.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use leadspan_diagnosis::Diagnosis as _;
use leadspan_distribution::{EntrySettings, codec::Precision};
use leadspan_sequence::{Section, SectionSet, Split};

use super::synthetic::{self, coverage, files};
use crate::{Cache, CacheError, Coverage, CutSettings, Following, Identity, Made, Missing, Reader, cut, verify};

/// Calls `run` with what is followed by nobody.
pub(super) fn unfollowed<T>(run: impl FnOnce(&mut Following<'_>) -> T) -> T {
    run(&mut Following {
        stop: &|| false,
        progress: &mut |_| {},
        waiting: &mut |_| {},
    })
}

pub(super) fn try_cut(source: &Cache, out: &Path, settings: &CutSettings) -> Result<Made, CacheError> {
    unfollowed(|following| cut(source, out, settings, following))
}

pub(super) fn shorter(proportion: &str) -> CutSettings {
    CutSettings {
        proportion: Some(proportion.parse().unwrap()),
        ..CutSettings::default()
    }
}

/// A cache of samples of odd lengths, in some precision.
pub(super) fn prepared(precision: Precision, tail_samples: u32) -> (tempfile::TempDir, Cache) {
    let identity = Identity {
        entries: EntrySettings {
            tail_samples,
            temperatures: vec![2.0],
            ..EntrySettings::top_k(8)
        },
        precision,
        ..synthetic::identity()
    };
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = [("tokenizer.json".to_owned(), b"{}".to_vec())];
    let cache = Cache::create_or_open(&folder.path().join("source"), &identity, &tokenizer).unwrap();
    // Blocks of 8, 12 and 20 positions.
    let tokens = [1, 2, 3, 17, 41, 210, 8, 9, 330, 64, 7, 100, 33];
    let corpus = synthetic::corpus_of(&tokens, 10, 4);
    cache
        .write_corpus(
            &synthetic::samples_of(&corpus),
            &synthetic::row_hashes_of(&corpus),
            corpus.samples_per_shard(),
            corpus.provenance().clone(),
        )
        .unwrap();
    (folder, Cache::open(cache.dir()).unwrap())
}

pub(super) fn captured(precision: Precision, layers: &[Coverage]) -> (tempfile::TempDir, Cache) {
    let (folder, cache) = prepared(precision, 5);
    capture(&cache, layers);
    (folder, cache)
}

pub(super) fn capture(cache: &Cache, layers: &[Coverage]) {
    for asked in layers {
        for layer in cache.layers_to_capture(asked).unwrap() {
            for unit in layer.missing_units().unwrap() {
                synthetic::try_write_shard(&layer, &unit, Some("test")).unwrap();
            }
            layer.write_manifest().unwrap();
        }
    }
    cache.take_inventory().unwrap();
}

/// Opens a cache that was made, and checks all of it.
pub(super) fn opened_sound(dir: &Path) -> Cache {
    let cache = Cache::open(dir).unwrap();
    let found = verify(&cache, &mut |_| {}).unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert!(cache.inspect().unwrap().inventory_blake3.is_some());
    cache
}

/// Compares what both caches read of each sample of `cut`, to the bit. Returns the number of positions.
pub(super) fn assert_reads_the_same(cut: &Cache, source: &Cache, asked: Coverage) -> usize {
    let [of_cut, of_source] = [cut, source].map(|cache| Reader::open(cache, asked, Missing::Refused).unwrap());
    let mut positions = 0;
    for (index, sample) in of_cut.corpus().samples().enumerate() {
        let there = source.find_sample(sample.id).unwrap();
        let (found, expected) = (of_cut.span(index as u32).unwrap(), of_source.span(there).unwrap());
        assert_eq!(
            (&found.tokens, &found.positions),
            (&expected.tokens, &expected.positions)
        );
        // As text, values with the same bits are equal, and no others.
        assert_eq!(
            format!("{:?}", found.distributions),
            format!("{:?}", expected.distributions),
            "{} at {asked}",
            sample.id
        );
        positions += found.positions.len();
    }
    positions
}

const PRECISIONS: [Precision; 3] = [Precision::Exact, Precision::Fine, Precision::Standard];

#[test]
fn a_cut_of_any_proportion_reads_as_the_larger_cache_reads_at_it() {
    for precision in PRECISIONS {
        let (folder, source) = captured(precision, &[coverage("1", SectionSet::ALL)]);
        let proportions = match precision {
            Precision::Exact => &["0.07", "0.25", "0.5", "0.999", "1"][..],
            _ => &["0.51", "1"],
        };
        for &proportion in proportions {
            let out = folder.path().join(proportion);
            let made = try_cut(&source, &out, &shorter(proportion)).unwrap();
            let cut = opened_sound(&out);
            let asked = coverage(proportion, SectionSet::ALL);
            let positions = assert_reads_the_same(&cut, &source, asked);
            assert!(made.complete && made.shards_made == 4 && made.shards == 4);
            assert_eq!((made.positions, made.samples), (positions as u64, 13));
            assert_eq!(cut.inspect().unwrap().layers[0].positions, positions as u64);
            // Nothing larger is said to be there.
            if proportion != "1" {
                let more = Reader::open(&cut, coverage("1", SectionSet::ALL), Missing::Refused);
                assert!(matches!(more, Err(CacheError::ProportionNotCaptured { .. })));
            }
        }
        // What is cut to all that is there has the same shards.
        let [all, same] = [source.dir(), &folder.path().join("1")].map(files);
        let shards = |files: &BTreeMap<PathBuf, Vec<u8>>| -> BTreeMap<PathBuf, Vec<u8>> {
            let mut files = files.clone();
            files.retain(|path, _| !path.starts_with(".claims") && !path.ends_with("origin.json"));
            files
        };
        assert!(shards(&all) == shards(&same), "{precision:?}");
    }
}

#[test]
fn a_cut_of_sections_and_of_several_layers_reads_the_same_and_can_be_extended_again() {
    let ends = SectionSet::new([Section::Prompt, Section::Answer]).unwrap();
    let answer = SectionSet::new([Section::Answer]).unwrap();
    for precision in PRECISIONS {
        let layers = [
            coverage("0.3", SectionSet::ALL),
            coverage("0.6", ends),
            coverage("1", SectionSet::ALL),
        ];
        let (folder, source) = captured(precision, &layers);
        assert_eq!(source.layers().unwrap().len(), 3);
        let cuts = match precision {
            Precision::Exact => &[
                ("0.2", SectionSet::ALL),
                ("0.3", ends),
                ("0.45", answer),
                ("0.8", SectionSet::ALL),
                ("1", answer),
            ][..],
            _ => &[("0.45", ends), ("1", answer)],
        };
        for &(proportion, sections) in cuts {
            let out = folder.path().join(proportion);
            let settings = CutSettings {
                sections: Some(sections),
                ..shorter(proportion)
            };
            try_cut(&source, &out, &settings).unwrap();
            let cut = opened_sound(&out);
            assert_reads_the_same(&cut, &source, coverage(proportion, sections));
            if proportion == "0.45" {
                capture(&cut, &[coverage("1", SectionSet::ALL)]);
                assert!(verify(&cut, &mut |_| {}).unwrap().problems.is_empty());
            }
        }
    }
    // Without settings, each section is kept as far as it reaches.
    let (folder, source) = captured(
        Precision::Fine,
        &[coverage("0.3", SectionSet::ALL), coverage("0.6", ends)],
    );
    let out = folder.path().join("all");
    try_cut(&source, &out, &CutSettings::default()).unwrap();
    let serves = |cache: &Cache| cache.inspect().unwrap().serves;
    assert_eq!(serves(&opened_sound(&out)), serves(&source));
    assert_eq!(serves(&source)["chain_of_thought"].to_string(), "0.3");
    // Asking for more than the shortest section has is refused, and naming the others is the way out.
    let error = try_cut(&source, &folder.path().join("more"), &shorter("0.5")).unwrap_err();
    assert!(
        matches!(&error, CacheError::ProportionNotCaptured { largest, .. } if largest.to_string() == "0.3"),
        "{error}"
    );
    let named = CutSettings {
        sections: Some(ends),
        ..shorter("0.5")
    };
    try_cut(&source, &folder.path().join("more"), &named).unwrap();
}

#[test]
fn a_cut_of_samples_has_a_corpus_of_its_own_and_reads_the_same() {
    for precision in PRECISIONS {
        let (folder, source) = captured(
            precision,
            &[coverage("0.5", SectionSet::ALL), coverage("1", SectionSet::ALL)],
        );
        // The last one is held out. They are named in any order, one twice.
        let named = [8, 1, 5, 12, 9, 0, 8].map(|index| format!("sample {index}"));
        let proportions = if precision == Precision::Exact {
            &["0.4", "1"][..]
        } else {
            &["1"]
        };
        for &proportion in proportions {
            let settings = CutSettings {
                samples: Some(named.to_vec()),
                ..shorter(proportion)
            };
            let out = folder.path().join(proportion);
            let made = try_cut(&source, &out, &settings).unwrap();
            assert_eq!(made.samples, 6);
            let cut = opened_sound(&out);
            assert!(assert_reads_the_same(&cut, &source, coverage(proportion, SectionSet::ALL)) > 100);
            let corpus = cut.require_corpus().unwrap();
            let ids: Vec<&str> = corpus.samples().map(|sample| sample.id).collect();
            assert_eq!(
                ids,
                ["sample 0", "sample 1", "sample 5", "sample 8", "sample 9", "sample 12"]
            );
            assert_eq!(corpus.of_split(Split::Validation).collect::<Vec<_>>(), [5]);
            assert_eq!(corpus.units().len(), 3);
            assert_eq!(corpus.provenance(), source.require_corpus().unwrap().provenance());
        }
    }
    let (folder, source) = captured(Precision::Exact, &[coverage("1", SectionSet::ALL)]);
    let refused = |ids: &[&str]| {
        let settings = CutSettings {
            samples: Some(ids.iter().map(|&id| id.to_owned()).collect()),
            ..CutSettings::default()
        };
        let out = folder.path().join("none");
        let error = try_cut(&source, &out, &settings).unwrap_err();
        assert!(
            !out.exists() && error.hint().is_some() && !error.is_unexpected(),
            "{error}"
        );
        error.to_string()
    };
    assert!(refused(&["sample 3", "nobody"]).contains("has no sample `nobody`"));
    assert!(refused(&[]).contains("no sample"));
}

#[test]
fn a_cut_of_fewer_entries_keeps_the_first_ones_and_moves_the_others_to_the_tail() {
    for precision in PRECISIONS {
        let (folder, source) = prepared(precision, 0);
        let layer = source.layer(&coverage("1", SectionSet::ALL).into()).unwrap();
        for unit in layer.missing_units().unwrap() {
            synthetic::try_write_plausible(&layer, &unit).unwrap();
        }
        let out = folder.path().join("cut");
        let settings = CutSettings {
            top_k: Some(3),
            ..shorter("0.7")
        };
        try_cut(&source, &out, &settings).unwrap();
        let cut = opened_sound(&out);
        assert_eq!(cut.identity().entries.top_k, 3);
        let asked = coverage("0.7", SectionSet::ALL);
        let [of_cut, of_source] = [&cut, &source].map(|cache| Reader::open(cache, asked, Missing::Refused).unwrap());
        // Half a step of the tail's code, and the rounding of f32.
        let bound = match precision {
            Precision::Exact => 1e-6,
            Precision::Fine => 0.5 / 1024.0 + 1e-6,
            Precision::Standard => 0.5 / 128.0 + 1e-6,
        };
        let (mut retained, mut positions) = (0.0, 0);
        for index in 0..13 {
            let (found, expected) = (of_cut.span(index).unwrap(), of_source.span(index).unwrap());
            assert_eq!(found.positions, expected.positions);
            for (found, expected) in found.distributions.iter().zip(expected.distributions.iter()) {
                let kept = expected.token_ids.len().min(3);
                assert_eq!(found.token_ids, &expected.token_ids[..kept]);
                let mass = |logprobs: &[f32]| logprobs.iter().map(|&logprob| f64::from(logprob).exp()).sum::<f64>();
                let tail = f64::from(expected.tail_logprob).exp() + mass(&expected.logprobs[kept..]);
                assert!(
                    (f64::from(found.tail_logprob) - tail.ln()).abs() < bound,
                    "{precision:?}"
                );
                for (&found, &expected) in found.logprobs.iter().zip(expected.logprobs) {
                    assert!(
                        (found - expected).abs() < bound as f32,
                        "{precision:?} {found} {expected}"
                    );
                }
                assert_eq!(found.target_logprob.to_bits(), expected.target_logprob.to_bits());
                let half = |logprob: &f32| (f64::from(*logprob) / 2.0).exp();
                let term = half(&(2.0 * expected.temperature_tails[0]))
                    + expected.logprobs[kept..].iter().map(half).sum::<f64>();
                assert!(
                    (f64::from(found.temperature_tails[0]) - term.ln()).abs() < bound,
                    "{precision:?}"
                );
                retained += 1.0 - tail;
                positions += 1;
            }
        }
        let layer = &cut.inspect().unwrap().layers[0];
        assert!(!layer.estimated && layer.entries == 3 * layer.positions);
        assert!((layer.mean_retained_mass.unwrap() - retained / f64::from(positions)).abs() < 2e-3);
        // As many entries as there are change nothing.
        let same = CutSettings {
            top_k: Some(8),
            ..shorter("0.7")
        };
        try_cut(&source, &folder.path().join("same"), &same).unwrap();
        assert_reads_the_same(&opened_sound(&folder.path().join("same")), &source, asked);
    }
    let (folder, source) = captured(Precision::Exact, &[coverage("1", SectionSet::ALL)]);
    for (top_k, said) in [
        (9, "stores 8 entries"),
        (0, "stores 8 entries"),
        (3, "drawn from the tail"),
    ] {
        let settings = CutSettings {
            top_k: Some(top_k),
            ..CutSettings::default()
        };
        let error = try_cut(&source, &folder.path().join("none"), &settings).unwrap_err();
        assert!(error.to_string().contains(said) && error.hint().is_some(), "{error}");
    }
}
