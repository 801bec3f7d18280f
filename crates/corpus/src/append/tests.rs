//! Appending to corpora of a few rows.

use std::fs;

use leadspan_diagnosis::Diagnosis as _;
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{DropReason, prepare, template::tests::SMOLLM2, test_tokenizers::byte_level};

fn row(id: impl serde::Serialize, thought: &str) -> String {
    let messages = [
        json!({"role": "user", "content": "q"}),
        json!({"role": "assistant", "content": thought}),
    ];
    json!({"id": id, "messages": messages}).to_string() + "\n"
}

fn rows(ids: impl IntoIterator<Item = usize>) -> String {
    ids.into_iter()
        .map(|n| row(n, &format!("<think>{n}</think>a")))
        .collect()
}

/// The samples of a corpus in the form that `append` takes.
pub(crate) fn known(prepared: &Prepared) -> Vec<KnownSample<'_>> {
    let samples = prepared.samples.iter().zip(&prepared.row_hashes);
    samples
        .map(|(sample, row_hash)| KnownSample {
            id: &sample.id,
            split: sample.split,
            row_hash,
        })
        .collect()
}

/// A folder whose `*.jsonl` are the data.
struct Data(TempDir);

impl Data {
    fn new(rows: &str) -> Self {
        let data = Self(tempfile::tempdir().unwrap());
        data.write("a.jsonl", rows);
        data
    }

    fn write(&self, name: &str, rows: &str) {
        fs::write(self.0.path().join(name), rows).unwrap();
    }

    fn settings() -> DataSettings {
        serde_json::from_value(json!({"files": ["*.jsonl"], "validation": 4, "seed": 3, "max_tokens": 300})).unwrap()
    }

    fn limited(training: usize) -> DataSettings {
        DataSettings {
            training: Some(training),
            ..Self::settings()
        }
    }

    fn prepare(&self) -> Prepared {
        self.prepare_with(&Self::settings())
    }

    fn prepare_with(&self, settings: &DataSettings) -> Prepared {
        let template = ChatTemplate::new(SMOLLM2, None, None).unwrap();
        let sections = SectionSettings::default();
        prepare(
            self.0.path(),
            settings,
            &sections,
            &template,
            &byte_level(true),
            &|_| (),
        )
        .unwrap()
    }

    fn append_to(&self, prepared: &Prepared) -> Result<Appended, CorpusError> {
        self.append_with(&Self::settings(), prepared)
    }

    fn append_with(&self, data: &DataSettings, prepared: &Prepared) -> Result<Appended, CorpusError> {
        let template = ChatTemplate::new(SMOLLM2, None, None).unwrap();
        let sections = SectionSettings::default();
        append(
            self.0.path(),
            data,
            &sections,
            &template,
            &byte_level(true),
            Known {
                samples: &known(prepared),
                rules: RowRules::CURRENT,
            },
            &|_| (),
        )
    }
}

fn ids(samples: &[Sample]) -> Vec<&str> {
    samples.iter().map(|sample| sample.id.as_str()).collect()
}

#[test]
fn appended_rows_become_training_samples_and_known_ones_are_left_out() {
    let data = Data::new(&rows(0..20));
    let prepared = data.prepare();
    data.write("a.jsonl", &rows(0..30));
    let appended = data.append_to(&prepared).unwrap();
    let mut numbers: Vec<usize> = ids(&appended.samples).iter().map(|id| id.parse().unwrap()).collect();
    assert!(!numbers.is_sorted(), "the order is seeded: {numbers:?}");
    numbers.sort_unstable();
    assert_eq!(numbers, (20..30).collect::<Vec<_>>());
    assert!(appended.samples.iter().all(|sample| sample.split == Split::Train));
    let report = &appended.report;
    assert_eq!((report.rows, report.kept_train, report.kept_validation), (30, 26, 4));
    // The sample of a row does not depend on when the row was added.
    let whole = data.prepare();
    for (sample, row_hash) in appended.samples.iter().zip(&appended.row_hashes) {
        let place = ids(&whole.samples).iter().position(|id| *id == sample.id).unwrap();
        assert_eq!(
            (&whole.samples[place].tokens, &whole.row_hashes[place]),
            (&sample.tokens, row_hash)
        );
    }
    assert_eq!(appended.report.tokens, whole.report.tokens);
}

#[test]
fn an_appended_copy_of_a_held_out_sample_is_dropped_and_other_copies_are_counted() {
    let data = Data::new(&rows(0..20));
    let prepared = data.prepare();
    assert_eq!(prepared.report.duplicates, 0);
    // A copy of every row, under another id and in front of the rows.
    let copies: String = (0..20)
        .map(|n| row(format!("copy {n}"), &format!("<think>{n}</think>a")))
        .collect();
    data.write("0.jsonl", &copies);
    let appended = data.append_to(&prepared).unwrap();
    let held_out = prepared
        .samples
        .iter()
        .filter(|sample| sample.split == Split::Validation);
    let dropped: Vec<String> = held_out.map(|sample| format!("copy {}", sample.id)).collect();
    assert_eq!(dropped.len(), 4);
    assert_eq!(appended.samples.len(), 16);
    assert!(
        !ids(&appended.samples)
            .iter()
            .any(|id| dropped.contains(&(*id).to_owned()))
    );
    let report = &appended.report;
    assert_eq!((report.duplicates, report.dropped[&DropReason::CopyOfHeldOut]), (20, 4));
    assert_eq!((report.rows, report.kept_train, report.kept_validation), (40, 32, 4));
    // Prepared at one time, copies are on the same side.
    let whole = data.prepare();
    assert_eq!(
        (
            whole.report.duplicates,
            whole.report.kept_train,
            whole.report.kept_validation
        ),
        (20, 36, 4)
    );
}

#[test]
fn a_corpus_of_older_rules_is_extended_by_them() {
    let data = Data::new("");
    let number =
        |id: &str| format!("{{\"id\": {id}, \"question\": 1.10, \"chain_of_thought\": \"r\", \"answer\": 1e2}}\n");
    data.write("a.jsonl", &["1.0", "2.0", "3.0"].map(number).concat());
    let settings: DataSettings = serde_json::from_value(json!({"files": ["*.jsonl"], "format": "columns"})).unwrap();
    let (template, sections) = (
        ChatTemplate::new(SMOLLM2, None, None).unwrap(),
        SectionSettings::default(),
    );
    let append_by = |rules, known: &[KnownSample<'_>]| {
        let known = Known { samples: known, rules };
        append(
            data.0.path(),
            &settings,
            &sections,
            &template,
            &byte_level(true),
            known,
            &|_| (),
        )
    };
    // All rows are new to an empty corpus, so this is what the older rules made of them.
    let before = append_by(RowRules::First, &[]).unwrap();
    let known: Vec<_> = before
        .samples
        .iter()
        .zip(&before.row_hashes)
        .map(|(sample, row_hash)| KnownSample {
            id: &sample.id,
            split: sample.split,
            row_hash,
        })
        .collect();
    data.write("b.jsonl", &number("4.10"));
    assert_eq!(ids(&append_by(RowRules::First, &known).unwrap().samples), ["4.1"]);
    let error = append_by(RowRules::CURRENT, &known).unwrap_err();
    assert!(
        matches!(error, CorpusError::ChangedSamples { others: 2, .. }),
        "{error}"
    );
}

#[test]
fn no_more_is_appended_than_the_limit_of_training_samples_leaves() {
    let data = Data::new(&rows(0..20));
    let ten = Data::limited(10);
    let prepared = data.prepare_with(&ten);
    assert_eq!((prepared.report.kept_train, prepared.samples.len()), (10, 14));
    // Samples that were not drawn then are not drawn now.
    data.write("a.jsonl", &rows(0..30));
    let appended = data.append_with(&ten, &prepared).unwrap();
    assert!(appended.samples.is_empty());
    assert_eq!(appended.report.dropped[&DropReason::NotDrawn], 16);
    assert_eq!(appended.report.tokens, prepared.report.tokens);

    let eighteen = Data::limited(18);
    data.write("a.jsonl", &rows(0..20));
    let prepared = data.prepare_with(&eighteen);
    assert_eq!(prepared.report.kept_train, 16);
    data.write("a.jsonl", &rows(0..30));
    let appended = data.append_with(&eighteen, &prepared).unwrap();
    let report = &appended.report;
    assert_eq!((appended.samples.len(), appended.row_hashes.len()), (2, 2));
    assert_eq!((report.kept_train, report.dropped[&DropReason::NotDrawn]), (18, 8));
}

#[test]
fn rows_in_a_file_of_their_own_are_appended_wherever_its_name_sorts() {
    let data = Data::new(&rows(0..8));
    let prepared = data.prepare();
    data.write("0.jsonl", &rows(8..12));
    let in_front = data.append_to(&prepared).unwrap();
    fs::remove_file(data.0.path().join("0.jsonl")).unwrap();
    data.write("a.jsonl", &rows(0..12));
    let behind = data.append_to(&prepared).unwrap();
    assert_eq!(
        (in_front.samples, in_front.row_hashes),
        (behind.samples, behind.row_hashes)
    );
}

#[test]
fn the_same_rows_in_another_order_append_nothing() {
    let data = Data::new(&rows(0..8));
    let prepared = data.prepare();
    data.write("a.jsonl", &rows((0..8).rev()));
    let appended = data.append_to(&prepared).unwrap();
    assert!(appended.samples.is_empty());
    assert_eq!(appended.report, prepared.report);
}

#[test]
fn changed_samples_are_refused_by_the_first_id_in_the_order_of_the_corpus() {
    let data = Data::new(&rows(0..8));
    let prepared = data.prepare();
    let order = ids(&prepared.samples);
    for changed in [&order[2..3], &order[3..6], &order[..]] {
        let rows: String = (0..8)
            .map(|n| {
                let otherwise = changed.contains(&n.to_string().as_str());
                row(
                    n,
                    &format!("<think>{n}{}</think>a", if otherwise { " or not" } else { "" }),
                )
            })
            .collect();
        data.write("a.jsonl", &(rows + &row("new", "<think>n</think>a")));
        let error = data.append_to(&prepared).unwrap_err();
        let expected = matches!(&error, CorpusError::ChangedSamples { id, others }
            if id == changed[0] && *others == changed.len() as u64 - 1);
        assert!(expected, "{error}");
        assert!(!error.is_unexpected());
        assert!(error.hint().unwrap().contains("restore"));
    }
}

#[test]
fn removed_samples_are_refused_by_the_first_id_in_the_order_of_the_corpus() {
    let data = Data::new(&rows(0..8));
    let prepared = data.prepare();
    let order = ids(&prepared.samples);
    for removed in [&order[7..], &order[1..4], &order[..]] {
        let left = (0..8).filter(|n| !removed.contains(&n.to_string().as_str()));
        data.write("a.jsonl", &rows(left.chain([8, 9])));
        let error = data.append_to(&prepared).unwrap_err();
        let expected = matches!(&error, CorpusError::RemovedSamples { id, others }
            if id == removed[0] && *others == removed.len() as u64 - 1);
        assert!(expected, "{error}");
        assert!(!error.is_unexpected());
    }
}

#[test]
fn a_kept_row_that_would_be_dropped_now_is_refused_as_removed() {
    let data = Data::new(&rows(0..8));
    let prepared = data.prepare();
    data.write("a.jsonl", &(rows((0..3).chain(4..8)) + &row(3, "no markers any more")));
    let error = data.append_to(&prepared).unwrap_err();
    assert!(
        matches!(&error, CorpusError::RemovedSamples { id, others: 0 } if id == "3"),
        "{error}"
    );
}

#[test]
fn a_row_without_id_that_is_put_in_the_middle_changes_those_behind_it() {
    let plain = |thought: &str| row((), &format!("<think>{thought}</think>a"));
    let data = Data::new(&["a", "b", "c", "d", "e", "f"].map(plain).concat());
    let prepared = data.prepare();
    data.write("a.jsonl", &["a", "b", "c", "d", "new", "e", "f"].map(plain).concat());
    let error = data.append_to(&prepared).unwrap_err();
    let CorpusError::ChangedSamples { id, others: 1 } = &error else {
        panic!("{error}")
    };
    assert!(["a.jsonl:5", "a.jsonl:6"].contains(&id.as_str()), "{error}");
    assert!(error.hint().unwrap().contains("at the end"));
    data.write("a.jsonl", &["a", "b", "c", "d", "e", "f", "new"].map(plain).concat());
    assert_eq!(ids(&data.append_to(&prepared).unwrap().samples), ["a.jsonl:7"]);
}

#[test]
fn dropped_rows_may_stay_change_and_go_and_are_appended_once_they_are_kept() {
    let long = row("long", &format!("<think>{}</think>a", "long ".repeat(100)));
    let data = Data::new(&(rows(0..8) + &long));
    let prepared = data.prepare();
    assert_eq!(prepared.report.dropped[&DropReason::TooLong], 1);

    data.write("a.jsonl", &(rows(0..9) + &long));
    let appended = data.append_to(&prepared).unwrap();
    assert_eq!(
        (ids(&appended.samples), appended.report.dropped[&DropReason::TooLong]),
        (vec!["8"], 1)
    );
    data.write("a.jsonl", &(rows(0..8) + &row("long", "no markers")));
    let appended = data.append_to(&prepared).unwrap();
    assert!(appended.samples.is_empty());
    assert_eq!(appended.report.dropped[&DropReason::WithoutMarkers], 1);
    data.write("a.jsonl", &rows(0..8));
    assert!(data.append_to(&prepared).unwrap().samples.is_empty());
    data.write("a.jsonl", &(rows(0..8) + &row("long", "<think>short now</think>a")));
    assert_eq!(ids(&data.append_to(&prepared).unwrap().samples), ["long"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_order_of_appended_samples_forgets_where_their_rows_are(
        shuffled in Just((6..18usize).collect::<Vec<_>>()).prop_shuffle(), cut in 0usize..12,
    ) {
        let data = Data::new(&rows(0..6));
        let prepared = data.prepare();
        data.write("a.jsonl", &rows((0..6).chain(shuffled[..cut].iter().copied())));
        data.write("b.jsonl", &rows(shuffled[cut..].iter().copied()));
        let scattered = data.append_to(&prepared).unwrap();
        fs::remove_file(data.0.path().join("b.jsonl")).unwrap();
        data.write("a.jsonl", &rows(0..18));
        prop_assert_eq!(scattered.samples, data.append_to(&prepared).unwrap().samples);
    }
}
