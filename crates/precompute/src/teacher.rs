//! One batch through the teacher: tokens to hidden states, supervised rows to logits, logits to distributions.

use candle_core::{Storage, Tensor};
use leadspan_cache::{Layer, PreparedCorpus};
use leadspan_distribution::{Distributions, EntrySettings, Row, reduce};
use leadspan_model::{Decoder, ModelError, Packed};
use leadspan_sequence::Sample;

use crate::{PrecomputeError, batches::CapturedSpan};

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

/// The rows of a batch that go through the head, sample after sample.
struct Rows<'a> {
    /// Which sample and position each row is.
    places: Vec<(&'a Sample, u32)>,
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

    /// The distributions at all positions that `layer` covers of a batch, sample after sample.
    pub(crate) fn capture(
        &self,
        batch: &[CapturedSpan],
        layer: &Layer,
        corpus: &PreparedCorpus,
    ) -> Result<Distributions, PrecomputeError> {
        let hidden = self.hidden_states(batch, corpus)?;
        self.distributions(&hidden, batch, layer, corpus)
    }

    /// What the layers make of all tokens of a batch: `[T, H]`.
    pub(crate) fn hidden_states(&self, batch: &[CapturedSpan], corpus: &PreparedCorpus) -> Result<Tensor, ModelError> {
        self.decoder.hidden_states(&packed(batch, corpus))
    }

    /// The distributions at all positions that `layer` covers of a batch with these hidden states.
    pub(crate) fn distributions(
        &self,
        hidden: &Tensor,
        batch: &[CapturedSpan],
        layer: &Layer,
        corpus: &PreparedCorpus,
    ) -> Result<Distributions, PrecomputeError> {
        let rows = rows_of(batch, layer, corpus);
        let mut captured =
            Distributions::with_capacity(rows.indices.len(), rows.indices.len() * self.entries.top_k as usize);
        let chunks = rows
            .indices
            .chunks(self.chunk_rows)
            .zip(rows.wanted.chunks(self.chunk_rows));
        for (chunk, (indices, targets)) in chunks.enumerate() {
            let logits = self.logits(hidden, indices)?;
            let vocabulary = self.decoder.config().vocab_size;
            let reduced = with_values(&logits, |logits| {
                reduce(
                    &logits[..targets.len() * vocabulary],
                    vocabulary,
                    targets,
                    &self.entries,
                )
            })
            .map_err(ModelError::from)?;
            let part = reduced.map_err(|bad| {
                let (sample, position) = rows.places[chunk * self.chunk_rows + bad.row];
                PrecomputeError::NonFiniteLogits {
                    sample: sample.id.clone(),
                    position,
                    token: bad.token,
                }
            })?;
            captured.append(&part);
        }
        Ok(captured)
    }

    /// Hands over the logits at some positions of one sequence, ascending, each with its place among them.
    pub(crate) fn visit_logits(
        &self,
        tokens: &[u32],
        positions: &[u32],
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), PrecomputeError> {
        let fed = positions.last().map_or(0, |&last| last as usize + 1);
        let hidden = self.decoder.hidden_states(&Packed::new([&tokens[..fed]]))?;
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

fn packed(batch: &[CapturedSpan], corpus: &PreparedCorpus) -> Packed {
    Packed::new(batch.iter().map(|span| {
        let tokens = &corpus.samples()[span.sample as usize].tokens;
        &tokens[..span.tokens as usize]
    }))
}

fn rows_of<'a>(batch: &[CapturedSpan], layer: &Layer, corpus: &'a PreparedCorpus) -> Rows<'a> {
    let mut start = 0;
    let mut rows = Rows {
        places: Vec::new(),
        indices: Vec::new(),
        wanted: Vec::new(),
    };
    for span in batch {
        let sample = &corpus.samples()[span.sample as usize];
        for position in layer.positions(sample) {
            rows.places.push((sample, position));
            rows.indices.push(start + position);
            rows.wanted.push(Row {
                target: sample.tokens[position as usize + 1],
                seed: seed(&corpus.row_hashes()[span.sample as usize], position),
            });
        }
        start += span.tokens;
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
    fn values_are_read_in_order_whatever_the_layout() -> candle_core::Result<()> {
        let matrix = Tensor::arange(0f32, 6.0, &Device::Cpu)?.reshape((2, 3))?;
        let read = |tensor: &Tensor| with_values(tensor, <[f32]>::to_vec);
        assert_eq!(read(&matrix)?, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(read(&matrix.narrow(0, 1, 1)?)?, [3.0, 4.0, 5.0]);
        assert_eq!(read(&matrix.t()?)?, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        Ok(())
    }
}
