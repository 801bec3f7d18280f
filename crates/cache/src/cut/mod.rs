//! Making a cache of other ones without the teacher: a smaller one from a larger one, or one from several.
//!
//! Blocks are copied as they are wherever that is possible, so values stay the same to the bit. The result has everything that
//! a captured cache has, and can be verified, trained from and extended. Work is done shard by shard with the commit protocol:
//! the same call after a kill goes on, and ends with the same files.
//!
//! - `blocks`: what the blocks of a new shard consist of. Pure;
//! - `open_shards`, `unit`: making one shard;
//! - `origin`: the record of what a cache was made of;
//! - `making`: the folder, and all of its shards;
//! - `merge`: merging caches.

mod blocks;
mod making;
mod merge;
mod open_shards;
pub(crate) mod origin;
mod unit;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::atomic::AtomicU64,
};

use leadspan_distribution::EntrySettings;
use leadspan_sequence::{LeadSpanProportion, Section, SectionSet, Split};

use self::{
    making::{begin, copy_replay, make_all},
    origin::{Cut, Origin, Source, require_elsewhere},
    unit::{NewLayer, OriginOf, Part, Sources},
};
use crate::{
    Band, Cache, CacheError, Coverage, Identity, Layer, LayerDir, Missing, PreparedCorpus,
    corpus::push_copy,
    layers::{choose, reach},
    ranged::{CacheFiles, Folder},
};

pub use making::{Following, Made};
pub use merge::merge;
pub use origin::{FRAME, require_place};

/// What a cut keeps. `None` keeps everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CutSettings {
    /// The lead-span proportion of training samples.
    pub proportion: Option<LeadSpanProportion>,
    /// The sections whose tokens are targets.
    pub sections: Option<SectionSet>,
    /// The ids of the samples, of both splits.
    pub samples: Option<Vec<String>>,
    /// The number of entries of a position.
    pub top_k: Option<u32>,
}

/// Cuts a smaller cache in the folder `out` from `source`.
///
/// Only complete layers are cut. The corpus stays whole unless samples are chosen; these are then divided into work units of
/// their own. The samples to replay are copied.
///
/// # Errors
///
/// [`CacheError::ProportionNotCaptured`], [`CacheError::SectionsNotCaptured`], [`CacheError::TopKNotCaptured`],
/// [`CacheError::UnknownSample`] or [`CacheError::NoSamples`] if `source` does not hold what is to be kept;
/// [`CacheError::DrawsOfSmallerTail`] if drawn tokens are stored and fewer entries are to be kept;
/// [`CacheError::OtherOrigin`] or [`CacheError::Occupied`] if `out` holds something else; and the error of a file that is
/// damaged, or cannot be read or written.
pub fn cut(
    source: &Cache,
    out: &Path,
    settings: &CutSettings,
    following: &mut Following<'_>,
) -> Result<Made, CacheError> {
    cut_reading(source, &Folder(source.dir()), out, settings, following)
}

/// Like [`cut`], with the shards read from `files`. The other files of the cache lie in the folder of `source`.
///
/// # Errors
///
/// Those of [`cut`].
pub fn cut_reading<S: CacheFiles>(
    source: &Cache,
    files: &S,
    out: &Path,
    settings: &CutSettings,
    following: &mut Following<'_>,
) -> Result<Made, CacheError> {
    require_elsewhere(out, &[source])?;
    let corpus = source.require_corpus()?;
    let identity = identity_of(source, settings.top_k)?;
    let wanted = wanted_layers(source, settings)?;
    let chosen = settings.samples.as_ref().map(|ids| chosen(source, &corpus, ids));
    let chosen = chosen.transpose()?;
    let origin = Origin::Cut(Cut {
        from: Source::of(source)?,
        proportion: settings.proportion,
        sections: settings.sections,
        samples_blake3: settings.samples.as_deref().map(ids_blake3),
        top_k: settings.top_k,
    });
    let tokenizer = source.tokenizer_contents()?;
    let (cache, _lock) = begin(out, &origin, &identity, &tokenizer, following.waiting)?;
    let indices = match &chosen {
        None => {
            cache.copy_corpus_of(source)?;
            None
        }
        Some(indices) => {
            write_chosen(&cache, &corpus, indices)?;
            Some(indices.as_slice())
        }
    };
    copy_replay(source, &cache, following.waiting)?;
    let origin_of = |index: usize| (0, indices.map_or(index, |indices| indices[index] as usize));
    let cache = Cache::open(out)?;
    require_samples(&cache, &[corpus], &origin_of)?;
    let layers = wanted.into_iter().map(|part| {
        Ok(NewLayer {
            layer: cache.layer(&part.taken)?,
            stored: vec![vec![part]],
        })
    });
    let layers: Vec<NewLayer> = layers.collect::<Result<_, CacheError>>()?;
    let sources = Sources {
        files: std::slice::from_ref(files),
        origin_of: &origin_of,
        scattered: chosen.is_some(),
        top_k: (identity.entries.top_k < source.identity().entries.top_k).then_some(identity.entries.top_k),
        bytes_read: AtomicU64::new(0),
    };
    make_all(&cache, &layers, &sources, following)
}

/// The identity of a cache that keeps `top_k` entries of a position.
fn identity_of(source: &Cache, top_k: Option<u32>) -> Result<Identity, CacheError> {
    let mut identity = source.identity().clone();
    let EntrySettings {
        top_k: stored,
        tail_samples,
        ..
    } = identity.entries;
    let Some(top_k) = top_k else { return Ok(identity) };
    let path = || source.dir().to_owned();
    if top_k == 0 || top_k > stored {
        return Err(CacheError::TopKNotCaptured {
            path: path(),
            asked: top_k,
            stored,
        });
    }
    if top_k < stored && tail_samples > 0 {
        return Err(CacheError::DrawsOfSmallerTail { path: path() });
    }
    identity.entries.top_k = top_k;
    Ok(identity)
}

/// The layers of `source` to take positions from, each with what is taken.
fn wanted_layers(source: &Cache, settings: &CutSettings) -> Result<Vec<Part>, CacheError> {
    let mut complete = Vec::new();
    for dir in source.layers()? {
        if dir.missing_units()?.is_empty() {
            complete.push(dir);
        }
    }
    let reached = |section| reach(complete.iter().map(LayerDir::layer), section);
    let held = SectionSet::new(SectionSet::ALL.iter().filter(|&section| reached(section).is_some()));
    let Some(sections) = settings.sections.or(held) else {
        return Err(match source.layers()?.first() {
            Some(dir) => dir.incomplete(&dir.missing_units()?),
            None => CacheError::NothingCaptured {
                path: source.dir().to_owned(),
            },
        });
    };
    // Sections of one proportion are asked for together.
    let mut asked: BTreeMap<LeadSpanProportion, Vec<Section>> = BTreeMap::new();
    for section in sections.iter() {
        // For a section that is not there, any proportion is refused.
        let proportion = settings.proportion.or_else(|| reached(section));
        asked
            .entry(proportion.unwrap_or(LeadSpanProportion::WHOLE))
            .or_default()
            .push(section);
    }
    let mut taken: Vec<(LayerDir, Vec<Band>)> = Vec::new();
    for (proportion, sections) in asked {
        let sections = SectionSet::new(sections).expect("a section was pushed");
        for (dir, layer) in choose(source, &Coverage { proportion, sections }, Missing::Refused)?.layers {
            let bands = Vec::from(layer);
            match taken.iter_mut().find(|(known, _)| known.path() == dir.path()) {
                Some((_, known)) => known.extend(bands),
                None => taken.push((dir, bands)),
            }
        }
    }
    let part = |(dir, mut bands): (LayerDir, Vec<Band>)| {
        bands.sort_by_key(|band| band.section);
        let taken = Layer::try_from(bands).expect("each section is asked for once, so it has one band of a layer");
        Part { dir, taken }
    };
    Ok(taken.into_iter().map(part).collect())
}

/// The indices of the samples with these ids, training samples first, each split in the order of the corpus.
fn chosen(source: &Cache, corpus: &PreparedCorpus, ids: &[String]) -> Result<Vec<u32>, CacheError> {
    let path = || source.dir().to_owned();
    if ids.is_empty() {
        return Err(CacheError::NoSamples { path: path() });
    }
    let mut found: HashMap<&str, bool> = ids.iter().map(|id| (id.as_str(), false)).collect();
    let (mut indices, mut held_out) = (Vec::new(), Vec::new());
    for (index, sample) in corpus.samples().enumerate() {
        if let Some(found) = found.get_mut(sample.id) {
            *found = true;
            match sample.split {
                Split::Train => indices.push(index as u32),
                Split::Validation => held_out.push(index as u32),
            }
        }
    }
    if let Some(unknown) = ids.iter().find(|id| found.get(id.as_str()) == Some(&false)) {
        return Err(CacheError::UnknownSample {
            path: path(),
            id: unknown.clone(),
            first: corpus.samples().next().map(|sample| sample.id.to_owned()),
        });
    }
    indices.extend(held_out);
    Ok(indices)
}

/// blake3 of the ids, sorted and each once, each with a line end.
fn ids_blake3(ids: &[String]) -> String {
    let mut sorted: Vec<&String> = ids.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut hasher = blake3::Hasher::new();
    for id in sorted {
        hasher.update(id.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

/// Writes the corpus of the samples `indices` of `corpus`, unless it is there. It is said to be prepared as its newest part was.
fn write_chosen(cache: &Cache, corpus: &PreparedCorpus, indices: &[u32]) -> Result<(), CacheError> {
    if cache.corpus()?.is_some() {
        return Ok(());
    }
    let splits: Vec<Split> = indices
        .iter()
        .map(|&index| corpus.sample(index as usize).split)
        .collect();
    let provenance = corpus.provenance().clone();
    cache.write_corpus_with(&splits, corpus.samples_per_shard(), provenance, &mut |writer| {
        let mut indices = indices.iter();
        indices.try_for_each(|&index| push_copy(writer, corpus, index as usize))
    })?;
    Ok(())
}

/// Checks that the samples of a new corpus are those of the sources.
fn require_samples(cache: &Cache, sources: &[PreparedCorpus], origin_of: OriginOf<'_>) -> Result<(), CacheError> {
    let corpus = cache.require_corpus()?;
    for (index, sample) in corpus.samples().enumerate() {
        let (source, stored) = origin_of(index);
        let same = sources.get(source).is_some_and(|from| {
            stored < from.len() && from.sample(stored) == sample && from.row_hash(stored) == corpus.row_hash(index)
        });
        if !same {
            return Err(CacheError::OtherOrigin {
                path: cache.dir().to_owned(),
                problem: format!("its sample `{}` is not the one that is to be copied", sample.id),
            });
        }
    }
    Ok(())
}
