//! Encoded positions decode within the bounds of their precision, and damaged blocks are refused.

use proptest::prelude::*;

use super::{CodecError, Layout, Model, Precision};
use crate::{Distributions, EntrySettings, Position, Row, reduce};

const PRECISIONS: [Precision; 3] = [Precision::Standard, Precision::Fine, Precision::Exact];

fn numbers(seed: u64) -> impl Iterator<Item = f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    })
}

/// Plausible distributions over a vocabulary; the larger `spread`, the lower the entropy.
fn distributions(vocabulary: usize, positions: usize, spread: f32, settings: &EntrySettings) -> Distributions {
    let mut numbers = numbers(vocabulary as u64);
    let logits: Vec<f32> = numbers
        .by_ref()
        .take(vocabulary * positions)
        .map(|u| spread * (u.max(1e-9).ln() as f32))
        .collect();
    let rows: Vec<Row> = numbers
        .take(positions)
        .enumerate()
        .map(|(index, u)| Row {
            target: (u * vocabulary as f64) as u32,
            seed: index as u64,
        })
        .collect();
    reduce(&logits, vocabulary, &rows, settings).unwrap()
}

/// Encodes in blocks of this many positions and decodes them.
fn coded(distributions: &Distributions, layout: Layout, block_positions: usize) -> Distributions {
    let model = Model::fit(distributions, layout);
    let model = Model::from_parts(layout, model.numbering().to_vec(), &model.frequencies()).unwrap();
    let encoder = model.encoder();
    let mut decoded = Distributions::new();
    for start in (0..distributions.len()).step_by(block_positions) {
        let end = distributions.len().min(start + block_positions);
        let block = encoder.encode(distributions, start..end);
        model.decode(&block, end - start, &mut decoded).unwrap();
    }
    assert_eq!(decoded.len(), distributions.len());
    decoded
}

/// KL of the stored outcomes against the decoded ones, in nats.
fn divergence(stored: &Position<'_>, decoded: &Position<'_>) -> f64 {
    let term = |p: f32, q: f32| {
        let p = f64::from(p);
        if p == f64::NEG_INFINITY {
            0.0
        } else {
            p.exp() * (p - f64::from(q))
        }
    };
    let entries = stored.token_ids.iter().zip(stored.logprobs).map(|(id, &logprob)| {
        let place = decoded.token_ids.iter().position(|other| other == id).unwrap();
        term(logprob, decoded.logprobs[place])
    });
    entries.sum::<f64>() + term(stored.tail_logprob, decoded.tail_logprob)
}

fn sorted_ids(position: &Position<'_>) -> Vec<u32> {
    let mut ids = position.token_ids.to_vec();
    ids.sort_unstable();
    ids
}

#[test]
fn exact_blocks_give_back_every_bit() {
    let settings = EntrySettings {
        top_k: 20,
        top_p: Some(0.9),
        tail_samples: 30,
        temperatures: vec![0.5, 2.0],
    };
    let stored = distributions(300, 100, 2.0, &settings);
    assert_eq!(coded(&stored, Layout::new(&settings, Precision::Exact), 7), stored);
}

#[test]
fn precisions_keep_their_bounds_for_flat_and_for_peaked_distributions() {
    for (vocabulary, top_k) in [(1000, 64), (64, 64), (5, 5), (1000, 1), (1000, 300)] {
        for spread in [0.0, 0.3, 1.0, 4.0, 30.0, 3000.0] {
            let settings = EntrySettings {
                temperatures: vec![2.0],
                tail_samples: 5,
                ..EntrySettings::top_k(top_k)
            };
            let stored = distributions(vocabulary, 40, spread, &settings);
            for precision in PRECISIONS {
                let decoded = coded(&stored, Layout::new(&settings, precision), 16);
                let bound = match precision {
                    Precision::Standard => 6e-5 * f64::from(top_k).sqrt(),
                    Precision::Fine => 4e-5,
                    Precision::Exact => 0.0,
                };
                for (stored, decoded) in stored.iter().zip(decoded.iter()) {
                    assert_eq!(sorted_ids(&stored), sorted_ids(&decoded));
                    let kl = divergence(&stored, &decoded);
                    let which = format!("{precision:?}, {top_k} of {vocabulary}, spread {spread}: {kl:e}");
                    assert!(kl <= bound + 1e-6 && kl >= -1e-5, "{which}");
                    let mass: f64 = decoded.logprobs.iter().map(|&l| f64::from(l).exp()).sum();
                    let tail = f64::from(decoded.tail_logprob).exp();
                    assert!((mass + tail - 1.0).abs() < 1e-5, "{which}: {mass} + {tail}");
                    let ordered = |rank: usize| {
                        let (before, here) = (decoded.logprobs[rank - 1], decoded.logprobs[rank]);
                        before > here || (before == here && decoded.token_ids[rank - 1] < decoded.token_ids[rank])
                    };
                    assert!((1..decoded.token_ids.len()).all(ordered), "{which}");
                    if precision == Precision::Fine {
                        for (id, logprob) in stored.token_ids.iter().zip(stored.logprobs) {
                            let place = decoded.token_ids.iter().position(|other| other == id).unwrap();
                            let error = (decoded.logprobs[place] - logprob).abs();
                            assert!(
                                error <= 1.0 / 60.0 || *logprob < -1023.0,
                                "{which}: {logprob} off by {error}"
                            );
                        }
                    }
                    assert_eq!(stored.sampled_token_ids, decoded.sampled_token_ids);
                    assert_eq!(stored.sampled_draws, decoded.sampled_draws);
                }
            }
        }
    }
}

#[test]
fn vocabularies_up_to_two_to_the_twenty_are_coded() {
    let mut stored = Distributions::new();
    let last = (1 << 20) - 1;
    for ids in [[last, 0], [7, last], [0, 151_667]] {
        stored.push(Position {
            token_ids: &ids,
            logprobs: &[-0.5, -2.0],
            tail_logprob: -1.3,
            target_logprob: -40.0,
            ..Position::default()
        });
    }
    let layout = Layout::new(&EntrySettings::top_k(2), Precision::Exact);
    assert_eq!(coded(&stored, layout, 2), stored);
}

#[test]
fn a_block_decodes_alone_and_to_its_own_number_of_positions_only() {
    let settings = EntrySettings::top_k(8);
    let stored = distributions(100, 30, 1.0, &settings);
    let layout = Layout::new(&settings, Precision::Exact);
    let model = Model::fit(&stored, layout);
    let block = model.encoder().encode(&stored, 10..20);
    let mut decoded = Distributions::new();
    model.decode(&block, 10, &mut decoded).unwrap();
    assert!((0..10).all(|index| decoded.get(index) == stored.get(10 + index)));
    for positions in [0, 9, 11, 1000] {
        let result = model.decode(&block, positions, &mut Distributions::new());
        assert_eq!(result, Err(CodecError::Damaged), "{positions}");
    }
    let empty = model.encoder().encode(&stored, 0..0);
    model.decode(&empty, 0, &mut Distributions::new()).unwrap();
}

#[test]
fn a_block_of_more_entries_than_are_ever_stored_is_damage_although_they_cost_no_bits() {
    // All positions are alike, so that everything except the number of entries takes no bits.
    let settings = EntrySettings {
        tail_samples: 1,
        ..EntrySettings::top_k(100_000)
    };
    let mut stored = Distributions::new();
    let ids: Vec<u32> = (0..100_000).collect();
    stored.push(Position {
        token_ids: &ids,
        logprobs: &vec![-12.0; ids.len()],
        ..Position::default()
    });
    let layout = Layout::new(&settings, Precision::Exact);
    let model = Model::fit(&stored, layout);
    let block = model.encoder().encode(&stored, 0..1);
    assert!(block.len() < 32, "{} bytes", block.len());
    let decode = |most| {
        let layout = Layout::new(
            &EntrySettings {
                top_k: most,
                ..settings.clone()
            },
            Precision::Exact,
        );
        let model = Model::from_parts(layout, model.numbering().to_vec(), &model.frequencies()).unwrap();
        model.decode(&block, 1, &mut Distributions::new())
    };
    assert_eq!((decode(100_000), decode(99_999)), (Ok(()), Err(CodecError::Damaged)));
}

#[test]
fn what_is_no_model_is_refused() {
    let layout = Layout::new(&EntrySettings::top_k(2), Precision::Standard);
    let model = Model::fit(&distributions(50, 9, 1.0, &EntrySettings::top_k(2)), layout);
    let (numbering, sound) = (model.numbering().to_vec(), model.frequencies());
    let refused = |frequencies: &[u32]| Model::from_parts(layout, numbering.clone(), frequencies).is_err();
    assert!(!refused(&sound));
    assert!(refused(&[]) && refused(&sound[..sound.len() - 1]) && refused(&[&sound[..], &[0]].concat()));
    let mut wrong = sound.clone();
    wrong[1] += 1;
    assert!(refused(&wrong));
    wrong[0] = u32::MAX;
    assert!(refused(&wrong));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exact_blocks_give_back_whatever_they_were_given(
        shapes in prop::collection::vec((0usize..12, any::<u64>()), 1..60), block_positions in 1usize..20,
    ) {
        let mut stored = Distributions::new();
        for &(entries, seed) in &shapes {
            let mut numbers = numbers(seed);
            let mut ids: Vec<u32> = (0..entries).map(|_| (numbers.next().unwrap() * 1e6) as u32).collect();
            ids.sort_unstable();
            ids.dedup();
            let mut logprobs: Vec<f32> = ids.iter().map(|_| -(numbers.next().unwrap() * 9.0).floor() as f32 + 0.0).collect();
            logprobs.sort_by(|a, b| b.total_cmp(a));
            stored.push(Position {
                token_ids: &ids,
                logprobs: &logprobs,
                tail_logprob: -(numbers.next().unwrap() as f32),
                target_logprob: f32::from_bits(0xbf00_0000 | (seed as u32 & 0xffff)),
                ..Position::default()
            });
        }
        let layout = Layout::new(&EntrySettings::top_k(12), Precision::Exact);
        prop_assert_eq!(coded(&stored, layout, block_positions), stored);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(
        garbage in prop::collection::vec(any::<u8>(), 0..200), flips in prop::collection::vec((0usize..4000, 0u8..8), 0..4),
        positions in 0usize..40,
    ) {
        let settings = EntrySettings { temperatures: vec![2.0], tail_samples: 4, ..EntrySettings::top_k(8) };
        let stored = distributions(100, 20, 1.0, &settings);
        for precision in PRECISIONS {
            let model = Model::fit(&stored, Layout::new(&settings, precision));
            let mut block = model.encoder().encode(&stored, 0..20);
            for &(byte, bit) in &flips {
                let byte = byte % block.len();
                block[byte] ^= 1 << bit;
            }
            for bytes in [&garbage, &block] {
                let mut into = Distributions::new();
                let _ = model.decode(bytes, positions, &mut into);
                prop_assert!(into.len() <= positions);
            }
        }
    }
}
