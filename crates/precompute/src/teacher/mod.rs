//! The teacher as stage one knows it: tokens of a batch in, distributions of the wanted positions out, and what it is.
//!
//! [`TeacherSource`] says what the teacher is, from its files; [`Teacher`] is the teacher that runs. Whoever plans, captures,
//! audits or resumes does not know which kind runs.

mod positions;
mod resident;
mod served;
mod source;
mod streamed;
mod streaming;

use std::sync::atomic::AtomicBool;

use leadspan_cache::{Layer, PreparedCorpus};
use leadspan_distribution::{Distributions, Position};
use leadspan_model::{Distrust, ModelError};

#[cfg(test)]
pub(crate) use self::resident::Resident;
pub use self::served::ServerWait;
pub(crate) use self::source::{Limits, TeacherSource};
pub use self::streaming::{MemoryBound, Streaming};
use crate::{CacheSettings, PrecomputeError, batches::CapturedSpan, captured::Captured};

/// The two parts of capturing a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Tokens through the layers.
    Layers,
    /// Positions through the head, and logits to distributions.
    Head,
}

/// What is heard of a teacher while it captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A part of the batch is done.
    Done(Part),
    /// A sample of the batch is done.
    Sample,
    /// A batch that takes long has got further.
    Further,
    /// A server is waited for.
    Waiting(ServerWait),
}

/// What a teacher says about a position.
#[derive(Clone, Copy)]
pub(crate) enum Said<'a> {
    /// All logits.
    Logits(&'a [f32]),
    /// The most probable tokens.
    Entries(Position<'a>),
}

/// A teacher that is ready to run.
pub(crate) trait Teacher: Sync {
    /// The distributions at all positions that `layer` covers of a batch, sample after sample. Calls `heard` after each part.
    ///
    /// # Errors
    ///
    /// [`ModelError::Stopped`] if `stop` is set before the end; the errors of the teacher and of `heard`.
    fn capture(
        &self,
        batch: &[CapturedSpan],
        layer: &Layer,
        corpus: &PreparedCorpus,
        stop: &AtomicBool,
        heard: &mut dyn FnMut(Heard) -> Result<(), ModelError>,
    ) -> Result<Captured, PrecomputeError>;

    /// The distributions of a captured batch, once they are known.
    ///
    /// # Errors
    ///
    /// If the device fails; logits that are not finite.
    fn finish(&self, captured: Captured) -> Result<Distributions, PrecomputeError>;

    /// Calls `visit` with what the teacher says at each of some ascending positions of one sample, and the place of the position in
    /// `positions`. `id` is the sample's.
    ///
    /// # Errors
    ///
    /// The errors of the teacher.
    fn visit(
        &self,
        id: &str,
        tokens: &[u32],
        positions: &[u32],
        heard: &mut dyn FnMut(Heard),
        visit: &mut dyn FnMut(usize, Said<'_>),
    ) -> Result<(), PrecomputeError>;

    /// Makes sure that the teacher is still the one that it was. `unit` is the work unit that was captured since this was last done.
    ///
    /// # Errors
    ///
    /// If a server became another one.
    fn confirm(
        &self,
        _unit: &str,
        _stop: &AtomicBool,
        _heard: &mut dyn FnMut(Heard) -> Result<(), ModelError>,
    ) -> Result<(), PrecomputeError> {
        Ok(())
    }

    /// How many tokens of several samples are one batch.
    fn batch_tokens(&self, settings: &CacheSettings) -> usize;

    /// How many tokens of several samples are one batch of a calibration.
    fn trial_tokens(&self, settings: &CacheSettings) -> usize {
        self.batch_tokens(settings)
    }

    /// How its weights are streamed; `None` if they are in memory, or a server's.
    fn streaming(&self) -> Option<Streaming> {
        None
    }

    /// Refuses a sample of which too many tokens would go through the teacher. `id` is the sample's.
    ///
    /// # Errors
    ///
    /// If the teacher's context is shorter.
    fn check_length(&self, id: &str, fed_tokens: u32) -> Result<(), PrecomputeError>;

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
