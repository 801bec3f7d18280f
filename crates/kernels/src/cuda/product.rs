//! Matrix products by cuBLAS: factors in a 16-bit format or single precision, sums in single precision.

use std::ffi::{c_int, c_void};

use candle_core::{
    CudaDevice, DType, Result, Tensor, bail,
    cuda_backend::{
        WrapErr as _,
        cudarc::cublas::{
            result::gemm_ex,
            sys::{cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cudaDataType},
        },
    },
};

use super::memory::{Rows, with_rows};

/// A factor: as it is, or transposed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Factor {
    Plain(Rows),
    Transposed(Rows),
}

impl Factor {
    /// Rows and columns of the factor.
    fn dims(self) -> (usize, usize) {
        match self {
            Self::Plain(x) => (x.rows, x.width),
            Self::Transposed(x) => (x.width, x.rows),
        }
    }

    fn rows(self) -> Rows {
        match self {
            Self::Plain(x) | Self::Transposed(x) => x,
        }
    }

    /// cuBLAS counts columns first: a matrix in rows is its transpose.
    fn operation(self) -> cublasOperation_t {
        match self {
            Self::Plain(_) => cublasOperation_t::CUBLAS_OP_N,
            Self::Transposed(_) => cublasOperation_t::CUBLAS_OP_T,
        }
    }
}

/// `target` ← `left` · `right` + `kept` · `target`.
///
/// Factors in single precision are multiplied in single precision.
///
/// # Errors
///
/// If the shapes or dtypes do not fit, or cuBLAS fails.
pub(super) fn product(device: &CudaDevice, left: Factor, right: Factor, kept: f32, target: Rows) -> Result<()> {
    let ((m, k), (k_right, n)) = (left.dims(), right.dims());
    if k != k_right || (m, n) != (target.rows, target.width) {
        bail!(
            "a product of [{m}, {k}] and [{k_right}, {n}] does not fit [{}, {}]",
            target.rows,
            target.width
        );
    }
    if m == 0 || n == 0 {
        return Ok(());
    }
    let (a, b) = (right.rows(), left.rows());
    if a.dtype != b.dtype {
        bail!("a product of {:?} and {:?}", b.dtype, a.dtype);
    }
    let one = 1f32;
    let handle = device.cublas_handle();
    // SAFETY: the addresses are those of matrices of these shapes and strides. The scalars are in host memory, which is where
    // cuBLAS looks for them unless it is told otherwise.
    unsafe {
        gemm_ex(
            *handle.handle(),
            right.operation(),
            left.operation(),
            n as c_int,
            m as c_int,
            k as c_int,
            (&raw const one).cast::<c_void>(),
            a.pointer as *const c_void,
            data_type(a.dtype)?,
            a.stride as c_int,
            b.pointer as *const c_void,
            data_type(b.dtype)?,
            b.stride as c_int,
            (&raw const kept).cast::<c_void>(),
            target.pointer as *mut c_void,
            data_type(target.dtype)?,
            target.stride as c_int,
            cublasComputeType_t::CUBLAS_COMPUTE_32F,
            cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
    }
    .w()
}

fn data_type(dtype: DType) -> Result<cudaDataType> {
    Ok(match dtype {
        DType::BF16 => cudaDataType::CUDA_R_16BF,
        DType::F16 => cudaDataType::CUDA_R_16F,
        DType::F32 => cudaDataType::CUDA_R_32F,
        dtype => bail!("cuBLAS multiplies no {dtype:?}"),
    })
}

/// `sum` `[out, in]` ← `gradient`ᵀ · `x` + `kept` · `sum`, with `gradient` `[N, out]` and `x` `[N, in]`.
pub(crate) fn add_outer_products(sum: &Tensor, kept: f32, gradient: &Tensor, x: &Tensor) -> Result<()> {
    with_rows(gradient, |_, gradient| {
        with_rows(x, |_, x| {
            with_rows(sum, |device, sum| {
                product(device, Factor::Transposed(gradient), Factor::Plain(x), kept, sum)
            })
        })
    })
}
