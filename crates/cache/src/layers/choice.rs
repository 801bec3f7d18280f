//! Choosing the layers to read from, and the errors if they do not hold what is asked for.

use leadspan_sequence::SectionSet;

use super::{
    coverage::Coverage,
    folder::LayerDir,
    layer::{Layer, division, reach},
};
use crate::{Cache, CacheError, Receipt, WorkUnit, shard::Shard};

/// Whether work units may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Reading a cache with missing units is an error.
    Refused,
    /// Samples of missing units read as if they had no positions.
    Allowed,
}

/// The layers to read from.
pub(crate) struct Choice {
    /// Each layer with the part of it that is to be read.
    pub(crate) layers: Vec<(LayerDir, Layer)>,
    /// The units that at least one of them lacks.
    pub(crate) missing_units: Vec<WorkUnit>,
}

/// Chooses layers that together hold `asked`: complete ones if they suffice, otherwise also incomplete ones.
///
/// # Errors
///
/// [`CacheError::NothingCaptured`], [`CacheError::ProportionNotCaptured`] or [`CacheError::SectionsNotCaptured`] if no
/// layers hold it; [`CacheError::IncompleteLayer`] if `missing` refuses missing units and there are some;
/// [`CacheError::Inconsistent`] if the receipts of a layer are not those that its manifest sums up.
pub(crate) fn choose(cache: &Cache, asked: &Coverage, missing: Missing) -> Result<Choice, CacheError> {
    let dirs = cache.layers()?;
    let missing_units: Vec<Vec<WorkUnit>> = dirs.iter().map(LayerDir::missing_units).collect::<Result<_, _>>()?;
    let divided = |usable: Vec<usize>| {
        let layers: Vec<&Layer> = usable.iter().map(|&index| dirs[index].layer()).collect();
        let chosen = division(asked, &layers)?;
        let chosen = chosen.into_iter().map(|(place, wanted)| (usable[place], wanted));
        Some(chosen.collect::<Vec<_>>())
    };
    let complete = (0..dirs.len())
        .filter(|&index| missing_units[index].is_empty())
        .collect();
    let begun = (0..dirs.len()).collect();
    let Some(chosen) = divided(complete).or_else(|| divided(begun)) else {
        return Err(not_covered(cache, asked, &dirs));
    };
    let unfinished = || chosen.iter().filter(|(index, _)| !missing_units[*index].is_empty());
    if missing == Missing::Refused
        && let Some(&(index, _)) = unfinished().next()
    {
        return Err(dirs[index].incomplete(&missing_units[index]));
    }
    for &(index, _) in &chosen {
        let (dir, missing) = (&dirs[index], &missing_units[index]);
        if missing.is_empty()
            && let Err(wrong) = dir.check_manifest()
        {
            // The receipts of shards that the inventory lists can be told from an edited manifest.
            if !dir.is_frame() && dir.corpus().units().iter().all(|unit| dir.listed(unit).is_some()) {
                check_receipts(dir)?;
            }
            return Err(wrong);
        }
    }
    let missing = unfinished().flat_map(|(index, _)| missing_units[*index].iter().cloned());
    let missing = missing.collect();
    let layers = chosen.into_iter().map(|(index, wanted)| (dirs[index].clone(), wanted));
    Ok(Choice {
        layers: layers.collect(),
        missing_units: missing,
    })
}

/// Compares each receipt of a layer with its shard.
fn check_receipts(dir: &LayerDir) -> Result<(), CacheError> {
    for unit in dir.corpus().units() {
        let receipt = Receipt::read(dir, unit)?;
        receipt.check(&Shard::open_in(dir, unit)?, &dir.receipt_path(unit))?;
    }
    Ok(())
}

/// The error for a request that these layers do not hold, even if all of them were complete.
fn not_covered(cache: &Cache, asked: &Coverage, dirs: &[LayerDir]) -> CacheError {
    let path = cache.dir().to_owned();
    if dirs.is_empty() {
        return CacheError::NothingCaptured { path };
    }
    let reached = |section| reach(dirs.iter().map(LayerDir::layer), section);
    let reaches: Option<Vec<_>> = asked.sections.iter().map(reached).collect();
    match reaches.and_then(|reaches| reaches.into_iter().min()) {
        Some(largest) => CacheError::ProportionNotCaptured {
            path,
            asked: asked.proportion,
            largest,
            sections: asked.sections,
        },
        None => CacheError::SectionsNotCaptured {
            path,
            asked: asked.sections,
            captured: SectionSet::new(SectionSet::ALL.iter().filter(|&section| reached(section).is_some()))
                .map_or_else(
                    || "nothing without a gap".to_owned(),
                    |sections| format!("`{sections}`"),
                ),
        },
    }
}
