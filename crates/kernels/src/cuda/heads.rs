//! What lies between the products of an attention block on a GPU, as one operation: queries and keys of each head are
//! normalised if the family does so and rotated, then attention mixes the values.
//!
//! The input is one matrix `[N, (heads + 2 · key-value heads) · D]`: queries, keys, values. Its gradient has the same form, and
//! is written once.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, bail,
    cuda_backend::cudarc::driver::CudaSlice,
};

use super::{
    attention::{self, Inputs},
    batch::Shared,
    library::{
        Argument::{Float, Int, Long, Pointer},
        Launch, kernel, launch,
    },
    memory::{Rows, pointer, uninitialised, uninitialised_storage, uninitialised_tensor, with_rows},
    norm::add_column_sums,
    staging::upload,
};
use crate::{
    agreement::{ROTARY_THREADS, rotary_backward_shared_bytes},
    attention_shape::AttentionShape,
    rotary_table::{Angles, Pairing},
    weight::Weight,
};

/// The rows of a block of the backward kernel, which leaves one row of partial sums.
const BLOCK_ROWS: usize = 32;

static POSITIONS: Shared<[u32], CudaSlice<u32>> = Shared::new();

/// The normalisation of each query head and each key head.
#[derive(Clone)]
pub(crate) struct HeadNorms {
    pub(crate) queries: Weight,
    pub(crate) keys: Weight,
    pub(crate) eps: f32,
}

/// The operation.
pub(crate) struct Heads {
    pub(crate) shape: AttentionShape,
    pub(crate) norms: Option<HeadNorms>,
    pub(crate) angles: Angles,
    pub(crate) pairing: Pairing,
    pub(crate) positions: Arc<[u32]>,
    pub(crate) edges: Arc<[usize]>,
    /// What the forward pass leaves for the backward pass; `None` if there is none.
    pub(crate) left: Option<Mutex<Option<Left>>>,
}

/// What the forward pass leaves for the backward pass.
pub(crate) struct Left {
    /// The rotated queries and keys.
    rotated: Tensor,
    log_sums: CudaSlice<f32>,
}

impl Heads {
    /// Queries, keys and values of one matrix, or of two: queries and keys from the first.
    fn inputs(&self, rotated: Rows, all: Rows) -> Inputs {
        let (queries, keys) = (self.shape.query_width(), self.shape.key_width());
        Inputs {
            queries: rotated.columns(0, queries),
            keys: rotated.columns(queries, keys),
            values: all.columns(queries + keys, keys),
        }
    }

    /// The name of a rotary kernel for heads like these.
    fn kernel(&self, what: &str, x: Rows) -> Result<String> {
        let pairing = match self.pairing {
            Pairing::Halves => "",
            Pairing::Neighbours => "_neighbours",
        };
        kernel(&format!("{what}{pairing}"), x.dtype, Some(self.shape.head_dim))
    }

    /// Rotates the queries and keys of `from` by `sign` times their angles, with the norms if `normalises`.
    fn rotate(&self, device: &CudaDevice, from: Rows, to: Rows, sign: f32, normalises: bool) -> Result<()> {
        let positions = POSITIONS.of(device, &self.positions, |positions| upload(device, positions))?;
        let norms = self.norms.as_ref().filter(|_| normalises);
        let weight = |of: fn(&HeadNorms) -> &Weight| match norms {
            Some(norms) => with_rows(of(norms).tensor(), |_, weight| Ok(weight.argument())),
            None => Ok(Pointer(0)),
        };
        with_rows(&self.angles.cosines, |_, cosines| {
            with_rows(&self.angles.sines, |_, sines| {
                let arguments = [
                    from.argument(),
                    Long(from.stride as i64),
                    to.argument(),
                    Long(to.stride as i64),
                    Int(self.shape.heads as i32),
                    Int(self.shape.key_value_heads as i32),
                    pointer(device, &positions),
                    cosines.argument(),
                    sines.argument(),
                    Float(sign),
                    weight(|norms| &norms.queries)?,
                    weight(|norms| &norms.keys)?,
                    Float(norms.map_or(0.0, |norms| norms.eps)),
                ];
                let how = Launch {
                    grid: (from.rows, 1),
                    threads: ROTARY_THREADS,
                    shared_bytes: 0,
                };
                let what = if norms.is_some() { "head_norm_rotary" } else { "rotary" };
                // SAFETY: the kernel's arguments; the shapes are those of the operation's input.
                unsafe { launch(device, "rotary", &self.kernel(what, from)?, how, &arguments) }
            })
        })
    }

    /// Turns `gradient`, that of the rotated queries and keys, into that of `heads`, and adds to those of the norms.
    fn rotate_back(&self, device: &CudaDevice, heads: Rows, gradient: Rows) -> Result<()> {
        let Some(norms) = &self.norms else {
            return self.rotate(device, gradient, gradient, -1.0, false);
        };
        let positions = POSITIONS.of(device, &self.positions, |positions| upload(device, positions))?;
        let (blocks, width) = (heads.rows.div_ceil(BLOCK_ROWS), self.shape.head_dim);
        let parts = uninitialised::<f32>(device, blocks * 2 * width)?;
        let weight = |weight: &Weight| with_rows(weight.tensor(), |_, weight| Ok(weight.argument()));
        with_rows(&self.angles.cosines, |_, cosines| {
            with_rows(&self.angles.sines, |_, sines| {
                let arguments = [
                    heads.argument(),
                    Long(heads.stride as i64),
                    gradient.argument(),
                    Long(gradient.stride as i64),
                    Int(heads.rows as i32),
                    Int(self.shape.heads as i32),
                    Int(self.shape.key_value_heads as i32),
                    pointer(device, &positions),
                    cosines.argument(),
                    sines.argument(),
                    weight(&norms.queries)?,
                    weight(&norms.keys)?,
                    Float(norms.eps),
                    Int(BLOCK_ROWS as i32),
                    pointer(device, &parts),
                ];
                let how = Launch {
                    grid: (blocks, 1),
                    threads: ROTARY_THREADS,
                    shared_bytes: rotary_backward_shared_bytes(width),
                };
                let name = self.kernel("head_norm_rotary_backward", heads)?;
                // SAFETY: the kernel's arguments; the shapes are those of the operation's input.
                unsafe { launch(device, "rotary", &name, how, &arguments) }
            })
        })?;
        let sums = Tensor::zeros((2, width), DType::F32, &Device::Cuda(device.clone()))?;
        with_rows(&sums, |_, sums| add_column_sums(device, &parts, blocks, sums))?;
        for (index, weight) in [&norms.queries, &norms.keys].into_iter().enumerate() {
            if let Some(sum) = weight.gradient() {
                sum.add(&sums.get(index)?)?;
            }
        }
        Ok(())
    }
}

impl CustomOp1 for Heads {
    fn name(&self) -> &'static str {
        "leadspan-heads"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("the CUDA form of an operation got a tensor in host memory")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let device = &storage.device;
        let x = Rows::of(storage, layout)?;
        let (queries, keys) = (self.shape.query_width(), self.shape.key_width());
        if x.width != queries + 2 * keys || x.rows != self.positions.len() {
            bail!(
                "{x:?} does not hold the heads of {:?} for {} rows",
                self.shape,
                self.positions.len()
            );
        }
        let rotated = uninitialised_tensor(device, x.dtype, x.rows, queries + keys)?;
        let y = uninitialised_storage(device, x.dtype, x.rows * queries)?;
        let outputs = Rows::of(&y, &Layout::contiguous((x.rows, queries)))?;
        let log_sums = with_rows(&rotated, |_, rotated| {
            self.rotate(device, x, rotated, 1.0, true)?;
            attention::forward(device, self.inputs(rotated, x), self.shape, &self.edges, outputs)
        })?;
        if let Some(left) = &self.left {
            *left.lock().unwrap_or_else(PoisonError::into_inner) = Some(Left { rotated, log_sums });
        }
        Ok((y, Shape::from((x.rows, queries))))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let left = self.left.as_ref();
        let Some(left) = left.and_then(|left| left.lock().unwrap_or_else(PoisonError::into_inner).take()) else {
            bail!("the forward pass of attention left nothing for its backward pass");
        };
        let gradient = gradient.contiguous()?;
        with_rows(x, |device, x| {
            let x_gradient = uninitialised_tensor(device, x.dtype, x.rows, x.width)?;
            with_rows(&x_gradient, |_, into| {
                with_rows(y, |_, y| {
                    with_rows(&gradient, |_, gradient| {
                        with_rows(&left.rotated, |_, rotated| {
                            let inputs = self.inputs(rotated, x);
                            let forward = (inputs, y, &left.log_sums);
                            let gradients = self.inputs(into, into);
                            attention::backward(device, forward, self.shape, &self.edges, gradient, gradients)
                        })
                    })
                })?;
                self.rotate_back(device, x, into)
            })?;
            Ok(Some(x_gradient))
        })
    }
}
