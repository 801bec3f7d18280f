//! Codes keep values to the bit, and a smaller top-k moves the right mass to the tail.

use std::slice;

use super::*;
use crate::{Distributions, EntrySettings, Position};

const PRECISIONS: [Precision; 3] = [Precision::Standard, Precision::Fine, Precision::Exact];

fn settings(top_k: u32) -> EntrySettings {
    EntrySettings {
        temperatures: vec![2.0, 0.5],
        ..EntrySettings::top_k(top_k)
    }
}

/// Positions of 0 to 11 entries with a tail, terms and, if asked for, draws.
fn positions(count: u32, drawn: bool) -> Distributions {
    let mut all = Distributions::new();
    for index in 0..count {
        let entries = index * 7 % 12;
        let ids: Vec<u32> = (0..entries).map(|entry| (index * 37 + entry * 101) % 991).collect();
        let step = 0.2 + (index % 9) as f32 / 10.0;
        let masses: Vec<f64> = (0..entries)
            .map(|entry| (-f64::from(step) * f64::from(entry)).exp())
            .collect();
        let all_mass = masses.iter().sum::<f64>() * (1.1 + f64::from(index % 5));
        let logprobs: Vec<f32> = masses
            .iter()
            .map(|mass| (mass / all_mass.max(1.0)).ln() as f32)
            .collect();
        let tail = 1.0 - logprobs.iter().map(|&logprob| f64::from(logprob).exp()).sum::<f64>();
        let drawn_ids: &[u32] = if drawn && index % 3 == 0 { &[995, 998] } else { &[] };
        all.push(Position {
            token_ids: &ids,
            logprobs: &logprobs,
            tail_logprob: tail.ln() as f32,
            target_logprob: -step,
            temperature_tails: &[1.5 + step, -3.0 * step],
            sampled_token_ids: drawn_ids,
            sampled_draws: &[1, 4][..drawn_ids.len()],
        });
    }
    all
}

/// Values with the bits of their floats: a tail of −∞ and all others compare as they are.
fn bits(distributions: &Distributions) -> String {
    format!("{distributions:?}")
}

fn decoded(model: &Model, block: &[u8], positions: usize) -> Distributions {
    let mut into = Distributions::new();
    model.decode(block, positions, &mut into).unwrap();
    into
}

fn part(all: &Distributions, range: Range<usize>) -> Distributions {
    let mut part = Distributions::new();
    range.for_each(|index| part.push(all.get(index)));
    part
}

#[test]
fn any_part_of_a_block_coded_again_has_the_same_values_to_the_bit() {
    for precision in PRECISIONS {
        for drawn in [false, true] {
            let mut settings = settings(12);
            settings.tail_samples = if drawn { 5 } else { 0 };
            let layout = Layout::new(&settings, precision);
            let all = positions(40, drawn);
            let model = Model::fit(&all, layout);
            let blocks = model.encoder().encode_all(&all, &[0..23, 23..40]);
            let mut codes = Codes::default();
            model.decode_codes(&blocks[0], 23, &mut codes).unwrap();
            model.decode_codes(&blocks[1], 17, &mut codes).unwrap();
            let mut values = decoded(&model, &blocks[0], 23);
            values.append(&decoded(&model, &blocks[1], 17));
            // What is whole gets the same bytes, too.
            assert_eq!(model.encode_codes(&codes, &[0..23, 23..40]).unwrap(), blocks);
            let ranges = [0..1, 0..7, 5..23, 20..30, 39..40, 3..3];
            let other = Model::fit_codes(&codes, layout);
            for (name, model) in [("the same", &model), ("another", &other)] {
                let again = model.encode_codes(&codes, &ranges).unwrap();
                for (range, block) in ranges.iter().zip(&again) {
                    let found = decoded(model, block, range.len());
                    assert_eq!(
                        bits(&found),
                        bits(&part(&values, range.clone())),
                        "{precision:?} {name} {range:?}"
                    );
                }
            }
            assert_eq!(other.numbering(), model.numbering(), "the ids occur as often");
        }
    }
}

#[test]
fn fewer_entries_give_the_tail_and_the_terms_that_are_worked_out_by_hand() {
    // Probabilities ½, ¼, ⅛ and a tail of two tokens of 1/16.
    let position = Position {
        token_ids: &[7, 3, 5],
        logprobs: &[0.5f32.ln(), 0.25f32.ln(), 0.125f32.ln()],
        tail_logprob: 0.125f32.ln(),
        target_logprob: 0.25f32.ln(),
        // At τ = 2 the tail is ¼ + ¼, at ½ it is 2/256.
        temperature_tails: &[0.5f32.ln(), (2f32 / 256.0).ln()],
        ..Position::default()
    };
    let mut all = Distributions::new();
    all.push(position);
    for (precision, bound) in [
        (Precision::Exact, 1e-6),
        (Precision::Fine, 1.0 / 40.0),
        (Precision::Standard, 1.0 / 40.0),
    ] {
        let model = Model::fit(&all, Layout::new(&settings(3), precision));
        let block = model.encoder().encode(&all, 0..1);
        let mut codes = Codes::default();
        model.decode_codes(&block, 1, &mut codes).unwrap();
        assert_eq!(codes.with_top_k(3, precision, &[2.0, 0.5]).unwrap(), codes);
        for (k, tail, terms) in [
            (1, 0.5, [0.5 + 0.5 + 0.125f64.sqrt(), (2.0 + 16.0 + 4.0) / 256.0]),
            (2, 0.25, [0.5 + 0.125f64.sqrt(), (2.0 + 4.0) / 256.0]),
            (
                0,
                1.0,
                [
                    0.5 + 0.5 + 0.125f64.sqrt() + 0.5f64.sqrt(),
                    (2.0 + 64.0 + 16.0 + 4.0) / 256.0,
                ],
            ),
        ] {
            let fewer = codes.with_top_k(k, precision, &[2.0, 0.5]).unwrap();
            let model = Model::fit_codes(&fewer, Layout::new(&settings(k.max(1) as u32), precision));
            let block = model.encode_codes(&fewer, slice::from_ref(&(0..1))).unwrap().remove(0);
            let found = decoded(&model, &block, 1);
            let found = found.get(0);
            assert_eq!(found.token_ids, &[7, 3, 5][..k]);
            let close = |found: f32, expected: f64| {
                assert!(
                    (f64::from(found) - expected.ln()).abs() < bound,
                    "{precision:?} {k}: {found}"
                );
            };
            close(found.tail_logprob, tail);
            close(found.target_logprob, 0.25);
            for (&logprob, expected) in found.logprobs.iter().zip([0.5, 0.25]) {
                close(logprob, expected);
            }
            for (&term, expected) in found.temperature_tails.iter().zip(terms) {
                close(term, expected);
            }
            let retained = fewer.retained_mass(precision);
            assert!((retained - (1.0 - tail)).abs() < bound, "{precision:?} {k}: {retained}");
        }
    }
}

#[test]
fn blocks_of_another_model_are_refused_and_so_is_a_numbering_with_a_token_twice() {
    let layout = Layout::new(&settings(12), Precision::Exact);
    let (all, few) = (positions(40, false), positions(3, false));
    let (model, narrow) = (Model::fit(&all, layout), Model::fit(&few, layout));
    let block = model.encoder().encode(&all, 0..40);
    let mut codes = Codes::default();
    model.decode_codes(&block, 40, &mut codes).unwrap();
    assert_eq!(
        narrow.encode_codes(&codes, slice::from_ref(&(0..40))),
        Err(CodecError::Damaged)
    );
    // The two drawn tokens would be one.
    let mut drawing = settings(12);
    drawing.tail_samples = 5;
    let layout = Layout::new(&drawing, Precision::Exact);
    let all = positions(40, true);
    let model = Model::fit(&all, layout);
    let block = model.encoder().encode(&all, 0..40);
    let forged = Model::from_parts(layout, vec![5; model.numbering().len()], &model.frequencies()).unwrap();
    assert_eq!(
        forged.decode_codes(&block, 40, &mut Codes::default()),
        Err(CodecError::Damaged)
    );
    assert_eq!(
        model.decode_codes(&block[..block.len() - 1], 40, &mut Codes::default()),
        Err(CodecError::Damaged)
    );
    assert_eq!(
        codes.with_top_k(2, Precision::Exact, &[2.0]),
        Err(CodecError::Damaged),
        "there are two terms"
    );
}
