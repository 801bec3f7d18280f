//! A teacher whose weights are in memory.

use std::sync::atomic::AtomicBool;

use candle_core::Tensor;
use leadspan_cache::{Layer, PreparedCorpus};
use leadspan_distribution::{Distributions, EntrySettings};
use leadspan_model::{Decoder, Distrust, Kernels, ModelError, Packed, Stop};
use leadspan_sequence::fed_tokens;

use super::{
    Heard, Part, Said, Teacher,
    positions::{Head, Reduction, rows_of},
};
use crate::{CacheSettings, PrecomputeError, batches::CapturedSpan, captured::Captured, device_class::device_class};

/// A loaded teacher.
pub(crate) struct Resident {
    decoder: Decoder,
    reduction: Reduction,
}

impl Resident {
    pub(crate) fn new(decoder: Decoder, entries: EntrySettings, head_chunk_mib: usize) -> Self {
        Self {
            reduction: Reduction::new(entries, head_chunk_mib, decoder.config().vocab_size),
            decoder,
        }
    }
}

impl Head for Decoder {
    fn logits(&self, rows: &Tensor) -> Result<Tensor, ModelError> {
        self.logits(rows)
    }

    fn kernels(&self) -> Kernels {
        self.kernels()
    }
}

impl Teacher for Resident {
    /// If the device has too little memory for the batch, its halves go through one after the other.
    fn capture(
        &self,
        batch: &[CapturedSpan],
        layer: &Layer,
        corpus: &PreparedCorpus,
        stop: &AtomicBool,
        heard: &mut dyn FnMut(Heard) -> Result<(), ModelError>,
    ) -> Result<Captured, PrecomputeError> {
        in_halves(batch, is_out_of_memory, &mut |batch| {
            let tokens: Vec<&[u32]> = batch
                .iter()
                .map(|span| corpus.tokens(span.sample as usize))
                .collect::<Result<_, _>>()?;
            let packed = Packed::new(
                batch
                    .iter()
                    .zip(&tokens)
                    .map(|(span, tokens)| &tokens[..span.tokens as usize]),
            );
            let hidden = self.decoder.hidden_states(&packed, Stop::when(stop))?;
            heard(Heard::Done(Part::Layers))?;
            let captured = self.reduction.distributions(
                &self.decoder,
                &hidden,
                &rows_of(batch, &tokens, layer, corpus, packed.edges()),
                stop,
            )?;
            heard(Heard::Done(Part::Head))?;
            Ok(captured)
        })
    }

    fn finish(&self, captured: Captured) -> Result<Distributions, PrecomputeError> {
        self.reduction.finish(captured)
    }

    fn visit(
        &self,
        _id: &str,
        tokens: &[u32],
        positions: &[u32],
        _heard: &mut dyn FnMut(Heard),
        visit: &mut dyn FnMut(usize, Said<'_>),
    ) -> Result<(), PrecomputeError> {
        let fed = fed_tokens(positions.last().copied());
        let hidden = self
            .decoder
            .hidden_states(&Packed::new([&tokens[..fed]]), Stop::NEVER)?;
        Ok(self.reduction.visit(&self.decoder, &hidden, positions, visit)?)
    }

    fn batch_tokens(&self, settings: &CacheSettings) -> usize {
        settings.batch_tokens_on(self.decoder.device())
    }

    /// Preparing refuses samples beyond the context.
    fn check_length(&self, _id: &str, _fed_tokens: u32) -> Result<(), PrecomputeError> {
        Ok(())
    }

    fn device_class(&self) -> String {
        device_class(self.decoder.device())
    }

    fn distrust(&self) -> Option<&Distrust> {
        self.decoder.distrust()
    }

    fn synchronize(&self) -> Result<(), ModelError> {
        Ok(self.decoder.device().synchronize()?)
    }
}

/// Calls `capture` with a batch. If there is too little memory, calls it with the halves of the batch, and so on down to
/// single samples.
fn in_halves<S, E>(
    batch: &[S],
    wants_memory: fn(&E) -> bool,
    capture: &mut dyn FnMut(&[S]) -> Result<Captured, E>,
) -> Result<Captured, E> {
    match capture(batch) {
        Err(error) if batch.len() > 1 && wants_memory(&error) => {
            let (first, second) = batch.split_at(batch.len().div_ceil(2));
            let mut captured = in_halves(first, wants_memory, capture)?;
            captured.append(in_halves(second, wants_memory, capture)?);
            Ok(captured)
        }
        captured => captured,
    }
}

/// Whether a device ran out of memory. The driver's error is only text.
fn is_out_of_memory(error: &PrecomputeError) -> bool {
    let text = format!("{error:?}");
    matches!(error, PrecomputeError::Model(_)) && (text.contains("OUT_OF_MEMORY") || text.contains("out of memory"))
}

#[cfg(test)]
mod tests {
    use leadspan_distribution::EntrySettings;

    use super::*;

    #[test]
    fn a_batch_that_needs_too_much_memory_goes_through_in_parts() {
        use leadspan_distribution::Position;
        let mut tried = Vec::new();
        let mut capture = |batch: &[u32]| {
            tried.push(batch.len());
            if batch.len() > 2 {
                return Err("out of memory");
            }
            let mut distributions = Distributions::new();
            for &token in batch {
                distributions.push(Position {
                    token_ids: &[token],
                    logprobs: &[0.0],
                    ..Position::default()
                });
            }
            let mut captured = Captured::default();
            captured.push(distributions);
            Ok(captured)
        };
        let captured = in_halves(&[5, 6, 7, 8, 9, 10, 11], |error| error.contains("memory"), &mut capture).unwrap();
        let captured = captured.finish(100, &EntrySettings::top_k(1)).unwrap();
        let tokens: Vec<u32> = captured.iter().map(|position| position.token_ids[0]).collect();
        assert_eq!(tokens, [5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(tried, [7, 4, 2, 2, 3, 2, 1]);
        // Another failure, or the failure of a single sample, is returned.
        let mut fail = |_: &[u32]| Err("out of memory");
        let failed = in_halves(&[1, 2], |error| error.contains("disk"), &mut fail);
        assert_eq!(failed.err(), Some("out of memory"));
        let failed = in_halves(&[1], |error| error.contains("memory"), &mut fail);
        assert_eq!(failed.err(), Some("out of memory"));
    }

    #[test]
    fn too_little_memory_is_told_from_other_failures() {
        let of = |text: &str| PrecomputeError::from(ModelError::from(candle_core::Error::Msg(text.to_owned())));
        assert!(is_out_of_memory(&of(
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"
        )));
        assert!(!is_out_of_memory(&of(
            "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal address\")"
        )));
    }
}
