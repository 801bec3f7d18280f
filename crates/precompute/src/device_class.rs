//! The class of the computing device, which decides, together with the inputs, the bits of the output.

use candle_core::Device;

/// The instruction set (CPU) or the compute capability (CUDA), such as `cpu x86_64 avx512f`.
pub(crate) fn device_class(device: &Device) -> String {
    match device {
        Device::Cpu => format!("cpu {} {}", std::env::consts::ARCH, instruction_set()),
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => {
            use candle_core::cuda_backend::cudarc::driver::sys::CUdevice_attribute_enum as Attribute;
            let stream = cuda.cuda_stream();
            let capability = |attribute| stream.context().attribute(attribute).unwrap_or_default();
            let major = capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
            let minor = capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
            format!("cuda {major}.{minor}")
        }
        _ => "another device".to_owned(),
    }
}

/// The widest vectors that the matrix products choose at run time.
#[cfg(target_arch = "x86_64")]
fn instruction_set() -> &'static str {
    if is_x86_feature_detected!("avx512f") {
        "avx512f"
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        "avx2"
    } else {
        "sse2"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction_set() -> &'static str {
    "baseline"
}
