//! Writing and reading the parts of the prepared corpus.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
};

use leadspan_files::commit_bytes;
use serde_json::Value;

use super::{
    columns::Columns,
    description::{
        Description, FORMAT, count_parts, description_name, old_table_name, parse_description, table_name, tokens_name,
    },
    files::{self, CorpusWriter},
    parquet_table::read_table,
    placement::UnitPlacement,
    prepared::{CorpusPart, PreparedCorpus},
    work_unit::WorkUnit,
};
use crate::{CacheError, inventory::ListedParts, json};

/// A part to write.
pub(crate) struct NewPart<'a> {
    /// Its number, which is the number of parts before it.
    pub(crate) number: usize,
    /// The work units of its samples.
    pub(crate) units: &'a [WorkUnit],
    pub(crate) samples_per_shard: NonZeroU32,
    pub(crate) provenance: Value,
}

/// Writes the files and the description of a part into `folder`, which holds the parts before it. `fill` pushes the
/// samples of its work units, in order.
///
/// # Errors
///
/// Those of [`CorpusWriter`] and of `fill`, and [`CacheError::Io`] if the file system refuses.
pub(crate) fn write_part(
    folder: &Path,
    part: NewPart<'_>,
    fill: &mut dyn FnMut(&mut CorpusWriter) -> Result<(), CacheError>,
) -> Result<(), CacheError> {
    let number = part.number;
    let after = match number.checked_sub(1) {
        None => None,
        Some(before) => {
            let path = folder.join(description_name(before));
            Some(hash(&read_description(&path)?))
        }
    };
    let mut writer = CorpusWriter::create(&folder.join(tokens_name(number)))?;
    fill(&mut writer)?;
    let written = writer.finish(&folder.join(table_name(number)), part.units)?;
    let description = Description {
        format: FORMAT,
        after,
        table: written.table,
        tokens: Some(written.tokens),
        samples: part.units.iter().map(|unit| unit.samples.len() as u64).sum(),
        samples_per_shard: part.samples_per_shard,
        provenance: part.provenance,
    };
    Ok(commit_bytes(
        &folder.join(description_name(number)),
        &json::to_bytes(&description),
    )?)
}

/// The bytes of a part's description.
fn read_description(path: &Path) -> Result<Vec<u8>, CacheError> {
    json::read(path)?.ok_or_else(|| CacheError::MissingPart { path: path.to_owned() })
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// blake3 of the description of each part in `folder`, in order.
///
/// # Errors
///
/// The error of a description that cannot be read.
pub(crate) fn hashes(folder: &Path) -> Result<Vec<String>, CacheError> {
    let parts = 0..count_parts(folder)?;
    let of = |part| read_description(&folder.join(description_name(part))).map(|bytes| hash(&bytes));
    parts.map(of).collect()
}

/// Opens the corpus in `folder`; `None` if the folder has no part. Its first parts must be those that are `listed`, if any
/// are.
///
/// # Errors
///
/// The error of the first file that is missing, damaged or out of place.
pub(crate) fn read(folder: &Path, listed: Option<&ListedParts>) -> Result<Option<PreparedCorpus>, CacheError> {
    let mut units = UnitPlacement::default();
    let mut columns: Vec<Arc<Columns>> = Vec::new();
    let mut parts: Vec<CorpusPart> = Vec::new();
    // Path and blake3 of the previous description, and its samples per shard.
    let mut before: Option<(PathBuf, String, NonZeroU32)> = None;
    let count = count_parts(folder)?;
    if let Some(listed) = listed
        && listed.hashes.len() > count
    {
        return Err(CacheError::Unlisted {
            path: folder.join(description_name(count)),
            problem: "is missing, but it is listed in",
            inventory: listed.inventory.clone(),
        });
    }
    for number in 0..count {
        let path = folder.join(description_name(number));
        let bytes = read_description(&path)?;
        let blake3 = hash(&bytes);
        if let Some(listed) = listed {
            listed.check(number, &path, &blake3)?;
        }
        let description = parse_description(&bytes, &path)?;
        let follows = before.as_ref().map(|(_, blake3, _)| blake3);
        if description.after.as_ref() != follows {
            let before = before.map(|(path, ..)| path);
            return Err(CacheError::ForeignPart { path, before });
        }
        let samples_per_shard = description.samples_per_shard;
        if let Some((.., planned)) = before
            && planned != samples_per_shard
        {
            let problem = format!("its work units have {samples_per_shard} samples, but earlier ones have {planned}");
            return Err(CacheError::Inconsistent { path, problem });
        }
        let (first, first_unit) = (units.samples, units.units.len());
        let of_part = read_part(folder, number, &description, &mut units)?;
        if let Some(unit) = misfit(&units.units[first_unit..], samples_per_shard) {
            let problem = format!(
                "its work units have {samples_per_shard} samples, but `{unit}` has {}",
                unit.samples.len()
            );
            return Err(CacheError::Inconsistent { path, problem });
        }
        columns.push(Arc::new(of_part));
        parts.push(CorpusPart {
            samples: first..units.samples,
            units: first_unit..units.units.len(),
            provenance: description.provenance,
        });
        before = Some((path, blake3, samples_per_shard));
    }
    Ok(before.map(|(.., samples_per_shard)| PreparedCorpus::new(columns, units.units, parts, samples_per_shard)))
}

/// The first work unit of a part whose number of samples is not `samples_per_shard`, or not at most that if it is the last
/// one of its split.
fn misfit(units: &[WorkUnit], samples_per_shard: NonZeroU32) -> Option<&WorkUnit> {
    let full = samples_per_shard.get() as usize;
    let next = units.iter().skip(1).map(Some).chain([None]);
    let mut pairs = units.iter().zip(next);
    let misfit = pairs.find(|(unit, next)| match next {
        Some(next) if next.split == unit.split => unit.samples.len() != full,
        _ => unit.samples.len() > full,
    });
    misfit.map(|(unit, _)| unit)
}

/// Compares the tokens of every part with their checksums. `corpus` was opened from `folder`.
///
/// Returns one error for each part that is damaged.
pub(crate) fn verify_tokens(folder: &Path, corpus: &PreparedCorpus) -> Vec<CacheError> {
    let verify = |(number, columns): (usize, &Arc<Columns>)| {
        let path = folder.join(description_name(number));
        let bytes = read_description(&path)?;
        match parse_description(&bytes, &path)?.tokens {
            Some(tokens) => files::verify_tokens(columns, &tokens),
            None => Ok(()),
        }
    };
    let parts = corpus.columns().iter().enumerate();
    parts.filter_map(|part| verify(part).err()).collect()
}

/// Opens a part and adds its samples to `units`.
fn read_part(
    folder: &Path,
    number: usize,
    description: &Description,
    units: &mut UnitPlacement,
) -> Result<Columns, CacheError> {
    units.begin_part();
    let (path, columns) = match &description.tokens {
        None => {
            let path = folder.join(old_table_name(number));
            let columns = read_table(&path, &description.table, units)?;
            (path, columns)
        }
        Some(tokens) => {
            let (path, tokens_path) = (folder.join(table_name(number)), folder.join(tokens_name(number)));
            let mut place = |split, unit| units.place(split, unit);
            let columns = files::open(&path, &description.table, &tokens_path, tokens, &mut place)?;
            (path, columns)
        }
    };
    if columns.len() as u64 != description.samples {
        let (samples, expected) = (columns.len(), description.samples);
        let problem = format!("it has {samples} samples, but {expected} were committed");
        return Err(CacheError::Inconsistent { path, problem });
    }
    Ok(columns)
}
