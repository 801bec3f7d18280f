//! The compact form of distributions: blocks of consecutive positions under one shared model.
//!
//! A [`Model`] is fitted to many positions (a row group of a shard, some ten thousand) and then encodes them in small
//! blocks, each of which decodes by itself. What a block holds, position after position, is a sequence of integers; each
//! integer is a token, coded by rANS with the fixed frequencies of its context, and raw bits. The model is the numbering
//! of the vocabulary and those frequencies, so a block of a dozen positions pays nothing for its size but four bytes of
//! coder state.
//!
//! # The integers of a position
//!
//! | context | integer |
//! |---|---|
//! | 0 | n, the number of entries |
//! | 1 + ⌊log₂(rank + 1)⌋, at most 8 | for each entry by rank from 0: its level less the one before it (the first: its level) |
//! | 9 + c and 17 + c | for each entry: its token's number; see below |
//! | 25 | tail |
//! | 26 | target |
//! | 30 + t | tail term of the t-th declared temperature |
//! | 27, 28, 29 | only with tail samples: how many drawn tokens; then, for each of them, its number (the first: as it is, the others: less the one before it, less 1); then, for each, its draws less 1 |
//!
//! All levels come first, then all numbers, then the rest in the order of the table. A *level* is a quantised
//! log-probability, larger for less probable tokens: [`Precision`] says how. *Numbers* are places in the model's list of
//! token ids, which is ordered by how often a token occurs (⌊log₂⌋ of the count, descending, then the id): frequent
//! tokens have small numbers. Entries are ordered by level, then by number; entries of one level form a run. The first
//! number of a run is coded as it is in context 9 + c, every further one as its difference from the one before, less 1,
//! in context 17 + c, where c = ⌊log₂ m⌋, at most 7, and m counts the entries of the run from this one on. Since the order
//! inside a run costs nothing, coarse levels save bits twice.
//!
//! # Integers, tokens and bits
//!
//! x < 16 is the token x without raw bits. Otherwise, with e = ⌊log₂ x⌋, the token is 16 + 4·(e − 4) + the two bits below
//! the leading one, and the e − 2 bits below those are raw.
//!
//! # A block
//!
//! ```text
//! u32 LE   state of the coder
//! u16 LE…  words that the coder takes in, in the order in which the decoder wants them
//!     …u8  raw bits: the last byte of the block is the first of the bit stream, each byte's lowest bit comes first;
//!          an integer's raw bits come lowest first
//! ```
//!
//! Decoding a token in a context with frequencies f summing to 4096 and cumulative sums c: slot = state mod 4096, the token
//! is the s with c(s) ≤ slot < c(s + 1), state ← f(s)·⌊state / 4096⌋ + slot − c(s); then, once, if state < 2¹⁶,
//! state ← 2¹⁶·state + the next word. (Range variant of asymmetric numeral systems, Duda 2013, arXiv 1311.2540.) After the
//! last integer of a block the state is 2¹⁶ and words and bits have been used up: anything else is damage.
//!
//! `docs/benchmarks.md` has bytes, errors and speeds of this form and of the alternatives that were tried.

mod block;
mod integers;
mod layout;
mod model;
mod precision;
mod rans;
#[cfg(test)]
mod tests;

pub use layout::{CodecError, Layout};
pub use model::Model;
pub use precision::Precision;

/// The contexts of the integers, as the table on the front page of this module numbers them.
mod context {
    pub(super) const ENTRIES: usize = 0;
    pub(super) const LEVEL: usize = 1;
    pub(super) const FIRST_NUMBER: usize = 9;
    pub(super) const NEXT_NUMBER: usize = 17;
    pub(super) const TAIL: usize = 25;
    pub(super) const TARGET: usize = 26;
    pub(super) const DRAWN: usize = 27;
    pub(super) const DRAWN_NUMBER: usize = 28;
    pub(super) const DRAWS: usize = 29;
    pub(super) const TEMPERATURE: usize = 30;
    /// How many there are.
    pub(super) const COUNT: usize = TEMPERATURE + crate::EntrySettings::MAX_TEMPERATURES;

    /// The context of the level of the entry at `rank`.
    #[inline(always)]
    pub(super) fn level(rank: usize) -> usize {
        LEVEL + ((rank as u32 + 1).ilog2() as usize).min(7)
    }

    /// What is added to a number's context where `left` entries of its run are left, itself included.
    #[inline(always)]
    pub(super) fn run_class(left: usize) -> usize {
        ((left as u32).ilog2() as usize).min(7)
    }
}
