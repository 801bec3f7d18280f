//! Merging caches of different samples into one.
//!
//! The corpus of the result is that of the first cache, and the parts of the others appended to it. A part has work units of its
//! own, so each shard of a source becomes one shard of the result: its blocks are copied, and its head says where they are now.

use std::{collections::HashMap, path::Path, sync::atomic::AtomicU64};

use leadspan_sequence::{SectionSet, Split};

use super::{
    CutSettings,
    making::{Following, Made, begin, copy_replay, make_all},
    origin::{Origin, Source, require_elsewhere},
    require_samples,
    unit::{NewLayer, Part, Sources, Stored},
    wanted_layers,
};
use crate::{
    Band, Cache, CacheError, Layer, LayerDir, PreparedCorpus, copies_of_held_out, corpus::push_copy, layers::reach,
    ranged::Folder,
};

/// Merges `caches` into one in the folder `out`. They hold the same positions of different samples, by the same
/// identity. If they hold these in different layers, the result has one layer.
///
/// The samples to replay are those of the first cache that has any; the others must have the same or none.
///
/// # Errors
///
/// [`CacheError::Unmergeable`] if they do not fit together, which names both; [`CacheError::IncompleteLayer`] if one lacks work
/// units; [`CacheError::OtherOrigin`] or [`CacheError::Occupied`] if `out` holds something else; and the error of a file that
/// is damaged, or cannot be read or written.
///
/// # Panics
///
/// If there are no caches.
pub fn merge(caches: &[Cache], out: &Path, following: &mut Following<'_>) -> Result<Made, CacheError> {
    let sources: Vec<&Cache> = caches.iter().collect();
    require_elsewhere(out, &sources)?;
    let corpora: Vec<PreparedCorpus> = caches.iter().map(Cache::require_corpus).collect::<Result<_, _>>()?;
    let (first, first_corpus) = (&caches[0], &corpora[0]);
    let mut layers_of = Vec::new();
    for (cache, corpus) in caches.iter().zip(&corpora) {
        require_fit((first, first_corpus), (cache, corpus))?;
        layers_of.push(complete_layers(cache)?);
    }
    let layers = layers_to_make(caches, &layers_of)?;
    require_different_samples(caches, &corpora)?;
    let replay = replay_source(caches)?;
    let origin = Origin::Merge(caches.iter().map(Source::of).collect::<Result<_, _>>()?);
    let tokenizer = first.tokenizer_contents()?;
    let (cache, _lock) = begin(out, &origin, first.identity(), &tokenizer, following.waiting)?;
    write_corpus(&cache, caches, &corpora)?;
    if let Some(replay) = replay {
        copy_replay(replay, &cache, following.waiting)?;
    }
    let mut ends: Vec<usize> = Vec::new();
    for corpus in &corpora {
        ends.push(ends.last().copied().unwrap_or(0) + corpus.len());
    }
    let origin_of = |index: usize| {
        let source = ends.partition_point(|&end| end <= index);
        let start = source.checked_sub(1).map_or(0, |before| ends[before]);
        (source, index - start)
    };
    let cache = Cache::open(out)?;
    require_samples(&cache, &corpora, &origin_of)?;
    let scattered = layers
        .iter()
        .any(|(_, stored)| stored.iter().any(|parts| parts.len() > 1));
    let layers = layers.into_iter().map(|(layer, stored)| {
        let layer = cache.layer(&layer)?;
        Ok(NewLayer { layer, stored })
    });
    let layers: Vec<NewLayer> = layers.collect::<Result<_, CacheError>>()?;
    let files: Vec<Folder<'_>> = caches.iter().map(|cache| Folder(cache.dir())).collect();
    let sources = Sources {
        files: &files,
        origin_of: &origin_of,
        scattered,
        top_k: None,
        bytes_read: AtomicU64::new(0),
    };
    make_all(&cache, &layers, &sources, following)
}

/// Copies the corpus of the first cache and appends the parts of the others, unless they are there.
fn write_corpus(cache: &Cache, caches: &[Cache], corpora: &[PreparedCorpus]) -> Result<(), CacheError> {
    cache.copy_corpus_of(&caches[0])?;
    let mut cache = Cache::open(cache.dir())?;
    let mut number = corpora[0].parts().len();
    for corpus in &corpora[1..] {
        for part in corpus.parts() {
            number += 1;
            if cache.require_corpus()?.parts().len() >= number {
                continue;
            }
            let splits: Vec<Split> = corpus
                .samples_of(part.samples.clone())
                .map(|sample| sample.split)
                .collect();
            cache.extend_corpus_with(&splits, part.provenance.clone(), &mut |writer| {
                let mut indices = part.samples.clone();
                indices.try_for_each(|index| push_copy(writer, corpus, index))
            })?;
        }
    }
    Ok(())
}

/// The layers of a cache, by the names of their folders. All must be complete.
fn complete_layers(cache: &Cache) -> Result<Vec<LayerDir>, CacheError> {
    let layers = cache.layers()?;
    for layer in &layers {
        let missing = layer.missing_units()?;
        if !missing.is_empty() {
            return Err(layer.incomplete(&missing));
        }
        layer.check_manifest()?;
    }
    if layers.is_empty() {
        return Err(CacheError::NothingCaptured {
            path: cache.dir().to_owned(),
        });
    }
    Ok(layers)
}

fn unmergeable(one: &Cache, other: &Cache, problem: String, fix: &'static str) -> CacheError {
    CacheError::Unmergeable {
        one: one.dir().to_owned(),
        other: other.dir().to_owned(),
        problem,
        fix,
    }
}

/// Checks that distributions of both caches mean the same, and that their work units have the same size.
fn require_fit(
    (first, first_corpus): (&Cache, &PreparedCorpus),
    (cache, corpus): (&Cache, &PreparedCorpus),
) -> Result<(), CacheError> {
    require_one_import(first, cache)?;
    if let Some(difference) = first.identity().first_difference(cache.identity()) {
        let (field, stored, asked) = (difference.field, difference.stored, difference.asked);
        let problem = format!("they were made with different {field}: `{stored}` and `{asked}`");
        let fix = "merge caches of one teacher, one tokenizer and the same settings; `leadspan cache cut --top-k` makes \
                   `top_k` smaller";
        return Err(unmergeable(first, cache, problem, fix));
    }
    let (stored, asked) = (first_corpus.samples_per_shard(), corpus.samples_per_shard());
    if stored != asked {
        let problem = format!("their work units have {stored} and {asked} samples");
        let fix = "make both with the same `cache.samples_per_shard`";
        return Err(unmergeable(first, cache, problem, fix));
    }
    Ok(())
}

/// Refuses imported caches: nothing says that their teacher is that of another cache.
fn require_one_import(one: &Cache, other: &Cache) -> Result<(), CacheError> {
    let imported = |cache: &Cache| cache.identity().teacher.clone().and_then(|teacher| teacher.imported);
    let (of_one, of_other) = (imported(one), imported(other));
    if of_one == of_other {
        return Ok(());
    }
    let (problem, fix) = if of_one.is_some() && of_other.is_some() {
        let problem = "each was imported from files of its own".to_owned();
        (
            problem,
            "import the files of both together, with `leadspan cache import`",
        )
    } else {
        let imported = if of_one.is_some() { one } else { other };
        let problem = format!("`{}` was imported, so its teacher is unknown", imported.dir().display());
        (
            problem,
            "merge caches that one teacher filled; an imported cache can be trained from as it is",
        )
    };
    Err(unmergeable(one, other, problem, fix))
}

/// The layers to make, each with the parts that are taken of each cache. Caches that reach equally far in different layers, as
/// after an extension, get one layer.
fn layers_to_make(caches: &[Cache], layers_of: &[Vec<LayerDir>]) -> Result<Vec<(Layer, Stored)>, CacheError> {
    let names = |layers: &[LayerDir]| -> Vec<String> { layers.iter().map(|dir| dir.layer().folder_name()).collect() };
    let first = names(&layers_of[0]);
    let differing = layers_of.iter().position(|layers| names(layers) != first);
    let Some(differing) = differing else {
        let of = |(number, first): (usize, &LayerDir)| {
            let layer = first.layer().clone();
            let part = |layers: &Vec<LayerDir>| Part {
                dir: layers[number].clone(),
                taken: layer.clone(),
            };
            let stored = layers_of.iter().map(|layers| vec![part(layers)]).collect();
            (layer, stored)
        };
        return Ok(layers_of[0].iter().enumerate().map(of).collect());
    };
    let reached = joined(&layers_of[0]);
    let other = layers_of.iter().position(|layers| joined(layers) != reached);
    match reached {
        Some(layer) if other.is_none() => {
            let parts = caches.iter().map(|cache| wanted_layers(cache, &CutSettings::default()));
            Ok(vec![(layer, parts.collect::<Result<_, _>>()?)])
        }
        _ => {
            let other = other.unwrap_or(differing);
            let problem = format!(
                "they hold different layers: `{}` and `{}`",
                first.join("`, `"),
                names(&layers_of[other]).join("`, `")
            );
            let fix = "cut both to the same proportion and sections first, with `leadspan cache cut`";
            Err(unmergeable(&caches[0], &caches[other], problem, fix))
        }
    }
}

/// The layer that alone holds what `layers` hold together; `None` if they leave a gap.
fn joined(layers: &[LayerDir]) -> Option<Layer> {
    let bands = SectionSet::ALL.iter().filter_map(|section| {
        let up_to = reach(layers.iter().map(LayerDir::layer), section)?;
        let above = None;
        Some(Band { section, above, up_to })
    });
    let joined = Layer::try_from(bands.collect::<Vec<_>>()).ok()?;
    let bands = layers.iter().flat_map(|dir| dir.layer().bands());
    let is_within = |band: &Band| joined.band(band.section).is_some_and(|all| band.up_to <= all.up_to);
    bands.into_iter().all(is_within).then_some(joined)
}

/// Checks that no id is in two caches, and that no training sample of one has the tokens of a validation sample of another.
fn require_different_samples(caches: &[Cache], corpora: &[PreparedCorpus]) -> Result<(), CacheError> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (number, corpus) in corpora.iter().enumerate() {
        for index in 0..corpus.len() {
            let id = corpus.sample(index).id;
            if let Some(before) = seen.insert(id, number).filter(|&before| before != number) {
                let problem = format!("both have the sample `{id}`");
                let fix = "cut one of them to its other samples first, with `leadspan cache cut --samples`";
                return Err(unmergeable(&caches[before], &caches[number], problem, fix));
            }
        }
    }
    for (one, held_out) in corpora.iter().enumerate() {
        for (other, corpus) in corpora.iter().enumerate().filter(|(other, _)| *other != one) {
            if let Some(&copy) = copies_of_held_out(held_out, corpus)?.first() {
                let problem = format!(
                    "the training sample `{}` of the second has the tokens of a validation sample of the first",
                    corpus.sample(copy as usize).id
                );
                let fix = "leave it out of the second first, with `leadspan cache cut --samples`";
                return Err(unmergeable(&caches[one], &caches[other], problem, fix));
            }
        }
    }
    Ok(())
}

/// The cache whose samples to replay the result gets; `None` if none has any.
fn replay_source(caches: &[Cache]) -> Result<Option<&Cache>, CacheError> {
    let mut found: Option<(&Cache, (String, Vec<String>))> = None;
    for cache in caches {
        let Some(replay) = cache.replay()? else { continue };
        let contents = (replay.identity_blake3().to_owned(), replay.part_hashes()?);
        match &found {
            Some((first, known)) if *known != contents => {
                let problem = "they have different samples to replay".to_owned();
                let fix = "remove the folder `replay` of one of them and run `leadspan prepare` for it";
                return Err(unmergeable(first, cache, problem, fix));
            }
            Some(_) => {}
            None => found = Some((cache, contents)),
        }
    }
    Ok(found.map(|(cache, _)| cache))
}
