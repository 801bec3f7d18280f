//! A sample's distributions as rectangles, and as bytes for Python.

use leadspan_cache::Span;
use pyo3::{Bound, PyResult, Python, prelude::*, types::PyDict};

use crate::numbers::bytes;

/// What is read of one sample. `n` positions, `k` entries of the position that has most.
pub(crate) struct Rectangles {
    index: u32,
    tokens: Vec<u32>,
    /// `[n]`.
    positions: Vec<u32>,
    /// `[n, k]`, 0 behind the entries of a position.
    token_ids: Vec<u32>,
    /// `[n, k]`, −∞ behind the entries of a position.
    logprobs: Vec<f32>,
    /// The number of entries of each position, `[n]`.
    lengths: Vec<u32>,
    /// `[n]`.
    tail_logprobs: Vec<f32>,
    /// `[n]`.
    target_logprobs: Vec<f32>,
    /// `[n, t]`, t being the number of temperatures.
    temperature_tails: Vec<f32>,
}

impl Rectangles {
    /// The sample with this index as it was read.
    pub(crate) fn of(index: u32, span: Span) -> Self {
        let Span {
            tokens,
            positions,
            distributions,
        } = span;
        let lengths: Vec<u32> = distributions
            .offsets()
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect();
        let width = lengths.iter().copied().max().unwrap_or(0) as usize;
        let temperature_tails = distributions.iter().flat_map(|position| position.temperature_tails);
        Self {
            index,
            token_ids: rectangle(distributions.token_ids(), &lengths, width, 0),
            logprobs: rectangle(distributions.logprobs(), &lengths, width, f32::NEG_INFINITY),
            tail_logprobs: distributions.tail_logprobs().to_vec(),
            target_logprobs: distributions.target_logprobs().to_vec(),
            temperature_tails: temperature_tails.copied().collect(),
            tokens,
            positions,
            lengths,
        }
    }

    /// Its arrays by the names of the attributes of `leadspan.Span`, as bytes.
    ///
    /// # Errors
    ///
    /// If Python has no memory for them.
    pub(crate) fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        fields.set_item("index", self.index)?;
        for (name, values) in [
            ("tokens", &self.tokens),
            ("positions", &self.positions),
            ("token_ids", &self.token_ids),
            ("lengths", &self.lengths),
        ] {
            fields.set_item(name, bytes(py, values)?)?;
        }
        for (name, values) in [
            ("logprobs", &self.logprobs),
            ("tail_logprob", &self.tail_logprobs),
            ("target_logprob", &self.target_logprobs),
            ("temperature_tails", &self.temperature_tails),
        ] {
            fields.set_item(name, bytes(py, values)?)?;
        }
        Ok(fields)
    }
}

/// Rows of `lengths` values that lie one behind the other, each filled up to `width` with `filler`.
fn rectangle<T: Copy>(values: &[T], lengths: &[u32], width: usize, filler: T) -> Vec<T> {
    if values.len() == lengths.len() * width {
        return values.to_vec();
    }
    let mut filled = Vec::with_capacity(lengths.len() * width);
    let mut left = values;
    for &length in lengths {
        let (row, rest) = left.split_at(length as usize);
        filled.extend_from_slice(row);
        filled.resize(filled.len() + width - row.len(), filler);
        left = rest;
    }
    filled
}
