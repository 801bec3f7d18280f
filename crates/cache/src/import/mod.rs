//! Importing teacher distributions that DistillKit captured, or that an export has, into a cache that trains.
//!
//! The cache is marked: its identity says that the teacher is unknown, what is known of tails and targets, and the hash of
//! what was imported. So it is never extended, and never taken for a cache that was captured. Work units are committed as
//! those of a capture: after an interruption, the same import continues. Of an import that is refused nothing is left.
//!
//! - `folders`: the files of folders;
//! - `source`: what is read of any layout;
//! - `captured`, `exported`: the layouts;
//! - `table`: rows of Parquet files that strangers may have written;
//! - `entries`: positions, and what none has;
//! - `begun`: what a refused import leaves.

mod begun;
mod captured;
mod entries;
mod error;
mod exported;
mod folders;
mod source;
mod table;

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use leadspan_distribution::{EntrySettings, codec::Precision};
use leadspan_workers::{Awaited, LockGuard, Purpose, lock};
use serde::Serialize;
use serde_json::json;

pub use self::error::{ImportError, SettingsProblem};
use self::{
    begun::Begun,
    captured::Captured,
    entries::{Found, Positions},
    exported::Exported,
    folders::{folder_with_tables, tables_in},
    source::{Given, Source},
};
use crate::{
    CODEC_VERSION, Cache, CacheError, Identity, ImportedIdentity, LayerDir, Progress, SampleRef, ShardWriter,
    TeacherIdentity, WorkUnit, adopt, export_list::ExportList,
};

/// What is imported, and with which tokenizer.
#[derive(Clone, Copy, Debug)]
pub struct ImportSettings<'a> {
    /// Parquet files, or folders of them. The folder of an export stands alone.
    pub files: &'a [PathBuf],
    /// The `compression_config.yaml` of packed files; by default the one beside them.
    pub compression_config: Option<&'a Path>,
    /// The tokenizer's files, which the cache keeps.
    pub tokenizer_files: &'a [(String, Vec<u8>)],
    /// The tokenizer's fingerprint.
    pub tokenizer: &'a str,
    /// The text of the chat template; empty if there is none.
    pub chat_template: &'a str,
    /// The tokens that are known.
    pub vocabulary: Vocabulary,
    /// The precision of stored values. With [`Precision::Exact`] they are those that were read.
    pub precision: Precision,
    /// The number of samples of a work unit.
    pub samples_per_shard: NonZeroU32,
}

/// Numbers of tokens.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary {
    /// The tokens of the tokenizer.
    pub of_tokenizer: u32,
    /// The tokens of the model: those of the tokenizer, or more if its configuration says so.
    pub of_model: u32,
    /// The tokens that entries may have, as the user says.
    pub given: Option<u32>,
}

impl Vocabulary {
    /// Checks the tokens of a sample.
    fn check(&self, tokens: &[u32]) -> Result<(), String> {
        let vocabulary = self.given.unwrap_or(self.of_model);
        if tokens.is_empty() {
            return Err("it has no tokens".to_owned());
        }
        match tokens.iter().find(|&&token| token >= vocabulary) {
            Some(token) => Err(format!("its token {token} is not in a vocabulary of {vocabulary}")),
            None => Ok(()),
        }
    }
}

/// The result of [`import`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Samples of the cache.
    pub samples: u64,
    /// Positions of the cache.
    pub positions: u64,
    /// Size of its shards, in bytes.
    pub shard_bytes: u64,
    /// Positions that this call wrote; the others were there.
    pub written: u64,
    /// Of these, positions whose entries summed to more than one because of rounding.
    pub above_one: u64,
    /// Of these, positions whose target is not among the entries, so that only a bound of its probability is known.
    pub bounded_targets: u64,
}

/// Imports what `settings` name into a new cache in `dir`, or continues there. Returns `None` if `stop` was set: the same call
/// continues. While it waits for another process, it calls `waiting`. `progress` counts samples.
///
/// # Errors
///
/// [`ImportError`] with the file and the row that says what cannot be. If the files are at fault, a cache that this call has
/// begun is removed: files that were mended belong into another one.
pub fn import(
    dir: &Path,
    settings: &ImportSettings<'_>,
    stop: &AtomicBool,
    waiting: &mut dyn FnMut(&Awaited),
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Imported>, ImportError> {
    let source = open(settings)?;
    if source.splits().is_empty() {
        let path = settings.files.first().cloned().unwrap_or_default();
        return Err(ImportError::NoRows { path });
    }
    let identity = identity(&*source, settings);
    let begun = Begun::new(dir);
    let cache = Cache::create_or_open_telling(dir, &identity, settings.tokenizer_files, waiting)?;
    let held: LockGuard = lock(dir, Purpose::Preparing, waiting).map_err(CacheError::from)?;
    let cache = Cache::open(cache.dir())?;
    let filled = fill(&cache, &*source, settings, stop, progress);
    if filled.as_ref().is_err_and(ImportError::is_of_the_files) {
        begun.remove_cache(&cache);
        drop(held);
        begun.remove_folder();
    }
    let Some((layer, found)) = filled? else {
        return Ok(None);
    };
    let manifest = layer.write_manifest()?;
    cache.take_inventory_telling(waiting)?;
    Ok(Some(Imported {
        samples: layer.corpus().len() as u64,
        positions: manifest.as_ref().map_or(0, |manifest| manifest.positions),
        shard_bytes: manifest.as_ref().map_or(0, |manifest| manifest.shard_bytes),
        written: found.positions,
        above_one: found.above_one,
        bounded_targets: found.bounded_targets,
    }))
}

/// Writes the corpus and the shards that are missing. Returns the layer and what was found; `None` if it was stopped.
fn fill(
    cache: &Cache,
    source: &dyn Source,
    settings: &ImportSettings<'_>,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<(LayerDir, Found)>, ImportError> {
    if cache.corpus()?.is_none() {
        write_corpus(cache, source, settings.samples_per_shard)?;
    }
    let layer = cache.layer(&source.stated().coverage.into())?;
    let has_none = |sample| layer.layer().position_count(sample) == 0;
    if layer.corpus().samples().all(has_none) {
        let path = settings.files.first().cloned().unwrap_or_default();
        return Err(ImportError::NoPositions { path });
    }
    let found = write_shards(&layer, source, stop, progress)?;
    Ok(found.map(|found| (layer, found)))
}

fn open(settings: &ImportSettings<'_>) -> Result<Box<dyn Source>, ImportError> {
    if let [dir] = settings.files
        && let Some(list) = ExportList::read(dir)?
        && list.0.layout == ExportList::DATASET
    {
        if let Some(named) = settings.compression_config {
            return Err(ImportError::unused(named, dir));
        }
        return Ok(Box::new(Exported::open(
            dir,
            list,
            settings.tokenizer,
            settings.vocabulary,
        )?));
    }
    let mut paths = Vec::new();
    for path in settings.files {
        if path.is_dir() {
            let found = tables_in(path)?;
            let found = if found.is_empty() {
                tables_in(&path.join(ExportList::POSITIONS))?
            } else {
                found
            };
            if found.is_empty() {
                return Err(ImportError::Nothing {
                    path: path.clone(),
                    inside: folder_with_tables(path)?,
                });
            }
            paths.extend(found);
        } else {
            paths.push(path.clone());
        }
    }
    let mut known = HashSet::new();
    let mut named = paths.iter().map(|path| (path, fs::canonicalize(path)));
    if let Some((path, _)) = named.find(|(_, real)| real.as_ref().is_ok_and(|real| !known.insert(real.clone()))) {
        return Err(ImportError::Twice { path: path.clone() });
    }
    Ok(Box::new(Captured::open(
        paths,
        settings.compression_config,
        settings.vocabulary,
    )?))
}

fn identity(source: &dyn Source, settings: &ImportSettings<'_>) -> Identity {
    let stated = source.stated();
    Identity {
        teacher: Some(TeacherIdentity {
            config_blake3: String::new(),
            weights_blake3: String::new(),
            lora_blake3: None,
            dtype: "unknown".to_owned(),
            server: None,
            imported: Some(ImportedIdentity {
                layout: stated.layout.to_owned(),
                blake3: stated.blake3,
                tail: stated.tail.to_owned(),
                targets: stated.targets.to_owned(),
                stated_teacher: stated.teacher,
            }),
        }),
        tokenizer: settings.tokenizer.to_owned(),
        chat_template: blake3::hash(settings.chat_template.as_bytes()).to_hex().to_string(),
        sections: stated.sections,
        entries: EntrySettings::top_k(stated.top_k),
        precision: settings.precision,
        codec: CODEC_VERSION,
    }
}

fn write_corpus(cache: &Cache, source: &dyn Source, samples_per_shard: NonZeroU32) -> Result<(), ImportError> {
    let provenance = json!({ "imported": source.stated().layout });
    // The cache's writer knows only its own errors.
    let mut failed = None;
    let written = cache.write_corpus_with(&source.splits(), samples_per_shard, provenance, &mut |writer| {
        let pushed = source.samples(&mut |given: Given<'_>| {
            let sample = SampleRef {
                id: given.id,
                split: given.split,
                bounds: given.bounds,
            };
            Ok(writer.push(sample, given.tokens, &row_hash(&given))?)
        });
        match pushed {
            Err(ImportError::Cache(error)) => Err(error),
            Err(error) => {
                failed = Some(error);
                let problem = "a row cannot be imported".to_owned();
                Err(CacheError::UnstorableCorpus { problem })
            }
            Ok(()) => Ok(()),
        }
    });
    match (failed, written) {
        (Some(error), _) => Err(error),
        (None, written) => Ok(written.map(drop)?),
    }
}

/// A hash of what is stored of a sample.
fn row_hash(given: &Given<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&(given.id.len() as u64).to_le_bytes())
        .update(given.id.as_bytes());
    for end in [given.bounds.prompt_end(), given.bounds.chain_of_thought_end()] {
        hasher.update(&end.to_le_bytes());
    }
    for token in given.tokens {
        hasher.update(&token.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Writes the shards that are missing. Returns what was found in them; `None` if it was stopped.
fn write_shards(
    layer: &LayerDir,
    source: &dyn Source,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Found>, ImportError> {
    let corpus = layer.corpus();
    let mut missing = layer.uncommitted_units()?;
    let mut adopted = Ok(());
    missing.retain(|unit| match adopt(layer, unit) {
        Ok(receipt) => receipt.is_none(),
        Err(error) => {
            adopted = Err(error);
            true
        }
    });
    adopted?;
    let total = missing.iter().map(|unit| unit.samples.len() as u64).sum();
    let (mut done, mut found, mut stopped) = (0, Found::default(), false);
    for run in runs(&missing) {
        let samples = run.first().map_or(0, |unit| unit.samples.start)..run.last().map_or(0, |unit| unit.samples.end);
        let mut units = run.iter();
        let mut current: Option<(&WorkUnit, ShardWriter)> = None;
        source.spans(corpus, samples, &mut |index, positions: Positions| {
            let (unit, mut writer) = match (current.take(), units.as_slice().first()) {
                (Some(current), _) => current,
                (None, Some(unit)) => (unit, ShardWriter::create(layer, unit)?),
                (None, None) => return Ok(false),
            };
            let places: Vec<u32> = layer.layer().positions(corpus.sample(index)).collect();
            writer.push_sample(index as u32, &places, &positions.distributions)?;
            found.positions += positions.found.positions;
            found.above_one += positions.found.above_one;
            found.bounded_targets += positions.found.bounded_targets;
            if index + 1 == unit.samples.end {
                writer.commit()?;
                units.next();
            } else {
                current = Some((unit, writer));
            }
            done += 1;
            progress(Progress { done, total });
            stopped = stop.load(Ordering::Relaxed);
            Ok(!stopped)
        })?;
        if stopped {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

/// Work units that follow one another, together.
fn runs(units: &[WorkUnit]) -> impl Iterator<Item = &[WorkUnit]> {
    units.chunk_by(|one, next| one.samples.end == next.samples.start)
}
