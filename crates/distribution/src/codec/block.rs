//! Converts positions to integers with their contexts, and back: from values to integers, and between integers and
//! [codes](Coded).

use super::{
    CodecError, Layout, Precision, context,
    integers::{BitReader, meaning},
    precision::Levels,
    rans::{Decoder, Slots},
};
use crate::{Distributions, Position};

/// The encoder's table from token id to number.
pub(super) trait Numbers {
    fn number(&self, token_id: u32) -> u32;
}

/// A position in codes: what a block stores of it, whatever the numbering of the vocabulary.
pub(super) struct Coded<'a> {
    /// The level of each entry, ascending.
    pub(super) levels: &'a [u32],
    /// The token of each entry; ascending among equal levels.
    pub(super) token_ids: &'a [u32],
    pub(super) tail: u32,
    pub(super) target: u32,
    /// The code of the tail term of each temperature.
    pub(super) terms: &'a [u32],
    /// Ascending.
    pub(super) drawn_ids: &'a [u32],
    pub(super) draws: &'a [u32],
}

/// Converts positions to integers. Buffers are reused.
#[derive(Default)]
pub(super) struct Splitter {
    /// Level and number of each entry, in the order in which they are coded.
    entries: Vec<(u32, u32)>,
    /// Number and draws of each drawn token.
    drawn: Vec<(u32, u32)>,
}

impl Splitter {
    /// Hands every integer of a position to `sink`, with its context, in the order in which it is decoded.
    pub(super) fn split(
        &mut self,
        position: &Position<'_>,
        layout: &Layout,
        numbers: &impl Numbers,
        sink: &mut impl FnMut(usize, u32),
    ) {
        let precision = layout.precision;
        self.entries.clear();
        let entries = position.token_ids.iter().zip(position.logprobs);
        self.entries
            .extend(entries.map(|(&token_id, &logprob)| (precision.level(logprob), numbers.number(token_id))));
        self.sink_entries(sink);
        sink(
            context::TAIL,
            precision.tail_code(position.tail_logprob, position.logprobs),
        );
        sink(context::TARGET, precision.target_code(position.target_logprob));
        for (index, &term) in position.temperature_tails.iter().enumerate() {
            sink(context::TEMPERATURE + index, precision.term_code(term));
        }
        if layout.tail_samples {
            let drawn = position.sampled_token_ids.iter().zip(position.sampled_draws);
            self.sink_drawn(drawn, numbers, sink);
        }
    }

    /// Like [`split`](Self::split), of a position in codes.
    pub(super) fn split_coded(
        &mut self,
        coded: &Coded<'_>,
        layout: &Layout,
        numbers: &impl Numbers,
        sink: &mut impl FnMut(usize, u32),
    ) {
        self.entries.clear();
        let entries = coded.levels.iter().zip(coded.token_ids);
        self.entries
            .extend(entries.map(|(&level, &token_id)| (level, numbers.number(token_id))));
        self.sink_entries(sink);
        sink(context::TAIL, coded.tail);
        sink(context::TARGET, coded.target);
        for (index, &term) in coded.terms.iter().enumerate() {
            sink(context::TEMPERATURE + index, term);
        }
        if layout.tail_samples {
            self.sink_drawn(coded.drawn_ids.iter().zip(coded.draws), numbers, sink);
        }
    }

    fn sink_entries(&mut self, sink: &mut impl FnMut(usize, u32)) {
        self.entries.sort_unstable();
        sink(context::ENTRIES, self.entries.len() as u32);
        let mut before = 0;
        for (rank, &(level, _)) in self.entries.iter().enumerate() {
            sink(context::level(rank), level - before);
            before = level;
        }
        for run in self.entries.chunk_by(|a, b| a.0 == b.0) {
            let class = |index: usize| context::run_class(run.len() - index);
            sink(context::FIRST_NUMBER + class(0), run[0].1);
            for index in 1..run.len() {
                let step = run[index].1 - run[index - 1].1 - 1;
                sink(context::NEXT_NUMBER + class(index), step);
            }
        }
    }

    fn sink_drawn<'a>(
        &mut self,
        drawn: impl Iterator<Item = (&'a u32, &'a u32)>,
        numbers: &impl Numbers,
        sink: &mut impl FnMut(usize, u32),
    ) {
        self.drawn.clear();
        self.drawn
            .extend(drawn.map(|(&token_id, &draws)| (numbers.number(token_id), draws)));
        self.drawn.sort_unstable();
        sink(context::DRAWN, self.drawn.len() as u32);
        let mut next = 0;
        for &(number, _) in &self.drawn {
            sink(context::DRAWN_NUMBER, number - next);
            next = number + 1;
        }
        for &(_, draws) in &self.drawn {
            sink(context::DRAWS, draws - 1);
        }
    }
}

/// Converts integers back to positions. Buffers are reused.
#[derive(Default)]
pub(super) struct Joiner {
    unpacked: Unpacker,
    logprobs: Vec<f32>,
    temperature_tails: Vec<f32>,
}

/// Converts integers back to codes. Buffers are reused.
#[derive(Default)]
pub(super) struct Unpacker {
    levels: Vec<u32>,
    token_ids: Vec<u32>,
    terms: Vec<u32>,
    drawn: Vec<(u32, u32)>,
    drawn_ids: Vec<u32>,
    draws: Vec<u32>,
}

/// A block while it is decoded.
pub(super) struct BlockReader<'a> {
    slots: &'a Slots,
    symbols: Decoder<'a>,
    bits: BitReader<'a>,
    block: &'a [u8],
}

impl<'a> BlockReader<'a> {
    pub(super) fn new(slots: &'a Slots, block: &'a [u8]) -> Result<Self, CodecError> {
        Ok(Self {
            slots,
            symbols: Decoder::new(block).ok_or(CodecError::Damaged)?,
            bits: BitReader::new(block),
            block,
        })
    }

    #[inline(always)]
    fn integer(&mut self, context: usize) -> Result<u32, CodecError> {
        let token = self.symbols.symbol(self.slots, context).ok_or(CodecError::Damaged)?;
        // Reading zero bits is cheaper than a branch that avoids it.
        let (width, base) = meaning(token);
        Ok(base + self.bits.take(width))
    }

    fn is_within_the_block(&self) -> bool {
        self.symbols.bytes_used() + self.bits.bytes_used() <= self.block.len()
    }

    /// Checks that the whole block has been consumed.
    pub(super) fn finish(&self) -> Result<(), CodecError> {
        let used = self.symbols.bytes_used() + self.bits.bytes_used();
        if self.symbols.is_at_its_end() && used == self.block.len() {
            Ok(())
        } else {
            Err(CodecError::Damaged)
        }
    }
}

impl Joiner {
    /// Decodes the next position of `reader` and adds it to `into`.
    pub(super) fn join(
        &mut self,
        reader: &mut BlockReader<'_>,
        layout: &Layout,
        numbering: &[u32],
        levels: &Levels,
        into: &mut Distributions,
    ) -> Result<(), CodecError> {
        let coded = self.unpacked.unpack(reader, layout, numbering)?;
        let precision = layout.precision;
        let (tail_logprob, log_mass) = precision.tail_of(coded.tail);
        self.temperature_tails.clear();
        self.temperature_tails
            .extend(coded.terms.iter().map(|&term| precision.term_of(term)));
        self.logprobs.clear();
        levels
            .append(coded.levels, log_mass, &mut self.logprobs)
            .ok_or(CodecError::Damaged)?;
        into.push(Position {
            token_ids: coded.token_ids,
            logprobs: &self.logprobs,
            tail_logprob,
            target_logprob: precision.target_of(coded.target),
            temperature_tails: &self.temperature_tails,
            sampled_token_ids: coded.drawn_ids,
            sampled_draws: coded.draws,
        });
        Ok(())
    }
}

impl Unpacker {
    /// Decodes the codes of the next position of `reader`. Does not check that the levels exist.
    #[inline(always)]
    pub(super) fn unpack(
        &mut self,
        reader: &mut BlockReader<'_>,
        layout: &Layout,
        numbering: &[u32],
    ) -> Result<Coded<'_>, CodecError> {
        let entries = reader.integer(context::ENTRIES)? as usize;
        if entries > numbering.len().min(layout.most_entries()) {
            return Err(CodecError::Damaged);
        }
        self.levels.clear();
        let mut level = 0u32;
        for rank in 0..entries {
            level = level.wrapping_add(reader.integer(context::level(rank))?);
            self.levels.push(level);
        }
        if !self.levels.is_sorted() {
            return Err(CodecError::Damaged);
        }
        self.token_ids.clear();
        for run in self.levels.chunk_by(|a, b| a == b) {
            let mut number = reader.integer(context::FIRST_NUMBER + context::run_class(run.len()))?;
            let start = self.token_ids.len();
            self.token_ids.push(token_id(numbering, number)?);
            for left in (1..run.len()).rev() {
                let step = reader.integer(context::NEXT_NUMBER + context::run_class(left))?;
                number = number.wrapping_add(step).wrapping_add(1);
                self.token_ids.push(token_id(numbering, number)?);
            }
            // Entries of equal probability are ordered by ascending id.
            sort_short(&mut self.token_ids[start..]);
        }
        let tail = reader.integer(context::TAIL)?;
        let target = reader.integer(context::TARGET)?;
        self.terms.clear();
        for index in 0..layout.temperatures {
            self.terms.push(reader.integer(context::TEMPERATURE + index)?);
        }
        self.drawn_ids.clear();
        self.draws.clear();
        if layout.tail_samples {
            self.unpack_drawn(reader, numbering, layout.most_drawn())?;
        }
        // Checked before memory grows: a forged block must not decode zeros forever.
        if !reader.is_within_the_block() {
            return Err(CodecError::Damaged);
        }
        Ok(Coded {
            levels: &self.levels,
            token_ids: &self.token_ids,
            tail,
            target,
            terms: &self.terms,
            drawn_ids: &self.drawn_ids,
            draws: &self.draws,
        })
    }

    fn unpack_drawn(&mut self, reader: &mut BlockReader<'_>, numbering: &[u32], most: usize) -> Result<(), CodecError> {
        let count = reader.integer(context::DRAWN)? as usize;
        if count > numbering.len().min(most) {
            return Err(CodecError::Damaged);
        }
        self.drawn.clear();
        let mut next = 0u32;
        for _ in 0..count {
            let number = next.wrapping_add(reader.integer(context::DRAWN_NUMBER)?);
            self.drawn.push((token_id(numbering, number)?, 0));
            next = number.wrapping_add(1);
        }
        for (_, draws) in &mut self.drawn {
            *draws = reader.integer(context::DRAWS)?.saturating_add(1);
        }
        self.drawn.sort_unstable();
        self.drawn_ids.extend(self.drawn.iter().map(|&(token_id, _)| token_id));
        self.draws.extend(self.drawn.iter().map(|&(_, draws)| draws));
        Ok(())
    }
}

#[inline(always)]
fn token_id(numbering: &[u32], number: u32) -> Result<u32, CodecError> {
    numbering.get(number as usize).copied().ok_or(CodecError::Damaged)
}

/// Insertion sort: the slice rarely has more than a few elements.
#[inline(always)]
fn sort_short(ids: &mut [u32]) {
    if ids.len() > 24 {
        ids.sort_unstable();
        return;
    }
    for end in 1..ids.len() {
        let id = ids[end];
        let mut at = end;
        while at > 0 && ids[at - 1] > id {
            ids[at] = ids[at - 1];
            at -= 1;
        }
        ids[at] = id;
    }
}

impl Precision {
    /// Levels in the form that the decoder needs.
    pub(super) fn levels(self) -> Levels {
        Levels::new(self)
    }
}
