//! What preparing holds in memory: ids and bounds of all samples, but only a bounded number of their tokens.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{
    alloc::System,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use leadspan_memory::Counting;
use leadspan_precompute::{DataCheck, Origin, TextPipeline, prepare_text};

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting::new(System);

/// Rows that are read before memory stops growing: two chunks of them.
const FEW_ROWS: usize = 2048;

/// Further rows.
const MORE_ROWS: usize = 2048;

/// What a sample may take beside its tokens, which take four times as much here.
const SAMPLE_BYTES: usize = 1000;

fn rows(numbers: std::ops::Range<usize>) -> String {
    let mut rows = String::new();
    for number in numbers {
        let thought = (0..110).fold(String::new(), |mut thought, step| {
            write!(thought, "{} and ", number * 7 + step).unwrap();
            thought
        });
        let row = format!(
            r#"{{"id": "row-{number}", "question": "How many?", "chain_of_thought": "{thought}", "answer": "{number}"}}"#
        );
        writeln!(rows, "{row}").unwrap();
    }
    rows
}

fn pipeline(base: &Path, cache: &str) -> TextPipeline {
    let teacher = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-teacher");
    TextPipeline {
        base: base.to_owned(),
        tokenizer: teacher,
        is_served: false,
        data: serde_json::from_str(r#"{"files": ["*.jsonl"], "format": "columns", "validation": 8}"#).unwrap(),
        sections: serde_json::from_str("{}").unwrap(),
        cache: serde_json::from_str(&format!(r#"{{"dir": "{cache}"}}"#)).unwrap(),
        data_check: DataCheck::default(),
    }
}

/// Prepares a cache or extends it. Returns the most bytes that were held above those before, and the tokens of the corpus.
fn peak_of(pipeline: &TextPipeline, is_expected: fn(Origin) -> bool) -> (usize, u64) {
    let before = ALLOCATOR.restart_peak();
    let prepared = prepare_text(pipeline, &mut |_| ()).unwrap();
    let peak = ALLOCATOR.peak() - before;
    assert!(is_expected(prepared.origin), "{:?}", prepared.origin);
    (peak, prepared.corpus.total_tokens())
}

#[test]
fn preparing_more_rows_does_not_hold_more_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let base: PathBuf = folder.path().to_owned();
    fs::write(base.join("a.jsonl"), rows(0..FEW_ROWS)).unwrap();
    let (few, few_tokens) = peak_of(&pipeline(&base, "few"), |origin| origin == Origin::Made);
    fs::write(base.join("b.jsonl"), rows(FEW_ROWS..FEW_ROWS + MORE_ROWS)).unwrap();
    let (many, tokens) = peak_of(&pipeline(&base, "many"), |origin| origin == Origin::Made);
    let extending = |origin| matches!(origin, Origin::Extended { samples, .. } if samples == MORE_ROWS as u64);
    let (extended, _) = peak_of(&pipeline(&base, "few"), extending);
    let token_bytes = 4 * (tokens - few_tokens) as usize;
    assert!(
        token_bytes > 4 * MORE_ROWS * SAMPLE_BYTES,
        "{token_bytes} bytes of tokens are too few to tell"
    );
    let allowed = few + MORE_ROWS * SAMPLE_BYTES;
    assert!(
        many <= allowed && extended <= allowed,
        "{few} bytes for {FEW_ROWS} rows; {many} and {extended} for {MORE_ROWS} more, whose tokens take {token_bytes}"
    );
}
