//! What the student's own distribution says about each position, before it is decided which are learnt.

use candle_core::{DType, Result, Tensor};
use leadspan_model::{ModelError, Stop, project};
use std::ops::Range;

use super::{HeadPass, SupervisedRows, composed, fused};
use crate::policies::Measure;

/// The measure of each row, whose hidden states are `hidden`, `[N, H]`, under a head of weight `weight`, `[V, H]`. No gradient
/// is computed. Logits are in single precision.
///
/// # Errors
///
/// If the device fails, and [`ModelError::Stopped`] if `stop` is requested before the last chunk.
pub(crate) fn measures(
    pass: HeadPass,
    (hidden, weight): (&Tensor, &Tensor),
    rows: &SupervisedRows,
    measure: Measure,
    stop: Stop<'_>,
) -> std::result::Result<Vec<f64>, ModelError> {
    let (hidden, weight) = (
        hidden.detach().to_dtype(DType::F32)?,
        weight.detach().to_dtype(DType::F32)?,
    );
    // The logits are copied, so that two chunks of half the size exist at a time.
    let pass = HeadPass {
        chunk_bytes: pass.chunk_bytes / 2,
        ..pass
    };
    let mut found = Vec::with_capacity(rows.len());
    for range in pass.chunks(rows.len(), weight.dim(0)?) {
        stop.check()?;
        let logits = project(&hidden.narrow(0, range.start, range.len())?, &weight)?;
        found.extend(of_chunk(pass, &logits, rows, range, measure)?);
    }
    Ok(found)
}

fn of_chunk(
    pass: HeadPass,
    logits: &Tensor,
    rows: &SupervisedRows,
    range: Range<usize>,
    measure: Measure,
) -> Result<Vec<f64>> {
    if !(pass.fused && logits.device().is_cpu()) {
        return match measure {
            Measure::StudentEntropy => composed::entropies(logits),
            Measure::Disagreement => composed::forward_kls(logits, rows, range),
        };
    }
    let vocabulary = logits.dim(1)?;
    let mut values = logits.flatten_all()?.to_vec1::<f32>()?;
    Ok(match measure {
        Measure::StudentEntropy => fused::entropies(&values, vocabulary),
        Measure::Disagreement => fused::forward_kls(&mut values, vocabulary, rows, range),
    })
}
