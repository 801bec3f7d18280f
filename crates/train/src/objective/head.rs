//! Rows of hidden states through the head, in chunks of bounded bytes.

use candle_core::{Result, Tensor};
use leadspan_model::{GradientSum, ModelError, Stop, project, project_back};
use std::{borrow::Cow, ops::Range, sync::Mutex};

use super::{LossSums, SupervisedRows, composed, fused::FusedObjective};

/// How rows go through the head.
#[derive(Clone, Copy, Debug)]
pub struct HeadPass {
    /// α: the weight of the divergence; cross-entropy has 1 − α.
    pub distillation_weight: f32,
    /// Bytes that the logits of one chunk may take.
    pub chunk_bytes: usize,
    /// Whether the fused path may be used on the CPU.
    pub fused: bool,
}

/// The result of the head's part of a backward pass.
#[derive(Debug)]
pub struct HeadGradients {
    /// The losses.
    pub sums: LossSums,
    /// The gradient with respect to the rows, `[N, H]`.
    pub hidden: Tensor,
}

impl HeadPass {
    fn chunks(&self, rows: usize, vocabulary: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let size = (self.chunk_bytes / (vocabulary * size_of::<f32>())).max(1);
        (0..rows)
            .step_by(size)
            .map(move |start| start..(start + size).min(rows))
    }

    /// The gradient with respect to `logits`, which it consumes, and the losses.
    fn loss_and_gradient(
        &self,
        logits: Tensor,
        rows: &SupervisedRows,
        range: Range<usize>,
    ) -> Result<(Tensor, LossSums)> {
        if !(self.fused && logits.device().is_cpu()) {
            return composed::loss_and_gradient(&logits, rows, range, self.distillation_weight);
        }
        let sums = Mutex::new(LossSums::default());
        let operation = FusedObjective {
            rows,
            range,
            distillation_weight: self.distillation_weight,
            sums: &sums,
        };
        logits.inplace_op1(&operation)?;
        Ok((logits, sums.into_inner().expect("no thread panicked while adding")))
    }
}

/// The losses of `rows`, whose hidden states are `hidden`, `[N, H]`, under a head of weight `weight`, `[V, H]`.
///
/// # Errors
///
/// If the device fails, and [`ModelError::Stopped`] if `stop` is requested before the last chunk.
pub fn forward(
    pass: HeadPass,
    (hidden, weight): (&Tensor, &Tensor),
    rows: &SupervisedRows,
    stop: Stop<'_>,
) -> std::result::Result<LossSums, ModelError> {
    let (hidden, weight) = (hidden.detach(), weight.detach());
    let mut sums = LossSums::default();
    for range in pass.chunks(rows.len(), weight.dim(0)?) {
        stop.check()?;
        let logits = project(&hidden.narrow(0, range.start, range.len())?, &weight)?;
        sums.add(&pass.loss_and_gradient(logits, rows, range)?.1);
    }
    Ok(sums)
}

/// The losses of `rows`, and their gradients with respect to the hidden states and the head. The head's gradient, `[V, H]`, is
/// added to `weight_gradient`.
///
/// No graph is built: the result is constant. If the divergence has no weight, it is not computed, and everything that is
/// measured against the teacher is 0.
///
/// # Errors
///
/// If the device fails, and [`ModelError::Stopped`] if `stop` is requested before the last chunk: `weight_gradient` then
/// holds part of the sum.
pub fn backward(
    pass: HeadPass,
    (hidden, weight): (&Tensor, &Tensor),
    rows: &SupervisedRows,
    weight_gradient: &GradientSum,
    stop: Stop<'_>,
) -> std::result::Result<HeadGradients, ModelError> {
    let (hidden, weight) = (hidden.detach(), weight.detach());
    let rows = if pass.distillation_weight == 0.0 {
        Cow::Owned(rows.without_teacher())
    } else {
        Cow::Borrowed(rows)
    };
    let mut sums = LossSums::default();
    let hidden_gradient = hidden.zeros_like()?;
    for range in pass.chunks(rows.len(), weight.dim(0)?) {
        stop.check()?;
        let (start, chunk) = (range.start, hidden.narrow(0, range.start, range.len())?);
        let logits = project(&chunk, &weight)?;
        let (gradient, losses) = pass.loss_and_gradient(logits, &rows, range)?;
        sums.add(&losses);
        hidden_gradient.slice_set(&project_back(&gradient, &weight)?, 0, start)?;
        weight_gradient.add_product(&gradient, &chunk)?;
    }
    Ok(HeadGradients {
        sums,
        hidden: hidden_gradient,
    })
}
