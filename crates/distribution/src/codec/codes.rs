//! Positions as blocks store them: levels and codes instead of values.
//!
//! Values that are worked out from levels do not always give back the same levels, because entries are rescaled. What is
//! coded again from codes, with the same model or another one, has the same values to the bit.

use std::{cmp::Reverse, collections::HashMap, ops::Range};

use rayon::prelude::*;

use super::{
    CodecError, Layout, Model, Precision,
    block::{BlockReader, Coded, Numbers, Splitter, Unpacker},
    model::{Codable, Scratch},
    rans::Ranges,
};
use crate::MIN_TAIL_LOGPROB;

/// Positions in codes, stored back to back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codes {
    /// Where the entries of each position end.
    ends: Vec<usize>,
    levels: Vec<u32>,
    token_ids: Vec<u32>,
    tails: Vec<u32>,
    targets: Vec<u32>,
    /// One code per position and temperature.
    terms: Vec<u32>,
    /// Where the drawn tokens of each position end.
    drawn_ends: Vec<usize>,
    drawn_ids: Vec<u32>,
    draws: Vec<u32>,
}

impl Codes {
    /// The number of positions.
    pub fn len(&self) -> usize {
        self.tails.len()
    }

    /// Whether there are no positions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of entries of all positions.
    pub fn entries(&self) -> usize {
        self.token_ids.len()
    }

    /// Approximate bytes that the positions take in memory once they are decoded.
    pub fn bytes(&self) -> usize {
        16 * self.len() + 8 * (self.token_ids.len() + self.drawn_ids.len()) + 4 * self.terms.len()
    }

    /// Appends the positions `range` of `other`, which has the same layout.
    ///
    /// # Panics
    ///
    /// If `other` has fewer positions.
    pub fn append(&mut self, other: &Self, range: Range<usize>) {
        for index in range {
            self.push(&other.get(index));
        }
    }

    fn get(&self, index: usize) -> Coded<'_> {
        let of = |ends: &[usize]| index.checked_sub(1).map_or(0, |before| ends[before])..ends[index];
        let (entries, drawn) = (of(&self.ends), of(&self.drawn_ends));
        let temperatures = self.terms.len() / self.len().max(1);
        Coded {
            levels: &self.levels[entries.clone()],
            token_ids: &self.token_ids[entries],
            tail: self.tails[index],
            target: self.targets[index],
            terms: &self.terms[index * temperatures..(index + 1) * temperatures],
            drawn_ids: &self.drawn_ids[drawn.clone()],
            draws: &self.draws[drawn],
        }
    }

    fn push(&mut self, coded: &Coded<'_>) {
        self.levels.extend_from_slice(coded.levels);
        self.token_ids.extend_from_slice(coded.token_ids);
        self.ends.push(self.token_ids.len());
        self.tails.push(coded.tail);
        self.targets.push(coded.target);
        self.terms.extend_from_slice(coded.terms);
        self.drawn_ids.extend_from_slice(coded.drawn_ids);
        self.draws.extend_from_slice(coded.draws);
        self.drawn_ends.push(self.drawn_ids.len());
    }

    /// The same positions with at most `k` entries each: those of the lowest levels, of equal levels those of the lowest ids.
    /// The others move to the tail and to the tail terms, which are rounded once more, by at most half a step of `precision`.
    /// The entries that stay keep their levels, so their ratios are the same to the bit. Drawn tokens are left out, because
    /// they were not drawn from the larger tail.
    ///
    /// With p the tail mass, ℓ the log-probability and τ a temperature: p' = p + Σ exp(ℓ) and
    /// t'(τ) = log(exp(t(τ)) + Σ exp(ℓ/τ)) over the entries that move.
    ///
    /// # Errors
    ///
    /// [`CodecError::Damaged`] if a level does not exist, or if there is not one term for each of `temperatures`.
    pub fn with_top_k(&self, k: usize, precision: Precision, temperatures: &[f32]) -> Result<Self, CodecError> {
        let levels = precision.levels();
        let (mut kept, mut logprobs, mut terms) = (Self::default(), Vec::new(), Vec::new());
        for index in 0..self.len() {
            let coded = self.get(index);
            if coded.terms.len() != temperatures.len() {
                return Err(CodecError::Damaged);
            }
            terms.clear();
            let mut tail = coded.tail;
            let stay = coded.levels.len().min(k);
            if stay < coded.levels.len() {
                let (tail_logprob, log_mass) = precision.tail_of(tail);
                logprobs.clear();
                levels
                    .append(coded.levels, log_mass, &mut logprobs)
                    .ok_or(CodecError::Damaged)?;
                let (staying, moving) = logprobs.split_at(stay);
                let larger = log_sum(tail_logprob, moving, 1.0).min(0.0) as f32;
                tail = precision.tail_code(larger.max(MIN_TAIL_LOGPROB), staying);
                let of_each = coded.terms.iter().zip(temperatures);
                terms.extend(of_each.map(|(&term, &temperature)| {
                    let larger = log_sum(precision.term_of(term), moving, f64::from(temperature));
                    precision.term_code(larger as f32)
                }));
            } else {
                terms.extend_from_slice(coded.terms);
            }
            kept.push(&Coded {
                levels: &coded.levels[..stay],
                token_ids: &coded.token_ids[..stay],
                tail,
                terms: &terms,
                drawn_ids: &[],
                draws: &[],
                ..coded
            });
        }
        Ok(kept)
    }

    /// The sum of the entries' probability over all positions.
    pub fn retained_mass(&self, precision: Precision) -> f64 {
        let retained = |&tail: &u32| -f64::from(precision.tail_of(tail).0).exp_m1();
        self.tails.iter().map(retained).sum()
    }
}

/// log(exp(`term`) + Σ exp(ℓ/τ)).
fn log_sum(term: f32, logprobs: &[f32], temperature: f64) -> f64 {
    let scaled = || logprobs.iter().map(|&logprob| f64::from(logprob) / temperature);
    let term = f64::from(term);
    let max = scaled().fold(term, f64::max);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + ((term - max).exp() + scaled().map(|value| (value - max).exp()).sum::<f64>()).ln()
}

impl Codable for Codes {
    fn count(&self) -> usize {
        self.len()
    }

    fn split(
        &self,
        index: usize,
        splitter: &mut Splitter,
        layout: &Layout,
        numbers: &impl Numbers,
        sink: &mut impl FnMut(usize, u32),
    ) {
        splitter.split_coded(&self.get(index), layout, numbers, sink);
    }
}

/// The number of each token id. Ids of a stranger's shard may be too large for a table.
struct NumberOf(HashMap<u32, u32>);

impl NumberOf {
    fn new(numbering: &[u32]) -> Self {
        let numbered = numbering.iter().enumerate();
        Self(numbered.map(|(number, &id)| (id, number as u32)).collect())
    }

    fn has_all_of(&self, codes: &Codes) -> bool {
        let mut ids = codes.token_ids.iter().chain(&codes.drawn_ids);
        ids.all(|id| self.0.contains_key(id))
    }
}

impl Numbers for NumberOf {
    fn number(&self, token_id: u32) -> u32 {
        self.0.get(&token_id).copied().unwrap_or(0)
    }
}

/// The ids of the entries and draws by ⌊log₂⌋ of how often they occur, descending, then by id.
fn numbering(codes: &Codes) -> Vec<u32> {
    let mut counts: HashMap<u32, u32> = HashMap::new();
    for &id in codes.token_ids.iter().chain(&codes.drawn_ids) {
        let count = counts.entry(id).or_default();
        *count = count.saturating_add(1);
    }
    let mut numbering: Vec<(Reverse<u32>, u32)> = counts
        .into_iter()
        .map(|(id, count)| (Reverse(count.ilog2()), id))
        .collect();
    numbering.sort_unstable();
    numbering.into_iter().map(|(_, id)| id).collect()
}

impl Model {
    /// Decodes a block of `positions` positions to codes and appends them to `into`. Checks as much as
    /// [`decode`](Self::decode).
    ///
    /// # Errors
    ///
    /// [`CodecError::Damaged`]. `into` then holds only some of the positions.
    pub fn decode_codes(&self, block: &[u8], positions: usize, into: &mut Codes) -> Result<(), CodecError> {
        let mut reader = BlockReader::new(&self.slots, block)?;
        let (mut unpacker, mut logprobs) = (Unpacker::default(), Vec::new());
        for _ in 0..positions {
            let coded = unpacker.unpack(&mut reader, &self.layout, &self.numbering)?;
            logprobs.clear();
            let exist = self.levels.append(coded.levels, 0.0, &mut logprobs).is_some();
            // Only the numbering of a forged model has a token twice.
            let mut entries = coded.levels.iter().zip(coded.token_ids).is_sorted_by(|a, b| a < b);
            entries &= coded.drawn_ids.is_sorted_by(|a, b| a < b);
            if !exist || !entries {
                return Err(CodecError::Damaged);
            }
            into.push(&coded);
        }
        reader.finish()
    }

    /// Fits a model to positions in codes. It is the model that [`fit`](Self::fit) gives for their values if these have the
    /// same codes.
    pub fn fit_codes(codes: &Codes, layout: Layout) -> Self {
        let numbering = numbering(codes);
        let numbers = NumberOf::new(&numbering);
        Self::fitted(codes, numbering, &numbers, layout)
    }

    /// Encodes positions in codes as blocks.
    ///
    /// # Errors
    ///
    /// [`CodecError::Damaged`] if the model was not fitted to these positions, or to blocks that they were decoded from.
    pub fn encode_codes(&self, codes: &Codes, blocks: &[Range<usize>]) -> Result<Vec<Vec<u8>>, CodecError> {
        let numbers = NumberOf::new(&self.numbering);
        if !numbers.has_all_of(codes) {
            return Err(CodecError::Damaged);
        }
        let ranges: Vec<Ranges> = self.frequencies.iter().map(|list| Ranges::new(list)).collect();
        let encoded = blocks.par_iter().map_init(Scratch::default, |scratch, block| {
            scratch.collect(codes, block.clone(), &self.layout, &numbers);
            if scratch.is_within(&ranges) {
                Ok(scratch.block(&ranges))
            } else {
                Err(CodecError::Damaged)
            }
        });
        encoded.collect()
    }
}

#[cfg(test)]
mod tests;
