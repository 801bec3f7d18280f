//! What a sink and a report of progress are given, and when.

use std::cell::RefCell;

use super::*;

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
