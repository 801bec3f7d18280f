//! Cutting a cache that is in a store: everything but its shards is pulled, and of these only what the cut needs.
//!
//! What describes the larger cache lies in the hidden folder [`FRAME`] of the new one as long as this takes. No reader takes it for
//! a cache, and the same call after a kill goes on with it.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::Path,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use leadspan_cache::{
    Cache, CacheError, CacheFiles, CutSettings, FRAME, Following, Made, RangedFile, Receipt, cut_reading, require_place,
};
use leadspan_diagnosis::Diagnosis as _;

use crate::{
    Event, Opened, StoreError, frame,
    in_store::in_store,
    listing::receipt_of,
    plan::Units,
    pull::pull_files,
    ranges::read_parts,
    records::{self, parsed},
    same::contents,
    source::Source,
    store::{Object, Replacing, Store},
};

/// The part of what is needed that may be fetched in addition, to join ranges that are close to each other.
const SPARE: u64 = 100;

/// What [`pull_cut`] has made.
#[derive(Clone, Copy, Debug)]
pub struct PulledCut {
    /// The cache that was made.
    pub made: Made,
    /// Number of bytes that this call has fetched, apart from lists of files.
    pub bytes_fetched: u64,
    /// Size of all files of the cache in the store, in bytes.
    pub store_bytes: u64,
}

/// How [`pull_cut`] ended if it did not fail.
#[derive(Debug)]
pub enum CutOutcome {
    /// The cache is there.
    Done(PulledCut),
    /// It was told to stop. The same call does the rest.
    Stopped,
}

/// Cuts a smaller cache in the folder `dir` from the cache in a store. Only what it needs is fetched. The files are those that
/// [`leadspan_cache::cut`] makes of the whole cache.
///
/// `stop` is checked between requests; `events` tells of what describes the larger cache, and `following` of shards.
///
/// # Errors
///
/// [`StoreError::InUse`] if another process does this in the same folder; those of [`pull`](crate::pull) and, as [`StoreError::Cache`] or [`StoreError::InStore`], of [`leadspan_cache::cut`]; [`StoreError::NoRanges`] of a server
/// that sends whole files only. Unlike [`pull`](crate::pull), it refuses a cache of which a file is damaged or missing.
pub fn pull_cut(
    opened: &Opened,
    dir: &Path,
    settings: &CutSettings,
    stop: &AtomicBool,
    events: &mut dyn FnMut(Event),
    following: &mut Following<'_>,
) -> Result<CutOutcome, StoreError> {
    require_place(dir)?;
    let frame = dir.join(FRAME);
    let _lock = frame::lock(dir, &frame)?;
    frame::clear_leftovers(&frame)?;
    let metered = Metered {
        store: &*opened.store,
        fetched: AtomicU64::new(0),
    };
    let pulled = pull_into((&metered, opened.parallel), dir, settings, stop, events, following);
    let is_kept = match &pulled {
        Ok(pulled) => pulled.is_none(),
        Err(StoreError::Stopped) => true,
        // A refusal leaves nothing.
        Err(error) => error.is_unexpected(),
    };
    if !is_kept {
        frame::remove(&frame)?;
        if pulled.is_err() {
            // Unless it has files of a cut that was begun.
            let _ = fs::remove_dir(dir);
        }
    }
    match pulled {
        Ok(Some((made, store_bytes))) => Ok(CutOutcome::Done(PulledCut {
            made,
            bytes_fetched: metered.fetched.into_inner(),
            store_bytes,
        })),
        Ok(None) | Err(StoreError::Stopped) => Ok(CutOutcome::Stopped),
        Err(error) => Err(error),
    }
}

/// Pulls the frame and makes the cut. Returns what was made and the size of the store's files; `None` if it was stopped.
fn pull_into(
    from: (&Metered<'_>, usize),
    dir: &Path,
    settings: &CutSettings,
    stop: &AtomicBool,
    events: &mut dyn FnMut(Event),
    following: &mut Following<'_>,
) -> Result<Option<(Made, u64)>, StoreError> {
    let frame = dir.join(FRAME);
    let summary = pull_files(
        (from.0, from.1),
        (&frame, Some(dir)),
        Units::WithoutShards,
        stop,
        events,
    )?
    .summary;
    if let Some(problem) = summary.problems.into_iter().next() {
        return Err(problem);
    }
    let of_store = |error| in_store(error, &frame, from.0.url());
    let source = Cache::open_frame(&frame).map_err(of_store)?;
    let store_bytes = summary.bytes_copied + summary.bytes_there + shard_bytes(&source).map_err(of_store)?;
    let files = StoreFiles {
        store: from.0,
        parallel: from.1,
        frame: &frame,
        stop,
        failure: Mutex::new(None),
    };
    let made = cut_reading(&source, &&files, dir, settings, following);
    let failure = files.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (failure, made) {
        (Some(failure), _) => Err(failure),
        (None, made) => {
            let made = made.map_err(of_store)?;
            Ok(made.complete.then_some((made, store_bytes)))
        }
    }
}

/// The size of all shards that have a receipt, in bytes.
fn shard_bytes(frame: &Cache) -> Result<u64, CacheError> {
    let mut bytes = 0;
    for layer in frame.layers()? {
        let missing = layer.missing_units()?;
        for unit in layer.corpus().units().iter().filter(|unit| !missing.contains(unit)) {
            bytes += Receipt::read(&layer, unit)?.shard_bytes();
        }
    }
    Ok(bytes)
}

/// The shards of a cache in a store. Their sizes are those of the receipts in the folder `frame`.
struct StoreFiles<'a> {
    store: &'a dyn Store,
    parallel: usize,
    frame: &'a Path,
    stop: &'a AtomicBool,
    /// The first failure of the store. The cache's errors have no place for it.
    failure: Mutex<Option<StoreError>>,
}

/// A shard in a store.
struct StoreFile<'a> {
    files: &'a StoreFiles<'a>,
    name: String,
    bytes: u64,
    /// All of it, once it was asked for: to check a shard whose receipt has no hash of its tail.
    whole: OnceLock<Bytes>,
}

impl StoreFiles<'_> {
    fn failed(&self, error: StoreError) -> io::Error {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        io::Error::other("the store failed")
    }
}

/// What is opened borrows what opens it.
impl<'a> CacheFiles for &'a StoreFiles<'a> {
    type File = StoreFile<'a>;

    fn open(&self, name: &Path) -> Result<StoreFile<'a>, CacheError> {
        let name = name.to_string_lossy().into_owned();
        let path = self.frame.join(receipt_of(&name));
        let stated = || -> Result<u64, StoreError> {
            let receipt: records::Receipt = parsed(&contents(&path)?, &path.display().to_string())?;
            Ok(receipt.shard.bytes)
        };
        match stated() {
            Ok(bytes) => Ok(StoreFile {
                files: self,
                name,
                bytes,
                whole: OnceLock::new(),
            }),
            Err(error) => Err(CacheError::Io {
                action: "open",
                path,
                source: self.failed(error),
            }),
        }
    }

    fn at_a_time(&self) -> Option<usize> {
        Some(self.parallel)
    }
}

impl RangedFile for StoreFile<'_> {
    fn size(&self) -> u64 {
        self.bytes
    }

    fn range(&self, range: Range<u64>) -> io::Result<Bytes> {
        let mut read = self.ranges(std::slice::from_ref(&range))?;
        Ok(read.pop().unwrap_or_default())
    }

    fn ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let files = self.files;
        if files.stop.load(Ordering::Relaxed) {
            return Err(files.failed(StoreError::Stopped));
        }
        let of = |bytes: &Bytes, part: &Range<u64>, from: u64| {
            let [start, end] = [part.start, part.end].map(|place| (place - from) as usize);
            bytes.slice(start..end)
        };
        if let Some(whole) = self.whole.get() {
            return Ok(ranges.iter().map(|range| of(whole, range, 0)).collect());
        }
        let joined = joined(ranges);
        let asked: Vec<Range<u64>> = joined.iter().map(|(range, _)| range.clone()).collect();
        // As many shards are made at a time as requests may run.
        let read = read_parts((files.store, 1), &self.name, &asked).map_err(|error| files.failed(error))?;
        let mut parts = Vec::with_capacity(ranges.len());
        for ((range, places), bytes) in joined.into_iter().zip(read) {
            let bytes = Bytes::from(bytes);
            parts.extend(ranges[places].iter().map(|part| of(&bytes, part, range.start)));
            if range == (0..self.bytes) {
                self.whole.get_or_init(|| bytes);
            }
        }
        Ok(parts)
    }
}

/// Joins ascending ranges, the closest ones first, as long as little is fetched in addition. Each is a range of the file, and of
/// `ranges`.
fn joined(ranges: &[Range<u64>]) -> Vec<(Range<u64>, Range<usize>)> {
    let wanted: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    let gap = |index: usize| ranges[index].start.saturating_sub(ranges[index - 1].end);
    let mut closest: Vec<usize> = (1..ranges.len()).collect();
    closest.sort_by_key(|&index| gap(index));
    let mut spare = wanted / SPARE;
    let mut is_joined = vec![false; ranges.len()];
    for index in closest {
        let Some(left) = spare.checked_sub(gap(index)) else {
            break;
        };
        (spare, is_joined[index]) = (left, true);
    }
    let mut all: Vec<(Range<u64>, Range<usize>)> = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        match all.last_mut() {
            Some((last, of)) if is_joined[index] => (last.end, of.end) = (range.end, index + 1),
            _ => all.push((range.clone(), index..index + 1)),
        }
    }
    all
}

/// A store from which the bytes that are read are counted.
struct Metered<'a> {
    store: &'a dyn Store,
    fetched: AtomicU64,
}

impl Metered<'_> {
    fn count(&self, bytes: &[u8]) {
        self.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
}

impl Store for Metered<'_> {
    fn url(&self) -> &str {
        self.store.url()
    }

    fn list(&self) -> Result<Option<BTreeMap<String, Object>>, StoreError> {
        self.store.list()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes = self.store.read(name)?;
        self.count(bytes.as_deref().unwrap_or_default());
        Ok(bytes)
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let bytes = self.store.read_range(name, range)?;
        self.count(&bytes);
        Ok(bytes)
    }

    fn put(&self, name: &str, bytes: Vec<u8>, replacing: Replacing) -> Result<bool, StoreError> {
        self.store.put(name, bytes, replacing)
    }

    fn put_large(&self, name: &str, source: &mut Source<'_>) -> Result<(), StoreError> {
        self.store.put_large(name, source)
    }

    fn require_target(&self, dir: &Path) -> Result<(), StoreError> {
        self.store.require_target(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_ranges_are_joined_as_long_as_little_is_fetched_in_addition() {
        // 2,000 bytes are wanted, so 20 may be spared. The gaps are 10, 40, 8 and 5.
        let ranges = [0..500, 510..900, 940..1440, 1448..1948, 1953..2063];
        let joined = joined(&ranges);
        // 5 + 8 are 13; 10 more would be 23.
        assert_eq!(joined, [(0..500, 0..1), (510..900, 1..2), (940..2063, 2..5)]);
        assert!(super::joined(&[]).is_empty());
    }
}
