//! The objective of supervised rows: logits of a chunk, their gradients in the same memory, and the products with them.

use std::ops::Range;

use candle_core::{
    CudaDevice, CudaStorage, DType, Result, Storage, Tensor, bail,
    cuda_backend::{CudaStorageSlice, cudarc::driver::CudaSlice},
    op::BackpropOp,
};

use super::{
    library::{
        Argument::{self, Int, Long},
        Launch, kernel, launch,
    },
    memory::{Rows, address_of, pointer, uninitialised, uninitialised_tensor, with_rows},
    product::{Factor, product},
    staging::upload,
};
use crate::{
    agreement::{
        LOSS_SUM_SHARED_BYTES, LOSS_SUM_THREADS, OBJECTIVE_THREADS, Objective, ROW_LOSSES, Share, SupervisedRows,
        objective_shared_bytes,
    },
    objective_rows::{DeviceObjectiveKind, DeviceRows},
    weight::GradientSum,
};

/// The shared memory that every GPU has for a block.
const SHARED_BYTES: usize = 99 << 10;

/// Whether there is a kernel for so many entries of a row.
pub(crate) fn has_kernel(rows: &DeviceRows<'_>) -> bool {
    let (entries, drawn) = rows.most();
    objective_shared_bytes(entries, drawn) <= SHARED_BYTES
}

/// The work on the rows of one pass.
pub(crate) struct Work {
    hidden: Tensor,
    weight: Tensor,
    rows: Uploaded,
    learnt: Objective,
    /// The sum of the head's gradients, and the gradient of the hidden states.
    gradients: Option<(GradientSum, Tensor)>,
    /// Memory for the logits of a chunk.
    logits: Option<CudaSlice<f32>>,
    losses: CudaSlice<f64>,
}

/// Supervised rows in device memory.
struct Uploaded {
    targets: CudaSlice<u32>,
    weights: CudaSlice<f32>,
    offsets: CudaSlice<u32>,
    token_ids: CudaSlice<u32>,
    measured: CudaSlice<f64>,
    taught: Option<CudaSlice<f64>>,
    drawn: Option<(CudaSlice<u32>, CudaSlice<u32>, CudaSlice<f64>)>,
    most: (usize, usize),
}

impl Uploaded {
    fn new(device: &CudaDevice, rows: &DeviceRows<'_>) -> Result<Self> {
        let drawn = rows.drawn.as_ref().map(|drawn| {
            Ok::<_, candle_core::Error>((
                upload(device, &drawn.offsets)?,
                upload_some(device, drawn.token_ids)?,
                upload_some(device, drawn.probabilities)?,
            ))
        });
        Ok(Self {
            targets: upload_some(device, rows.targets)?,
            weights: upload_some(device, rows.weights)?,
            offsets: upload(device, &rows.offsets)?,
            token_ids: upload_some(device, rows.token_ids)?,
            measured: upload_some(device, &rows.measured)?,
            taught: (rows.taught.as_ref())
                .map(|taught| upload_some(device, taught))
                .transpose()?,
            drawn: drawn.transpose()?,
            most: rows.most(),
        })
    }

    fn argument(&self, device: &CudaDevice) -> Argument {
        let drawn = self.drawn.as_ref();
        Argument::Rows(SupervisedRows {
            targets: address_of(device, &self.targets),
            weights: address_of(device, &self.weights),
            offsets: address_of(device, &self.offsets),
            token_ids: address_of(device, &self.token_ids),
            measured: address_of(device, &self.measured),
            taught: self.taught.as_ref().map_or(0, |taught| address_of(device, taught)),
            drawn_offsets: drawn.map_or(0, |(offsets, ..)| address_of(device, offsets)),
            drawn_ids: drawn.map_or(0, |(_, ids, _)| address_of(device, ids)),
            drawn_probabilities: drawn.map_or(0, |(.., probabilities)| address_of(device, probabilities)),
        })
    }
}

/// Copies values to the device. No values become one that nobody reads, because there is no memory of nothing.
fn upload_some<T>(device: &CudaDevice, values: &[T]) -> Result<CudaSlice<T>>
where
    T: candle_core::cuda_backend::cudarc::driver::DeviceRepr + Copy + Default + 'static,
{
    if values.is_empty() {
        return upload(device, &[T::default()]);
    }
    upload(device, values)
}

impl Work {
    pub(crate) fn begin(
        hidden: &Tensor,
        weight: &Tensor,
        rows: &DeviceRows<'_>,
        kind: &DeviceObjectiveKind,
        weight_gradient: Option<&GradientSum>,
    ) -> Result<Self> {
        let ((count, width), (vocabulary, weight_width)) = (hidden.dims2()?, weight.dims2()?);
        if width != weight_width || hidden.dtype() != weight.dtype() || count != rows.targets.len() {
            bail!(
                "hidden states of {:?} do not fit a head of {:?} and {} rows",
                hidden.shape(),
                weight.shape(),
                rows.targets.len()
            );
        }
        rows.check(vocabulary)?;
        let (hidden, weight) = (hidden.contiguous()?, weight.contiguous()?);
        let (rows, losses, hidden_gradient) = with_rows(&hidden, |device, hidden| {
            Ok((
                Uploaded::new(device, rows)?,
                uninitialised::<f64>(device, (count * ROW_LOSSES).max(1))?,
                weight_gradient
                    .map(|_| uninitialised_tensor(device, hidden.dtype, count, width))
                    .transpose()?,
            ))
        })?;
        Ok(Self {
            hidden,
            weight,
            rows,
            learnt: Objective {
                loss: kind.loss as i32,
                on_entries_alone: i32::from(kind.on_entries_alone),
                parameter: Share {
                    value: kind.parameter,
                    log: kind.parameter.ln(),
                    log_of_rest: (1.0 - kind.parameter).ln(),
                },
                temperature: kind.temperature,
                alpha: kind.alpha,
            },
            gradients: weight_gradient.cloned().zip(hidden_gradient),
            logits: None,
            losses,
        })
    }

    pub(crate) fn chunk(&mut self, range: Range<usize>) -> Result<()> {
        let vocabulary = self.weight.dim(0)?;
        // Rows begin at multiples of 16 bytes, as fast products and loads need.
        let stride = vocabulary.next_multiple_of(8);
        let wanted = range.len() * stride;
        let memory = match self.logits.take() {
            Some(memory) if memory.len() >= wanted => memory,
            _ => with_rows(&self.hidden, |device, _| uninitialised::<f32>(device, wanted))?,
        };
        let done = self.chunk_in(&memory, (range, vocabulary, stride));
        self.logits = Some(memory);
        done
    }

    /// Does a chunk with this memory for its logits.
    fn chunk_in(
        &self,
        memory: &CudaSlice<f32>,
        (range, vocabulary, stride): (Range<usize>, usize, usize),
    ) -> Result<()> {
        with_rows(&self.hidden, |device, hidden| {
            with_rows(&self.weight, |_, weight| {
                let x = hidden.part(range.clone());
                let logits = Rows {
                    pointer: address_of(device, memory),
                    rows: range.len(),
                    width: vocabulary,
                    stride,
                    dtype: DType::F32,
                };
                // Half as wide numbers, each row in its own row of logits.
                let gradient = Rows {
                    stride: 2 * stride,
                    dtype: hidden.dtype,
                    ..logits
                };
                product(device, Factor::Plain(x), Factor::Transposed(weight), 0.0, logits)?;
                self.launch(device, logits, gradient, range.start)?;
                let Some((sum, hidden_gradient)) = &self.gradients else {
                    return Ok(());
                };
                sum.accumulate_on_device(|sum, kept| {
                    with_rows(sum, |_, sum| {
                        product(device, Factor::Transposed(gradient), Factor::Plain(x), kept, sum)
                    })
                })?;
                with_rows(hidden_gradient, |_, into| {
                    let into = into.part(range);
                    product(device, Factor::Plain(gradient), Factor::Plain(weight), 0.0, into)
                })
            })
        })
    }

    /// Turns logits into gradients.
    fn launch(&self, device: &CudaDevice, logits: Rows, gradient: Rows, first_row: usize) -> Result<()> {
        let (entries, drawn) = self.rows.most;
        let arguments = [
            logits.argument(),
            Long(logits.stride as i64),
            gradient.argument(),
            Long(gradient.stride as i64),
            Int(logits.width as i32),
            Int(first_row as i32),
            self.rows.argument(device),
            Argument::Objective(self.learnt),
            Int(entries as i32),
            Int(drawn as i32),
            pointer(device, &self.losses),
        ];
        let how = Launch {
            grid: (logits.rows, 1),
            threads: OBJECTIVE_THREADS,
            shared_bytes: objective_shared_bytes(entries, drawn),
        };
        let what = if self.learnt.temperature == 1.0 {
            "objective"
        } else {
            "objective_tempered"
        };
        let name = kernel(what, gradient.dtype, None)?;
        // SAFETY: the kernel's arguments; `DeviceRows::check` compared the rows.
        unsafe { launch(device, "objective", &name, how, &arguments) }
    }

    pub(crate) fn finish(self) -> Result<(Tensor, Option<Tensor>)> {
        let totals = with_rows(&self.hidden, |device, hidden| {
            let totals = device.alloc_zeros::<f64>(ROW_LOSSES)?;
            let arguments = [
                pointer(device, &self.losses),
                Int(hidden.rows as i32),
                pointer(device, &totals),
            ];
            let how = Launch {
                grid: (1, 1),
                threads: LOSS_SUM_THREADS,
                shared_bytes: LOSS_SUM_SHARED_BYTES,
            };
            // SAFETY: the kernel's arguments.
            unsafe { launch(device, "objective", "row_losses", how, &arguments) }?;
            let storage = Storage::Cuda(CudaStorage {
                slice: CudaStorageSlice::F64(totals),
                device: device.clone(),
            });
            Ok(Tensor::from_storage(storage, ROW_LOSSES, BackpropOp::none(), false))
        })?;
        Ok((totals, self.gradients.map(|(_, hidden)| hidden)))
    }
}
