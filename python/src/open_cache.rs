//! A cache opened for reading, as the functions of which `leadspan.Cache` is made.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use leadspan_cache::{Cache, CacheError, Missing, PreparedCorpus, Reader};
use leadspan_sequence::{Section, Split};
use pyo3::{
    Bound, IntoPyObjectExt as _, Py, PyAny, PyResult, Python,
    prelude::*,
    types::{PyCFunction, PyDict, PyList, PyTuple},
};
use rayon::prelude::*;

use crate::{
    arguments::{Asked, Given},
    errors,
    numbers::bytes,
    rectangles::Rectangles,
    threads,
};

/// The readers that are kept, one for each proportion with sections. Each maps the shards that it reads.
const KEPT_READERS: usize = 8;

/// The samples that a thread reads until signals are looked for: less than a second of work, unless they are very long.
const SAMPLES_OF_A_THREAD: usize = 64;

/// A cache opened for reading. Several threads may read at the same time.
struct OpenCache {
    missing: Missing,
    cache: Cache,
    corpus: PreparedCorpus,
    /// The readers that were used last, the most recent one at the end.
    readers: Mutex<Vec<(Asked, Arc<Reader>)>>,
}

/// `open(path, allow_incomplete)`: a dictionary of values and functions of the cache.
///
/// # Errors
///
/// If the function cannot be made.
pub(crate) fn function(py: Python<'_>) -> PyResult<Bound<'_, PyCFunction>> {
    PyCFunction::new_closure(
        py,
        Some(c"open"),
        None,
        |given: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| open(given),
    )
}

fn open(given: &Bound<'_, PyTuple>) -> PyResult<Py<PyDict>> {
    let py = given.py();
    let (path, allow_incomplete) = given.extract::<(PathBuf, bool)>()?;
    let (cache, corpus) = run(py, 1, || {
        let cache = Cache::open(&path)?;
        let corpus = cache.require_corpus()?;
        Ok((cache, corpus))
    })?;
    let missing = if allow_incomplete {
        Missing::Allowed
    } else {
        Missing::Refused
    };
    let identity = serde_json::to_string(cache.identity()).expect("an identity has text keys and finite numbers");
    let members = PyDict::new(py);
    members.set_item("length", corpus.len())?;
    members.set_item("identity", identity)?;
    members.set_item("tokenizer_dir", cache.tokenizer_dir().as_os_str())?;
    let opened = Arc::new(OpenCache {
        missing,
        cache,
        corpus,
        readers: Mutex::default(),
    });
    for (name, function) in FUNCTIONS {
        let opened = Arc::clone(&opened);
        let called = PyCFunction::new_closure(
            py,
            None,
            None,
            move |given: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| function(&opened, given),
        )?;
        members.set_item(name, called)?;
    }
    Ok(members.unbind())
}

/// A function of an open cache.
type Function = fn(&OpenCache, &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>>;

const FUNCTIONS: [(&str, Function); 7] = [
    ("coverage", coverage),
    ("position_counts", position_counts),
    ("read_many", read_many),
    ("sample", sample),
    ("ids", ids),
    ("section_ends", section_ends),
    ("of_split", of_split),
];

/// `coverage(proportion, sections)`: the proportion and the sections that are read.
fn coverage(opened: &OpenCache, given: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = given.py();
    let asked = Asked::new(py, &given.extract::<Given<'_>>()?)?;
    let coverage = *run(py, 1, || opened.reader(asked))?.coverage();
    let sections: Vec<&str> = coverage.sections.iter().map(Section::as_str).collect();
    (coverage.proportion.to_string(), sections).into_py_any(py)
}

/// `position_counts(proportion, sections)`: the number of positions that are read of each sample.
fn position_counts(opened: &OpenCache, given: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = given.py();
    let asked = Asked::new(py, &given.extract::<Given<'_>>()?)?;
    let counts: Vec<u32> = run(py, 1, || {
        let reader = opened.reader(asked)?;
        let count = |index| Ok(reader.position_count(index)? as u32);
        (0..opened.corpus.len() as u32).map(count).collect()
    })?;
    bytes(py, &counts)?.into_py_any(py)
}

/// `read_many(indices, threads, (proportion, sections))`: what is read of each of these samples.
fn read_many(opened: &OpenCache, given: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = given.py();
    let (indices, threads, asked) = given.extract::<(Vec<u32>, usize, Given<'_>)>()?;
    let asked = Asked::new(py, &asked)?;
    let (reader, count) = run(py, threads, || {
        Ok((opened.reader(asked)?, rayon::current_num_threads()))
    })?;
    let mut spans = Vec::with_capacity(indices.len());
    for part in indices.chunks(count * SAMPLES_OF_A_THREAD) {
        let read = run(py, threads, || {
            let of = |&index: &u32| Ok(Rectangles::of(index, reader.span(index)?));
            let read: Vec<Result<Rectangles, CacheError>> = part.par_iter().map(of).collect();
            // Of several errors the first one, whichever thread was faster.
            read.into_iter().collect::<Result<Vec<Rectangles>, CacheError>>()
        })?;
        for read in read {
            spans.push(read.to_python(py)?);
        }
        // Without this, Ctrl-C would have an effect only when everything is read.
        py.check_signals()?;
    }
    spans.into_py_any(py)
}

/// `sample(index)`: its id and split, and where its sections end.
fn sample(opened: &OpenCache, given: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = given.py();
    let (index,) = given.extract::<(u32,)>()?;
    if opened.corpus.unit_of(index).is_none() {
        let samples = opened.corpus.len();
        return Err(errors::of_cache(py, &CacheError::NoSuchSample { index, samples }));
    }
    let sample = opened.corpus.sample(index as usize);
    let [prompt, chain_of_thought, tokens] = Section::ALL.map(|section| sample.bounds.range(section).end);
    (sample.id, sample.split.as_str(), (prompt, chain_of_thought, tokens)).into_py_any(py)
}

/// `ids()`: the ids of all samples.
fn ids(opened: &OpenCache, given: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let ids = opened.corpus.samples().map(|sample| sample.id);
    PyList::new(given.py(), ids)?.into_py_any(given.py())
}

/// `section_ends()`: where prompt, chain of thought and answer of each sample end, three numbers a sample.
fn section_ends(opened: &OpenCache, given: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let of = |sample: leadspan_cache::SampleRef<'_>| Section::ALL.map(|section| sample.bounds.range(section).end);
    let ends: Vec<u32> = opened.corpus.samples().flat_map(of).collect();
    bytes(given.py(), &ends)?.into_py_any(given.py())
}

/// `of_split(name)`: the indices of the samples of a split.
fn of_split(opened: &OpenCache, given: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = given.py();
    let (name,) = given.extract::<(String,)>()?;
    let mut known = [Split::Train, Split::Validation].into_iter();
    let Some(split) = known.find(|known| known.as_str() == name) else {
        let message = format!("`{name}` is not a split: expected `train` or `validation`");
        return Err(errors::value(py, &message));
    };
    let indices: Vec<u32> = opened.corpus.of_split(split).collect();
    bytes(py, &indices)?.into_py_any(py)
}

/// Reads on `count` threads, without the interpreter's lock.
fn run<T: Send>(py: Python<'_>, count: usize, read: impl FnOnce() -> Result<T, CacheError> + Send) -> PyResult<T> {
    threads::run(py, count, read)?.map_err(|error| errors::of_cache(py, &error))
}

impl OpenCache {
    /// The reader of what is asked for.
    fn reader(&self, asked: Asked) -> Result<Arc<Reader>, CacheError> {
        let kept = || self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let take = |readers: &mut Vec<(Asked, Arc<Reader>)>| {
            let place = readers.iter().rposition(|(held, _)| *held == asked)?;
            let entry = readers.remove(place);
            let reader = Arc::clone(&entry.1);
            readers.push(entry);
            Some(reader)
        };
        if let Some(reader) = take(&mut kept()) {
            return Ok(reader);
        }
        // Without the lock: a thread that opens one may do the work of another that wants one, too.
        let opened = asked.open(&self.cache, self.missing);
        // If the cache is gone since it was opened, that is what is wrong, and not that it has no layers.
        let opened = opened.map_err(|error| Cache::open(self.cache.dir()).err().unwrap_or(error));
        let opened = Arc::new(opened?);
        let mut readers = kept();
        if let Some(reader) = take(&mut readers) {
            return Ok(reader);
        }
        if readers.len() == KEPT_READERS {
            readers.remove(0);
        }
        readers.push((asked, Arc::clone(&opened)));
        Ok(opened)
    }
}
