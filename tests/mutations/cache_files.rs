//! The JSON files of a cache.

use std::{fs, path::PathBuf};

use leadspan_distribution::codec::Precision;

use crate::{
    cache::{SmallCache, read_all},
    harness::{Case, Reader},
    mutation::{Random, mutated_json},
};

pub(crate) fn readers() -> Vec<Reader> {
    let cache = SmallCache::new(Precision::Standard);
    let files: Vec<(PathBuf, Vec<u8>)> = cache
        .json_files()
        .into_iter()
        .map(|path| {
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect();
    let mut before: Option<usize> = None;
    let mutate = move |random: &mut Random| {
        if let Some(before) = before {
            let (path, sound) = &files[before];
            fs::write(path, sound).unwrap();
        }
        let file = random.below(files.len());
        before = Some(file);
        let bytes = mutated_json(&files[file].1, random);
        fs::write(&files[file].0, &bytes).unwrap();
        let dir = cache.dir();
        Case {
            bytes: bytes.len(),
            read: Box::new(move || read_all(&dir)),
        }
    };
    vec![Reader {
        name: "cache-json",
        share: 80,
        mutate: Box::new(mutate),
    }]
}
