//! Cuts that were stopped or killed go on, what belongs to somebody else is refused, and damage does not get through.

use std::{fs, path::Path};

use leadspan_diagnosis::Diagnosis as _;
use leadspan_distribution::codec::Precision;
use leadspan_sequence::SectionSet;

use super::{
    cutting::{assert_reads_the_same, capture, captured, opened_sound, prepared, shorter, try_cut},
    synthetic::{self, coverage, files},
};
use crate::{Cache, CacheError, CutSettings, Following, Identity, REPLAY, cut};

/// Adds samples to replay to a cache, as they are prepared with its settings.
fn with_replay(source: &Cache) -> Cache {
    let identity = without_teacher(source.identity());
    let replay = Cache::create_or_open(&source.dir().join(REPLAY), &identity, &[]).unwrap();
    let corpus = synthetic::corpus(3, 0, 2);
    replay
        .write_corpus(
            &synthetic::samples_of(&corpus),
            &synthetic::row_hashes_of(&corpus),
            corpus.samples_per_shard(),
            "replayed".into(),
        )
        .unwrap();
    source.take_inventory().unwrap();
    Cache::open(source.dir()).unwrap()
}

fn without_teacher(identity: &Identity) -> Identity {
    Identity {
        teacher: None,
        ..identity.clone()
    }
}

#[test]
fn samples_to_replay_and_later_parts_come_along() {
    let (folder, mut source) = prepared(Precision::Exact, 5);
    let more = synthetic::appended(13, 6);
    source
        .extend_corpus(&more, &synthetic::row_hashes(&more), "later".into())
        .unwrap();
    let source = Cache::open(source.dir()).unwrap();
    capture(&source, &[coverage("1", SectionSet::ALL)]);
    let source = with_replay(&source);
    for (name, samples) in [
        ("all", None),
        ("some", Some(vec!["sample 15".to_owned(), "sample 4".to_owned()])),
    ] {
        let out = folder.path().join(name);
        let settings = CutSettings {
            samples,
            ..shorter("0.5")
        };
        try_cut(&source, &out, &settings).unwrap();
        let cut = opened_sound(&out);
        assert_reads_the_same(&cut, &source, coverage("0.5", SectionSet::ALL));
        assert_eq!(cut.inspect().unwrap().replay.unwrap().train_samples, 3);
        assert_eq!(cut.corpus_provenance().unwrap(), Some("later".into()));
    }
}

#[test]
fn samples_to_replay_in_a_cut_of_fewer_entries_are_as_if_prepared_for_it() {
    let (folder, source) = prepared(Precision::Exact, 0);
    let layer = source.layer(&coverage("1", SectionSet::ALL).into()).unwrap();
    for unit in layer.missing_units().unwrap() {
        synthetic::try_write_plausible(&layer, &unit).unwrap();
    }
    let source = with_replay(&source);
    let out = folder.path().join("out");
    let settings = CutSettings {
        top_k: Some(3),
        ..CutSettings::default()
    };
    try_cut(&source, &out, &settings).unwrap();
    let cut = opened_sound(&out);
    let replay = cut.replay().unwrap().unwrap();
    replay.require_identity(&without_teacher(cut.identity())).unwrap();
    assert_eq!(replay.identity().entries.top_k, 3);
    assert_eq!(replay.require_corpus().unwrap().len(), 3);
    // The same cut finds it complete.
    assert_eq!(try_cut(&source, &out, &settings).unwrap().shards_made, 0);
}

#[test]
fn a_cut_into_which_other_layers_were_put_is_refused_by_their_name() {
    let (folder, source) = captured(Precision::Fine, &[coverage("1", SectionSet::ALL)]);
    let out = folder.path().join("out");
    try_cut(&source, &out, &shorter("0.25")).unwrap();
    let cut = Cache::open(&out).unwrap();
    capture(&cut, &[coverage("0.5", SectionSet::ALL)]);
    let before = files(&out);
    let error = try_cut(&source, &out, &shorter("0.25")).unwrap_err();
    let said = "it also holds the layer `0.25-0.5-prompt+chain_of_thought+answer`";
    assert!(error.to_string().contains(said) && error.hint().is_some(), "{error}");
    assert!(files(&out) == before);
}

#[test]
fn whichever_write_of_a_cut_fails_the_same_cut_ends_with_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let captured = synthetic::captured("1", SectionSet::ALL);
    let source = captured.cache.clone();
    let settings = shorter("0.5");
    let whole = folder.path().join("whole");
    // Faults are injected into this thread only.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let run = |out: &Path| try_cut(&source, out, &settings);
    pool.install(|| run(&whole)).unwrap();
    let expected = files(&whole);
    // Every third operation: the others are of the same kinds.
    for number in (0..).step_by(3) {
        let out = folder.path().join("out");
        let (result, failed) = pool.install(|| leadspan_files::faults::failing_at(number, || run(&out)));
        if !failed {
            result.unwrap();
            assert!(number > 60, "only {number} operations were tried");
            break;
        }
        if let Err(error) = result {
            assert!(!error.is_unexpected() && error.hint().is_some(), "{number}: {error}");
        }
        for (path, bytes) in files(&out) {
            assert_eq!(Some(&bytes), expected.get(&path), "operation {number}: {path:?}");
        }
        run(&out).unwrap();
        assert!(files(&out) == expected, "operation {number}");
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn a_cut_that_is_stopped_goes_on_and_another_ones_folder_is_refused() {
    let (folder, source) = captured(Precision::Fine, &[coverage("1", SectionSet::ALL)]);
    let (out, whole) = (folder.path().join("out"), folder.path().join("whole"));
    try_cut(&source, &whole, &shorter("0.5")).unwrap();
    let calls = std::sync::atomic::AtomicU32::new(0);
    let made = cut(
        &source,
        &out,
        &shorter("0.5"),
        &mut Following {
            stop: &|| calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0,
            progress: &mut |_| {},
            waiting: &mut |_| {},
        },
    )
    .unwrap();
    assert!(!made.complete && made.shards_made == 1);
    let error = try_cut(&source, &out, &shorter("0.4")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("its `cut.proportion` is `\"0.5\"`, not `\"0.4\"`"),
        "{error}"
    );
    // What a kill leaves: a shard without its receipt, and temporary files.
    let layer = Cache::open(&out).unwrap().layers().unwrap().remove(0);
    let unit = layer
        .corpus()
        .units()
        .iter()
        .find(|unit| layer.is_committed(unit))
        .unwrap();
    fs::remove_file(layer.receipt_path(unit)).unwrap();
    for name in [".train-000001.parquet.kill00.tmp", ".train-000000.json.kill00.tmp"] {
        fs::write(layer.path().join(name), b"PAR1").unwrap();
    }
    let made = try_cut(&source, &out, &shorter("0.5")).unwrap();
    assert!(made.complete);
    assert!(files(&out) == files(&whole));
    // Again, nothing is left to do, and nothing is read.
    let again = try_cut(&source, &out, &shorter("0.5")).unwrap();
    assert_eq!((again.shards_made, again.bytes_read), (0, 0));
    assert_eq!((again.positions, again.shard_bytes), (made.positions, made.shard_bytes));
    // Neither the source nor a captured cache is written to.
    for other in [source.dir(), captured(Precision::Fine, &[]).1.dir()] {
        let error = try_cut(&source, other, &shorter("0.5")).unwrap_err();
        assert!(matches!(error, CacheError::OtherOrigin { .. }), "{error}");
    }
}

#[test]
fn a_cut_touches_its_share_of_the_shards_and_nothing_of_damaged_blocks_gets_through() {
    let (folder, source) = captured(Precision::Exact, &[coverage("1", SectionSet::ALL)]);
    let bytes = |cache: &Cache| cache.inspect().unwrap().layers[0].shard_bytes;
    let mut before = 0;
    for proportion in ["0.1", "0.5", "1"] {
        let made = try_cut(&source, &folder.path().join(proportion), &shorter(proportion)).unwrap();
        assert!(
            made.bytes_read > before && made.bytes_read <= bytes(&source),
            "{proportion}"
        );
        before = made.bytes_read;
    }
    let layer = source.layers().unwrap().remove(0);
    let shard = layer.shard_path(&layer.corpus().units()[1]);
    let sound = fs::read(&shard).unwrap();
    let (mut refused, mut unread) = (0, 0);
    for at in (0..sound.len()).step_by(sound.len() / 24) {
        let mut damaged = sound.clone();
        damaged[at] ^= 4;
        fs::write(&shard, damaged).unwrap();
        let out = folder.path().join("damaged");
        if let Err(error) = try_cut(&source, &out, &shorter("0.5")) {
            let named = error.to_string().contains("train-000001.parquet");
            assert!(!error.is_unexpected() && named, "{error}");
            refused += 1;
        } else {
            fs::write(&shard, &sound).unwrap();
            assert_reads_the_same(&opened_sound(&out), &source, coverage("0.5", SectionSet::ALL));
            unread += 1;
        }
        fs::remove_dir_all(&out).unwrap();
    }
    assert!(refused > 5 && unread > 3, "{refused} {unread}");
}
