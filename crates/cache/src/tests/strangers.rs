//! What a stranger may put in the place of a cache's files: named pipes, devices, folders and links. None is opened.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use leadspan_diagnosis::Diagnosis as _;
use leadspan_sequence::SectionSet;

use crate::{Cache, CacheError, Missing, Reader, ShardWriter, tests::synthetic, verify};

/// Puts something in the place of a file; the sound file is at the second path.
type Impostor = fn(&Path, &Path);

/// Reads everything in a cache, as training and `verify` do.
fn read_all(dir: &Path) -> Result<(), CacheError> {
    let cache = Cache::open(dir)?;
    cache.tokenizer_contents()?;
    cache.inspect()?;
    let reader = Reader::open(&cache, synthetic::coverage("0.5", SectionSet::ALL), Missing::Refused)?;
    (0..reader.corpus().len() as u32).try_for_each(|index| reader.span(index).map(drop))
}

fn first_problem(dir: &Path) -> Option<CacheError> {
    match Cache::open(dir).and_then(|cache| verify(&cache, &mut |_| {})) {
        Ok(mut found) if found.problems.is_empty() => found.problems.pop().map(|problem| problem.error),
        Ok(mut found) => Some(found.problems.remove(0).error),
        Err(error) => Some(error),
    }
}

#[test]
fn only_regular_files_are_opened() {
    let captured = synthetic::captured("0.5", SectionSet::ALL);
    let layer = captured.cache.layers().unwrap().remove(0);
    let unit = &layer.corpus().units()[0];
    let dir = captured.cache.dir();
    layer.write_manifest().unwrap();
    captured.cache.take_inventory().unwrap();
    let inventory = dir.join("inventory.json");
    let manifest = layer.manifest_path();
    let places = [
        inventory.clone(),
        dir.join("identity.json"),
        dir.join("tokenizer/tokenizer.json"),
        dir.join("corpus/prepared.json"),
        dir.join("corpus/samples.arrow"),
        dir.join("corpus/tokens.u32"),
        layer.path().join("layer.json"),
        layer.shard_path(unit),
        layer.receipt_path(unit),
        manifest.clone(),
    ];
    let aside = tempfile::tempdir().unwrap();
    for path in places {
        // Without an inventory, receipts and the manifest are read for training as well.
        if path != inventory {
            let _ = fs::rename(&inventory, aside.path().join("inventory.json"));
        }
        let saved = aside.path().join("saved");
        fs::rename(&path, &saved).unwrap();
        let impostors: [(&str, Impostor); 4] = [
            ("a symbolic link", |path, saved| symlink(saved, path).unwrap()),
            ("a symbolic link", |path, _| symlink("/dev/zero", path).unwrap()),
            ("a named pipe", |path, _| {
                assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            }),
            ("a folder", |path, _| fs::create_dir(path).unwrap()),
        ];
        for (name, put) in impostors {
            put(&path, &saved);
            let of_reader = read_all(dir).unwrap_err();
            let of_verify = first_problem(dir).unwrap();
            for error in [of_reader, of_verify] {
                let CacheError::Io {
                    path: found, source, ..
                } = &error
                else {
                    // The size of an impostor is not that of a shard.
                    assert!(
                        matches!(&error, CacheError::WrongSize { path: found, .. } if *found == path),
                        "{name} as {}: {error}",
                        path.display()
                    );
                    continue;
                };
                assert_eq!(*found, path, "{name}: {error}");
                assert!(
                    source.to_string().contains(name),
                    "{name} as {}: {source}",
                    path.display()
                );
                assert!(!error.is_unexpected() && error.hint().is_some(), "{error}");
            }
            if name == "a folder" {
                fs::remove_dir(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
        }
        fs::rename(&saved, &path).unwrap();
        read_all(dir).unwrap();
        assert!(first_problem(dir).is_none());
    }
}

#[test]
fn a_description_without_end_is_not_read_into_memory() {
    let prepared = synthetic::prepared(2, 0, 2);
    let path = prepared.cache.dir().join("identity.json");
    let file = fs::File::create(&path).unwrap();
    // A sparse file takes no room on the disk.
    file.set_len(1 << 40).unwrap();
    let error = Cache::open(prepared.cache.dir()).unwrap_err();
    assert!(
        matches!(error, CacheError::Io { .. }) && !error.is_unexpected(),
        "{error}"
    );
}

#[test]
fn nothing_is_read_through_a_folder_that_is_a_link_but_the_cache_itself_may_be_one() {
    let captured = synthetic::captured("0.5", SectionSet::ALL);
    let (dir, outside) = (captured.cache.dir(), tempfile::tempdir().unwrap());
    let layer = captured.cache.layers().unwrap().remove(0);
    fs::create_dir(dir.join("replay")).unwrap();
    let inside = ["tokenizer", "corpus", "layers", "replay"].map(|name| dir.join(name));
    for path in inside.iter().map(|path| &**path).chain([layer.path()]) {
        let moved = outside.path().join("moved");
        fs::rename(path, &moved).unwrap();
        symlink(&moved, path).unwrap();
        for error in [read_all(dir).unwrap_err(), first_problem(dir).unwrap()] {
            assert!(
                matches!(&error, CacheError::Io { path: found, .. } if found == path) && !error.is_unexpected(),
                "{}: {error}",
                path.display()
            );
            assert!(error.hint().unwrap().contains("link"), "{error}");
        }
        fs::remove_file(path).unwrap();
        fs::rename(&moved, path).unwrap();
    }
    let link = outside.path().join("cache");
    symlink(dir, &link).unwrap();
    read_all(&link).unwrap();
    assert!(first_problem(&link).is_none());
}

#[test]
fn nothing_is_written_through_a_folder_that_is_a_link() {
    let captured = synthetic::captured("0.5", SectionSet::ALL);
    let (cache, outside) = (&captured.cache, tempfile::tempdir().unwrap());
    for name in ["tokenizer", "corpus", "layers", "replay"] {
        let path = cache.dir().join(name);
        let moved = outside.path().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::rename(&path, &moved).unwrap();
        symlink(&moved, &path).unwrap();
        let error = Cache::create_or_open(cache.dir(), cache.identity(), &[]).unwrap_err();
        assert!(
            matches!(&error, CacheError::Io { path: found, .. } if *found == path) && !error.is_unexpected(),
            "{error}"
        );
        fs::remove_file(&path).unwrap();
        fs::rename(&moved, &path).unwrap();
    }
    Cache::create_or_open(cache.dir(), cache.identity(), &[]).unwrap();
    let layer = cache.layers().unwrap().remove(0);
    let moved = outside.path().join("layer");
    fs::rename(layer.path(), &moved).unwrap();
    symlink(&moved, layer.path()).unwrap();
    let unit = &layer.corpus().units()[0];
    let error = ShardWriter::create(&layer, unit).map(drop).unwrap_err();
    assert!(
        matches!(&error, CacheError::Io { path, .. } if path == layer.path()),
        "{error}"
    );
}
