//! The compact form of distributions: blocks of consecutive positions under one shared model.
//!
//! A [`Model`] is fitted to many positions (a row group of a shard, some ten thousand) and then encodes them in small
//! blocks, each of which decodes by itself. A block is a sequence of integers, position after position. Each integer is a
//! token, coded by rANS with the fixed frequencies of its context, and raw bits. The model is the numbering of the
//! vocabulary and those frequencies, so the overhead of a small block is only four bytes of coder state.
//!
//! `docs/format.md` describes the integers of a position, their contexts, tokens, raw bits and the bytes of a block. The
//! coder is the range variant of asymmetric numeral systems (Duda 2013, arXiv 1311.2540).
//!
//! Token ids are numbered by how often they occur (⌊log₂⌋ of the count, descending, then the id), so frequent tokens have
//! small numbers. The order of entries with equal levels costs no bits, so coarse levels save bits twice.
//!
//! [`Codes`] are positions as blocks store them. What is coded again from codes has the same values to the bit.
//!
//! `docs/benchmarks.md` has bytes, errors and speeds of this form and of the alternatives that were tried.

mod block;
mod codes;
mod integers;
mod layout;
mod model;
mod precision;
mod rans;
#[cfg(test)]
mod tests;

pub use codes::Codes;
pub use layout::{CodecError, Layout};
pub use model::Model;
pub use precision::Precision;

/// The contexts of the integers, with the numbers that `docs/format.md` gives them.
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
    /// The number of contexts.
    pub(super) const COUNT: usize = TEMPERATURE + crate::EntrySettings::MAX_TEMPERATURES;

    /// The context of the level of the entry at `rank`.
    #[inline(always)]
    pub(super) fn level(rank: usize) -> usize {
        LEVEL + ((rank as u32 + 1).ilog2() as usize).min(7)
    }

    /// The offset of a number's context if `left` entries of its run are left, including this one.
    #[inline(always)]
    pub(super) fn run_class(left: usize) -> usize {
        ((left as u32).ilog2() as usize).min(7)
    }
}
