//! Stored distributions against a plain computation: one sample at a time, softmax by hand.

use candle_core::Device;
use leadspan_diagnosis::Diagnosis as _;
use leadspan_model::{Decoder, ModelSource, Packed, Stop, StoredDtype};

use super::*;
use crate::{AuditOutcome, AuditSettings, audit};

const TOLERANCE: f64 = 1e-5;

/// Natural-log probabilities [T][V] of a sequence that goes through the model alone.
fn logprobs(decoder: &Decoder, tokens: &[u32]) -> Vec<Vec<f64>> {
    let hidden = decoder.hidden_states(&Packed::new([tokens]), Stop::NEVER).unwrap();
    let logits: Vec<Vec<f32>> = decoder.logits(&hidden).unwrap().to_vec2().unwrap();
    let log_softmax = |row: Vec<f32>| {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&logit| f64::from(logit - max).exp()).sum();
        row.iter().map(|&logit| f64::from(logit - max) - sum.ln()).collect()
    };
    logits.into_iter().map(log_softmax).collect()
}

fn teacher(path: &str) -> Decoder {
    let source = ModelSource::open(&fixture(path)).unwrap();
    Decoder::load(&source, StoredDtype::F32, &Device::Cpu).unwrap()
}

fn assert_matches(span: &Span, oracle: &[Vec<f64>], id: &str) {
    for (&position, stored) in span.positions.iter().zip(span.distributions.iter()) {
        let row = &oracle[position as usize];
        let next = span.tokens[position as usize + 1];
        let near = |stored: f32, expected: f64| (f64::from(stored) - expected).abs() <= TOLERANCE;
        assert!(
            near(stored.target_logprob, row[next as usize]),
            "{id}: target of {position}"
        );
        let mut ranked = row.clone();
        ranked.sort_by(|a, b| b.total_cmp(a));
        for (rank, (&token, &logprob)) in stored.token_ids.iter().zip(stored.logprobs).enumerate() {
            assert!(near(logprob, row[token as usize]), "{id}: token {token} of {position}");
            assert!(near(logprob, ranked[rank]), "{id}: rank {rank} of {position}");
        }
        let outside = ranked[stored.token_ids.len()..]
            .iter()
            .map(|logprob| logprob.exp())
            .sum::<f64>();
        assert!(near(stored.tail_logprob, outside.ln()), "{id}: tail of {position}");
    }
}

#[test]
fn stored_rows_are_the_softmax_of_each_sample_alone() {
    for (model, rows) in [
        ("tiny-teacher", None),
        ("tiny-teacher.gguf", None),
        ("tiny-teacher", Some(long_rows())),
    ] {
        let project = rows.map_or_else(Project::new, |rows| Project::with_rows(&rows));
        let pipeline = project.another("rows", |pipeline| {
            pipeline.teacher.model = fixture(model);
            pipeline.data.validation = from_json("2");
        });
        run_to_end(&pipeline);
        let decoder = teacher(model);
        for (id, span) in read(&pipeline, "1") {
            assert_eq!(span.positions.len(), span.tokens.len() - 1);
            let oracle = logprobs(&decoder, &span.tokens);
            assert_matches(&span, &oracle, &id);
        }
    }
}

#[test]
fn position_i_is_about_token_i_plus_one_and_no_other() {
    // The comparison above is only meaningful if a shift by one would be noticed.
    let project = Project::new();
    run_to_end(&project.pipeline);
    let decoder = teacher("tiny-teacher");
    let (_, span) = read(&project.pipeline, "1").swap_remove(0);
    let oracle = logprobs(&decoder, &span.tokens);
    let differs = |shifted: i64| {
        let shown = span
            .positions
            .iter()
            .zip(span.distributions.iter())
            .filter(|&(&position, ref stored)| {
                let token = span.tokens.get((i64::from(position) + shifted) as usize);
                let expected = token.map(|&token| oracle[position as usize][token as usize]);
                expected.is_some_and(|expected| (f64::from(stored.target_logprob) - expected).abs() > 0.01)
            });
        shown.count()
    };
    assert_eq!(differs(1), 0);
    assert!(differs(0) > span.positions.len() / 2 && differs(2) > span.positions.len() / 2);
}

#[test]
fn batches_and_chunks_of_any_size_give_the_same_values() {
    let project = Project::with_rows(&(long_rows() + &fs::read_to_string(fixture("tiny-teacher-text.jsonl")).unwrap()));
    let alone = project.another("alone", |pipeline| pipeline.cache.batch_tokens = Some(1));
    run_to_end(&alone);
    let alone = read(&alone, "1");
    for batch_tokens in [300, 100_000] {
        let together = project.another(&format!("together-{batch_tokens}"), |pipeline| {
            pipeline.cache.batch_tokens = Some(batch_tokens);
            pipeline.cache.samples_per_shard = 1000;
            // 819 rows of 320 logits: several chunks to a batch.
            pipeline.cache.head_chunk_mib = Some(1);
        });
        run_to_end(&together);
        for ((id, one), (_, other)) in alone.iter().zip(&read(&together, "1")) {
            assert_close(one, other, id);
        }
    }
}

#[test]
fn more_entries_than_the_vocabulary_has_store_all_of_it() {
    let project = Project::new();
    let all = project.another("all", |pipeline| {
        pipeline.cache.top_k = 5000;
        pipeline.cache.lead_span_proportion = "0.1".parse().unwrap();
    });
    run_to_end(&all);
    let (_, span) = read(&all, "0.1").swap_remove(0);
    assert!(!span.positions.is_empty());
    for stored in span.distributions.iter() {
        assert_eq!((stored.token_ids.len(), stored.tail_logprob), (320, f32::NEG_INFINITY));
    }
}

#[test]
fn a_teacher_with_an_adapter_is_captured_and_audited_as_another_teacher() {
    let project = Project::new();
    let adapted = project.another("adapted", |pipeline| {
        pipeline.teacher.adapter = Some(fixture("adapters/tiny"));
    });
    run_to_end(&adapted);
    let settings = AuditSettings { positions: 60, seed: 0 };
    let audit = |pipeline: &Pipeline| audit(pipeline, &settings, &AtomicBool::new(false), &mut |_| ());
    match audit(&adapted).unwrap() {
        AuditOutcome::Done(audit) => audit.check(&adapted.cache_dir()).unwrap(),
        AuditOutcome::Stopped => panic!("nobody asked it to stop"),
    }
    let alone = project.another("adapted", |_| ());
    for error in [audit(&alone).map(drop).unwrap_err(), refused(&alone)] {
        let expected = "was made with teacher.lora_blake3 `";
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().unwrap().contains("set `teacher.adapter`"), "{error}");
    }
}
