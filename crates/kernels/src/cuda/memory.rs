//! Tensors in device memory: their addresses, rows and allocation.

use std::ops::Range;

use candle_core::{
    CudaDevice, CudaStorage, DType, Layout, Result, Storage, Tensor,
    backend::BackendStorage as _,
    bail,
    cuda_backend::{
        CudaStorageSlice,
        cudarc::driver::{CudaSlice, DevicePtr as _, DeviceRepr},
    },
    op::BackpropOp,
};

use super::library::Argument;

/// A matrix in device memory whose rows are contiguous.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    /// The address of the first value.
    pub(super) pointer: u64,
    pub(super) rows: usize,
    pub(super) width: usize,
    /// How many values lie between the starts of two rows.
    pub(super) stride: usize,
    pub(super) dtype: DType,
}

impl Rows {
    /// The matrix that a storage holds in this layout. A vector is one row.
    ///
    /// # Errors
    ///
    /// If values of a row do not lie one after the other.
    pub(super) fn of(storage: &CudaStorage, layout: &Layout) -> Result<Self> {
        let (rows, width, stride) = match (layout.dims(), layout.stride()) {
            ([width], [1]) => (1, *width, *width),
            ([rows, width], [stride, 1]) => (*rows, *width, *stride),
            // The stride of a dimension of one value says nothing.
            ([rows, 1], [stride, _]) => (*rows, 1, *stride),
            (dims, strides) => bail!("a tensor of shape {dims:?} with strides {strides:?} has no contiguous rows"),
        };
        let dtype = storage.dtype();
        let offset = layout.start_offset() * dtype.size_in_bytes();
        Ok(Self {
            pointer: address(storage)? + offset as u64,
            rows,
            width,
            stride,
            dtype,
        })
    }

    /// Its address as an argument.
    pub(super) fn argument(self) -> Argument {
        Argument::Pointer(self.pointer)
    }

    /// The columns from `first` on.
    pub(super) fn columns(self, first: usize, width: usize) -> Self {
        Self {
            pointer: self.pointer + (first * self.dtype.size_in_bytes()) as u64,
            width,
            ..self
        }
    }

    /// Some of the rows.
    pub(super) fn part(self, range: Range<usize>) -> Self {
        Self {
            pointer: self.pointer + (range.start * self.stride * self.dtype.size_in_bytes()) as u64,
            rows: range.len(),
            ..self
        }
    }
}

/// Calls `read` with a tensor as a matrix in device memory.
///
/// # Errors
///
/// If the tensor is elsewhere, or values of a row do not lie one after the other.
pub(super) fn with_rows<T>(tensor: &Tensor, read: impl FnOnce(&CudaDevice, Rows) -> Result<T>) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => read(&storage.device, Rows::of(storage, layout)?),
        _ => bail!("a tensor that a CUDA kernel needs is not on the GPU"),
    }
}

/// The address of the first value of a storage.
fn address(storage: &CudaStorage) -> Result<u64> {
    // One stream does everything, in order, so the guards that would order streams have nothing to do.
    let stream = storage.device.cuda_stream();
    Ok(match &storage.slice {
        CudaStorageSlice::BF16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::F16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::F32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::U32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::I32(slice) => slice.device_ptr(&stream).0,
        _ => bail!("CUDA kernels take no {:?}", storage.dtype()),
    })
}

/// The address of a slice.
pub(super) fn address_of<T>(device: &CudaDevice, slice: &CudaSlice<T>) -> u64 {
    slice.device_ptr(&device.cuda_stream()).0
}

/// The address of a slice as an argument.
pub(super) fn pointer<T>(device: &CudaDevice, slice: &CudaSlice<T>) -> Argument {
    Argument::Pointer(address_of(device, slice))
}

/// `count` values that are written before they are read.
pub(super) fn uninitialised<T: DeviceRepr>(device: &CudaDevice, count: usize) -> Result<CudaSlice<T>> {
    // SAFETY: the callers give it to a kernel that writes all of it.
    unsafe { device.alloc(count) }
}

/// A storage of `count` values that are written before they are read.
pub(super) fn uninitialised_storage(device: &CudaDevice, dtype: DType, count: usize) -> Result<CudaStorage> {
    let slice = match dtype {
        DType::BF16 => CudaStorageSlice::BF16(uninitialised(device, count)?),
        DType::F16 => CudaStorageSlice::F16(uninitialised(device, count)?),
        DType::F32 => CudaStorageSlice::F32(uninitialised(device, count)?),
        dtype => bail!("CUDA kernels write no {dtype:?}"),
    };
    Ok(CudaStorage {
        slice,
        device: device.clone(),
    })
}

/// A matrix `[rows, width]` that is written before it is read.
pub(super) fn uninitialised_tensor(device: &CudaDevice, dtype: DType, rows: usize, width: usize) -> Result<Tensor> {
    let storage = uninitialised_storage(device, dtype, rows * width)?;
    Ok(Tensor::from_storage(
        Storage::Cuda(storage),
        (rows, width),
        BackpropOp::none(),
        false,
    ))
}
