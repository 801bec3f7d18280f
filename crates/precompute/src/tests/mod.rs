//! Tests of stage one on a tiny seeded teacher: its output, interruptions and refusals.

mod appended_rows;
mod captured_rows;
mod device;
mod elsewhere;
mod planning;
mod proportions;
mod refusals;
mod resumption;
mod served;
mod stamps;
mod streaming;
mod templates;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use leadspan_cache::{Cache, Coverage, Missing, PreparedCorpus, Reader, Span};
use leadspan_sequence::{Sample, SectionSet};
use leadspan_workers::Worker;
use tempfile::TempDir;

use crate::{DataCheck, Event, Origin, Outcome, Pipeline, PrecomputeError, Summary, run};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

/// A temporary folder with some rows, and a pipeline for them.
struct Project {
    folder: TempDir,
    pipeline: Pipeline,
}

impl Project {
    /// A project with the 40 rows of the fixture, eight of them held out.
    fn new() -> Self {
        Self::with_rows(&fs::read_to_string(fixture("tiny-teacher-text.jsonl")).unwrap())
    }

    fn with_rows(rows: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
        let pipeline = Pipeline {
            base: folder.path().to_owned(),
            teacher: from_json(&format!(r#"{{"model": {:?}}}"#, fixture("tiny-teacher"))),
            data: from_json(r#"{"files": ["*.jsonl"], "format": "columns", "validation": 8, "seed": 3}"#),
            sections: from_json("{}"),
            cache: from_json(
                r#"{"dir": "caches/one", "top_k": 16, "precision": "exact", "samples_per_shard": 10, "batch_tokens": 512}"#,
            ),
            data_check: DataCheck::default(),
            available_memory: None,
            server_key: None,
            server_authorities: crate::ServerAuthorities::default(),
        };
        Self { folder, pipeline }
    }

    /// A pipeline for the same data and another cache.
    fn another(&self, name: &str, change: impl FnOnce(&mut Pipeline)) -> Pipeline {
        let mut pipeline = self.pipeline.clone();
        pipeline.cache.dir = format!("caches/{name}").into();
        change(&mut pipeline);
        pipeline
    }
}

fn from_json<T: serde::de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

/// Rows from a dozen to about 2,000 tokens long.
fn long_rows() -> String {
    let mut rows = String::new();
    for index in 0..12 {
        let steps = (0..=index * index * 4 / 3).fold(String::new(), |mut steps, step| {
            write!(steps, "{step} + {} = {}.\\n", index + step % 7, step + index + step % 7).unwrap();
            steps
        });
        writeln!(rows, r#"{{"id": "long-{index}", "question": "How many?", "chain_of_thought": "{steps}", "answer": "so {index}"}}"#)
            .unwrap();
    }
    rows
}

/// A row that is not in the fixture.
fn appended_row(id: &str) -> String {
    let thought = "one and ".repeat(1 + id.len() % 5);
    format!(r#"{{"id": "{id}", "question": "How many?", "chain_of_thought": "{thought}", "answer": "{id}"}}"#) + "\n"
}

fn run_to_end(pipeline: &Pipeline) -> Summary {
    run_as(pipeline, Worker::ALONE)
}

fn run_as(pipeline: &Pipeline, worker: Worker) -> Summary {
    match run(pipeline, worker, &AtomicBool::new(false), &mut |_| ()).unwrap() {
        Outcome::Done(summary) => summary,
        Outcome::Stopped(_) => panic!("nobody asked it to stop"),
    }
}

fn refused(pipeline: &Pipeline) -> PrecomputeError {
    run(pipeline, Worker::ALONE, &AtomicBool::new(false), &mut |_| ()).unwrap_err()
}

fn events_of(pipeline: &Pipeline) -> Vec<Event> {
    let mut events = Vec::new();
    run(pipeline, Worker::ALONE, &AtomicBool::new(false), &mut |event| {
        events.push(event);
    })
    .unwrap();
    events
}

/// Every file under a folder, by its path in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// The files of a cache without the machine's records of hashes, which it must have: they say when files changed, and which
/// command hashed them.
fn without_records(mut files: BTreeMap<PathBuf, Vec<u8>>) -> BTreeMap<PathBuf, Vec<u8>> {
    for record in [".data.json", ".weights.json"] {
        assert!(files.remove(Path::new(record)).is_some(), "{record}");
    }
    files
}

/// The shards of all layers, by path.
fn shards(pipeline: &Pipeline) -> BTreeMap<PathBuf, Vec<u8>> {
    files(&pipeline.cache_dir().join("layers"))
}

fn open(cache: &Cache, proportion: &str) -> Reader {
    let asked = Coverage {
        proportion: proportion.parse().unwrap(),
        sections: SectionSet::ALL,
    };
    Reader::open(cache, asked, Missing::Refused).unwrap()
}

/// All samples of a corpus.
fn samples_of(corpus: &PreparedCorpus) -> Vec<Sample> {
    let samples = (0..corpus.len()).map(|index| corpus.owned_sample(index).unwrap());
    samples.collect()
}

/// Every sample of a cache with its id, as it is read at a proportion.
fn read(pipeline: &Pipeline, proportion: &str) -> Vec<(String, Span)> {
    let cache = Cache::open(&pipeline.cache_dir()).unwrap();
    let reader = open(&cache, proportion);
    let samples = reader.corpus().samples().enumerate();
    samples
        .map(|(index, sample)| (sample.id.to_owned(), reader.span(index as u32).unwrap()))
        .collect()
}

/// Checks that spans agree: tokens and positions exactly, log-probabilities to 1e-5 nats. Entries that are closer to each
/// other than that may change places.
fn assert_close(one: &Span, other: &Span, what: &str) {
    const TOLERANCE: f32 = 1e-5;
    assert_eq!(one.tokens, other.tokens, "{what}");
    assert_eq!(one.positions, other.positions, "{what}");
    for ((a, b), position) in one
        .distributions
        .iter()
        .zip(other.distributions.iter())
        .zip(&one.positions)
    {
        let near = |a: f32, b: f32| (a - b).abs() <= TOLERANCE;
        assert!(near(a.tail_logprob, b.tail_logprob), "{what}, tail of {position}");
        assert!(near(a.target_logprob, b.target_logprob), "{what}, target of {position}");
        assert_eq!(a.logprobs.len(), b.logprobs.len(), "{what}, entries of {position}");
        assert!(
            a.logprobs.iter().zip(b.logprobs).all(|(&a, &b)| near(a, b)),
            "{what}, entries of {position}"
        );
        for (id, &logprob) in a.token_ids.iter().zip(a.logprobs) {
            let there = b
                .token_ids
                .iter()
                .position(|other| other == id)
                .map(|rank| b.logprobs[rank]);
            assert!(
                near(there.unwrap_or(b.logprobs[b.logprobs.len() - 1]), logprob),
                "{what}, token {id} of {position}"
            );
        }
    }
}
