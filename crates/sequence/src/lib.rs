//! The geometry of a training sequence: which tokens are kept and which positions are learnt.
//!
//! A [`Sample`] is a tokenized prompt, chain of thought and answer. A [`LeadSpanProportion`] says how many of its
//! leading tokens are kept, a [`SectionSet`] which of its sections are targets, and [`supervised_positions`] turns both
//! into the positions whose next-token distribution matters. Everything here is a plain function of its arguments: no
//! I/O, no tensors.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod positions;
mod proportion;
mod sample;
mod section;

pub use positions::{fed_tokens, positions_of_kept, supervised_position_count, supervised_positions};
pub use proportion::{InvalidProportion, LeadSpanProportion};
pub use sample::{Sample, Split};
pub use section::{InvalidBounds, Section, SectionBounds, SectionSet, UnknownSection};
