//! One batch through the teacher: tokens to hidden states, supervised rows to logits, logits to distributions.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Storage, Tensor};
use leadspan_cache::{Layer, PreparedCorpus, SampleRef};
use leadspan_distribution::{Distributions, EntrySettings, NonFiniteLogit, Row, reduce};
use leadspan_model::{Decoder, ModelError, Packed, Stop};
use leadspan_sequence::fed_tokens;

use crate::{
    PrecomputeError,
    batches::CapturedSpan,
    device_selection::{Cut, reduce_on_device},
};

/// Rows of logits that are made at a time at least: products of very few rows add up in another order, and a position's
/// value should not depend on how many share its chunk. 2.3 MiB for a vocabulary of 150,000.
const MIN_CHUNK_ROWS: usize = 4;

/// A teacher that is ready to be asked.
pub(crate) struct Teacher {
    pub(crate) decoder: Decoder,
    /// What is kept of a position.
    pub(crate) entries: EntrySettings,
    /// Rows of logits that may exist at a time: at least [`MIN_CHUNK_ROWS`].
    pub(crate) chunk_rows: usize,
}

/// The two parts of capturing a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Tokens through the layers.
    Layers,
    /// Positions through the head, and what is kept of their logits.
    Head,
}

/// The rows of a batch that go through the head, sample after sample.
struct Rows<'a> {
    /// Which sample and position each row is.
    places: Vec<(SampleRef<'a>, u32)>,
    /// Where it is in the flattened hidden states.
    indices: Vec<u32>,
    /// The token that follows, and what draws are made from.
    wanted: Vec<Row>,
}

impl Teacher {
    pub(crate) fn new(decoder: Decoder, entries: EntrySettings, head_chunk_mib: usize) -> Self {
        let row_bytes = decoder.config().vocab_size * size_of::<f32>();
        let chunk_rows = (head_chunk_mib.saturating_mul(1 << 20) / row_bytes).max(MIN_CHUNK_ROWS);
        Self {
            decoder,
            entries,
            chunk_rows,
        }
    }

    /// The distributions at all positions that `layer` covers of a batch, sample after sample. Where a device has no memory
    /// for all of the batch, its halves go through one after the other. [`ModelError::Stopped`] where `stop` is set before the
    /// end.
    pub(crate) fn capture(
        &self,
        batch: &[CapturedSpan],
        layer: &Layer,
        corpus: &PreparedCorpus,
        stop: &AtomicBool,
    ) -> Result<Distributions, PrecomputeError> {
        self.capture_in_parts(batch, layer, corpus, stop, &mut |_| Ok(()))
    }

    /// As [`capture`](Self::capture), with word of each part as it is done.
    pub(crate) fn capture_in_parts(
        &self,
        batch: &[CapturedSpan],
        layer: &Layer,
        corpus: &PreparedCorpus,
        stop: &AtomicBool,
        done: &mut dyn FnMut(Part) -> Result<(), ModelError>,
    ) -> Result<Distributions, PrecomputeError> {
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
            done(Part::Layers)?;
            let captured =
                self.distributions(&hidden, &rows_of(batch, &tokens, layer, corpus, packed.edges()), stop)?;
            done(Part::Head)?;
            Ok(captured)
        })
    }

    /// The distributions at some rows of hidden states, `[T, H]`.
    fn distributions(
        &self,
        hidden: &Tensor,
        rows: &Rows<'_>,
        stop: &AtomicBool,
    ) -> Result<Distributions, PrecomputeError> {
        let mut captured =
            Distributions::with_capacity(rows.indices.len(), rows.indices.len() * self.entries.top_k as usize);
        let chunks = rows
            .indices
            .chunks(self.chunk_rows)
            .zip(rows.wanted.chunks(self.chunk_rows));
        for (chunk, (indices, targets)) in chunks.enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Err(ModelError::Stopped.into());
            }
            let logits = self.logits(hidden, indices)?.narrow(0, 0, targets.len());
            let reduced = logits.and_then(|logits| self.reduce(&logits, targets));
            let part = reduced.map_err(ModelError::from)?.map_err(|bad| {
                let (sample, position) = rows.places[chunk * self.chunk_rows + bad.row];
                PrecomputeError::NonFiniteLogits {
                    sample: sample.id.to_owned(),
                    position,
                    token: bad.token,
                }
            })?;
            captured.append(&part);
        }
        Ok(captured)
    }

    /// What is stored of rows of logits. On the CPU they are read where they lie; elsewhere the largest are found there, as
    /// long as entries are all that is asked for.
    fn reduce(&self, logits: &Tensor, rows: &[Row]) -> candle_core::Result<Result<Distributions, NonFiniteLogit>> {
        let vocabulary = self.decoder.config().vocab_size;
        match Cut::of(vocabulary, &self.entries) {
            Some(cut) if !logits.device().is_cpu() => reduce_on_device(logits, rows, &self.entries, cut),
            _ => with_values(logits, |logits| reduce(logits, vocabulary, rows, &self.entries)),
        }
    }

    /// Hands over the logits at some positions of one sequence, ascending, each with its place among them.
    pub(crate) fn visit_logits(
        &self,
        tokens: &[u32],
        positions: &[u32],
        visit: &mut dyn FnMut(usize, &[f32]),
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
                    visit(chunk * self.chunk_rows + row, logits);
                }
            })
            .map_err(ModelError::from)?;
        }
        Ok(())
    }

    /// `[N, V]` of the rows of `hidden` at N `indices`, of which there is at least one; behind them, the last row again as
    /// often as it takes to make [`MIN_CHUNK_ROWS`].
    fn logits(&self, hidden: &Tensor, indices: &[u32]) -> Result<Tensor, ModelError> {
        let mut indices = indices.to_vec();
        let last = indices.last().copied().unwrap_or(0);
        indices.resize(indices.len().max(MIN_CHUNK_ROWS), last);
        let rows = indices.len();
        let indices = Tensor::from_vec(indices, rows, self.decoder.device())?;
        self.decoder.logits(&hidden.index_select(&indices, 0)?)
    }
}

/// `capture` of all samples; where it fails for want of memory, of the halves of the batch, and of theirs, down to single
/// samples.
fn in_halves<S, E>(
    batch: &[S],
    wants_memory: fn(&E) -> bool,
    capture: &mut dyn FnMut(&[S]) -> Result<Distributions, E>,
) -> Result<Distributions, E> {
    match capture(batch) {
        Err(error) if batch.len() > 1 && wants_memory(&error) => {
            let (first, second) = batch.split_at(batch.len().div_ceil(2));
            let mut captured = in_halves(first, wants_memory, capture)?;
            captured.append(&in_halves(second, wants_memory, capture)?);
            Ok(captured)
        }
        captured => captured,
    }
}

/// Whether a device had no memory left. The driver's error comes as text alone.
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

/// What the draws at a position are made from: its row and its place in it, whatever else is in the batch.
fn seed(row_hash: &[u8; 32], position: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(row_hash).update(&position.to_le_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}

/// Hands over the values of a tensor: as they lie in memory on the CPU, copied from elsewhere.
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
    fn a_batch_for_which_there_is_no_memory_goes_through_in_parts() {
        use leadspan_distribution::Position;
        let mut tried = Vec::new();
        let mut capture = |batch: &[u32]| {
            tried.push(batch.len());
            if batch.len() > 2 {
                return Err("out of memory");
            }
            let mut captured = Distributions::new();
            for &token in batch {
                captured.push(Position {
                    token_ids: &[token],
                    logprobs: &[0.0],
                    ..Position::default()
                });
            }
            Ok(captured)
        };
        let captured = in_halves(&[5, 6, 7, 8, 9, 10, 11], |error| error.contains("memory"), &mut capture).unwrap();
        let tokens: Vec<u32> = captured.iter().map(|position| position.token_ids[0]).collect();
        assert_eq!(tokens, [5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(tried, [7, 4, 2, 2, 3, 2, 1]);
        // Another failure, or one of a single sample, is one.
        let mut fail = |_: &[u32]| Err("out of memory");
        assert_eq!(
            in_halves(&[1, 2], |error| error.contains("disk"), &mut fail),
            Err("out of memory")
        );
        assert_eq!(
            in_halves(&[1], |error| error.contains("memory"), &mut fail),
            Err("out of memory")
        );
    }

    #[test]
    fn memory_is_told_from_other_failures() {
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
