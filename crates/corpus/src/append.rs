//! Finding the samples of rows that were appended since a corpus was prepared.
//!
//! All rows are read and made into samples again, and compared with the corpus by id and row hash. What the corpus has
//! must still be there and be the same: its samples are already captured, in their order. Whatever else there is counts
//! as appended, also a row that was dropped before and is kept now that it was changed.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use leadspan_sequence::{Sample, Split};
use tokenizers::Tokenizer;

use crate::{
    Arrangement, ChatTemplate, CorpusError, DataSettings, PrepareProgress, PrepareReport, PreparedSample,
    SectionSettings,
    order::Arranging,
    prepare::{placed, read_samples},
};

/// A sample that a prepared corpus has already.
#[derive(Clone, Copy, Debug)]
pub struct KnownSample<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its split.
    pub split: Split,
    /// What identifies its content; see [`Prepared::row_hashes`](crate::Prepared::row_hashes).
    pub row_hash: &'a [u8; 32],
}

/// What goes behind a prepared corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Samples of rows that are not known, in seeded order. All of them are training samples: what is held out stays what
    /// it was, so that held-out losses remain comparable.
    pub samples: Vec<Sample>,
    /// What identifies each sample's content, in the same order.
    pub row_hashes: Vec<[u8; 32]>,
    /// What became of all rows, those of known samples included.
    pub report: PrepareReport,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// Reads the files of `data`, relative to `base`, and hands the samples of rows that are not `known` to `sink`, in the
/// order of the rows.
///
/// The known samples are given in the order of the corpus. Settings, template and tokenizer must be those it was prepared
/// with. If the corpus has as many training samples as `data.training` allows, no sample gets a place. `progress` and
/// `sink` are called on this thread, `progress` after every chunk of rows.
///
/// All samples of the arrangement are training samples. Its report counts the known samples as well.
///
/// # Errors
///
/// [`CorpusError::ChangedSamples`] and [`CorpusError::RemovedSamples`] if the rows do not give every known sample as it
/// was; what `sink` returns; the errors of [`prepare`](crate::prepare()) that concern settings, files and single rows.
#[expect(clippy::too_many_arguments, reason = "those of `prepare_into`, and what is known")]
pub fn append_into<E: From<CorpusError>>(
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    known: &[KnownSample<'_>],
    progress: &dyn Fn(PrepareProgress),
    sink: &mut dyn FnMut(PreparedSample) -> Result<(), E>,
) -> Result<Arrangement, E> {
    let numbers: HashMap<&str, usize> = known.iter().enumerate().map(|(number, one)| (one.id, number)).collect();
    // Whether each known sample is the same, once its row came by.
    let mut same: Vec<Option<bool>> = vec![None; known.len()];
    let mut arranging = Arranging::default();
    let mut take = |sample: PreparedSample| match numbers.get(sample.id.as_str()) {
        None => {
            arranging.add(&sample.id, sample.bounds);
            sink(sample)
        }
        Some(&number) => {
            same[number] = Some(sample.row_hash == *known[number].row_hash);
            Ok(())
        }
    };
    let (mut report, files) = read_samples(base, data, sections, template, tokenizer, progress, &mut take)?;
    let first_of = |state: Option<bool>| {
        let mut those = same.iter().zip(known).filter(|&(found, _)| *found == state);
        let id = those.next().map(|(_, one)| one.id.to_owned())?;
        Some((id, those.count() as u64))
    };
    if let Some((id, others)) = first_of(Some(false)) {
        return Err(CorpusError::ChangedSamples { id, others }.into());
    }
    if let Some((id, others)) = first_of(None) {
        return Err(CorpusError::RemovedSamples { id, others }.into());
    }
    report.kept_validation = known.iter().filter(|one| one.split == Split::Validation).count() as u64;
    let mut places = arranging.all_for_training();
    if let Some(most) = data.training {
        let known_train = known.iter().filter(|one| one.split == Split::Train).count();
        let left_out = arranging.draw_training(&mut places, most.saturating_sub(known_train), data.seed);
        report.leave_out(left_out.into_iter().map(|sample| arranging.bounds(sample)));
    }
    report.kept_train = (known.len() + places.len()) as u64 - report.kept_validation;
    let places = arranging.order(places, data.seed);
    Ok(Arrangement { places, report, files })
}

/// Reads the files of `data`, relative to `base`, and makes samples of the rows whose samples are not `known`.
///
/// All new samples are in memory in the end; [`append_into`], whose arguments these are, does without.
///
/// # Errors
///
/// Those of [`append_into`].
pub fn append(
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    known: &[KnownSample<'_>],
    progress: &dyn Fn(PrepareProgress),
) -> Result<Appended, CorpusError> {
    let mut samples = Vec::new();
    let mut sink = |sample| {
        samples.push(sample);
        Ok::<(), CorpusError>(())
    };
    let arrangement = append_into(base, data, sections, template, tokenizer, known, progress, &mut sink)?;
    let Arrangement { places, report, files } = arrangement;
    let (samples, row_hashes) = placed(samples, &places);
    Ok(Appended {
        samples,
        row_hashes,
        report,
        files,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use leadspan_diagnosis::Diagnosis as _;
    use proptest::prelude::*;
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::{DropReason, Prepared, prepare, template::tests::SMOLLM2, test_tokenizers::byte_level};

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
            serde_json::from_value(json!({"files": ["*.jsonl"], "validation": 4, "seed": 3, "max_tokens": 300}))
                .unwrap()
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
            let Prepared {
                samples, row_hashes, ..
            } = prepared;
            let known: Vec<KnownSample> = samples
                .iter()
                .zip(row_hashes)
                .map(|(sample, row_hash)| KnownSample {
                    id: &sample.id,
                    split: sample.split,
                    row_hash,
                })
                .collect();
            let template = ChatTemplate::new(SMOLLM2, None, None).unwrap();
            let sections = SectionSettings::default();
            append(
                self.0.path(),
                data,
                &sections,
                &template,
                &byte_level(true),
                &known,
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
        // What is made of a row does not depend on when it came.
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
    fn no_more_is_appended_than_the_limit_of_training_samples_leaves() {
        let data = Data::new(&rows(0..20));
        let ten = Data::limited(10);
        let prepared = data.prepare_with(&ten);
        assert_eq!((prepared.report.kept_train, prepared.samples.len()), (10, 14));
        // Those that were not drawn then are no more drawn now.
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
}
