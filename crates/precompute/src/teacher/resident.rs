//! A teacher whose weights are in memory: tokens to hidden states, supervised rows to logits, logits to distributions.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Storage, Tensor};
use leadspan_cache::{Layer, PreparedCorpus, SampleRef};
use leadspan_distribution::{Distributions, EntrySettings, NonFiniteLogit, Row, reduce};
use leadspan_model::{Decoder, Distrust, ModelError, Packed, Selecting, Stop, select_rows};
use leadspan_sequence::fed_tokens;

use super::{Heard, Part, Said, Teacher};
use crate::{
    CacheSettings, PrecomputeError,
    batches::CapturedSpan,
    captured::{Captured, not_finite},
    device_class::device_class,
    device_selection::{Cut, reduce_on_device},
};

/// The fewest rows of logits that are computed at a time. Products of fewer rows add in another order, but the value of a
/// position must not depend on the number of rows in its chunk. These rows take 2.3 MiB for a vocabulary of 150,000.
const MIN_CHUNK_ROWS: usize = 4;

/// A loaded teacher.
pub(crate) struct Resident {
    pub(crate) decoder: Decoder,
    /// What is stored of a position.
    pub(crate) entries: EntrySettings,
    /// The most rows of logits that exist at a time: at least [`MIN_CHUNK_ROWS`].
    pub(crate) chunk_rows: usize,
}

/// The rows of a batch that go through the head, sample after sample.
struct Rows<'a> {
    /// The sample and position of each row.
    places: Vec<(SampleRef<'a>, u32)>,
    /// The index of each row in the flattened hidden states.
    indices: Vec<u32>,
    /// The token that follows, and the seed of draws from the tail.
    wanted: Vec<Row>,
}

impl Resident {
    pub(crate) fn new(decoder: Decoder, entries: EntrySettings, head_chunk_mib: usize) -> Self {
        let row_bytes = decoder.config().vocab_size * size_of::<f32>();
        let chunk_rows = (head_chunk_mib.saturating_mul(1 << 20) / row_bytes).max(MIN_CHUNK_ROWS);
        Self {
            decoder,
            entries,
            chunk_rows,
        }
    }

    /// The distributions at some rows of the hidden states `[T, H]`.
    fn distributions(&self, hidden: &Tensor, rows: &Rows<'_>, stop: &AtomicBool) -> Result<Captured, PrecomputeError> {
        let mut captured = Captured::default();
        let chunks = rows
            .indices
            .chunks(self.chunk_rows)
            .zip(rows.wanted.chunks(self.chunk_rows));
        for (chunk, (indices, targets)) in chunks.enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Err(ModelError::Stopped.into());
            }
            let places = || -> Vec<(String, u32)> {
                let places = rows.places[chunk * self.chunk_rows..].iter().take(targets.len());
                places
                    .map(|&(sample, position)| (sample.id.to_owned(), position))
                    .collect()
            };
            let logits = self.logits(hidden, indices)?.narrow(0, 0, targets.len());
            let logits = logits.map_err(ModelError::from)?;
            if let Some(selecting) = self.select(&logits, targets).map_err(ModelError::from)? {
                captured.push_selecting(places(), selecting);
            } else {
                let reduced = self.reduce(&logits, targets).map_err(ModelError::from)?;
                captured.push(reduced.map_err(|bad| not_finite(&places(), bad))?);
            }
        }
        Ok(captured)
    }

    /// Lets the device find what is needed of rows of logits, if it has a kernel for that.
    fn select(&self, logits: &Tensor, rows: &[Row]) -> candle_core::Result<Option<Selecting>> {
        if self.entries.tail_samples > 0 {
            return Ok(None);
        }
        let k = (self.entries.top_k as usize).min(self.decoder.config().vocab_size);
        let targets: Vec<u32> = rows.iter().map(|row| row.target).collect();
        select_rows(logits, &targets, k, &self.entries.temperatures, self.decoder.kernels())
    }

    /// The distributions of rows of logits. On the CPU the logits are read in place. A GPU finds the largest logits itself, if
    /// only entries and tail mass are asked for.
    fn reduce(&self, logits: &Tensor, rows: &[Row]) -> candle_core::Result<Result<Distributions, NonFiniteLogit>> {
        let vocabulary = self.decoder.config().vocab_size;
        match Cut::of(vocabulary, &self.entries) {
            Some(cut) if !logits.device().is_cpu() => reduce_on_device(logits, rows, &self.entries, cut),
            _ => with_values(logits, |logits| reduce(logits, vocabulary, rows, &self.entries)),
        }
    }

    /// The logits `[N, V]` of the rows of `hidden` at N `indices`, of which there is at least one. The last row is repeated
    /// until there are [`MIN_CHUNK_ROWS`].
    fn logits(&self, hidden: &Tensor, indices: &[u32]) -> Result<Tensor, ModelError> {
        let mut indices = indices.to_vec();
        let last = indices.last().copied().unwrap_or(0);
        indices.resize(indices.len().max(MIN_CHUNK_ROWS), last);
        let rows = indices.len();
        let indices = Tensor::from_vec(indices, rows, self.decoder.device())?;
        self.decoder.logits(&hidden.index_select(&indices, 0)?)
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
            let captured =
                self.distributions(&hidden, &rows_of(batch, &tokens, layer, corpus, packed.edges()), stop)?;
            heard(Heard::Done(Part::Head))?;
            Ok(captured)
        })
    }

    fn finish(&self, captured: Captured) -> Result<Distributions, PrecomputeError> {
        captured.finish(self.decoder.config().vocab_size, &self.entries)
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
        let vocabulary = self.decoder.config().vocab_size;
        for (chunk, indices) in positions.chunks(self.chunk_rows).enumerate() {
            let logits = self.logits(&hidden, indices)?;
            with_values(&logits, |logits| {
                for (row, logits) in logits.chunks(vocabulary).take(indices.len()).enumerate() {
                    visit(chunk * self.chunk_rows + row, Said::Logits(logits));
                }
            })
            .map_err(ModelError::from)?;
        }
        Ok(())
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

fn rows_of<'a>(
    batch: &[CapturedSpan],
    tokens: &[&[u32]],
    layer: &Layer,
    corpus: &'a PreparedCorpus,
    edges: &[usize],
) -> Rows<'a> {
    let mut rows = Rows {
        places: Vec::new(),
        indices: Vec::new(),
        wanted: Vec::new(),
    };
    for ((span, tokens), &start) in batch.iter().zip(tokens).zip(edges) {
        let sample = corpus.sample(span.sample as usize);
        for position in layer.positions(sample) {
            rows.places.push((sample, position));
            rows.indices.push(start as u32 + position);
            rows.wanted.push(Row {
                target: tokens[position as usize + 1],
                seed: seed(corpus.row_hash(span.sample as usize), position),
            });
        }
    }
    rows
}

/// The seed of the draws at a position: it depends only on the row and the position, not on the batch.
fn seed(row_hash: &[u8; 32], position: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(row_hash).update(&position.to_le_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}

/// Calls `read` with the values of a tensor: in place on the CPU, or else copied to memory.
fn with_values<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> candle_core::Result<T> {
    {
        let (storage, layout) = tensor.storage_and_layout();
        if let (Storage::Cpu(values), Some((start, end))) = (&*storage, layout.contiguous_offsets()) {
            return Ok(read(&values.as_slice::<f32>()?[start..end]));
        }
    }
    Ok(read(&tensor.flatten_all()?.to_vec1::<f32>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

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

    #[test]
    fn values_are_read_in_order_whatever_the_layout() -> candle_core::Result<()> {
        let matrix = Tensor::arange(0f32, 6.0, &Device::Cpu)?.reshape((2, 3))?;
        let read = |tensor: &Tensor| with_values(tensor, <[f32]>::to_vec);
        assert_eq!(read(&matrix)?, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(read(&matrix.narrow(0, 1, 1)?)?, [3.0, 4.0, 5.0]);
        assert_eq!(read(&matrix.t()?)?, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        Ok(())
    }
}
