//! Causal attention on a GPU, forward and backward. `cuda/attention_forward.cuh` and `cuda/attention_backward.cuh` say how.

use std::sync::Arc;

use candle_core::{CudaDevice, Result, bail, cuda_backend::cudarc::driver::CudaSlice};

use super::{
    batch::{Sequences, Shared},
    library::{
        Argument::{Float, Int, Long},
        Launch, kernel, launch,
    },
    memory::{Rows, pointer, uninitialised},
};
use crate::{
    agreement::{
        ATTENTION_THREADS, BACKWARD_TILE, DELTA_THREADS, HEAD_WIDTHS, backward_keys_shared_bytes,
        backward_keys_threads, backward_queries_shared_bytes, delta_rows, forward_shared_bytes,
    },
    attention_shape::AttentionShape,
};

static FORWARD: Shared<[usize], Sequences> = Shared::new();
static BACKWARD_KEYS: Shared<[usize], Sequences> = Shared::new();
static BACKWARD_QUERIES: Shared<[usize], Sequences> = Shared::new();

/// Queries `[N, heads · D]`, keys and values `[N, key-value heads · D]`, which may be columns of one matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inputs {
    pub(super) queries: Rows,
    pub(super) keys: Rows,
    pub(super) values: Rows,
}

impl Inputs {
    /// # Errors
    ///
    /// If they do not fit the shape and the edges, or there is no kernel for them.
    fn check(self, shape: AttentionShape, edges: &[usize]) -> Result<()> {
        let Self { queries, keys, values } = self;
        let rows = edges.last().copied().unwrap_or(0);
        let fits = queries.width == shape.query_width()
            && [keys, values].iter().all(|x| x.width == shape.key_width())
            && [queries, keys, values]
                .iter()
                .all(|x| x.rows == rows && x.dtype == queries.dtype)
            && keys.stride == values.stride;
        if !fits {
            bail!("queries, keys and values do not fit {shape:?} and {rows} rows: {self:?}");
        }
        // Rows are copied 16 bytes at a time.
        if !HEAD_WIDTHS.contains(&shape.head_dim) || [queries.stride, keys.stride].iter().any(|stride| stride % 8 != 0)
        {
            bail!("there is no attention kernel for {shape:?}");
        }
        Ok(())
    }
}

/// Sequences of fewer tokens waste less in small tiles.
const LONG: usize = 512;

/// The rows of tiles of queries in the forward kernel.
fn forward_tile(head_dim: usize, edges: &[usize]) -> usize {
    let is_long = |bounds: &[usize]| bounds[1] - bounds[0] >= LONG;
    if head_dim <= 128 && edges.windows(2).any(is_long) {
        128
    } else {
        64
    }
}

/// Writes the outputs `[N, heads · D]`, and returns the log-sum-exp of the scores, `[heads, N]`.
pub(super) fn forward(
    device: &CudaDevice,
    inputs: Inputs,
    shape: AttentionShape,
    edges: &Arc<[usize]>,
    outputs: Rows,
) -> Result<CudaSlice<f32>> {
    inputs.check(shape, edges)?;
    let Inputs { queries, keys, values } = inputs;
    let tile = forward_tile(shape.head_dim, edges);
    let sequences = FORWARD.of(device, edges, |edges| Sequences::new(device, edges, tile, true))?;
    let log_sums = uninitialised::<f32>(device, shape.heads * queries.rows)?;
    let arguments = [
        queries.argument(),
        keys.argument(),
        values.argument(),
        outputs.argument(),
        pointer(device, &log_sums),
        pointer(device, &sequences.edges),
        pointer(device, &sequences.tiles),
        Long(queries.stride as i64),
        Long(keys.stride as i64),
        Long(outputs.stride as i64),
        Int(shape.group() as i32),
        Int(queries.rows as i32),
        Float(shape.scale()),
    ];
    let how = Launch {
        grid: (sequences.tile_count, shape.heads),
        threads: ATTENTION_THREADS,
        shared_bytes: forward_shared_bytes(shape.head_dim, tile),
    };
    let name = format!(
        "{}_{tile}",
        kernel("attention_forward", queries.dtype, Some(shape.head_dim))?
    );
    // SAFETY: the kernel's arguments; `check` compared the shapes.
    unsafe { launch(device, "attention_forward", &name, how, &arguments) }?;
    Ok(log_sums)
}

/// Writes the gradients of queries, keys and values from `gradient`, that of `outputs`.
pub(super) fn backward(
    device: &CudaDevice,
    (inputs, outputs, log_sums): (Inputs, Rows, &CudaSlice<f32>),
    shape: AttentionShape,
    edges: &Arc<[usize]>,
    gradient: Rows,
    gradients: Inputs,
) -> Result<()> {
    inputs.check(shape, edges)?;
    gradients.check(shape, edges)?;
    let Inputs { queries, keys, values } = inputs;
    let delta = uninitialised::<f32>(device, shape.heads * queries.rows)?;
    let arguments = [
        outputs.argument(),
        gradient.argument(),
        pointer(device, &delta),
        Long(outputs.stride as i64),
        Long(gradient.stride as i64),
        Int(shape.heads as i32),
        Int(queries.rows as i32),
    ];
    let how = Launch {
        grid: ((shape.heads * queries.rows).div_ceil(delta_rows(shape.head_dim)), 1),
        threads: DELTA_THREADS,
        shared_bytes: 0,
    };
    let name = |part| kernel(part, queries.dtype, Some(shape.head_dim));
    // SAFETY: the kernel's arguments; `check` compared the shapes.
    unsafe { launch(device, "attention_backward", &name("attention_delta")?, how, &arguments) }?;

    let read = |sequences: &Sequences, written: &[Rows], stride: usize| {
        let mut arguments = vec![
            queries.argument(),
            keys.argument(),
            values.argument(),
            gradient.argument(),
        ];
        arguments.extend([pointer(device, log_sums), pointer(device, &delta)]);
        arguments.extend(written.iter().map(|rows| rows.argument()));
        arguments.extend([pointer(device, &sequences.edges), pointer(device, &sequences.tiles)]);
        arguments.extend([queries.stride, keys.stride, gradient.stride, stride].map(|stride| Long(stride as i64)));
        arguments.extend([
            Int(shape.group() as i32),
            Int(queries.rows as i32),
            Float(shape.scale()),
        ]);
        arguments
    };
    let sequences = BACKWARD_KEYS.of(device, edges, |edges| {
        Sequences::new(device, edges, BACKWARD_TILE, false)
    })?;
    let how = Launch {
        grid: (sequences.tile_count, shape.key_value_heads),
        threads: backward_keys_threads(shape.head_dim),
        shared_bytes: backward_keys_shared_bytes(shape.head_dim),
    };
    let arguments = read(&sequences, &[gradients.keys, gradients.values], gradients.keys.stride);
    // SAFETY: the kernel's arguments; `check` compared the shapes.
    unsafe {
        launch(
            device,
            "attention_backward",
            &name("attention_backward_keys")?,
            how,
            &arguments,
        )
    }?;

    let sequences = BACKWARD_QUERIES.of(device, edges, |edges| {
        Sequences::new(device, edges, BACKWARD_TILE, true)
    })?;
    let how = Launch {
        grid: (sequences.tile_count, shape.heads),
        threads: ATTENTION_THREADS,
        shared_bytes: backward_queries_shared_bytes(shape.head_dim),
    };
    let arguments = read(&sequences, &[gradients.queries], gradients.queries.stride);
    // SAFETY: the kernel's arguments; `check` compared the shapes.
    unsafe {
        launch(
            device,
            "attention_backward",
            &name("attention_backward_queries")?,
            how,
            &arguments,
        )
    }
}

/// Whether there are kernels for heads of this width.
pub(crate) fn has_kernels(head_dim: usize) -> bool {
    HEAD_WIDTHS.contains(&head_dim)
}
