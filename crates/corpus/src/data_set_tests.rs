//! The synthetic data sets of `tests/fixtures/data-sets`, in every kind of file.

use std::{fs, path::PathBuf};

use leadspan_diagnosis::Diagnosis as _;
use leadspan_sequence::{Sample, Section};
use serde_json::json;

use crate::{
    ChatTemplate, DataSettings, DropReason, Known, RowRules, SectionSettings, WithoutMarkers, append,
    append::tests::known,
    prepare::tests::{directory, run, run_with, text},
    template::tests::{QWEN3, SMOLLM2},
    test_tokenizers::byte_level,
};

fn fixtures() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "tests", "fixtures", "data-sets"]
        .iter()
        .collect()
}

fn settings(value: serde_json::Value) -> DataSettings {
    serde_json::from_value(value).unwrap()
}

/// The samples sorted by id; ids of the form `FILE:ROW` then give the order of the rows.
fn samples(data: &DataSettings) -> Vec<Sample> {
    let mut samples = run_with(QWEN3, &fixtures(), data, &SectionSettings::default())
        .unwrap()
        .samples;
    samples.sort_by(|a, b| a.id.cmp(&b.id));
    samples
}

/// The part of each sample that does not depend on the kind of file.
fn content(samples: &[Sample]) -> Vec<(&[u32], leadspan_sequence::SectionBounds)> {
    samples
        .iter()
        .map(|sample| (sample.tokens.as_slice(), sample.bounds))
        .collect()
}

#[test]
fn every_layout_gives_the_same_samples_out_of_every_kind_of_file() {
    for (format, other, kept) in [
        ("open-thoughts", json!({"path": "hub"}), 4),
        ("bespoke-stratos", json!({"files": ["bespoke-stratos.parquet"]}), 4),
        ("bespoke-stratos", json!({"path": "saved"}), 4),
        ("sky-t1", json!({"files": ["sky-t1.parquet"]}), 4),
        ("nemotron", json!({"files": ["nemotron.parquet"]}), 4),
        ("messages", json!({"files": ["messages.parquet"]}), 4),
    ] {
        let lines = samples(&settings(
            json!({"files": [format!("{format}.jsonl")], "format": format}),
        ));
        let mut other = settings(other);
        other.format = serde_json::from_value(format.into()).unwrap();
        let table = samples(&other);
        assert_eq!(table.len(), kept, "{format}");
        assert_eq!(content(&table), content(&lines), "{format}");
    }
}

#[test]
fn thoughts_and_solutions_become_the_sections_that_a_reasoning_model_would_write() {
    let data = settings(json!({"path": "hub", "format": "open-thoughts"}));
    let sample = &samples(&data)[0];
    assert_eq!(sample.id, "hub/data/train-00000-of-00002.parquet:1");
    assert_eq!(
        text(sample, Section::Prompt),
        "<|im_start|>user\nSomebody has 2 apples and gets 3 more. How many are there?<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(
        text(sample, Section::ChainOfThought),
        "<think>\n2 apples, then 3 more.\n\nThat is 2 + 3 = 5.\n</think>"
    );
    assert_eq!(text(sample, Section::Answer), "\n\nThere are 5 apples.<|im_end|>\n");

    let kept = settings(json!({"path": "hub", "format": "open-thoughts", "system_prompt": "keep"}));
    let prompt = text(&samples(&kept)[0], Section::Prompt);
    let system = "<|im_start|>system\nWrite your thought between <think> and </think>, then your solution.<|im_end|>\n";
    assert!(prompt.starts_with(system), "{prompt}");
}

#[test]
fn one_task_of_synthetic_1_is_chosen_by_a_condition() {
    for files in ["synthetic-1.jsonl", "synthetic-1.parquet"] {
        let conditions = json!({"task_type": "verifiable_math", "metadata.attempts": [0, 1, 2]});
        let data = settings(json!({"files": [files], "format": "synthetic-1", "where": conditions}));
        let prepared = run(&fixtures(), &data).unwrap();
        let mut ids: Vec<&str> = prepared.samples.iter().map(|sample| sample.id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [format!("{files}:1"), format!("{files}:3")]);
        assert_eq!(prepared.report.dropped[&DropReason::FilteredOut], 2);
        // Without the condition, the row that has no response is malformed.
        let all = settings(json!({"files": [files], "format": "synthetic-1"}));
        let error = run(&fixtures(), &all).unwrap_err();
        assert_eq!(error.to_string(), format!("bad row at `{files}:4`"));
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "the field `llm_response` must be a string, found null");
    }
}

#[test]
fn nemotron_is_read_by_category_and_thinking() {
    let conditions = json!({"category": "math", "reasoning": "on"});
    let data = settings(json!({"files": ["nemotron.parquet"], "format": "nemotron", "where": conditions}));
    assert_eq!(samples(&data).len(), 2);
}

#[test]
fn a_bad_row_of_a_table_is_reported_by_its_number_and_can_be_skipped() {
    let data =
        |on_bad_row| settings(json!({"files": ["sky-t1.parquet"], "format": "nemotron", "on_bad_row": on_bad_row}));
    let error = run(&fixtures(), &data("stop")).unwrap_err();
    assert_eq!(error.to_string(), "bad row at `sky-t1.parquet:1`");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "the field `input` is missing");
    let error = run(&fixtures(), &data("skip")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("no training sample is left: of 4 rows, 4 bad (the first bad one is ")
    );
}

#[test]
fn damage_that_checksums_tell_is_an_error_and_never_other_text() {
    let whole = fs::read(fixtures().join("bespoke-stratos.parquet")).unwrap();
    let directory = directory(&[]);
    let path = directory.path().join("a.parquet");
    let data = settings(json!({"files": ["a.parquet"], "format": "bespoke-stratos"}));
    let sections = SectionSettings {
        without_markers: WithoutMarkers::Error,
        ..SectionSettings::default()
    };
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        run_with(QWEN3, directory.path(), &data, &sections)
    };
    let expected = read(&whole).unwrap();
    let mut errors = 0;
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        match read(&damaged) {
            Ok(prepared) => assert_eq!(prepared.samples, expected.samples, "byte {at}"),
            Err(error) => {
                assert!(!error.is_unexpected(), "byte {at}: {error}");
                errors += 1;
            }
        }
    }
    assert!(errors > whole.len() / 3, "{errors} of {}", whole.len());
}

#[test]
fn rows_of_further_pieces_are_appended() {
    let directory = directory(&[]);
    let piece = |n: usize| format!("train-{n:05}-of-00002.parquet");
    let copy = |n: usize| {
        fs::copy(
            fixtures().join("hub/data").join(piece(n)),
            directory.path().join(piece(n)),
        )
        .unwrap()
    };
    let of = |files: &[String]| settings(json!({"files": files, "format": "open-thoughts"}));
    copy(0);
    let prepared = run(directory.path(), &of(&[piece(0)])).unwrap();
    assert_eq!(prepared.samples.len(), 2);
    copy(1);
    let data = of(&[piece(0), piece(1)]);
    let template = ChatTemplate::new(SMOLLM2, Some("<bos>"), Some("<eos>")).unwrap();
    let tokenizer = byte_level(true);
    let sections = SectionSettings::default();
    let appended = append(
        directory.path(),
        &data,
        &sections,
        &template,
        &tokenizer,
        Known {
            samples: &known(&prepared),
            rules: RowRules::CURRENT,
        },
        &|_| (),
    )
    .unwrap();
    let mut ids: Vec<&str> = appended.samples.iter().map(|sample| sample.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [format!("{}:1", piece(1)), format!("{}:2", piece(1))]);
    assert_eq!(appended.report.rows, 4);
}
