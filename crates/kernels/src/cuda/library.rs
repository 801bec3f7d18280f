//! The compiled kernels: loaded once for each device, and launched by name.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use candle_core::{
    CudaDevice, DType, Result, bail,
    cuda_backend::{
        DeviceId, WrapErr as _,
        cudarc::{
            driver::{
                CudaFunction, CudaModule, DeviceRepr, LaunchConfig, PushKernelArg as _,
                sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
            },
            nvrtc::Ptx,
        },
    },
};

use crate::agreement::{Objective, Parameter, SupervisedRows, Update};

/// One compiled source.
struct Image {
    name: &'static str,
    /// For the capability that the program was built for.
    cubin: &'static [u8],
    /// For newer GPUs, whose drivers compile it.
    ptx: &'static str,
}

static IMAGES: &[Image] = include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// What a block may have of shared memory without being asked for.
const SHARED_BYTES_AT_ANY_TIME: u32 = 48 << 10;

/// What was loaded so far.
static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Loaded {
    /// By device and source.
    modules: HashMap<(DeviceId, &'static str), Arc<CudaModule>>,
    /// By device and name, with the dynamic shared memory that their blocks may have.
    functions: HashMap<(DeviceId, String), (CudaFunction, u32)>,
}

/// An argument of a kernel.
#[derive(Clone, Copy)]
pub(super) enum Argument {
    /// An address in device memory.
    Pointer(u64),
    Long(i64),
    Int(i32),
    Float(f32),
    Double(f64),
    Rows(SupervisedRows),
    Objective(Objective),
    Update(Update),
}

// SAFETY: they have the layout of C, and the tests of `agreement` compare it with the kernels'.
unsafe impl DeviceRepr for SupervisedRows {}
// SAFETY: as above.
unsafe impl DeviceRepr for Objective {}
// SAFETY: as above.
unsafe impl DeviceRepr for Parameter {}
// SAFETY: as above.
unsafe impl DeviceRepr for Update {}

/// How a kernel is launched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Launch {
    /// Blocks in x and y.
    pub(super) grid: (usize, usize),
    /// Threads of a block.
    pub(super) threads: usize,
    /// Bytes of dynamic shared memory.
    pub(super) shared_bytes: usize,
}

/// Launches kernel `name` of the source `image` on the device's stream. Does nothing if there is no block.
///
/// # Errors
///
/// If the kernel cannot be loaded or launched.
///
/// # Safety
///
/// The arguments are those that the kernel takes, and its pointers are valid for what it reads and writes.
pub(super) unsafe fn launch(
    device: &CudaDevice,
    image: &'static str,
    name: &str,
    launch: Launch,
    arguments: &[Argument],
) -> Result<()> {
    let Launch {
        grid,
        threads,
        shared_bytes,
    } = launch;
    if grid.0 == 0 || grid.1 == 0 {
        return Ok(());
    }
    let (Ok(x), Ok(y @ ..=65_535)) = (u32::try_from(grid.0), u32::try_from(grid.1)) else {
        bail!("{name}: a grid of {} times {} blocks is too large", grid.0, grid.1);
    };
    let function = function(device, image, name, shared_bytes as u32)?;
    let stream = device.cuda_stream();
    let mut builder = stream.launch_builder(&function);
    for argument in arguments {
        match argument {
            Argument::Pointer(value) => builder.arg(value),
            Argument::Long(value) => builder.arg(value),
            Argument::Int(value) => builder.arg(value),
            Argument::Float(value) => builder.arg(value),
            Argument::Double(value) => builder.arg(value),
            Argument::Rows(value) => builder.arg(value),
            Argument::Objective(value) => builder.arg(value),
            Argument::Update(value) => builder.arg(value),
        };
    }
    let config = LaunchConfig {
        grid_dim: (x, y, 1),
        block_dim: (threads as u32, 1, 1),
        shared_mem_bytes: shared_bytes as u32,
    };
    // SAFETY: by this function's contract.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}

/// The function, whose blocks may have `shared_bytes` of shared memory.
fn function(device: &CudaDevice, image: &'static str, name: &str, shared_bytes: u32) -> Result<CudaFunction> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (device.id(), name.to_owned());
    let (function, allowed) = match loaded.functions.get(&key) {
        Some(known) => known.clone(),
        None => (
            loaded.module(device, image)?.load_function(name).w()?,
            SHARED_BYTES_AT_ANY_TIME,
        ),
    };
    if shared_bytes > allowed {
        function
            .set_attribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared_bytes as i32)
            .w()?;
    }
    loaded
        .functions
        .insert(key, (function.clone(), allowed.max(shared_bytes)));
    Ok(function)
}

impl Loaded {
    fn module(&mut self, device: &CudaDevice, image: &'static str) -> Result<Arc<CudaModule>> {
        let key = (device.id(), image);
        if let Some(module) = self.modules.get(&key) {
            return Ok(Arc::clone(module));
        }
        let Some(image) = IMAGES.iter().find(|known| known.name == image) else {
            bail!("this program has no CUDA kernels named `{image}`");
        };
        let context = Arc::clone(device.cuda_stream().context());
        let module = match context.load_module(Ptx::from_binary(image.cubin.to_vec())) {
            Ok(module) => module,
            // The cubin is for another capability.
            Err(_) => context.load_module(Ptx::from_src(image.ptx)).w()?,
        };
        self.modules.insert(key, Arc::clone(&module));
        Ok(module)
    }
}

/// The name of a kernel's variant: what it does, the dtype, and the width of a head if there is one for each.
pub(super) fn kernel(what: &str, dtype: DType, head_dim: Option<usize>) -> Result<String> {
    let dtype = match dtype {
        DType::BF16 => "bf16",
        DType::F16 => "f16",
        dtype => bail!("there is no CUDA kernel {what} for {dtype:?}"),
    };
    Ok(match head_dim {
        Some(head_dim) => format!("{what}_{dtype}_{head_dim}"),
        None => format!("{what}_{dtype}"),
    })
}
