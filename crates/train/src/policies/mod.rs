//! Supervision policies: which tokens of a sample are kept, which of its positions are learnt, and how much each weighs.
//!
//! Each policy is a plain function of a sample's lengths and sections, the stored distributions, the epoch and the seed:
//!
//! - `lead_span`: how many tokens of a sample are kept each time that the run meets it;
//! - `positions`: which of the positions are learnt; a choice by the student's own distribution is made after its forward pass;
//! - `position_weights`: how much each of them weighs.
//!
//! `crates/README.md` has the formulas. Batches, operations and reports follow from what these functions return.

mod error;
mod lead_span;
mod measure;
mod one_key;
mod position_weights;
mod positions;
mod student_choice;
mod supervision;

#[cfg(test)]
mod student_tests;

pub use error::PolicyError;
pub use lead_span::LeadSpan;
pub(crate) use lead_span::Meeting;
pub(crate) use measure::Measure;
pub use position_weights::PositionWeights;
pub(crate) use position_weights::of_mean_one;
pub use positions::Positions;
pub(crate) use positions::highest;
pub(crate) use student_choice::StudentChoice;
pub(crate) use supervision::Supervision;
