//! Devices, and the number formats of weights in memory.

use candle_core::{DType, Device};
use leadspan_kernels::{Kernels, open_gpu};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;

/// The number format of weights in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoredDtype {
    /// 32-bit floating point; quantised weights are dequantised.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
    /// 16-bit floating point.
    F16,
    /// As the GGUF file stores them: matrix products work on quantised weights.
    Native,
}

impl StoredDtype {
    /// The name in configurations and identities.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Native => "native",
        }
    }

    /// The format of activations and of weights that are not quantised: single precision for `Native`.
    pub(crate) const fn dense(self) -> DType {
        match self {
            Self::F32 | Self::Native => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }
}

/// The number format of a student's parameters and activations during training.
///
/// 16-bit floating point (f16) is not offered: it rounds gradients below 6e-8 to zero, and most gradients are smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StudentDtype {
    /// 32-bit floating point.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
}

impl From<StudentDtype> for StoredDtype {
    fn from(dtype: StudentDtype) -> Self {
        match dtype {
            StudentDtype::F32 => Self::F32,
            StudentDtype::Bf16 => Self::Bf16,
        }
    }
}

/// The form of a decoder's operations on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KernelForm {
    /// Kernels of this program, in 16-bit formats.
    #[default]
    Fused,
    /// Operations of the tensor library.
    Stock,
}

impl From<KernelForm> for Kernels {
    fn from(form: KernelForm) -> Self {
        match form {
            KernelForm::Fused => Self::Fused,
            KernelForm::Stock => Self::Stock,
        }
    }
}

/// The names of devices, as a regular expression.
pub const DEVICE_PATTERN: &str = "^(cpu|cuda:[0-9]+)$";

/// Opens the device `cpu` or `cuda:N`.
///
/// # Errors
///
/// If the name is neither, this build lacks CUDA, or no such GPU exists.
pub fn open_device(name: &str) -> Result<Device, ModelError> {
    let failed = |reason: String| ModelError::Device {
        device: name.to_owned(),
        reason,
    };
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let ordinal = name
        .strip_prefix("cuda:")
        .and_then(|ordinal| ordinal.parse::<usize>().ok())
        .ok_or_else(|| failed("it is neither `cpu` nor `cuda:N`".to_owned()))?;
    if !candle_core::utils::cuda_is_available() {
        return Err(failed("this program was built without CUDA".to_owned()));
    }
    open_gpu(ordinal).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_in_the_configuration() {
        assert!(open_device("cpu").unwrap().is_cpu());
        for name in ["gpu", "cuda", "cuda:x", ""] {
            let error = open_device(name).unwrap_err().to_string();
            assert!(error.contains("neither `cpu` nor `cuda:N`"), "{error}");
        }
    }
}
