//! Making a cache of others: its folder, and then all of its shards, several at a time.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use leadspan_files::create_folder;
use leadspan_workers::{Awaited, LockGuard, Purpose, lock};
use rayon::{ThreadPoolBuilder, prelude::*};
use serde::Serialize;

use super::{
    origin::{self, Origin},
    unit::{self, NewLayer, Sources},
};
use crate::{Cache, CacheError, Identity, LayerDir, Progress, REPLAY, WorkUnit, adopt, ranged::CacheFiles};

/// How the caller follows a long operation.
pub struct Following<'a> {
    /// Whether to stop. It is asked before each shard.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Is told the number of shards that are done.
    pub progress: &'a mut (dyn FnMut(Progress) + Send),
    /// Is told regularly which process is waited for.
    pub waiting: &'a mut dyn FnMut(&Awaited),
}

/// What [`cut`](crate::cut) and [`merge`](crate::merge) have made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Whether everything is there. If not, it was stopped, and the same call continues.
    pub complete: bool,
    /// Number of samples of the new cache.
    pub samples: u64,
    /// Number of shards that the new cache has when it is complete.
    pub shards: u64,
    /// Number of shards that this call has made.
    pub shards_made: u64,
    /// Number of positions that are stored.
    pub positions: u64,
    /// Size of the shards that are stored, in bytes.
    pub shard_bytes: u64,
    /// Number of bytes of the shards that blocks were copied from, which this call has read.
    pub bytes_read: u64,
}

/// Starts the cache in `out`, or goes on with it. No other process works in it until the guard is dropped.
///
/// # Errors
///
/// Those of [`origin::settle`] and [`Cache::create_or_open`].
pub(super) fn begin(
    out: &Path,
    origin: &Origin,
    identity: &Identity,
    tokenizer: &[(String, Vec<u8>)],
    waiting: &mut dyn FnMut(&Awaited),
) -> Result<(Cache, LockGuard), CacheError> {
    create_folder(out)?;
    {
        let _lock = lock(out, Purpose::Preparing, waiting)?;
        origin::settle(out, origin)?;
    }
    Cache::create_or_open_telling(out, identity, tokenizer, waiting)?;
    let lock = lock(out, Purpose::Preparing, waiting)?;
    Ok((Cache::open(out)?, lock))
}

/// Copies the samples to replay of `source`, if it has any, into `cache`. They get the identity that they would have if they
/// were prepared with the settings of `cache`: they have no distributions.
///
/// # Errors
///
/// The error of a file that is damaged or cannot be read or written.
pub(super) fn copy_replay(source: &Cache, cache: &Cache, waiting: &mut dyn FnMut(&Awaited)) -> Result<(), CacheError> {
    let Some(replay) = source.replay()? else { return Ok(()) };
    let tokenizer = replay.tokenizer_contents()?;
    let mut identity = replay.identity().clone();
    identity.entries.top_k = cache.identity().entries.top_k;
    let copy = Cache::create_or_open_telling(&cache.dir().join(REPLAY), &identity, &tokenizer, waiting)?;
    if replay.corpus()?.is_some() {
        copy.copy_corpus_of(&replay)?;
        // A process that was killed here left its claim.
        Cache::open(copy.dir())?.remove_leftovers()?;
    }
    Ok(())
}

/// Makes all shards of `layers` that are missing, and then the manifests and the inventory of `cache`.
///
/// # Errors
///
/// [`CacheError::OtherOrigin`] if `cache` holds other layers, which somebody copied or captured into it since; the error of a
/// shard that cannot be read or written. Shards that were made stay.
pub(super) fn make_all<S: CacheFiles>(
    cache: &Cache,
    layers: &[NewLayer],
    sources: &Sources<'_, S>,
    following: &mut Following<'_>,
) -> Result<Made, CacheError> {
    let others = |held: &LayerDir| layers.iter().all(|new| new.layer.layer() != held.layer());
    if let Some(other) = cache.layers()?.into_iter().find(others) {
        return Err(CacheError::OtherOrigin {
            path: cache.dir().to_owned(),
            problem: format!("it also holds the layer `{}`", other.layer().folder_name()),
        });
    }
    let units = |layer: &NewLayer| layer.layer.corpus().units().to_vec();
    let all: Vec<(&NewLayer, WorkUnit)> = layers
        .iter()
        .flat_map(|layer| units(layer).into_iter().map(move |unit| (layer, unit)))
        .collect();
    let mut missing = Vec::new();
    for layer in layers {
        missing.extend(layer.layer.uncommitted_units()?.into_iter().map(|unit| (layer, unit)));
    }
    let total = all.len() as u64;
    let told = Mutex::new((total - missing.len() as u64, &mut *following.progress));
    let (stop, made) = (following.stop, AtomicU64::new(0));
    let make = |(layer, unit): &(&NewLayer, WorkUnit)| {
        if stop() {
            return Ok(());
        }
        if adopt(&layer.layer, unit)?.is_none() {
            unit::make(sources, layer, unit)?;
        }
        made.fetch_add(1, Ordering::Relaxed);
        let (done, progress) = &mut *told.lock().unwrap_or_else(PoisonError::into_inner);
        *done += 1;
        progress(Progress { done: *done, total });
        Ok::<(), CacheError>(())
    };
    let threads = sources.files.iter().find_map(CacheFiles::at_a_time);
    let pool = threads.and_then(|threads| ThreadPoolBuilder::new().num_threads(threads).build().ok());
    match pool {
        // On this thread.
        _ if threads == Some(1) => missing.iter().try_for_each(make)?,
        Some(pool) => pool.install(|| missing.par_iter().try_for_each(make))?,
        None => missing.par_iter().try_for_each(make)?,
    }
    let shards_made = made.into_inner();
    let mut result = Made {
        complete: shards_made == missing.len() as u64,
        samples: cache.require_corpus()?.len() as u64,
        shards: total,
        shards_made,
        bytes_read: sources.bytes_read.load(Ordering::Relaxed),
        ..Made::default()
    };
    if !result.complete {
        return Ok(result);
    }
    for layer in layers {
        if let Some(manifest) = layer.layer.write_manifest()? {
            result.positions += manifest.positions;
            result.shard_bytes += manifest.shard_bytes;
        }
    }
    cache.remove_leftovers()?;
    cache.take_inventory_telling(following.waiting)?;
    Ok(result)
}
