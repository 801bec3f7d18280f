//! Files that are exchanged for others whose checksums match: the inventory lists which ones belong to the cache.

use std::{
    fs,
    path::{Path, PathBuf},
};

use leadspan_diagnosis::Diagnosis as _;
use leadspan_sequence::SectionSet;
use serde_json::Value;

use crate::{
    Cache, CacheError, Missing, REPLAY, Reader, adopt, inventory::Inventory, json, repair, tests::synthetic, verify,
};

/// A captured cache with samples to replay and an inventory.
fn listed() -> synthetic::Prepared {
    let captured = synthetic::captured("0.5", SectionSet::ALL);
    make_replay(captured.cache.dir(), 3);
    captured.cache.take_inventory().unwrap();
    assert!(problem(captured.cache.dir()).is_none());
    captured
}

/// Makes a cache of so many samples to replay inside the cache in `dir`.
fn make_replay(dir: &Path, samples: usize) {
    let files = [("tokenizer.json".to_owned(), b"{}".to_vec())];
    let replay = Cache::create_or_open(&dir.join(REPLAY), &synthetic::identity(), &files).unwrap();
    let corpus = synthetic::corpus(samples, 0, 4);
    replay
        .write_corpus(
            &synthetic::samples_of(&corpus),
            &synthetic::row_hashes_of(&corpus),
            corpus.samples_per_shard(),
            corpus.provenance().clone(),
        )
        .unwrap();
}

/// What training reads: the identity, the samples and their distributions, and the samples to replay.
fn read_all(dir: &Path) -> Result<(), CacheError> {
    let cache = Cache::open(dir)?;
    let reader = Reader::open(&cache, synthetic::coverage("0.5", SectionSet::ALL), Missing::Refused)?;
    (0..reader.corpus().len() as u32).try_for_each(|index| reader.span(index).map(drop))?;
    match cache.replay()? {
        Some(replay) => replay.require_corpus().map(drop),
        None => Ok(()),
    }
}

/// The first problem of a cache, which readers and `verify` both find.
fn problem(dir: &Path) -> Option<CacheError> {
    let verified = Cache::open(dir)
        .and_then(|cache| verify(&cache, &mut |_| {}))
        .map(|mut found| (!found.problems.is_empty()).then(|| found.problems.remove(0).error));
    let verified = verified.unwrap_or_else(Some);
    let read = read_all(dir).err();
    assert_eq!(read.is_some(), verified.is_some(), "{read:?} {verified:?}");
    for error in read.iter().chain(&verified) {
        assert!(!error.is_unexpected() && error.hint().is_some(), "{error}");
    }
    read
}

/// Asserts that readers and `verify` name the file as not listed.
fn assert_exchanged(dir: &Path, file: &Path) {
    let error = problem(dir).unwrap_or_else(|| panic!("`{}` was exchanged unnoticed", file.display()));
    assert!(
        matches!(&error, CacheError::Unlisted { path, .. } if path == file),
        "`{}` was exchanged: {error}",
        file.display()
    );
}

/// Replaces values of a JSON file.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, json::to_bytes(&value)).unwrap();
}

/// The shard and the receipt of the first work unit.
fn first_unit(cache: &Cache) -> (PathBuf, PathBuf) {
    let layer = cache.layers().unwrap().remove(0);
    let unit = &layer.corpus().units()[0];
    (layer.shard_path(unit), layer.receipt_path(unit))
}

/// Exchanges the shard of the first work unit for one that was computed elsewhere, with a receipt that fits.
fn exchange_shard(cache: &Cache) -> PathBuf {
    let (shard, receipt) = first_unit(cache);
    let other = synthetic::prepared(11, 3, 4);
    let layer = other
        .cache
        .layer(&synthetic::coverage("0.5", SectionSet::ALL).into())
        .unwrap();
    synthetic::try_write_shard(&layer, &layer.corpus().units()[0].clone(), Some("elsewhere")).unwrap();
    let (other_shard, other_receipt) = first_unit(&other.cache);
    assert_ne!(fs::read(&shard).unwrap(), fs::read(&other_shard).unwrap());
    fs::copy(other_shard, &shard).unwrap();
    fs::copy(other_receipt, receipt).unwrap();
    shard
}

#[test]
fn a_shard_that_is_exchanged_with_its_receipt_is_named() {
    let listed = listed();
    let shard = exchange_shard(&listed.cache);
    assert_exchanged(listed.cache.dir(), &shard);
}

#[test]
fn a_manifest_that_is_exchanged_with_a_shard_does_not_hide_it() {
    let listed = listed();
    let layer = listed.cache.layers().unwrap().remove(0);
    layer.write_manifest().unwrap();
    let shard = exchange_shard(&listed.cache);
    layer.write_manifest().unwrap();
    assert_exchanged(listed.cache.dir(), &shard);
}

#[test]
fn without_an_inventory_the_manifest_and_the_receipts_name_an_exchanged_shard() {
    let captured = synthetic::captured("0.5", SectionSet::ALL);
    let layer = captured.cache.layers().unwrap().remove(0);
    layer.write_manifest().unwrap();
    let (shard, receipt) = first_unit(&captured.cache);
    let sound = (fs::read(&shard).unwrap(), fs::read(&receipt).unwrap());
    // With its receipt: the manifest sums up another one.
    exchange_shard(&captured.cache);
    let error = problem(captured.cache.dir()).unwrap();
    assert!(error.to_string().contains("manifest.json"), "{error}");
    // Without it, whether the receipt has the hash of the tail or, as in older caches, of the whole shard alone.
    for old in [false, true] {
        fs::write(&receipt, &sound.1).unwrap();
        if old {
            edit(&receipt, |receipt| {
                receipt.as_object_mut().unwrap().remove("tail_blake3");
            });
        }
        let error = problem(captured.cache.dir()).unwrap();
        assert!(error.to_string().contains("train-000000"), "{error}");
    }
    fs::write(&shard, &sound.0).unwrap();
    assert!(problem(captured.cache.dir()).is_none());
}

#[test]
fn another_identity_or_other_tokenizer_files_are_named() {
    let listed = listed();
    let dir = listed.cache.dir();
    let path = dir.join("identity.json");
    let (tokenizer, bytes) = (dir.join("tokenizer/tokenizer.json"), b"[]");
    fs::write(&tokenizer, bytes).unwrap();
    edit(&path, |identity| {
        identity["tokenizer_files"]["tokenizer.json"] = blake3::hash(bytes).to_hex().as_str().into();
    });
    assert_exchanged(dir, &path);
}

#[test]
fn an_edited_description_of_the_corpus_is_named() {
    let listed = listed();
    let path = listed.cache.dir().join("corpus/prepared.json");
    for (key, value) in [("samples_per_shard", Value::from(5)), ("facts", Value::from("others"))] {
        let sound = fs::read(&path).unwrap();
        edit(&path, |description| description[key] = value);
        assert_exchanged(listed.cache.dir(), &path);
        fs::write(&path, sound).unwrap();
    }
    let last = listed.cache.dir().join("corpus/prepared.json");
    fs::remove_file(&last).unwrap();
    let error = problem(listed.cache.dir()).unwrap();
    assert!(error.to_string().contains("is missing, but it is listed"), "{error}");
}

#[test]
fn edited_samples_per_shard_contradict_the_work_units_even_without_an_inventory() {
    let captured = synthetic::captured("0.5", SectionSet::ALL);
    let path = captured.cache.dir().join("corpus/prepared.json");
    // 11 training samples are in units of 4, 4 and 3.
    for wrong in [2, 3, 5, 100] {
        edit(&path, |description| description["samples_per_shard"] = wrong.into());
        let error = problem(captured.cache.dir()).unwrap();
        assert!(
            matches!(&error, CacheError::Inconsistent { path: found, .. } if *found == path),
            "{error}"
        );
    }
}

#[test]
fn exchanged_samples_to_replay_are_named() {
    let listed = listed();
    let dir = listed.cache.dir();
    fs::remove_dir_all(dir.join(REPLAY)).unwrap();
    make_replay(dir, 2);
    assert_exchanged(dir, &dir.join("replay/corpus/prepared.json"));
    // Samples that were removed before others are made are not missed, and the others are listed like the first ones.
    fs::remove_dir_all(dir.join(REPLAY)).unwrap();
    listed.cache.unlist_removed_replay(&mut |_| {}).unwrap();
    assert!(problem(dir).is_none());
    make_replay(dir, 2);
    let error = problem(dir).unwrap();
    assert!(error.to_string().contains("is not listed in"), "{error}");
    listed.cache.take_inventory().unwrap();
    assert!(problem(dir).is_none());
}

#[test]
fn what_is_added_later_is_listed_later_and_what_was_listed_stays() {
    let mut listed = listed();
    let path = Inventory::path(listed.cache.dir());
    let before: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let more = synthetic::appended(14, 6);
    listed
        .cache
        .extend_corpus(&more, &synthetic::row_hashes(&more), Value::Null)
        .unwrap();
    // An incomplete layer keeps what is listed of it.
    listed.cache.take_inventory().unwrap();
    let half: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        (&half["layers"], &half["replay"]),
        (&before["layers"], &before["replay"])
    );
    assert_eq!(half["corpus"].as_array().unwrap().len(), 2);
    synthetic::capture(&listed.cache, &synthetic::coverage("0.5", SectionSet::ALL).into());
    assert!(problem(listed.cache.dir()).is_none(), "what is not listed yet is read");
    listed.cache.take_inventory().unwrap();
    let after = fs::read(&path).unwrap();
    let layer = listed.cache.layers().unwrap().remove(0);
    let listed_layer = Inventory::read(listed.cache.dir()).unwrap().unwrap().layers;
    assert_eq!(
        listed_layer[&layer.layer().folder_name()].len(),
        layer.corpus().units().len()
    );
    assert!(problem(listed.cache.dir()).is_none());
    listed.cache.take_inventory().unwrap();
    assert_eq!(fs::read(&path).unwrap(), after);
}

#[test]
fn a_repaired_shard_may_get_other_bytes() {
    let listed = listed();
    let shard = exchange_shard(&listed.cache);
    let found = verify(&Cache::open(listed.cache.dir()).unwrap(), &mut |_| {}).unwrap();
    assert_eq!(repair(&found).unwrap(), [shard]);
    let layer = Cache::open(listed.cache.dir()).unwrap().layers().unwrap().remove(0);
    let unit = layer.corpus().units()[0].clone();
    assert!(layer.listed(&unit).is_none() && layer.listed(&layer.corpus().units()[1]).is_some());
    synthetic::try_write_shard(&layer, &unit, Some("another device")).unwrap();
    listed.cache.take_inventory().unwrap();
    assert!(problem(listed.cache.dir()).is_none());
    assert!(adopt(&layer, &unit).unwrap().is_some());
}

#[test]
fn a_damaged_inventory_is_named_and_made_again_once_it_is_removed() {
    let listed = listed();
    let path = Inventory::path(listed.cache.dir());
    let sound = fs::read(&path).unwrap();
    for bytes in [
        &sound[..sound.len() / 2],
        b"{\"format\": 2}",
        b"{\"format\": 1, \"more\": 1}",
    ] {
        fs::write(&path, bytes).unwrap();
        let error = problem(listed.cache.dir()).unwrap();
        assert!(error.to_string().contains("inventory.json"), "{error}");
        assert!(error.hint().unwrap().contains("--finalize"), "{error}");
    }
    fs::remove_file(&path).unwrap();
    listed.cache.take_inventory().unwrap();
    assert_eq!(fs::read(&path).unwrap(), sound);
}

#[test]
fn a_manifest_beside_no_shards_is_a_problem() {
    let captured = synthetic::captured("0.5", SectionSet::ALL);
    let layer = captured.cache.layers().unwrap().remove(0);
    layer.write_manifest().unwrap();
    for unit in layer.corpus().units() {
        fs::remove_file(layer.shard_path(unit)).unwrap();
        fs::remove_file(layer.receipt_path(unit)).unwrap();
    }
    let error = problem(captured.cache.dir()).unwrap();
    assert!(matches!(error, CacheError::IncompleteLayer { .. }), "{error}");
    assert_eq!(layer.uncommitted_units().unwrap().len(), layer.corpus().units().len());
    assert_eq!(layer.write_manifest().unwrap(), None);
}

#[test]
fn forged_bounds_beyond_a_sample_or_the_corpus_are_refused() {
    let prepared = synthetic::prepared(4, 0, 4);
    let folder = prepared.cache.dir().join("corpus");
    let (path, description) = (folder.join("samples.arrow"), folder.join("prepared.json"));
    let sound = fs::read(&path).unwrap();
    // The samples have 5, 12, 19 and 22 tokens; their prompts end after a third.
    let prompt_ends: Vec<u8> = [1u32, 4, 6, 7].iter().flat_map(|end| end.to_le_bytes()).collect();
    let token_ends: Vec<u8> = [5u64, 17, 36, 58].iter().flat_map(|end| end.to_le_bytes()).collect();
    for (column, place, forged) in [
        (&prompt_ends, 0, &6u32.to_le_bytes()[..]),
        (&prompt_ends, 12, &u32::MAX.to_le_bytes()),
        (&token_ends, 0, &18u64.to_le_bytes()),
        (&token_ends, 24, &59u64.to_le_bytes()),
        (&token_ends, 24, &u64::MAX.to_le_bytes()),
    ] {
        let at = sound
            .windows(column.len())
            .position(|window| window == &column[..])
            .unwrap()
            + place;
        let mut table = sound.clone();
        table[at..at + forged.len()].copy_from_slice(forged);
        fs::write(&path, &table).unwrap();
        edit(&description, |description| {
            description["table"]["blake3"] = blake3::hash(&table).to_hex().as_str().into();
        });
        let error = Cache::open(prepared.cache.dir()).unwrap().corpus().unwrap_err();
        assert!(
            matches!(&error, CacheError::Inconsistent { path: found, .. } if *found == path),
            "{error}"
        );
    }
}

#[test]
fn forged_tokens_beyond_the_stated_largest_are_refused() {
    let prepared = synthetic::prepared(4, 0, 4);
    let folder = prepared.cache.dir().join("corpus");
    let mut tokens = fs::read(folder.join("tokens.u32")).unwrap();
    // The first sample has five tokens. One becomes the largest there is.
    tokens[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let of_first: Vec<u8> = tokens[..5 * 4].to_vec();
    let crc32 = |bytes: &[u8]| crc32fast::hash(bytes).to_le_bytes();
    let sound = fs::read(folder.join("tokens.u32")).unwrap();
    let mut table = fs::read(folder.join("samples.arrow")).unwrap();
    let at = table
        .windows(4)
        .position(|window| window == crc32(&sound[..5 * 4]))
        .unwrap();
    table[at..at + 4].copy_from_slice(&crc32(&of_first));
    fs::write(folder.join("tokens.u32"), &tokens).unwrap();
    fs::write(folder.join("samples.arrow"), &table).unwrap();
    edit(&folder.join("prepared.json"), |description| {
        for (key, bytes) in [("tokens", &tokens), ("table", &table)] {
            description[key]["blake3"] = blake3::hash(bytes).to_hex().as_str().into();
        }
    });
    let cache = Cache::open(prepared.cache.dir()).unwrap();
    let corpus = cache.require_corpus().unwrap();
    assert!(corpus.tokens(1).is_ok());
    let error = corpus.tokens(0).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the largest token of sample `sample 0` is 4294967295"),
        "{error}"
    );
    let problems = verify(&cache, &mut |_| {}).unwrap().problems;
    assert!(matches!(&problems[..], [problem] if problem.error.to_string() == error.to_string()));
}

#[test]
fn what_is_listed_and_gone_is_named() {
    let captured = listed();
    let dir = captured.cache.dir();
    let layer = captured.cache.layers().unwrap().remove(0);
    let (shard, receipt) = first_unit(&captured.cache);
    let aside = tempfile::tempdir().unwrap();
    let layers = dir.join("layers");
    for gone in [
        vec![layer.path().join("layer.json")],
        vec![layers.clone()],
        vec![dir.join(REPLAY)],
        vec![layer.manifest_path(), shard.clone(), receipt.clone()],
        vec![layer.manifest_path(), receipt],
    ] {
        let saved = |path: &PathBuf| aside.path().join(path.file_name().unwrap());
        for path in gone.iter().filter(|path| path.exists()) {
            fs::rename(path, saved(path)).unwrap();
        }
        let found = verify(&Cache::open(dir).unwrap(), &mut |_| {}).unwrap();
        let named = |error: &CacheError| {
            matches!(error, CacheError::Unlisted { path, .. } if gone.contains(path) || path.starts_with(&gone[0]))
                && error.hint().is_some()
        };
        assert!(
            found.problems.iter().any(|problem| named(&problem.error)),
            "{gone:?}: {:?}",
            found.problems
        );
        for path in gone.iter().filter(|path| saved(path).exists()) {
            fs::rename(saved(path), path).unwrap();
        }
        assert!(problem(dir).is_none());
    }
}
