//! A teacher whose weights do not fit into memory: layers are read while it runs.
//!
//! A batch of this teacher is a pass: several ordinary batches that go through each layer together. Results have the same bits
//! as those of a [resident](super::resident) teacher, because what is computed for a sample does not depend on its batch.

use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use leadspan_cache::{Layer, PreparedCorpus};
use leadspan_distribution::Distributions;
use leadspan_model::{Distrust, Kernels, ModelError, Packed, Stop, StreamedDecoder, StreamedHead};
use leadspan_sequence::fed_tokens;

use super::{
    Heard, Part, Said, Streaming, Teacher,
    positions::{Head, Reduction, rows_of},
};
use crate::{
    CacheSettings, PrecomputeError,
    batches::{CapturedSpan, plan_batches},
    captured::Captured,
    device_class::device_class,
};

/// A teacher whose layers are read in every pass.
pub(crate) struct Streamed<'a> {
    pub(super) decoder: StreamedDecoder<'a>,
    pub(super) streaming: Streaming,
    pub(super) reduction: Reduction,
    /// The most tokens of the samples that go through a layer at a time.
    pub(super) batch_tokens: usize,
    /// Refuses weights whose files changed since they were hashed: every pass reads them anew.
    pub(super) require_unchanged: Box<dyn Fn() -> Result<(), PrecomputeError> + Sync + 'a>,
}

/// The head during a pass.
struct ReadHead<'d, 'a> {
    decoder: &'d StreamedDecoder<'a>,
    head: StreamedHead,
}

impl Head for ReadHead<'_, '_> {
    fn logits(&self, rows: &Tensor) -> Result<Tensor, ModelError> {
        self.decoder.logits(&self.head, rows)
    }

    fn kernels(&self) -> Kernels {
        self.decoder.kernels()
    }
}

impl<'a> Streamed<'a> {
    /// The head, in the memory that a pass of `tokens` tokens leaves.
    fn head(&self, tokens: usize) -> Result<ReadHead<'_, 'a>, ModelError> {
        Ok(ReadHead {
            decoder: &self.decoder,
            head: self.decoder.head(self.streaming.head_room(tokens as u64))?,
        })
    }
}

impl Teacher for Streamed<'_> {
    fn capture(
        &self,
        batch: &[CapturedSpan],
        layer: &Layer,
        corpus: &PreparedCorpus,
        stop: &AtomicBool,
        heard: &mut dyn FnMut(Heard) -> Result<(), ModelError>,
    ) -> Result<Captured, PrecomputeError> {
        let parts = plan_batches(batch, self.batch_tokens);
        let mut packed = Vec::with_capacity(parts.len());
        for part in &parts {
            let tokens: Vec<&[u32]> = part
                .iter()
                .map(|span| Ok(&corpus.tokens(span.sample as usize)?[..span.tokens as usize]))
                .collect::<Result<_, PrecomputeError>>()?;
            packed.push(Packed::new(tokens));
        }
        let all = self
            .decoder
            .hidden_states(&packed, Stop::when(stop), &mut || heard(Heard::Further))?;
        heard(Heard::Done(Part::Layers))?;
        let head = self.head(packed.iter().map(|packed| packed.tokens().len()).sum())?;
        let mut captured = Captured::default();
        for ((part, packed), hidden) in parts.into_iter().zip(&packed).zip(all) {
            let tokens: Vec<&[u32]> = part
                .iter()
                .map(|span| corpus.tokens(span.sample as usize))
                .collect::<Result<_, _>>()?;
            let rows = rows_of(part, &tokens, layer, corpus, packed.edges());
            captured.append(self.reduction.distributions(&head, &hidden, &rows, stop)?);
            heard(Heard::Further)?;
        }
        (self.require_unchanged)()?;
        heard(Heard::Done(Part::Head))?;
        Ok(captured)
    }

    fn finish(&self, captured: Captured) -> Result<Distributions, PrecomputeError> {
        self.reduction.finish(captured)
    }

    fn visit(
        &self,
        _id: &str,
        tokens: &[u32],
        positions: &[u32],
        heard: &mut dyn FnMut(Heard),
        visit: &mut dyn FnMut(usize, Said<'_>),
    ) -> Result<(), PrecomputeError> {
        let packed = Packed::new([&tokens[..fed_tokens(positions.last().copied())]]);
        let after_layer = &mut || {
            heard(Heard::Further);
            Ok(())
        };
        let hidden = self
            .decoder
            .hidden_states(std::slice::from_ref(&packed), Stop::NEVER, after_layer)?;
        let head = self.head(packed.tokens().len())?;
        for hidden in &hidden {
            self.reduction.visit(&head, hidden, positions, visit)?;
        }
        (self.require_unchanged)()
    }

    fn batch_tokens(&self, _settings: &CacheSettings) -> usize {
        self.streaming.pass_tokens
    }

    /// A pass takes long, and every pass reads all weights, so a trial has short ones.
    fn trial_tokens(&self, _settings: &CacheSettings) -> usize {
        self.batch_tokens
    }

    fn streaming(&self) -> Option<Streaming> {
        Some(self.streaming)
    }

    /// Preparing refuses samples beyond the context.
    fn check_length(&self, _id: &str, _fed_tokens: u32) -> Result<(), PrecomputeError> {
        Ok(())
    }

    fn device_class(&self) -> String {
        device_class(&Device::Cpu)
    }

    fn distrust(&self) -> Option<&Distrust> {
        None
    }

    fn synchronize(&self) -> Result<(), ModelError> {
        Ok(())
    }
}
