//! One cache serves every proportion up to its own. Validation samples are whole. Some samples have no positions.

use leadspan_sequence::{LeadSpanProportion, Section, Split};

use super::*;

fn half(pipeline: &mut Pipeline) {
    pipeline.cache.lead_span_proportion = "0.5".parse().unwrap();
}

#[test]
fn a_whole_cache_read_at_a_half_is_a_cache_made_at_a_half() {
    for project in [Project::new(), Project::with_rows(&long_rows())] {
        let whole = project.another("whole", |pipeline| pipeline.data.validation = from_json("3"));
        let made_half = project.another("half", |pipeline| {
            pipeline.data.validation = from_json("3");
            half(pipeline);
        });
        run_to_end(&whole);
        run_to_end(&made_half);
        let (read_half, made_half) = (read(&whole, "0.5"), read(&made_half, "0.5"));
        assert_eq!(read_half.len(), made_half.len());
        for ((id, one), (_, other)) in read_half.iter().zip(&made_half) {
            assert_close(one, other, id);
        }
    }
}

#[test]
fn a_cache_extended_in_steps_is_one_captured_at_once() {
    for project in [Project::new(), Project::with_rows(&long_rows())] {
        let three = |pipeline: &mut Pipeline| pipeline.data.validation = from_json("3");
        let whole = project.another("whole", three);
        run_to_end(&whole);
        let mut extended = project.another("extended", three);
        let mut positions = 0;
        for (proportion, sections) in [
            ("0.5", SectionSet::new([Section::ChainOfThought]).unwrap()),
            ("0.5", SectionSet::ALL),
            ("1.0", SectionSet::ALL),
        ] {
            extended.cache.lead_span_proportion = proportion.parse().unwrap();
            extended.cache.supervised_sections = sections;
            let summary = run_to_end(&extended);
            // The teacher reads the prefix again, but only new positions go through the head and into the cache.
            positions += summary.positions;
            assert!(summary.positions < summary.tokens, "{summary:?}");
        }
        let one = read(&whole, "1");
        assert_eq!(
            positions,
            one.iter().map(|(_, span)| span.positions.len() as u64).sum::<u64>()
        );
        for ((id, one), (_, other)) in one.iter().zip(&read(&extended, "1")) {
            assert_close(one, other, id);
        }
        assert_eq!(run_to_end(&extended).units_written, 0);
    }
}

#[test]
fn rows_appended_to_an_extended_cache_are_captured_in_all_of_its_layers() {
    let project = Project::new();
    let mut pipeline = project.another("grown", half);
    run_to_end(&pipeline);
    pipeline.cache.lead_span_proportion = LeadSpanProportion::WHOLE;
    run_to_end(&pipeline);
    let rows = pipeline.base.join("rows.jsonl");
    let more = fs::read_to_string(&rows).unwrap()
        + r#"{"id": "new", "question": "2 + 2?", "chain_of_thought": "I add.", "answer": "4"}"#;
    fs::write(&rows, more).unwrap();
    let summary = run_to_end(&pipeline);
    assert_eq!(
        (summary.units_written, summary.samples),
        (2, 2),
        "one unit in each of two layers"
    );
    let all = read(&pipeline, "1");
    let (_, new) = all.iter().find(|(id, _)| id == "new").unwrap();
    assert_eq!(new.positions.len(), new.tokens.len() - 1);
}

#[test]
fn the_long_rows_reach_two_thousand_tokens() {
    // The comparison above is only meaningful if this holds.
    let project = Project::with_rows(&long_rows());
    run_to_end(&project.another("long", |pipeline| pipeline.data.validation = from_json("0")));
    let longest = read(&project.another("long", |_| ()), "1")
        .iter()
        .map(|(_, span)| span.tokens.len())
        .max()
        .unwrap();
    assert!((1900..=2400).contains(&longest), "{longest}");
}

#[test]
fn validation_samples_are_whole_at_every_proportion() {
    let project = Project::new();
    let pipeline = project.another("half", half);
    run_to_end(&pipeline);
    let cache = Cache::open(&pipeline.cache_dir()).unwrap();
    let reader = open(&cache, "0.5");
    let half: LeadSpanProportion = "0.5".parse().unwrap();
    let mut held_out = 0;
    for (index, sample) in reader.corpus().samples().enumerate() {
        let span = reader.span(index as u32).unwrap();
        let kept = match sample.split {
            Split::Train => half.kept(sample.token_count()),
            Split::Validation => sample.token_count(),
        };
        held_out += usize::from(sample.split == Split::Validation);
        assert_eq!(
            span.tokens,
            reader.corpus().tokens(index).unwrap()[..kept],
            "{}",
            sample.id
        );
        assert_eq!(
            span.positions,
            (0..kept as u32 - 1).collect::<Vec<_>>(),
            "{}",
            sample.id
        );
        assert_eq!(span.distributions.len(), kept - 1);
    }
    assert_eq!(held_out, 8);
}

#[test]
fn samples_of_which_nothing_is_supervised_are_empty_members_of_their_shard() {
    let project = Project::new();
    let none = project.another("none", |pipeline| {
        pipeline.cache.lead_span_proportion = "0.001".parse().unwrap();
        pipeline.data.validation = from_json("0");
    });
    let summary = run_to_end(&none);
    assert_eq!(
        (
            summary.units_written,
            summary.samples,
            summary.positions,
            summary.tokens
        ),
        (4, 40, 0, 0)
    );
    for (id, span) in read(&none, "0.001") {
        assert_eq!(
            (span.tokens.len(), span.positions.len(), span.distributions.len()),
            (1, 0, 0),
            "{id}"
        );
    }
}

#[test]
fn where_only_some_samples_reach_a_supervised_section_the_others_are_empty() {
    let project = Project::new();
    let pipeline = project.another("some", |pipeline| {
        pipeline.cache.supervised_sections = SectionSet::new([Section::ChainOfThought]).unwrap();
        pipeline.cache.lead_span_proportion = "0.55".parse().unwrap();
    });
    run_to_end(&pipeline);
    let cache = Cache::open(&pipeline.cache_dir()).unwrap();
    let reader = Reader::open_largest(&cache, Missing::Refused).unwrap();
    let spans: Vec<Span> = (0..reader.corpus().len())
        .map(|index| reader.span(index as u32).unwrap())
        .collect();
    let empty = spans.iter().filter(|span| span.positions.is_empty()).count();
    assert!(empty > 0 && empty < spans.len(), "{empty} of {} are empty", spans.len());
    assert!(
        spans
            .iter()
            .all(|span| span.positions.len() == span.distributions.len())
    );
}

#[test]
fn a_complete_longer_layer_leaves_nothing_to_do() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    let before = files(&project.pipeline.cache_dir());
    let mut shorter = project.pipeline.clone();
    half(&mut shorter);
    let events = events_of(&shorter);
    let Some(Event::Begun(remaining)) = events.iter().find(|event| matches!(event, Event::Begun(_))) else {
        panic!("nothing was begun")
    };
    assert_eq!(remaining.layers, []);
    assert_eq!(
        (remaining.units_skipped, remaining.units_mine, remaining.tokens),
        (5, 5, 0)
    );
    assert_eq!(files(&project.pipeline.cache_dir()), before);
}
