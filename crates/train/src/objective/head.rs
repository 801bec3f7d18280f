//! Rows of hidden states through the head, in chunks of bounded bytes.

use candle_core::{DType, Result, Tensor};
use leadspan_model::{
    Decoder, GradientSum, Kernels, ModelError, Stop, kernels::DeviceObjective, project, project_back,
};
use std::{borrow::Cow, ops::Range, sync::Mutex};

use super::{LossSums, Losses, SupervisedRows, composed, fused::FusedObjective, on_device};

/// Bytes of the logits of one chunk.
const CHUNK_BYTES: usize = 128 << 20;
/// The same where a GPU's kernel takes them. Its products are the faster the more rows they have.
const DEVICE_CHUNK_BYTES: usize = 512 << 20;

/// How rows go through the head.
#[derive(Clone, Copy, Debug)]
pub struct HeadPass {
    /// α: the weight of the divergence; cross-entropy has 1 − α.
    pub distillation_weight: f32,
    /// Bytes that the logits of one chunk may take.
    pub chunk_bytes: usize,
    /// Whether the fused paths may be used: in single precision on the CPU, in bfloat16 on a GPU.
    pub fused: bool,
}

/// The result of the head's part of a backward pass.
#[derive(Debug)]
pub struct HeadGradients {
    /// The losses.
    pub sums: Losses,
    /// The gradient with respect to the rows, `[N, H]`: in their dtype on a GPU, and else in single precision.
    pub hidden: Tensor,
}

/// Whether a student runs in the fused kernels of a GPU.
///
/// # Panics
///
/// If the student's head is quantised.
pub(crate) fn runs_in_gpu_kernels(student: &Decoder) -> bool {
    let weight = student.head_weight().expect("a student's head is dense");
    student.kernels() == Kernels::Fused && DeviceObjective::is_for(&weight)
}

impl HeadPass {
    /// How the rows of `student` go through its head.
    ///
    /// # Panics
    ///
    /// If the student's head is quantised.
    pub fn of(student: &Decoder, distillation_weight: f64) -> Self {
        Self {
            distillation_weight: distillation_weight as f32,
            chunk_bytes: if runs_in_gpu_kernels(student) {
                DEVICE_CHUNK_BYTES
            } else {
                CHUNK_BYTES
            },
            fused: student.device().is_cpu() || student.kernels() == Kernels::Fused,
        }
    }

    /// The same in stock operations.
    pub(crate) fn in_stock_operations(self) -> Self {
        Self {
            chunk_bytes: CHUNK_BYTES,
            fused: false,
            ..self
        }
    }

    /// Whether rows of the dtype and device of `tensor` stay as they are, because a GPU's kernel takes them.
    pub(crate) fn is_on_device(&self, tensor: &Tensor) -> bool {
        self.fused && DeviceObjective::is_for(tensor)
    }

    pub(super) fn chunks(&self, rows: usize, vocabulary: usize) -> impl Iterator<Item = Range<usize>> + use<> {
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
/// Logits and losses are in single precision whatever the dtype of the rows, because logits of 30 rounded to bfloat16 are off
/// by up to 0.06.
///
/// # Errors
///
/// If the device fails, and [`ModelError::Stopped`] if `stop` is requested before the last chunk.
pub fn forward(
    pass: HeadPass,
    (hidden, weight): (&Tensor, &Tensor),
    rows: &SupervisedRows,
    stop: Stop<'_>,
) -> std::result::Result<Losses, ModelError> {
    let (hidden, weight) = (hidden.detach(), weight.detach());
    if pass.is_on_device(&hidden) {
        let chunks = pass.chunks(rows.len(), weight.dim(0)?);
        let rows = (rows, pass.distillation_weight);
        if let Some((losses, _)) = on_device::losses_and_gradient((&hidden, &weight), rows, None, chunks, stop)? {
            return Ok(Losses::on_device(losses));
        }
    }
    let (hidden, weight) = (hidden.to_dtype(DType::F32)?, weight.to_dtype(DType::F32)?);
    let mut sums = LossSums::default();
    for range in pass.chunks(rows.len(), weight.dim(0)?) {
        stop.check()?;
        let logits = project(&hidden.narrow(0, range.start, range.len())?, &weight)?;
        sums.add(&pass.loss_and_gradient(logits, rows, range)?.1);
    }
    Ok(Losses::known(sums))
}

/// The losses of `rows`, and their gradients with respect to the hidden states and the head. The head's gradient, `[V, H]`, is
/// added to `weight_gradient`; without that it is not computed.
///
/// No graph is built: the result is constant. If the divergence has no weight, it is not computed, and everything that is
/// measured against the teacher is 0.
///
/// # Errors
///
/// If the device fails, and [`ModelError::Stopped`] if `stop` is requested before the last chunk: `weight_gradient` then
/// holds part of the sum.
pub fn backward<'a>(
    pass: HeadPass,
    (hidden, weight): (&Tensor, &Tensor),
    rows: &SupervisedRows,
    weight_gradient: impl Into<Option<&'a GradientSum>>,
    stop: Stop<'_>,
) -> std::result::Result<HeadGradients, ModelError> {
    let weight_gradient = weight_gradient.into();
    let (hidden, weight) = (hidden.detach(), weight.detach());
    let rows = if pass.distillation_weight == 0.0 {
        Cow::Owned(rows.without_teacher())
    } else {
        Cow::Borrowed(rows)
    };
    // A GPU's kernel gives no gradient of the rows without that of the head.
    if pass.is_on_device(&hidden) && weight_gradient.is_some() {
        let chunks = pass.chunks(rows.len(), weight.dim(0)?);
        let (states, rows) = ((&hidden, &weight), (&*rows, pass.distillation_weight));
        let found = on_device::losses_and_gradient(states, rows, weight_gradient, chunks, stop)?;
        if let Some((losses, Some(hidden))) = found {
            let sums = Losses::on_device(losses);
            return Ok(HeadGradients { sums, hidden });
        }
    }
    let (hidden, weight) = (hidden.to_dtype(DType::F32)?, weight.to_dtype(DType::F32)?);
    let mut sums = LossSums::default();
    let hidden_gradient = hidden.zeros_like()?;
    for range in pass.chunks(rows.len(), weight.dim(0)?) {
        stop.check()?;
        let (start, chunk) = (range.start, hidden.narrow(0, range.start, range.len())?);
        let logits = project(&chunk, &weight)?;
        let (gradient, losses) = pass.loss_and_gradient(logits, &rows, range)?;
        sums.add(&losses);
        hidden_gradient.slice_set(&project_back(&gradient, &weight)?, 0, start)?;
        if let Some(sum) = weight_gradient {
            sum.add_product(&gradient, &chunk)?;
        }
    }
    Ok(HeadGradients {
        sums: Losses::known(sums),
        hidden: hidden_gradient,
    })
}
