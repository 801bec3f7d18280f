//! The teacher as stage one knows it: tokens of a batch in, distributions of the wanted positions out, and what it is.
//!
//! [`TeacherSource`] says what the teacher is, from its files; [`Teacher`] is the teacher that runs. Whoever plans, captures,
//! audits or resumes does not know which kind runs.

mod resident;
mod source;

use std::sync::atomic::AtomicBool;

use leadspan_cache::{Layer, PreparedCorpus};
use leadspan_distribution::Distributions;
use leadspan_model::{Distrust, ModelError};

#[cfg(test)]
pub(crate) use self::resident::Resident;
pub(crate) use self::source::TeacherSource;
use crate::{CacheSettings, PrecomputeError, batches::CapturedSpan, captured::Captured};

/// The two parts of capturing a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Tokens through the layers.
    Layers,
    /// Positions through the head, and logits to distributions.
    Head,
}

/// A teacher that is ready to run.
pub(crate) trait Teacher: Sync {
    /// The distributions at all positions that `layer` covers of a batch, sample after sample. Calls `done` after each part.
    ///
    /// # Errors
    ///
    /// [`ModelError::Stopped`] if `stop` is set before the end; the errors of the teacher and of `done`.
    fn capture(
        &self,
        batch: &[CapturedSpan],
        layer: &Layer,
        corpus: &PreparedCorpus,
        stop: &AtomicBool,
        done: &mut dyn FnMut(Part) -> Result<(), ModelError>,
    ) -> Result<Captured, PrecomputeError>;

    /// The distributions of a captured batch, once they are known.
    ///
    /// # Errors
    ///
    /// If the device fails; logits that are not finite.
    fn finish(&self, captured: Captured) -> Result<Distributions, PrecomputeError>;

    /// Calls `visit` with what the teacher says at each of some ascending positions of one sequence, and the place of the
    /// position in `positions`.
    ///
    /// # Errors
    ///
    /// The errors of the teacher.
    fn visit(
        &self,
        tokens: &[u32],
        positions: &[u32],
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), PrecomputeError>;

    /// How many tokens of several samples are one batch.
    fn batch_tokens(&self, settings: &CacheSettings) -> usize;

    /// The class of what computes, which decides, together with the inputs, the bits of the output.
    fn device_class(&self) -> String;

    /// Why the fused kernels of the device are not used, if they cannot be trusted.
    fn distrust(&self) -> Option<&Distrust>;

    /// Waits until the device has done what it was asked for.
    ///
    /// # Errors
    ///
    /// If the device fails.
    fn synchronize(&self) -> Result<(), ModelError>;
}
