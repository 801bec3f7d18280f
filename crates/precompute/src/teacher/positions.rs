//! From hidden states to distributions: positions to rows, rows to logits, logits to what is stored of them.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Storage, Tensor};
use leadspan_cache::{Layer, PreparedCorpus, SampleRef};
use leadspan_distribution::{Distributions, EntrySettings, NonFiniteLogit, Row, reduce};
use leadspan_model::{Kernels, ModelError, Selecting, select_rows};

use super::Said;
use crate::{
    PrecomputeError,
    batches::CapturedSpan,
    captured::{Captured, not_finite},
    device_selection::{Cut, reduce_on_device},
};

/// The fewest rows of logits that are computed at a time. Products of fewer rows add in another order, but the value of a
/// position must not depend on the number of rows in its chunk. These rows take 2.3 MiB for a vocabulary of 150,000.
const MIN_CHUNK_ROWS: usize = 4;

/// The head of a teacher.
pub(super) trait Head {
    /// The logits `[N, V]` of rows `[N, H]` of hidden states, in single precision.
    ///
    /// # Errors
    ///
    /// If the device fails, or the head cannot be read.
    fn logits(&self, rows: &Tensor) -> Result<Tensor, ModelError>;

    /// The form of its operations.
    fn kernels(&self) -> Kernels;
}

/// How logits become distributions.
pub(crate) struct Reduction {
    /// What is stored of a position.
    entries: EntrySettings,
    /// The most rows of logits that exist at a time: at least [`MIN_CHUNK_ROWS`].
    chunk_rows: usize,
    /// The number of logits of a row.
    vocabulary: usize,
}

/// The rows of a batch that go through the head, sample after sample.
pub(super) struct Rows<'a> {
    /// The sample and position of each row.
    places: Vec<(SampleRef<'a>, u32)>,
    /// The index of each row in the flattened hidden states.
    indices: Vec<u32>,
    /// The token that follows, and the seed of draws from the tail.
    wanted: Vec<Row>,
}

impl Reduction {
    /// That of a teacher with this vocabulary, whose logits may take `head_chunk_mib` MiB at a time.
    pub(crate) fn new(entries: EntrySettings, head_chunk_mib: usize, vocabulary: usize) -> Self {
        let row_bytes = vocabulary * size_of::<f32>();
        let chunk_rows = (head_chunk_mib.saturating_mul(1 << 20) / row_bytes.max(1)).max(MIN_CHUNK_ROWS);
        Self {
            entries,
            chunk_rows,
            vocabulary,
        }
    }

    /// The distributions at some rows of the hidden states `[T, H]`.
    pub(super) fn distributions(
        &self,
        head: &dyn Head,
        hidden: &Tensor,
        rows: &Rows<'_>,
        stop: &AtomicBool,
    ) -> Result<Captured, PrecomputeError> {
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
            let logits = logits(head, hidden, indices)?.narrow(0, 0, targets.len());
            let logits = logits.map_err(ModelError::from)?;
            if let Some(selecting) = self
                .select(&logits, targets, head.kernels())
                .map_err(ModelError::from)?
            {
                captured.push_selecting(places(), selecting);
            } else {
                let reduced = self.reduce(&logits, targets).map_err(ModelError::from)?;
                captured.push(reduced.map_err(|bad| not_finite(&places(), bad))?);
            }
        }
        Ok(captured)
    }

    /// Calls `visit` with the logits at each of some ascending positions of one sample with the hidden states `[T, H]`, and the place
    /// of the position in `positions`.
    pub(super) fn visit(
        &self,
        head: &dyn Head,
        hidden: &Tensor,
        positions: &[u32],
        visit: &mut dyn FnMut(usize, Said<'_>),
    ) -> Result<(), ModelError> {
        for (chunk, indices) in positions.chunks(self.chunk_rows).enumerate() {
            let logits = logits(head, hidden, indices)?;
            with_values(&logits, |logits| {
                for (row, logits) in logits.chunks(self.vocabulary).take(indices.len()).enumerate() {
                    visit(chunk * self.chunk_rows + row, Said::Logits(logits));
                }
            })?;
        }
        Ok(())
    }

    /// The distributions of a captured batch, once they are known.
    pub(super) fn finish(&self, captured: Captured) -> Result<Distributions, PrecomputeError> {
        captured.finish(self.vocabulary, &self.entries)
    }

    /// Lets the device find what is needed of rows of logits, if it has a kernel for that.
    fn select(&self, logits: &Tensor, rows: &[Row], kernels: Kernels) -> candle_core::Result<Option<Selecting>> {
        if self.entries.tail_samples > 0 {
            return Ok(None);
        }
        let k = (self.entries.top_k as usize).min(self.vocabulary);
        let targets: Vec<u32> = rows.iter().map(|row| row.target).collect();
        select_rows(logits, &targets, k, &self.entries.temperatures, kernels)
    }

    /// The distributions of rows of logits. On the CPU the logits are read in place. A GPU finds the largest logits itself, if
    /// only entries and tail mass are asked for.
    fn reduce(&self, logits: &Tensor, rows: &[Row]) -> candle_core::Result<Result<Distributions, NonFiniteLogit>> {
        match Cut::of(self.vocabulary, &self.entries) {
            Some(cut) if !logits.device().is_cpu() => reduce_on_device(logits, rows, &self.entries, cut),
            _ => with_values(logits, |logits| reduce(logits, self.vocabulary, rows, &self.entries)),
        }
    }
}

/// The logits `[N, V]` of the rows of `hidden` at N `indices`, of which there is at least one. The last row is repeated until
/// there are [`MIN_CHUNK_ROWS`].
fn logits(head: &dyn Head, hidden: &Tensor, indices: &[u32]) -> Result<Tensor, ModelError> {
    let mut indices = indices.to_vec();
    let last = indices.last().copied().unwrap_or(0);
    indices.resize(indices.len().max(MIN_CHUNK_ROWS), last);
    let rows = indices.len();
    let indices = Tensor::from_vec(indices, rows, hidden.device())?;
    head.logits(&hidden.index_select(&indices, 0)?)
}

/// The rows of a batch at the positions that `layer` covers. `tokens` are those of its samples, `edges` the rows of the hidden
/// states at which samples begin.
pub(super) fn rows_of<'a>(
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
    fn values_are_read_in_order_whatever_the_layout() -> candle_core::Result<()> {
        let matrix = Tensor::arange(0f32, 6.0, &Device::Cpu)?.reshape((2, 3))?;
        let read = |tensor: &Tensor| with_values(tensor, <[f32]>::to_vec);
        assert_eq!(read(&matrix)?, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(read(&matrix.narrow(0, 1, 1)?)?, [3.0, 4.0, 5.0]);
        assert_eq!(read(&matrix.t()?)?, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        Ok(())
    }
}
