//! Reading a cache: any proportion and sections, from one layer or several.

use std::fs;

use leadspan_diagnosis::Diagnosis as _;
use leadspan_sequence::{Section, SectionSet, Split};

use crate::{Cache, CacheError, Coverage, Layer, Missing, Reader, Span, tests::synthetic};

fn open(cache: &Cache, proportion: &str, sections: SectionSet) -> Result<Reader, CacheError> {
    Reader::open(cache, synthetic::coverage(proportion, sections), Missing::Refused)
}

fn spans(reader: &Reader) -> Vec<Span> {
    (0..reader.corpus().samples().len() as u32)
        .map(|index| reader.span(index).unwrap())
        .collect()
}

#[test]
fn readers_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Reader>();
    let captured = synthetic::captured("1.0", SectionSet::ALL);
    let reader = open(&captured.cache, "0.5", SectionSet::ALL).unwrap();
    let expected = spans(&reader);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(spans(&reader), expected));
        }
    });
}

#[test]
fn a_whole_cache_read_at_a_half_gives_what_a_cache_made_at_a_half_gives() {
    let whole = synthetic::captured("1.0", SectionSet::ALL);
    for asked in ["0.5", "0.25", "0.01", "0.99", "1.0"] {
        let made = synthetic::captured(asked, SectionSet::ALL);
        let read = open(&whole.cache, asked, SectionSet::ALL).unwrap();
        let own = open(&made.cache, asked, SectionSet::ALL).unwrap();
        assert_eq!(spans(&read), spans(&own), "{asked}");
    }
}

#[test]
fn the_first_tokens_of_a_longer_lead_span_are_read_as_a_shorter_one() {
    let whole = synthetic::captured("1.0", SectionSet::ALL);
    let sections = SectionSet::new([Section::ChainOfThought, Section::Answer]).unwrap();
    for sections in [SectionSet::ALL, sections] {
        let longer = open(&whole.cache, "0.9", sections).unwrap();
        let alone = Reader::open_corpus(&whole.cache, synthetic::coverage("0.9", sections)).unwrap();
        for asked in ["0.5", "0.01", "0.9"] {
            let shorter = open(&whole.cache, asked, sections).unwrap();
            for (index, sample) in shorter.corpus().samples().enumerate() {
                let expected = shorter.span_and_bytes(index as u32).unwrap();
                let kept = expected.0.tokens.len();
                assert_eq!(
                    longer.first_tokens(index as u32, kept).unwrap(),
                    expected,
                    "{}",
                    sample.id
                );
                let (text, bytes) = alone.first_tokens(index as u32, kept).unwrap();
                assert_eq!(
                    (text.tokens, text.positions, bytes),
                    (expected.0.tokens, expected.0.positions, 0)
                );
            }
        }
        // No more than the reader's own lead span.
        let all = longer.first_tokens(0, usize::MAX).unwrap();
        assert_eq!(all, longer.span_and_bytes(0).unwrap());
    }
}

#[test]
fn every_subset_of_sections_reads_as_if_it_had_been_captured_alone() {
    let whole = synthetic::captured("1.0", SectionSet::ALL);
    for bits in 1..8 {
        let chosen = Section::ALL
            .into_iter()
            .filter(|&section| bits & (1 << section as u8) != 0);
        let sections = SectionSet::new(chosen).unwrap();
        let made = synthetic::captured("0.6", sections);
        let read = open(&whole.cache, "0.6", sections).unwrap();
        let own = open(&made.cache, "0.6", sections).unwrap();
        assert_eq!(spans(&read), spans(&own), "{sections}");
    }
}

#[test]
fn the_corpus_alone_gives_the_tokens_and_positions_that_a_captured_cache_gives() {
    let prepared = synthetic::prepared(11, 3, 4);
    let whole = synthetic::captured("1.0", SectionSet::ALL);
    for (proportion, sections) in [
        ("1", SectionSet::ALL),
        (
            "0.3",
            SectionSet::new([Section::ChainOfThought, Section::Answer]).unwrap(),
        ),
    ] {
        let asked = synthetic::coverage(proportion, sections);
        let alone = Reader::open_corpus(&prepared.cache, asked).unwrap();
        let read = open(&whole.cache, proportion, sections).unwrap();
        assert!(!alone.has_distributions() && read.has_distributions());
        for (index, (alone_span, span)) in spans(&alone).into_iter().zip(spans(&read)).enumerate() {
            assert_eq!(
                (&alone_span.tokens, &alone_span.positions),
                (&span.tokens, &span.positions)
            );
            assert_eq!(alone.position_count(index as u32).unwrap(), span.positions.len());
            assert!(alone_span.distributions.is_empty());
        }
    }
    let empty = tempfile::tempdir().unwrap();
    let cache = Cache::create_or_open(empty.path(), &synthetic::identity(), &[]).unwrap();
    assert!(Reader::open_corpus(&cache, synthetic::coverage("1", SectionSet::ALL)).is_err());
}

#[test]
fn spans_hold_what_was_pushed() {
    let captured = synthetic::captured("1.0", SectionSet::ALL);
    let reader = open(&captured.cache, "0.5", SectionSet::ALL).unwrap();
    for (index, sample) in reader.corpus().samples().enumerate() {
        let span = reader.span(index as u32).unwrap();
        let kept = if sample.split == Split::Train {
            (sample.token_count() / 2).max(1)
        } else {
            sample.token_count()
        };
        assert_eq!(span.tokens, reader.corpus().tokens(index).unwrap()[..kept]);
        assert_eq!(span.positions, (0..kept as u32 - 1).collect::<Vec<_>>());
        assert_eq!(
            span.distributions,
            synthetic::distributions(reader.corpus(), index, &span.positions)
        );
        assert_eq!(reader.position_count(index as u32).unwrap(), span.positions.len());
    }
    let beyond = reader.corpus().samples().len() as u32;
    assert!(matches!(reader.span(beyond), Err(CacheError::NoSuchSample { .. })));
}

#[test]
fn asking_for_more_than_there_is_says_what_there_is_and_how_to_add_it() {
    let answer = SectionSet::new([Section::Answer]).unwrap();
    let captured = synthetic::captured("0.5", answer);
    let refused = |p: &str, sections| {
        let error = open(&captured.cache, p, sections).unwrap_err();
        assert!(!error.is_unexpected());
        (error.to_string(), error.hint().unwrap())
    };
    let (text, hint) = refused("0.75", answer);
    assert!(
        text.contains("up to proportion 0.5 of `answer`, but proportion 0.75"),
        "{text}"
    );
    assert!(hint.contains("cache.lead_span_proportion = 0.75"), "{hint}");
    let (text, hint) = refused("0.5", SectionSet::ALL);
    assert!(
        text.contains("holds the sections `answer`, but `prompt+chain_of_thought+answer`"),
        "{text}"
    );
    assert!(hint.contains(r#"["prompt", "chain_of_thought", "answer"]"#), "{hint}");
    let unit = captured.cache.layers().unwrap()[0].corpus().units()[1].clone();
    fs::remove_file(captured.cache.layers().unwrap()[0].shard_path(&unit)).unwrap();
    let (text, hint) = refused("0.5", answer);
    assert!(
        text.contains("1 of 4 work units are missing, the first is `train-000001`"),
        "{text}"
    );
    assert!(hint.contains("leadspan precompute"), "{hint}");
    let empty = synthetic::prepared(2, 1, 1);
    let error = open(&empty.cache, "1", answer).unwrap_err();
    assert!(matches!(error, CacheError::NothingCaptured { .. }));
    assert!(matches!(
        Reader::open_largest(&empty.cache, Missing::Refused),
        Err(CacheError::NothingCaptured { .. })
    ));
}

#[test]
fn an_incomplete_larger_layer_does_not_hide_a_complete_smaller_one() {
    let captured = synthetic::captured("0.5", SectionSet::ALL);
    let whole = synthetic::coverage("1.0", SectionSet::ALL);
    captured.cache.layer(&whole.into()).unwrap();
    let reader = open(&captured.cache, "0.25", SectionSet::ALL).unwrap();
    let half = Layer::from(synthetic::coverage("0.5", SectionSet::ALL));
    assert_eq!(reader.layers().collect::<Vec<_>>(), [&half]);
    let largest = Reader::open_largest(&captured.cache, Missing::Refused).unwrap();
    assert_eq!(*largest.coverage(), synthetic::coverage("0.5", SectionSet::ALL));
    let error = open(&captured.cache, "0.75", SectionSet::ALL).unwrap_err();
    assert!(
        matches!(
            error,
            CacheError::IncompleteLayer {
                missing: 4,
                units: 4,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_cache_extended_in_steps_reads_as_one_that_was_captured_at_once() {
    let sections = |names: &[Section]| SectionSet::new(names.iter().copied()).unwrap();
    let cot_only = sections(&[Section::ChainOfThought]);
    let steps = [
        ("0.25", cot_only),
        ("0.5", SectionSet::ALL),
        ("0.75", sections(&[Section::Prompt, Section::Answer])),
        ("1.0", SectionSet::ALL),
    ];
    let extended = synthetic::prepared(11, 3, 4);
    for (proportion, sections) in steps {
        let asked = synthetic::coverage(proportion, sections);
        let [layer] = &extended.cache.layers_to_capture(&asked).unwrap()[..] else {
            panic!("each step adds one layer")
        };
        synthetic::capture(&extended.cache, layer.layer());
        assert!(extended.cache.layers_to_capture(&asked).unwrap().is_empty());
    }
    assert_eq!(extended.cache.layers().unwrap().len(), 4);
    assert!(crate::verify(&extended.cache, &mut |_| {}).unwrap().problems.is_empty());
    let whole = synthetic::captured("1.0", SectionSet::ALL);
    for sections in [SectionSet::ALL, cot_only, sections(&[Section::Prompt, Section::Answer])] {
        for asked in ["1.0", "0.9", "0.75", "0.6", "0.5", "0.3", "0.25", "0.01"] {
            let merged = open(&extended.cache, asked, sections).unwrap();
            let single = open(&whole.cache, asked, sections).unwrap();
            assert_eq!(spans(&merged), spans(&single), "{asked} of {sections}");
        }
    }
    assert_eq!(
        spans(&Reader::open_largest(&extended.cache, Missing::Refused).unwrap()).len(),
        14
    );
}

#[test]
fn what_was_begun_is_finished_beside_what_is_added() {
    let prepared = synthetic::prepared(6, 2, 4);
    let names = |asked: &Coverage| -> Vec<String> {
        let layers = prepared.cache.layers_to_capture(asked).unwrap();
        layers.iter().map(|dir| dir.layer().folder_name()).collect()
    };
    let [half, whole] = ["0.5", "1.0"].map(|proportion| synthetic::coverage(proportion, SectionSet::ALL));
    let (first, rest) = (
        "0-0.5-prompt+chain_of_thought+answer",
        "0.5-1.0-prompt+chain_of_thought+answer",
    );
    // Every call returns the same layers.
    assert_eq!(
        (names(&half), names(&half)),
        (vec![first.to_owned()], vec![first.to_owned()])
    );
    assert_eq!(
        (names(&whole), names(&whole)),
        (
            vec![first.to_owned(), rest.to_owned()],
            vec![first.to_owned(), rest.to_owned()]
        )
    );
    synthetic::capture(&prepared.cache, &half.into());
    assert_eq!((names(&half), names(&whole)), (vec![], vec![rest.to_owned()]));
    // An unfinished extension does not affect readers of the layers before it.
    assert_eq!(open(&prepared.cache, "0.5", SectionSet::ALL).unwrap().layers().len(), 1);
    assert!(matches!(
        open(&prepared.cache, "1.0", SectionSet::ALL),
        Err(CacheError::IncompleteLayer { .. })
    ));
    // A part of an unfinished layer cannot be captured without the rest of it.
    let error = prepared
        .cache
        .layers_to_capture(&synthetic::coverage("0.75", SectionSet::ALL))
        .unwrap_err();
    assert!(matches!(error, CacheError::UnfinishedLayer { .. }), "{error}");
    assert!(error.hint().unwrap().contains(rest), "{error}");
}

#[test]
fn missing_units_can_be_allowed_and_are_named() {
    let captured = synthetic::captured("0.5", SectionSet::ALL);
    let layer = captured.cache.layers().unwrap().remove(0);
    let unit = layer.corpus().units()[1].clone();
    fs::remove_file(layer.receipt_path(&unit)).unwrap();
    assert!(matches!(
        open(&captured.cache, "0.5", SectionSet::ALL),
        Err(CacheError::IncompleteLayer { missing: 1, .. })
    ));
    let asked = synthetic::coverage("0.5", SectionSet::ALL);
    let reader = Reader::open(&captured.cache, asked, Missing::Allowed).unwrap();
    assert_eq!(reader.missing_units().collect::<Vec<_>>(), [&unit]);
    let all = synthetic::captured("0.5", SectionSet::ALL);
    let all = open(&all.cache, "0.5", SectionSet::ALL).unwrap();
    for (index, (some, every)) in spans(&reader).into_iter().zip(spans(&all)).enumerate() {
        assert_eq!(some.tokens, every.tokens);
        if unit.samples.contains(&index) {
            assert_eq!(
                (some.positions.len(), reader.position_count(index as u32).unwrap()),
                (0, 0)
            );
        } else {
            assert_eq!(some, every);
        }
    }
}
