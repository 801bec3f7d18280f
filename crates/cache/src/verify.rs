//! Checking every byte of a cache: checksums, structure, and that every row is the one that belongs there.

use std::{collections::BTreeSet, fs, path::PathBuf};

use crate::{Cache, CacheError, LayerDir, Progress, WorkUnit, shard::Shard};

/// What [`verify`] found.
#[derive(Debug, Default)]
pub struct Verification {
    /// Files that were checked.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Positions whose rows were decoded and compared with the corpus.
    pub positions: u64,
    /// What is wrong, in the order in which it was found. Each error names its file.
    pub problems: Vec<CacheError>,
}

/// Checks the tokenizer files, the corpus, and every committed shard of every layer.
///
/// Missing work units are no problem: `inspect` counts them. `progress` is told after each shard.
///
/// # Errors
///
/// Where a folder cannot be listed. Damage is no error here but a [problem](Verification::problems).
pub fn verify(cache: &Cache, progress: &mut dyn FnMut(Progress)) -> Result<Verification, CacheError> {
    let mut found = Verification::default();
    for (name, blake3) in cache.tokenizer_files() {
        let path = cache.tokenizer_dir().join(name);
        found.files += 1;
        match fs::read(&path) {
            Ok(bytes) => {
                found.bytes += bytes.len() as u64;
                if blake3::hash(&bytes).to_hex().as_str() != blake3 {
                    found.problems.push(CacheError::Damaged {
                        path,
                        part: "contents".to_owned(),
                    });
                }
            }
            Err(error) => found.problems.push(CacheError::io("read", path)(error)),
        }
    }
    // A fresh handle, so that the table is read and checked now even if the caller's has it in memory.
    let layers = match Cache::open(cache.dir()).and_then(|cache| {
        if cache.corpus()?.is_some() {
            cache.layers()
        } else {
            Ok(Vec::new())
        }
    }) {
        Ok(layers) => layers,
        Err(error) => {
            found.problems.push(error);
            return Ok(found);
        }
    };
    let shards: Vec<(&LayerDir, &WorkUnit)> = layers
        .iter()
        .flat_map(|layer| layer.corpus().units().iter().map(move |unit| (layer, unit)))
        .filter(|(layer, unit)| layer.is_committed(unit))
        .collect();
    let total = shards.len() as u64;
    for (done, (layer, unit)) in shards.into_iter().enumerate() {
        found.files += 1;
        match check_shard(layer, unit) {
            Ok((bytes, positions)) => {
                found.bytes += bytes;
                found.positions += positions;
            }
            Err(error) => found.problems.push(error),
        }
        progress(Progress {
            done: done as u64 + 1,
            total,
        });
    }
    for layer in &layers {
        found.problems.extend(shards_without_a_unit(layer)?);
    }
    Ok(found)
}

/// Compares all checksums of a shard, decodes every row and compares it with the corpus.
fn check_shard(layer: &LayerDir, unit: &WorkUnit) -> Result<(u64, u64), CacheError> {
    let shard = Shard::open_in(layer, unit)?;
    shard.check_all()?;
    let inconsistent = |problem| CacheError::Inconsistent {
        path: shard.path().to_owned(),
        problem,
    };
    let samples = &layer.corpus().samples()[unit.samples.clone()];
    let expected: u64 = samples
        .iter()
        .map(|sample| layer.layer().position_count(sample) as u64)
        .sum();
    if shard.footer().positions != expected {
        let problem = format!("it has {} positions where {expected} belong", shard.footer().positions);
        return Err(inconsistent(problem));
    }
    let mut row = 0;
    for (index, sample) in unit.samples.clone().zip(samples) {
        let positions: Vec<u32> = layer.layer().positions(sample).collect();
        let rows = shard.read(std::slice::from_ref(&(row..row + positions.len())))?;
        row += positions.len();
        if rows.positions != positions || rows.samples.iter().any(|&stored| stored as usize != index) {
            return Err(inconsistent(format!(
                "its rows for sample {index} are not that sample's positions"
            )));
        }
    }
    Ok((shard.file_bytes(), expected))
}

/// Files that look like shards but belong to no work unit.
fn shards_without_a_unit(layer: &LayerDir) -> Result<Vec<CacheError>, CacheError> {
    let expected: BTreeSet<PathBuf> = layer
        .corpus()
        .units()
        .iter()
        .map(|unit| layer.shard_path(unit))
        .collect();
    let mut strays = BTreeSet::new();
    for entry in fs::read_dir(layer.path()).map_err(CacheError::io("list", layer.path()))? {
        let path = entry.map_err(CacheError::io("list", layer.path()))?.path();
        if path.extension().is_some_and(|extension| extension == "parquet") && !expected.contains(&path) {
            strays.insert(path);
        }
    }
    let problem = || "no work unit of the corpus has its name".to_owned();
    Ok(strays
        .into_iter()
        .map(|path| CacheError::Inconsistent {
            path,
            problem: problem(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic;
    use leadspan_sequence::SectionSet;

    fn problems(cache: &Cache) -> Vec<CacheError> {
        verify(cache, &mut |_| {}).unwrap().problems
    }

    #[test]
    fn a_sound_cache_verifies_to_its_last_position() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let mut calls = Vec::new();
        let found = verify(&captured.cache, &mut |progress| {
            calls.push((progress.done, progress.total));
        })
        .unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        assert_eq!(found.positions, captured.cache.inspect().unwrap().layers[0].positions);
        assert_eq!(calls, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    }

    #[test]
    fn every_kind_of_damage_is_found_and_named() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let layer = captured.cache.layers().unwrap().remove(0);
        let units = layer.corpus().units();
        fs::copy(layer.shard_path(&units[0]), layer.shard_path(&units[1])).unwrap();
        fs::copy(layer.shard_path(&units[0]), layer.path().join("train-000099.parquet")).unwrap();
        fs::write(captured.cache.tokenizer_dir().join("tokenizer.json"), b"[]").unwrap();
        let found = problems(&captured.cache);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(matches!(&found[0], CacheError::Damaged { path, .. } if path.ends_with("tokenizer.json")));
        assert!(
            matches!(&found[1], CacheError::ForeignShard { field: "work unit", .. }),
            "{:?}",
            found[1]
        );
        assert!(matches!(&found[2], CacheError::Inconsistent { path, .. } if path.ends_with("train-000099.parquet")));
    }

    #[test]
    fn a_damaged_corpus_is_a_problem_even_when_it_is_in_memory_already() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let path = captured.cache.dir().join("corpus").join("samples.parquet");
        let mut bytes = fs::read(&path).unwrap();
        bytes[100] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(problems(&captured.cache)[..], [CacheError::Damaged { .. }]));
    }
}
