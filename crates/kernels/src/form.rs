//! The forms of an operation, and which one a tensor gets.

use candle_core::{DType, Device, Tensor};

/// The form of the operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernels {
    /// The fused form if the device and dtype have one, otherwise the stock form.
    #[default]
    Fused,
    /// Always the stock form.
    Stock,
}

/// The form of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Fused, in single precision on the CPU.
    Cpu,
    /// Fused, in a 16-bit format on an NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda,
    /// Made of the tensor library's own operations.
    Stock,
}

impl Kernels {
    /// Whether an operation on `x` has a fused form that is to be used.
    pub fn fuse(self, x: &Tensor) -> bool {
        self.form(x) != Form::Stock
    }

    /// The form of an operation on `x`.
    pub(crate) fn form(self, x: &Tensor) -> Form {
        self.form_on(x.device(), x.dtype())
    }

    /// The form of operations on tensors of this dtype on this device.
    fn form_on(self, device: &Device, dtype: DType) -> Form {
        match (self, dtype) {
            (Self::Stock, _) => Form::Stock,
            (Self::Fused, DType::F32) if device.is_cpu() => Form::Cpu,
            #[cfg(feature = "cuda")]
            (Self::Fused, DType::BF16 | DType::F16) if device.is_cuda() => Form::Cuda,
            _ => Form::Stock,
        }
    }
}

/// Whether operations on tensors of this dtype on this device have a fused form.
pub fn has_fused_form(device: &Device, dtype: DType) -> bool {
    Kernels::Fused.form_on(device, dtype) != Form::Stock
}
