//! Whole corpora through [`prepare`](super::prepare), on files in a temporary directory.

mod given;
mod lead_spans;
mod refusals;
mod sinks;

use std::{collections::BTreeMap, fs};

use leadspan_diagnosis::Diagnosis as _;
use leadspan_sequence::Section;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{
    BadRow, DropReason, RowProblem, ValidationSize, WithoutMarkers, sample_maker::row_hash, template::tests::*,
    test_tokenizers::byte_level,
};

pub(crate) fn directory(files: &[(&str, &str)]) -> TempDir {
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

pub(crate) fn run_with(
    template: &str,
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
) -> Result<Prepared, CorpusError> {
    let template = ChatTemplate::new(template, Some("<bos>"), Some("<eos>")).unwrap();
    prepare(base, data, sections, &template, &byte_level(true), &|_| ())
}

pub(crate) fn run(base: &Path, data: &DataSettings) -> Result<Prepared, CorpusError> {
    run_with(SMOLLM2, base, data, &SectionSettings::default())
}

pub(crate) fn text(sample: &Sample, section: Section) -> String {
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
fn the_tools_of_a_row_reach_its_prompt() {
    const TEMPLATE: &str = "{% if tools %}{{ tools | tojson }}{% endif %}{% for message in messages %}\
        [{{ message.role }}]{{ message.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    let tools = json!([{"type": "function", "function": {"name": "add"}}]);
    let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>r</think>4"}]);
    let row = |tools: Value| json!({"messages": messages, "tools": tools}).to_string();
    let directory = directory(&[
        ("a.jsonl", &row(tools.clone())),
        ("b.jsonl", &row(tools.to_string().into())),
    ]);
    for file in ["a.jsonl", "b.jsonl"] {
        let prepared = run_with(
            TEMPLATE,
            directory.path(),
            &settings(&[file]),
            &SectionSettings::default(),
        )
        .unwrap();
        let expected = r#"[{"type": "function", "function": {"name": "add"}}][user]q[assistant]"#;
        assert_eq!(text(&prepared.samples[0], Section::Prompt), expected);
        // A template that knows no tools would lose them.
        let error = run(directory.path(), &settings(&[file])).unwrap_err();
        assert_eq!(error.to_string(), format!("bad row at `{file}:1`"));
        let causes = format!("{error:?}");
        assert!(causes.contains("does not write `tools`"), "{causes}");
    }
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
        max_tokens: Some(250),
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
        // A row of another kind, without a conversation and with a repeated id.
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
    // In the same order as among all samples.
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
                max_tokens: Some(max_tokens),
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
fn a_row_hash_tells_id_tokens_and_bounds_apart() {
    let hash = |id: &str, tokens: &[u32], prompt_end| {
        let bounds = leadspan_sequence::SectionBounds::new(prompt_end, 2, tokens.len() as u32).unwrap();
        row_hash(id, tokens, bounds, None)
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
fn a_number_of_held_out_samples_that_copies_do_not_allow_is_reported() {
    // Three texts, each under four ids.
    let copies: String = (0..12)
        .map(|n| row(n, "question?", &format!("<think>a</think> {}.", n % 3)))
        .collect();
    let directory = directory(&[("a.jsonl", &copies)]);
    let of = |validation| {
        let mut data = settings(&["a.jsonl"]);
        data.validation = validation;
        let report = run(directory.path(), &data).unwrap().report;
        (report.kept_validation, report.validation_asked, report.duplicates)
    };
    assert_eq!(of(ValidationSize::Count(7)), (4, Some(7), 9));
    assert_eq!(of(ValidationSize::Count(8)), (8, None, 9));
    assert_eq!(of(ValidationSize::Count(0)), (0, None, 9));
}
