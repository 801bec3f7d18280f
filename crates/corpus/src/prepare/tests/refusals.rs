//! Rows and data sets that stop a preparation, or are left out with a reason.

use tokenizers::{
    PreTokenizerWrapper, SplitDelimiterBehavior,
    pre_tokenizers::{
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split as PreSplit, SplitPattern},
    },
};

use super::*;

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
        (
            &[b"{\"id\": ".as_slice(), "[".repeat(100_000).as_bytes()].concat(),
            "the line is not valid JSON: recursion limit exceeded at column 134",
        ),
    ] {
        let directory = directory(&[]);
        // The bad row is far into the file and there twice: the first is reported, whatever thread reads it.
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
    // Damage is not a malformed row that could be skipped.
    let data = DataSettings {
        on_bad_row: BadRow::Skip,
        ..settings(&["a.jsonl.zst"])
    };
    assert!(matches!(run(directory.path(), &data), Err(CorpusError::Read { .. })));
}

#[test]
fn a_row_of_too_many_bytes_stops_the_run_or_is_left_out() {
    let long = row("long", "q", &"<think>".repeat(200_000));
    let rows = row("a", "q", "</think>") + &long + &row("b", "q", "</think>");
    let directory = directory(&[]);
    let stored = zstd::encode_all(rows.as_bytes(), 3).unwrap();
    fs::write(directory.path().join("a.jsonl.zst"), stored).unwrap();
    let run = |on_bad_row| {
        let data = DataSettings {
            on_bad_row,
            max_row_mib: 1,
            ..settings(&["a.jsonl.zst"])
        };
        run(directory.path(), &data)
    };
    let error = run(BadRow::Stop).unwrap_err();
    assert!(matches!(error, CorpusError::LongRow { row: 2, .. }), "{error}");
    assert!(error.hint().unwrap().contains("data.max_row_mib"));
    let report = run(BadRow::Skip).unwrap().report;
    assert_eq!((report.rows, report.kept_train, report.bad_rows), (3, 2, 1));
    assert_eq!(
        report.bad_row_examples,
        ["a.jsonl.zst:2: the row has more than 1048576 bytes"]
    );
}

#[test]
fn a_text_that_is_certainly_too_long_is_dropped_without_being_tokenized() {
    // A tokenizer that fails on every text with its letter: whoever tokenizes the long row cannot prepare.
    let mut slow = byte_level(false);
    let pattern = SplitPattern::Regex("(x+)+y".into());
    let split = PreSplit::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap();
    let both: Vec<PreTokenizerWrapper> = vec![split.into(), ByteLevel::new(false, true, false).into()];
    slow.with_pre_tokenizer(Some(Sequence::new(both)));
    let prepare = |max_tokens| {
        let rows = row("a", "q", "</think>") + &row("long", "q", &format!("{}</think>", "x".repeat(8000)));
        let directory = directory(&[("a.jsonl", &rows)]);
        let data = DataSettings {
            max_tokens: Some(max_tokens),
            ..settings(&["a.jsonl"])
        };
        let template = ChatTemplate::new(SMOLLM2, Some("<bos>"), Some("<eos>")).unwrap();
        let sections = SectionSettings::default();
        super::prepare(directory.path(), &data, &sections, &template, &slow, &|_| ())
    };
    let report = prepare(1000).unwrap().report;
    assert_eq!((report.kept_train, report.dropped[&DropReason::TooLong]), (1, 1));
    assert!(matches!(prepare(100_000), Err(CorpusError::Tokenize { line: 2, .. })));
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
fn settings_without_an_effect_are_refused() {
    let directory = directory(&[("a.jsonl", &row("a", "q", "<think>r</think>a"))]);
    let with = |name: &str| {
        let mut sections = SectionSettings::default();
        sections.template_arguments.insert(name.to_owned(), false.into());
        run_with(QWEN3, directory.path(), &settings(&["a.jsonl"]), &sections)
    };
    // It is only used in a branch that this conversation does not take.
    assert!(with("enable_thinking").is_ok());
    let error = with("enable_thinkin").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`sections.template_arguments` cannot be used: it sets `enable_thinkin`, which the chat template does not name"
    );
    assert!(!error.is_unexpected() && error.hint().is_some());
    let kept = |format: &str| {
        let data = json!({"files": ["a.jsonl"], "format": format, "system_prompt": "keep"});
        run(directory.path(), &serde_json::from_value(data).unwrap())
            .unwrap_err()
            .to_string()
    };
    for format in ["messages", "columns", "synthetic-1", "prompt-completion"] {
        assert!(
            kept(format).starts_with("`data.system_prompt` cannot be used: "),
            "{format}"
        );
    }
    for format in ["open-thoughts", "nemotron"] {
        assert!(kept(format).starts_with("bad row"), "{format}");
    }
}

#[test]
fn a_missing_field_is_probably_another_layout() {
    let directory = directory(&[("a.jsonl", r#"{"prompt": "q", "text": "a"}"#)]);
    let error = run(directory.path(), &settings(&["a.jsonl"])).unwrap_err();
    let problem = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(problem, "the field `messages` is missing");
    assert_eq!(
        error.hint().unwrap(),
        "the row has `prompt` and `text`; name the layout of the rows with `data.format`, or their fields with `data.columns`; or \
         correct the row, or leave such rows out with `data.on_bad_row = \"skip\"`"
    );
}
