//! Checking every byte of a cache: checksums, structure, and the place of every block.

mod notes;

use std::{
    collections::{BTreeSet, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use leadspan_distribution::Distributions;
use leadspan_files::{Refusal, require_own_folder};
use leadspan_workers::Awaited;
use rayon::prelude::*;
use serde::{Serialize, Serializer};

use crate::{
    Cache, CacheError, LayerDir, Progress, Receipt, WorkUnit, layers::manifest::MANIFEST, shard::Shard,
    shard::blocks::block_positions, shard::require_listed, tokenizer,
};

/// The result of [`verify`].
#[derive(Debug, Default, Serialize)]
pub struct Verification {
    /// Number of files that were checked.
    pub files: u64,
    /// Size of these files, in bytes.
    pub bytes: u64,
    /// Number of positions that were decoded and compared with the corpus.
    pub positions: u64,
    /// What is wrong, in the order of the files.
    pub problems: Vec<Problem>,
    /// Files that a complete cache has and this one lacks, in words. They can be made again, and nothing is lost.
    pub notes: Vec<String>,
    /// The cache's folder.
    #[serde(skip)]
    dir: PathBuf,
}

/// Something that is wrong with a cache.
#[derive(Debug)]
pub struct Problem {
    /// The error, which names the file.
    pub error: CacheError,
    /// The files that [`repair`] removes: the shard and the receipt of a work unit, which can be captured again, and
    /// the manifest of the layer. Empty if removing files does not help.
    removable: Vec<PathBuf>,
}

impl Serialize for Problem {
    /// The text of the error.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.error)
    }
}

impl Problem {
    fn without_cure(error: CacheError) -> Self {
        Self {
            error,
            removable: Vec::new(),
        }
    }
}

/// Checks the tokenizer files, the corpus and every committed shard of every layer, several shards at a time. Checks
/// the [samples to replay](Cache::replay) as well, if there are any.
///
/// Missing work units are not a problem unless the inventory lists them; [`inspect`](Cache::inspect) counts them. `progress` is called after each
/// shard.
///
/// # Errors
///
/// [`CacheError::Io`] if a folder cannot be listed. Damage is not an error, but a [problem](Verification::problems).
pub fn verify(cache: &Cache, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<Verification, CacheError> {
    let mut found = match cache.replay() {
        Ok(None) => Verification::default(),
        Ok(Some(inside)) => verify(&inside, progress)?,
        Err(error) => Verification {
            problems: vec![Problem::without_cure(error)],
            ..Verification::default()
        },
    };
    cache.dir().clone_into(&mut found.dir);
    found.files += u64::from(cache.inventory().is_some());
    verify_tokenizer(cache, &mut found);
    // A new handle reads and checks the corpus again, even if the caller's handle has opened it.
    let layers = match cache.reopen().and_then(|cache| {
        if cache.corpus()?.is_some() {
            Ok((cache.verify_tokens()?, cache.layers()?))
        } else {
            Ok((Vec::new(), Vec::new()))
        }
    }) {
        Ok((problems, layers)) => {
            found.problems.extend(problems.into_iter().map(Problem::without_cure));
            layers
        }
        Err(error) => {
            found.problems.push(Problem::without_cure(error));
            return Ok(found);
        }
    };
    let names: Vec<HashSet<String>> = layers.iter().map(LayerDir::names).collect::<Result<_, _>>()?;
    found
        .problems
        .extend(cache.gone(&layers, &names).into_iter().map(|gone| Problem {
            error: gone.error,
            removable: gone.unit,
        }));
    found.notes.extend(notes::of(cache, &layers, &names));
    let mut committed: Vec<(&LayerDir, &WorkUnit)> = Vec::new();
    for (layer, names) in layers.iter().zip(&names) {
        // A shard without a receipt is not committed. A receipt without a shard means that the shard was lost.
        let units = layer.corpus().units().iter();
        committed.extend(
            units
                .filter(|unit| names.contains(&format!("{unit}.json")))
                .map(|unit| (layer, unit)),
        );
    }
    let total = committed.len() as u64;
    let told = Mutex::new((0, progress));
    let checked: Vec<Result<(u64, u64), CacheError>> = committed
        .par_iter()
        .map(|(layer, unit)| {
            let result = check_shard(layer, unit);
            let (done, progress) = &mut *told.lock().unwrap_or_else(PoisonError::into_inner);
            *done += 1;
            progress(Progress { done: *done, total });
            result
        })
        .collect();
    for ((layer, unit), result) in committed.into_iter().zip(checked) {
        found.files += 2;
        match result {
            Ok((bytes, positions)) => {
                found.bytes += bytes;
                found.positions += positions;
            }
            Err(error) => found.problems.push(Problem {
                error,
                removable: vec![layer.shard_path(unit), layer.receipt_path(unit), layer.manifest_path()],
            }),
        }
    }
    for (layer, names) in layers.iter().zip(&names) {
        found.problems.extend(strays(layer, names).map(Problem::without_cure));
        if names.contains(MANIFEST) {
            found.files += 1;
            found.problems.extend(layer.check_manifest().err().map(|error| Problem {
                error,
                removable: vec![layer.manifest_path()],
            }));
        }
    }
    Ok(found)
}

/// Removes the shards that [`verify`] found unusable, so that these units are captured again, and wrong manifests.
/// Returns their paths.
///
/// Other damaged files stay as they are, and so do shards that the file system did not let the program read. Removed shards
/// are removed from the cache's inventory, too.
///
/// # Errors
///
/// [`CacheError::Io`] if a file cannot be removed, or the error of an inventory that cannot be changed.
pub fn repair(found: &Verification) -> Result<Vec<PathBuf>, CacheError> {
    repair_telling(found, &mut |_| {})
}

/// Like [`repair`]. While it waits, it calls `waiting` regularly with the process that it waits for.
///
/// # Errors
///
/// Those of [`repair`].
pub fn repair_telling(found: &Verification, waiting: &mut dyn FnMut(&Awaited)) -> Result<Vec<PathBuf>, CacheError> {
    let mut dropped = Vec::new();
    for problem in &found.problems {
        let refused = matches!(&problem.error, CacheError::Io { source, .. }
            if source.kind() != io::ErrorKind::NotFound && Refusal::of(source).is_none());
        let Some(first) = problem.removable.first().filter(|_| !refused) else {
            continue;
        };
        // Nothing is removed through a link.
        if let Some(folder) = first.parent() {
            require_own_folder(folder).map_err(CacheError::io("use", folder))?;
        }
        // The manifest is removed first: it must not state a complete layer when a shard is missing.
        for path in problem.removable.iter().rev() {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(CacheError::io("remove", path)(error));
                }
                _ => {}
            }
        }
        dropped.push(first.clone());
    }
    let units: HashSet<(&str, &str)> = dropped.iter().filter_map(|path| layer_and_unit(path)).collect();
    if !units.is_empty() {
        Cache::open(&found.dir)?.unlist(&|layer, unit| units.contains(&(layer, unit)), waiting)?;
    }
    Ok(dropped)
}

/// The name of the layer's folder and the name of the work unit of a shard.
fn layer_and_unit(shard: &Path) -> Option<(&str, &str)> {
    Some((shard.parent()?.file_name()?.to_str()?, shard.file_stem()?.to_str()?))
}

fn verify_tokenizer(cache: &Cache, found: &mut Verification) {
    for (name, blake3) in cache.tokenizer_files() {
        let path = cache.tokenizer_dir().join(name);
        found.files += 1;
        match tokenizer::read(&path, blake3) {
            Ok(bytes) => found.bytes += bytes.len() as u64,
            Err(error) => found.problems.push(Problem::without_cure(error)),
        }
    }
}

/// Compares all checksums of a shard, decodes every block and compares its place with the corpus. Returns the numbers
/// of bytes and positions.
fn check_shard(layer: &LayerDir, unit: &WorkUnit) -> Result<(u64, u64), CacheError> {
    let receipt = Receipt::read(layer, unit)?;
    let shard = Shard::open_in(layer, unit)?;
    receipt.check(&shard, &layer.receipt_path(unit))?;
    if let Some(listed) = layer.listed(unit) {
        require_listed(&shard, listed, layer)?;
    }
    shard.check_all()?;
    let (mut block, mut positions_read) = (0, 0);
    let mut head = None;
    for index in unit.samples.clone() {
        let sample = layer.corpus().sample(index);
        let positions: Vec<u32> = layer.layer().positions(sample).collect();
        for positions in positions.chunks(block_positions(sample.token_count())) {
            if block >= shard.block_count() {
                return Err(shard.inconsistent(format!("it ends before the blocks of sample {index}")));
            }
            let group = shard.group_of(block);
            if head.as_ref().is_none_or(|(number, _)| *number != group) {
                head = Some((group, shard.head(group)?));
            }
            let (_, head) = head.as_ref().expect("it was read just now");
            shard.read_block(head, block, index as u32, positions, &mut Distributions::new())?;
            block += 1;
            positions_read += positions.len() as u64;
        }
    }
    if block == shard.block_count() && positions_read == shard.footer().positions {
        Ok((shard.bytes().len() as u64, positions_read))
    } else {
        Err(shard.inconsistent(format!(
            "it has more than the {positions_read} positions of its work unit"
        )))
    }
}

/// An error for each file that is named like a shard but belongs to no work unit.
fn strays(layer: &LayerDir, names: &HashSet<String>) -> impl Iterator<Item = CacheError> {
    let units = layer.corpus().units().iter();
    let expected: HashSet<String> = units.map(|unit| format!("{unit}.parquet")).collect();
    let shards = names
        .iter()
        .filter(|name| name.ends_with(".parquet") && !name.starts_with('.'));
    let strays: BTreeSet<&String> = shards.filter(|name| !expected.contains(*name)).collect();
    let of = |name: &String| CacheError::StrayShard {
        path: layer.path().join(name),
    };
    strays.into_iter().map(of).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic;
    use leadspan_sequence::SectionSet;

    fn verified(cache: &Cache) -> Verification {
        verify(cache, &mut |_| {}).unwrap()
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
        fs::copy(layer.receipt_path(&units[0]), layer.receipt_path(&units[1])).unwrap();
        fs::remove_file(layer.shard_path(&units[2])).unwrap();
        let receipt = fs::read_to_string(layer.receipt_path(&units[3])).unwrap();
        fs::write(
            layer.receipt_path(&units[3]),
            receipt.replace("\"positions\": ", "\"positions\": 1"),
        )
        .unwrap();
        fs::copy(layer.shard_path(&units[0]), layer.path().join("train-000099.parquet")).unwrap();
        fs::write(captured.cache.tokenizer_dir().join("tokenizer.json"), b"[]").unwrap();
        let problems = verified(&captured.cache).problems;
        let found: Vec<&CacheError> = problems.iter().map(|problem| &problem.error).collect();
        let [tokenizer, copied, lost, miscounted, stray] = &found[..] else {
            panic!("{found:?}")
        };
        assert!(matches!(tokenizer, CacheError::Damaged { path, .. } if path.ends_with("tokenizer.json")));
        assert!(
            matches!(copied, CacheError::ForeignShard { field: "work unit", .. }),
            "{copied:?}"
        );
        assert!(matches!(lost, CacheError::Io { path, .. } if path.ends_with("train-000002.parquet")));
        assert!(
            matches!(miscounted, CacheError::Inconsistent { path, .. } if path.ends_with("validation-000000.json"))
        );
        assert!(matches!(stray, CacheError::StrayShard { path } if path.ends_with("train-000099.parquet")));
    }

    #[test]
    fn repairing_drops_what_is_bad_and_writing_that_again_makes_the_cache_whole() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let layer = captured.cache.layers().unwrap().remove(0);
        let units = layer.corpus().units();
        let sound = fs::read(layer.shard_path(&units[1])).unwrap();
        let mut damaged = sound.clone();
        damaged[sound.len() / 2] ^= 4;
        fs::write(layer.shard_path(&units[1]), damaged).unwrap();
        fs::write(layer.receipt_path(&units[3]), b"{").unwrap();
        let dropped = repair(&verified(&captured.cache)).unwrap();
        assert_eq!(dropped, [layer.shard_path(&units[1]), layer.shard_path(&units[3])]);
        assert_eq!(layer.missing_units().unwrap(), [units[1].clone(), units[3].clone()]);
        assert!(verified(&captured.cache).problems.is_empty());
        for unit in layer.missing_units().unwrap() {
            synthetic::write_shard(&layer, &unit);
        }
        assert_eq!(fs::read(layer.shard_path(&units[1])).unwrap(), sound);
        assert!(repair(&verified(&captured.cache)).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_corpus_is_a_problem_even_when_it_is_in_memory_already() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        for file in ["samples.arrow", "tokens.u32"] {
            let path = captured.cache.dir().join("corpus").join(file);
            let sound = fs::read(&path).unwrap();
            let mut bytes = sound.clone();
            bytes[100] ^= 1;
            fs::write(&path, bytes).unwrap();
            let found = verified(&captured.cache);
            assert!(matches!(&found.problems[0].error, CacheError::Damaged { path: found, .. } if *found == path));
            assert!(repair(&found).unwrap().is_empty());
            fs::write(&path, sound).unwrap();
        }
    }

    #[test]
    fn what_is_replayed_is_checked_with_the_cache_around_it() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        assert!(captured.cache.replay().unwrap().is_none());
        let alone = verified(&captured.cache);
        let dir = captured.cache.dir().join(crate::REPLAY);
        let tokenizer = [("tokenizer.json".to_owned(), b"{}".to_vec())];
        let inside = Cache::create_or_open(&dir, &synthetic::identity(), &tokenizer).unwrap();
        let corpus = synthetic::corpus(3, 0, 4);
        let (samples, hashes) = (synthetic::samples_of(&corpus), synthetic::row_hashes_of(&corpus));
        inside
            .write_corpus(
                &samples,
                &hashes,
                corpus.samples_per_shard(),
                corpus.provenance().clone(),
            )
            .unwrap();
        assert_eq!(captured.cache.replay().unwrap().unwrap().dir(), dir);
        let both = verified(&captured.cache);
        assert!(both.problems.is_empty() && both.files > alone.files);
        let path = dir.join("corpus").join("samples.arrow");
        let mut bytes = fs::read(&path).unwrap();
        bytes[100] ^= 1;
        fs::write(&path, bytes).unwrap();
        let problems = verified(&captured.cache).problems;
        assert!(
            matches!(&problems[..], [Problem { error: CacheError::Damaged { path: found, .. }, .. }] if *found == path)
        );
    }
}
