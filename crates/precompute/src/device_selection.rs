//! Finds the largest logits of rows on a GPU, so that only a few hundred numbers of each row are copied to the host.
//!
//! The stock operations have no top-k, and their sort is limited to some thousand columns. So a row is cut into pieces: each
//! of its k largest logits lies in one of the k pieces with the largest maxima. Sorting the maxima finds these pieces, and
//! sorting their logits finds the largest. The mass of all other tokens is a log-sum-exp over the row without the found
//! logits. Everything here runs on any device, so the tests use the CPU.

use candle_core::{D, DType, Result, Tensor};
use leadspan_distribution::{Distributions, EntrySettings, Found, NonFiniteLogit, Row, push_found};

/// The most columns of the device's sort.
const SORTED_COLUMNS: usize = 8192;
/// Tokens that are found beyond the entries. If no more logits than these tie with the last entry, those with the lowest ids
/// are kept.
const SPARE: usize = 16;

/// How rows are cut: into `pieces` pieces of `length` logits, of which `chosen` are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pieces: usize,
    length: usize,
    chosen: usize,
    /// The number of tokens that are found.
    found: usize,
}

impl Cut {
    /// How to cut rows of this vocabulary for these settings. `None` if the vocabulary is too large for the sort, or if the
    /// settings ask for more than entries and tail mass.
    pub(crate) fn of(vocabulary: usize, settings: &EntrySettings) -> Option<Self> {
        let k = (settings.top_k as usize).min(vocabulary);
        if !settings.needs_entries_alone() || k == 0 {
            return None;
        }
        let found = (k + SPARE).min(vocabulary);
        (0..20).map(|power| 1 << power).find_map(|length| {
            let pieces = vocabulary.div_ceil(length);
            let chosen = found.min(pieces);
            let fits = pieces <= SORTED_COLUMNS && chosen * length <= SORTED_COLUMNS;
            fits.then_some(Self {
                pieces,
                length,
                chosen,
                found,
            })
        })
    }
}

/// The result of [`reduce`](leadspan_distribution::reduce) for `logits` `[N, V]` in single precision; `rows` describes their
/// rows.
///
/// # Errors
///
/// Fails if the device fails. The inner result is an error if a logit is not finite.
pub(crate) fn reduce_on_device(
    logits: &Tensor,
    rows: &[Row],
    settings: &EntrySettings,
    cut: Cut,
) -> Result<std::result::Result<Distributions, NonFiniteLogit>> {
    let (count, vocabulary) = logits.dims2()?;
    let (device, pad) = (logits.device(), cut.pieces * cut.length - vocabulary);
    // 0 · z is 0 for every finite z, and not a number otherwise.
    let zeros = (logits * 0.0)?.sum(1)?.to_vec1::<f32>()?;
    if let Some(row) = zeros.iter().position(|&zero| zero != 0.0) {
        let values = logits.get(row)?.to_vec1::<f32>()?;
        let token = values.iter().position(|value| !value.is_finite());
        return Ok(Err(NonFiniteLogit {
            row,
            token: token.unwrap_or(0) as u32,
        }));
    }
    let padded = if pad == 0 {
        logits.clone()
    } else {
        let nothing = Tensor::full(f32::NEG_INFINITY, (count, pad), device)?;
        Tensor::cat(&[logits, &nothing], 1)?
    };
    let pieces = padded.reshape((count, cut.pieces, cut.length))?;
    let chosen = descending(&pieces.max(D::Minus1)?)?
        .narrow(1, 0, cut.chosen)?
        .contiguous()?;
    let spread = chosen
        .unsqueeze(2)?
        .broadcast_as((count, cut.chosen, cut.length))?
        .contiguous()?;
    let within = pieces
        .contiguous()?
        .gather(&spread, 1)?
        .reshape((count, cut.chosen * cut.length))?;
    let places = descending(&within)?.narrow(1, 0, cut.found)?.contiguous()?;
    let found_logits = within.gather(&places, 1)?.to_vec2::<f32>()?;
    let (chosen, places) = (chosen.to_vec2::<u32>()?, places.to_vec2::<u32>()?);
    let token_ids: Vec<Vec<u32>> = (chosen.iter().zip(&places))
        .map(|(chosen, places)| {
            let length = cut.length as u32;
            let token = |&place: &u32| chosen[(place / length) as usize] * length + place % length;
            places.iter().map(token).collect()
        })
        .collect();
    let ids = Tensor::from_vec(token_ids.concat(), (count, cut.found), device)?;
    let others = others(logits, &ids)?;
    let targets: Vec<u32> = rows.iter().map(|row| row.target).collect();
    let targets = Tensor::from_vec(targets, (count, 1), device)?;
    let target_logits = logits.gather(&targets, 1)?.flatten_all()?.to_vec1::<f32>()?;
    let mut reduced = Distributions::with_capacity(count, count * settings.top_k as usize);
    for row in 0..count {
        // Padding has no token. If padding was chosen, the whole vocabulary was chosen.
        let real = token_ids[row]
            .iter()
            .filter(|&&token| (token as usize) < vocabulary)
            .count();
        let found = Found {
            token_ids: &token_ids[row][..real],
            logits: &found_logits[row][..real],
            others: f64::from(others[row]),
            others_at: &[],
            target_logit: target_logits[row],
        };
        push_found(found, vocabulary, settings, &mut reduced);
    }
    Ok(Ok(reduced))
}

/// The column indices of each row, largest value first.
fn descending(values: &Tensor) -> Result<Tensor> {
    values.contiguous()?.arg_sort_last_dim(false)
}

/// log Σ exp(z) of every row over the columns that are not in `ids` `[N, F]`; −∞ if there are none.
fn others(logits: &Tensor, ids: &Tensor) -> Result<Vec<f32>> {
    let (count, vocabulary) = logits.dims2()?;
    if ids.dim(1)? >= vocabulary {
        return Ok(vec![f32::NEG_INFINITY; count]);
    }
    let nothing = Tensor::full(f32::NEG_INFINITY, ids.shape(), logits.device())?;
    let rest = logits.scatter(ids, &nothing, 1)?;
    let max = rest.max_keepdim(1)?;
    let sum = rest.broadcast_sub(&max)?.exp()?.sum(1)?;
    (sum.log()? + max.squeeze(1)?)?.to_dtype(DType::F32)?.to_vec1()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use leadspan_distribution::reduce;

    use super::*;

    fn logits(rows: usize, vocabulary: usize, steps: f32) -> Vec<f32> {
        let mut state = 7u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 * 30.0 - 15.0
        };
        (0..rows * vocabulary)
            .map(|_| (next() * steps).round() / steps)
            .collect()
    }

    #[test]
    fn what_is_found_there_is_what_the_host_finds() {
        // The second has so few different logits that ties are everywhere, but fewer than are spare.
        for (vocabulary, top_k, top_p, steps) in [
            (5000, 64, None, 1e4),
            (3001, 16, None, 20.0),
            (20, 64, None, 1e4),
            (70, 64, None, 1e4),
            (40_000, 128, Some(0.9), 1e4),
        ] {
            let settings = EntrySettings {
                top_p,
                ..EntrySettings::top_k(top_k)
            };
            let rows: Vec<Row> = (0..9)
                .map(|row| Row {
                    target: row * 2,
                    seed: 0,
                })
                .collect();
            let values = logits(9, vocabulary, steps);
            let host = reduce(&values, vocabulary, &rows, &settings).unwrap();
            let tensor = Tensor::from_slice(&values, (9, vocabulary), &Device::Cpu).unwrap();
            let cut = Cut::of(vocabulary, &settings).unwrap();
            let found = reduce_on_device(&tensor, &rows, &settings, cut).unwrap().unwrap();
            for (host, found) in host.iter().zip(found.iter()) {
                assert_eq!(host.token_ids, found.token_ids, "{vocabulary}");
                let close = |a: f32, b: f32| a == b || (a - b).abs() < 2e-6 * a.abs().max(1.0);
                assert!(host.logprobs.iter().zip(found.logprobs).all(|(&a, &b)| close(a, b)));
                assert!(close(host.tail_logprob, found.tail_logprob), "{host:?} {found:?}");
                assert!(close(host.target_logprob, found.target_logprob));
            }
        }
    }

    #[test]
    fn a_logit_that_is_not_finite_is_named() {
        let mut values = logits(4, 300, 1e4);
        values[2 * 300 + 17] = f32::INFINITY;
        let tensor = Tensor::from_slice(&values, (4, 300), &Device::Cpu).unwrap();
        let settings = EntrySettings::top_k(8);
        let rows = [Row { target: 0, seed: 0 }; 4];
        let cut = Cut::of(300, &settings).unwrap();
        let refused = reduce_on_device(&tensor, &rows, &settings, cut).unwrap();
        assert_eq!(refused, Err(NonFiniteLogit { row: 2, token: 17 }));
    }

    #[test]
    fn rows_are_cut_so_that_both_sorts_fit_or_not_at_all() {
        for (vocabulary, top_k) in [(151_936, 64), (151_936, 128), (49_152, 256), (152_064, 200), (10, 3)] {
            let cut = Cut::of(vocabulary, &EntrySettings::top_k(top_k)).unwrap();
            assert!(cut.pieces <= SORTED_COLUMNS && cut.chosen * cut.length <= SORTED_COLUMNS);
            assert!(cut.pieces * cut.length >= vocabulary && cut.found >= top_k.min(vocabulary as u32) as usize);
        }
        assert_eq!(Cut::of(151_936, &EntrySettings::top_k(400)), None);
        let drawn = EntrySettings {
            tail_samples: 4,
            ..EntrySettings::top_k(64)
        };
        assert_eq!(Cut::of(151_936, &drawn), None);
    }
}
