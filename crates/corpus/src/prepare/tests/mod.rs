//! Whole corpora through [`prepare`](super::prepare), on files in a temporary directory.

use std::{cell::RefCell, collections::BTreeMap, fs};

use leadspan_diagnosis::Diagnosis as _;
use leadspan_sequence::Section;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{
    DropReason, RowProblem, ValidationSize, WithoutMarkers, sample_maker::row_hash, template::tests::*,
    test_tokenizers::byte_level,
};

pub(super) fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn settings(files: &[&str]) -> DataSettings {
    serde_json::from_value(json!({ "files": files })).unwrap()
}

fn row(id: impl serde::Serialize, question: &str, answer: &str) -> String {
    let messages = [
        json!({"role": "user", "content": question}),
        json!({"role": "assistant", "content": answer}),
    ];
    json!({"id": id, "messages": messages}).to_string() + "\n"
}

fn thinking_rows(count: usize) -> String {
    (0..count)
        .map(|n| row(n, &format!("question {n}?"), &format!("<think>{n} é 漢</think> {n}.")))
        .collect()
}

pub(super) fn run_with(
    template: &str,
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
) -> Result<Prepared, CorpusError> {
    let template = ChatTemplate::new(template, Some("<bos>"), Some("<eos>")).unwrap();
    prepare(base, data, sections, &template, &byte_level(true), &|_| ())
}

pub(super) fn run(base: &Path, data: &DataSettings) -> Result<Prepared, CorpusError> {
    run_with(SMOLLM2, base, data, &SectionSettings::default())
}

pub(super) fn text(sample: &Sample, section: Section) -> String {
    let range = sample.bounds.range(section);
    byte_level(true)
        .decode(&sample.tokens[range.start as usize..range.end as usize], false)
        .unwrap()
}

#[test]
fn a_row_becomes_a_sample_whose_sections_are_its_parts() {
    let directory = directory(&[(
        "a.jsonl",
        &row("x", "say <think>no</think>", "well <think>\nr\n</think>\n\n4"),
    )]);
    let prepared = run(directory.path(), &settings(&["a.jsonl"])).unwrap();
    let sample = &prepared.samples[0];
    assert_eq!((sample.id.as_str(), sample.split), ("x", Split::Train));
    let prompt = text(sample, Section::Prompt);
    assert!(
        prompt.ends_with("say <think>no</think><|im_end|>\n<|im_start|>assistant\nwell "),
        "{prompt}"
    );
    assert_eq!(text(sample, Section::ChainOfThought), "<think>\nr\n</think>");
    assert_eq!(text(sample, Section::Answer), "\n\n4<|im_end|>\n");
    assert_eq!(prepared.report.tokens.total(), sample.tokens.len() as u64);
}

#[test]
fn all_layouts_of_one_conversation_give_the_same_tokens() {
    let columns = json!({"id": 1, "problem": "q", "chain_of_thought": "r", "answer": 4}).to_string();
    let apart = json!({"id": 1, "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": "4", "reasoning_content": "r"}]});
    let directory = directory(&[
        ("columns.jsonl", &columns),
        ("apart.jsonl", &apart.to_string()),
        ("inside.jsonl", &row(1, "q", "<think>\nr\n</think>\n\n4")),
    ]);
    for template in [SMOLLM2, QWEN3] {
        let of = |data: &DataSettings| {
            run_with(template, directory.path(), data, &SectionSettings::default())
                .unwrap()
                .row_hashes
        };
        let inside = of(&settings(&["inside.jsonl"]));
        assert_eq!(of(&settings(&["apart.jsonl"])), inside);
        let data = json!({"files": ["columns.jsonl"], "format": "columns", "columns": {"question": "problem"}});
        assert_eq!(of(&serde_json::from_value(data).unwrap()), inside);
    }
}

#[test]
fn the_result_does_not_depend_on_threads_files_or_compression() {
    let rows = thinking_rows(300);
    let (first, second) = rows.split_at(rows.find('\n').unwrap() + 1);
    let directory = directory(&[
        ("whole.jsonl", &rows),
        ("part-1.jsonl", first),
        ("part-2.jsonl", second),
    ]);
    fs::write(
        directory.path().join("whole.jsonl.zst"),
        zstd::encode_all(rows.as_bytes(), 3).unwrap(),
    )
    .unwrap();
    let of = |files: &[&str], threads| {
        let data = DataSettings {
            validation: ValidationSize::Count(30),
            seed: 5,
            ..settings(files)
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let Prepared {
            samples,
            row_hashes,
            report,
            ..
        } = pool.install(|| run(directory.path(), &data)).unwrap();
        (samples, row_hashes, report)
    };
    let expected = of(&["whole.jsonl"], 1);
    assert_eq!((expected.2.kept_train, expected.2.kept_validation), (270, 30));
    assert_eq!(of(&["whole.jsonl"], 7), expected);
    assert_eq!(of(&["part-2.jsonl", "part-*.jsonl"], 3), expected);
    assert_eq!(of(&["whole.jsonl.zst"], 2), expected);
}

#[test]
fn every_row_is_accounted_for_by_one_reason() {
    let rows = [
        row("kept", "q", "<think>r</think>a"),
        row("no markers", "q", "a"),
        row("never closed", "q", "<think>a"),
        row("empty", "q", " \n"),
        row("long", "q", &format!("<think>{}</think>", "r".repeat(500))),
        "\n{\"messages\": 1}\n".into(),
        "not json\n".into(),
    ];
    let directory = directory(&[("a.jsonl", &rows.concat())]);
    let data = DataSettings {
        max_tokens: 250,
        on_bad_row: BadRow::Skip,
        ..settings(&["a.jsonl"])
    };
    let report = run(directory.path(), &data).unwrap().report;
    assert_eq!(
        (report.rows, report.kept_train, report.bad_rows, report.without_markers),
        (7, 1, 2, 2)
    );
    let expected = [
        (DropReason::EmptyContent, 1),
        (DropReason::WithoutMarkers, 2),
        (DropReason::TooLong, 1),
    ];
    assert_eq!(report.dropped, BTreeMap::from(expected));
    assert_eq!(
        report.bad_row_examples[0],
        "a.jsonl:7: the field `messages` must be a list, found a number"
    );
    assert!(report.bad_row_examples[1].starts_with("a.jsonl:8: the line is not valid JSON: "));
    let stored = serde_json::to_value(&report).unwrap();
    assert_eq!(stored["dropped"]["without_markers"], 2);
    assert_eq!(serde_json::from_value::<PrepareReport>(stored).unwrap(), report);
}

#[test]
fn rows_that_data_where_leaves_out_are_counted_and_nothing_else_is_asked_of_them() {
    let rows = [
        row("a", "q", "<think>r</think>a").replace("{\"id\"", "{\"kind\": \"math\", \"id\""),
        // Of another kind: no conversation, and an id that is there already.
        "{\"id\": \"a\", \"kind\": \"code\"}\n".into(),
        row("b", "q", "<think>r</think>a"),
    ];
    let directory = directory(&[("a.jsonl", &rows.concat())]);
    let with = |kinds: Value| {
        let filter = serde_json::from_value(json!({"kind": kinds})).unwrap();
        let data = DataSettings {
            filter,
            ..settings(&["a.jsonl"])
        };
        run(directory.path(), &data)
    };
    let prepared = with(json!("math")).unwrap();
    assert_eq!(prepared.samples[0].id, "a");
    let report = prepared.report;
    assert_eq!((report.rows, report.kept_train, report.bad_rows), (3, 1, 0));
    assert_eq!(report.dropped, BTreeMap::from([(DropReason::FilteredOut, 2)]));
    assert!(matches!(
        with(json!(["math", "code"])),
        Err(CorpusError::BadRow { line: 2, .. })
    ));
    let error = with(json!("maths")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no training sample is left: of 3 rows, 3 dropped as filtered_out"
    );
    assert!(error.hint().unwrap().contains("data.where"));
}

#[test]
fn a_limited_number_of_training_samples_is_drawn_and_the_rest_counted() {
    let directory = directory(&[("a.jsonl", &thinking_rows(50))]);
    let with = |training| {
        let data = DataSettings {
            training,
            validation: ValidationSize::Count(10),
            ..settings(&["a.jsonl"])
        };
        run(directory.path(), &data).unwrap()
    };
    let (all, drawn) = (with(None), with(Some(25)));
    let report = &drawn.report;
    assert_eq!((report.rows, report.kept_train, report.kept_validation), (50, 25, 10));
    assert_eq!(report.dropped, BTreeMap::from([(DropReason::NotDrawn, 15)]));
    assert_eq!(
        report.tokens.total(),
        drawn.samples.iter().map(|s| s.tokens.len() as u64).sum::<u64>()
    );
    assert_eq!(drawn.row_hashes.len(), 35);
    // In the order in which they stand among all.
    let still: Vec<_> = all
        .samples
        .iter()
        .filter(|sample| drawn.samples.contains(sample))
        .collect();
    assert_eq!(still, drawn.samples.iter().collect::<Vec<_>>());
    assert_eq!(with(Some(40)), all);
    assert_eq!(with(Some(1000)), all);
}

#[test]
fn a_sample_of_exactly_the_maximum_is_kept_whole_and_a_longer_one_is_never_cut() {
    let directory = directory(&[("a.jsonl", &row("a", "q", "<think>r</think>a"))]);
    let tokens = run(directory.path(), &settings(&["a.jsonl"])).unwrap().samples[0]
        .tokens
        .len();
    let with_maximum = |max_tokens| {
        run(
            directory.path(),
            &DataSettings {
                max_tokens,
                ..settings(&["a.jsonl"])
            },
        )
    };
    assert_eq!(with_maximum(tokens).unwrap().samples[0].tokens.len(), tokens);
    let error = with_maximum(tokens - 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no training sample is left: of 1 rows, 1 dropped as too_long"
    );
    assert_eq!(error.hint().unwrap(), "raise `data.max_tokens`");
}

#[test]
fn without_markers_decides_about_samples_without_a_closed_chain_of_thought() {
    let rows = row("a", "q", "<think>r</think>a") + &row("b", "q", "just an answer");
    let directory = directory(&[("a.jsonl", &rows)]);
    let with = |without_markers| {
        let sections = SectionSettings {
            without_markers,
            ..SectionSettings::default()
        };
        run_with(SMOLLM2, directory.path(), &settings(&["a.jsonl"]), &sections)
    };
    assert_eq!(with(WithoutMarkers::Skip).unwrap().samples.len(), 1);
    let prepared = with(WithoutMarkers::Answer).unwrap();
    assert_eq!((prepared.report.without_markers, prepared.report.kept_train), (1, 2));
    let sample = prepared.samples.iter().find(|sample| sample.id == "b").unwrap();
    assert_eq!(text(sample, Section::ChainOfThought), "");
    assert_eq!(text(sample, Section::Answer), "just an answer<|im_end|>\n");
    let error = with(WithoutMarkers::Error).unwrap_err();
    assert!(
        matches!(&error, CorpusError::WithoutMarkers { file, line: 2, .. } if file == "a.jsonl"),
        "{error}"
    );
}

#[test]
fn thinking_that_the_template_removes_is_never_taken_for_a_plain_answer() {
    let directory = directory(&[("a.jsonl", &row("a", "q", "<think>r</think>a"))]);
    let sections = SectionSettings {
        without_markers: WithoutMarkers::Answer,
        ..SectionSettings::default()
    };
    let error = run_with(REMOVES_THINKING, directory.path(), &settings(&["a.jsonl"]), &sections).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no training sample is left: of 1 rows, 1 dropped as thinking_removed"
    );
    assert!(error.hint().unwrap().contains("chat template"));
}

#[test]
fn ids_are_the_rows_own_or_their_place() {
    let bare = r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "</think>"}]}"#;
    let rows = format!("{}{}\n{bare}\n", row("x", "q", "</think>"), row(17, "q", "</think>"));
    let directory = directory(&[]);
    fs::create_dir(directory.path().join("data")).unwrap();
    fs::write(directory.path().join("data/a.jsonl"), rows).unwrap();
    let prepared = run(directory.path(), &settings(&["data/*.jsonl"])).unwrap();
    let mut ids: Vec<&str> = prepared.samples.iter().map(|sample| sample.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["17", "data/a.jsonl:4", "x"]);
    assert_eq!(prepared.files, [directory.path().join("data/a.jsonl")]);
}

#[test]
fn an_id_that_occurs_twice_is_an_error_that_names_both_places() {
    let rows = row("a", "q", "</think>") + &row("b", "q", "dropped") + "\n" + &row("b", "q", "</think>");
    let directory = directory(&[("a.jsonl", &rows), ("b.jsonl", &row("a.jsonl:1", "q", "</think>"))]);
    let error = run(directory.path(), &settings(&["a.jsonl"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the id `b` is at `a.jsonl:2` and again at `a.jsonl:4`"
    );
    assert!(!error.is_unexpected() && error.hint().is_some());
}

#[test]
fn a_bad_row_stops_the_run_with_its_file_and_line() {
    let good = thinking_rows(1500);
    for (bad, expected) in [
        (
            b"{\"id\": 1".as_slice(),
            "the line is not valid JSON: EOF while parsing an object at column 8",
        ),
        (b"[1]", "expected an object, found a list"),
        (b"{\"id\": \"\xff\"}", "the line is not valid UTF-8 at byte 8"),
        (
            b"{\"id\": true, \"messages\": []}",
            "the field `id` must be a string or a number, found a boolean",
        ),
        (b"{\"id\": \"\", \"messages\": []}", "the field `id` is empty"),
        (b"{\"id\": \"x\"}", "the field `messages` is missing"),
    ] {
        let directory = directory(&[]);
        // Far into the file and twice, so that it is the first that is reported whatever thread meets it.
        fs::write(
            directory.path().join("a.jsonl"),
            [good.as_bytes(), bad, b"\n", bad].concat(),
        )
        .unwrap();
        let error = run(directory.path(), &settings(&["a.jsonl"])).unwrap_err();
        assert_eq!(error.to_string(), "bad row at `a.jsonl:1501`");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), expected);
        assert!(!error.is_unexpected());
        assert!(error.hint().unwrap().contains("data.on_bad_row"));
    }
}

#[test]
fn a_conversation_that_the_template_refuses_is_a_bad_row() {
    let developer =
        json!({"messages": [{"role": "developer", "content": "d"}, {"role": "assistant", "content": "</think>"}]});
    let directory = directory(&[("a.jsonl", &(row("a", "q", "</think>") + &developer.to_string()))]);
    let run = |on_bad_row| {
        let data = DataSettings {
            on_bad_row,
            ..settings(&["a.jsonl"])
        };
        run_with(LLAMA3, directory.path(), &data, &SectionSettings::default())
    };
    let error = run(BadRow::Stop).unwrap_err();
    assert!(
        matches!(
            error,
            CorpusError::BadRow {
                line: 2,
                problem: RowProblem::Template { .. },
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(run(BadRow::Skip).unwrap().report.bad_rows, 1);
}

#[test]
fn an_error_in_a_row_comes_before_damage_further_down_the_file() {
    let directory = directory(&[]);
    let whole = zstd::encode_all(format!("oops\n{}", thinking_rows(5000)).as_bytes(), 3).unwrap();
    fs::write(directory.path().join("a.jsonl.zst"), &whole[..whole.len() - 10]).unwrap();
    let error = run(directory.path(), &settings(&["a.jsonl.zst"])).unwrap_err();
    assert!(matches!(error, CorpusError::BadRow { line: 1, .. }), "{error}");
    // Damage is never a bad row that could be skipped.
    let data = DataSettings {
        on_bad_row: BadRow::Skip,
        ..settings(&["a.jsonl.zst"])
    };
    assert!(matches!(run(directory.path(), &data), Err(CorpusError::Read { .. })));
}

#[test]
fn an_empty_data_set_is_an_error() {
    let directory = directory(&[("a.jsonl", "\n\n")]);
    let error = run(directory.path(), &settings(&["a.jsonl"])).unwrap_err();
    assert_eq!(error.to_string(), "no training sample is left: of 0 rows");
}

#[test]
fn a_held_out_count_must_leave_training_samples() {
    let directory = directory(&[("a.jsonl", &thinking_rows(4))]);
    let data = DataSettings {
        validation: ValidationSize::Count(5),
        ..settings(&["a.jsonl"])
    };
    let error = run(directory.path(), &data).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`data.validation` holds out 5 samples, but there are only 4"
    );
}

#[test]
fn a_row_hash_tells_id_tokens_and_bounds_apart() {
    let hash = |id: &str, tokens: &[u32], prompt_end| {
        let bounds = leadspan_sequence::SectionBounds::new(prompt_end, 2, tokens.len() as u32).unwrap();
        row_hash(id, tokens, bounds)
    };
    let one = hash("a", &[1, 2, 3], 1);
    for other in [
        hash("b", &[1, 2, 3], 1),
        hash("a", &[1, 2, 4], 1),
        hash("a", &[1, 2, 3], 0),
    ] {
        assert_ne!(other, one);
    }
    assert_eq!(hash("a", &[1, 2, 3], 1), one);
}

#[test]
fn a_sink_takes_the_samples_in_the_order_of_the_rows_and_the_arrangement_places_them() {
    let directory = directory(&[("a.jsonl", &thinking_rows(2500))]);
    let data = DataSettings {
        validation: ValidationSize::Count(40),
        training: Some(2000),
        ..settings(&["a.jsonl"])
    };
    let template = ChatTemplate::new(SMOLLM2, Some("<bos>"), Some("<eos>")).unwrap();
    let (tokenizer, sections) = (byte_level(true), SectionSettings::default());
    let mut taken = Vec::new();
    let arrangement = prepare_into(
        directory.path(),
        &data,
        &sections,
        &template,
        &tokenizer,
        &|_| (),
        &mut |sample| {
            taken.push(sample);
            Ok::<(), CorpusError>(())
        },
    )
    .unwrap();
    let ids: Vec<usize> = taken.iter().map(|sample| sample.id.parse().unwrap()).collect();
    assert_eq!(ids, (0..2500).collect::<Vec<_>>());
    let whole = run(directory.path(), &data).unwrap();
    assert_eq!((&arrangement.report, &arrangement.files), (&whole.report, &whole.files));
    assert_eq!(arrangement.places.len(), 2040);
    for (place, (sample, row_hash)) in arrangement
        .places
        .iter()
        .zip(whole.samples.iter().zip(&whole.row_hashes))
    {
        let taken = &taken[place.sample];
        assert_eq!((&taken.id, place.split), (&sample.id, sample.split));
        assert_eq!(
            (&taken.tokens, taken.bounds, &taken.row_hash),
            (&sample.tokens, sample.bounds, row_hash)
        );
    }
}

#[test]
fn a_sink_that_fails_stops_the_preparation() {
    #[derive(Debug)]
    enum Failure {
        Corpus,
        Full,
    }
    impl From<CorpusError> for Failure {
        fn from(_: CorpusError) -> Self {
            Self::Corpus
        }
    }
    let directory = directory(&[("a.jsonl", &thinking_rows(20))]);
    let template = ChatTemplate::new(SMOLLM2, Some("<bos>"), Some("<eos>")).unwrap();
    let (tokenizer, sections) = (byte_level(true), SectionSettings::default());
    let prepared = |base: &Path, most: usize| {
        let mut taken = 0;
        let mut sink = |_| {
            taken += 1;
            if taken > most { Err(Failure::Full) } else { Ok(()) }
        };
        let data = settings(&["a.jsonl"]);
        let result = prepare_into(base, &data, &sections, &template, &tokenizer, &|_| (), &mut sink);
        (result.map(|arrangement| arrangement.places.len()), taken)
    };
    assert!(matches!(prepared(directory.path(), 3), (Err(Failure::Full), 4)));
    assert!(matches!(prepared(directory.path(), 20), (Ok(20), 20)));
    assert!(matches!(
        prepared(&directory.path().join("elsewhere"), 20),
        (Err(Failure::Corpus), 0)
    ));
}

#[test]
fn progress_counts_up_to_all_rows_and_bytes() {
    let rows = thinking_rows(2500);
    let directory = directory(&[("a.jsonl", &rows)]);
    let template = ChatTemplate::new(SMOLLM2, None, None).unwrap();
    let told = RefCell::new(Vec::new());
    let tell = |progress| told.borrow_mut().push(progress);
    let data = settings(&["a.jsonl"]);
    prepare(
        directory.path(),
        &data,
        &SectionSettings::default(),
        &template,
        &byte_level(true),
        &tell,
    )
    .unwrap();
    let told = told.into_inner();
    assert!(told.len() > 1 && told.is_sorted_by_key(|progress| (progress.rows, progress.bytes_read)));
    let bytes = rows.len() as u64;
    let expected = PrepareProgress {
        rows: 2500,
        kept: 2500,
        bytes_read: bytes,
        bytes_total: bytes,
    };
    assert_eq!(*told.last().unwrap(), expected);
}
