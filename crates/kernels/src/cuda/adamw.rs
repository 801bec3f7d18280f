//! Updates of all parameters in one launch, over a table of them in device memory.

use candle_core::{
    CudaDevice, CudaStorage, DType, Result, Storage, Tensor, bail,
    cuda_backend::{CudaStorageSlice, cudarc::driver::CudaSlice},
    op::BackpropOp,
};

use super::{
    library::{
        Argument::{Double, Int, Long, Pointer, Update},
        Launch, kernel, launch,
    },
    memory::{address_of, pointer, uninitialised, uninitialised_tensor, with_rows},
    staging::upload,
};
use crate::{
    agreement::{self, ADAMW_BLOCK, ADAMW_SHARED_BYTES, ADAMW_THREADS, Parameter},
    updated_parameter::{UpdateNumbers, UpdatedParameter},
};

/// The source of the kernels.
const IMAGE: &str = "adamw";
/// Every array of a parameter begins at a multiple of so many bytes.
const ALIGNMENT: u64 = 16;

/// Parameters that are updated together.
pub(crate) struct Updates {
    device: CudaDevice,
    parameters: Vec<UpdatedParameter>,
    /// What each weight lacks of its master: 16 bits of each element.
    rests: Vec<CudaSlice<u16>>,
    first_blocks: CudaSlice<u32>,
    blocks: usize,
    /// The table of the last update. Gradients stay where they are, so it is uploaded once.
    table: Option<(Vec<Parameter>, CudaSlice<Parameter>)>,
    /// The sums of squares of blocks.
    parts: CudaSlice<f64>,
}

/// The address of a tensor's first element, if it is contiguous, of this dtype and aligned.
fn place(tensor: &Tensor, dtype: DType) -> Option<u64> {
    if tensor.dtype() != dtype || !tensor.is_contiguous() || tensor.elem_count() == 0 {
        return None;
    }
    let flat = tensor.flatten_all().ok()?;
    let address = with_rows(&flat, |_, rows| Ok(rows.pointer)).ok()?;
    address.is_multiple_of(ALIGNMENT).then_some(address)
}

/// Whether there is a kernel for these parameters: they are in bfloat16, whole and aligned.
pub(crate) fn has_kernel(parameters: &[UpdatedParameter]) -> bool {
    let has = |parameter: &UpdatedParameter| {
        let UpdatedParameter {
            weight,
            first_moment,
            second_moment,
            ..
        } = parameter;
        place(weight, DType::BF16).is_some()
            && [first_moment, second_moment]
                .iter()
                .all(|moment| place(moment, DType::F32).is_some() && moment.elem_count() == weight.elem_count())
    };
    !parameters.is_empty() && parameters.iter().all(has)
}

impl Updates {
    pub(crate) fn new(parameters: &[UpdatedParameter]) -> Result<Self> {
        let Some(first) = parameters.first() else {
            bail!("there are no parameters to update");
        };
        let device = with_rows(&first.first_moment.flatten_all()?, |device, _| Ok(device.clone()))?;
        let (mut first_blocks, mut blocks) = (Vec::with_capacity(parameters.len()), 0);
        for parameter in parameters {
            first_blocks.push(blocks as u32);
            blocks += parameter.weight.elem_count().div_ceil(ADAMW_BLOCK);
        }
        let rests = parameters
            .iter()
            .map(|parameter| device.alloc_zeros::<u16>(parameter.weight.elem_count()))
            .collect::<Result<_>>()?;
        Ok(Self {
            parameters: parameters.to_vec(),
            rests,
            first_blocks: upload(&device, &first_blocks)?,
            blocks,
            table: None,
            parts: uninitialised(&device, blocks)?,
            device,
        })
    }

    /// The parameter at `index` with its rest and its address.
    fn parameter(&self, index: usize) -> Result<(&UpdatedParameter, &CudaSlice<u16>, u64)> {
        let (Some(parameter), Some(rest)) = (self.parameters.get(index), self.rests.get(index)) else {
            bail!("there is no parameter {index}");
        };
        match place(&parameter.weight, DType::BF16) {
            Some(address) => Ok((parameter, rest, address)),
            None => bail!("parameter {index} is no longer where it was"),
        }
    }

    pub(crate) fn master(&self, index: usize) -> Result<Tensor> {
        let (parameter, rest, address) = self.parameter(index)?;
        let count = parameter.weight.elem_count();
        let master = uninitialised_tensor(&self.device, DType::F32, 1, count)?;
        with_rows(&master, |device, master| {
            let arguments = [
                Pointer(address),
                pointer(device, rest),
                Long(count as i64),
                master.argument(),
            ];
            // SAFETY: the kernel's arguments, of `count` elements each.
            unsafe { launch(device, IMAGE, "adamw_join_masters", each(count), &arguments) }
        })?;
        master.reshape(parameter.weight.shape())
    }

    pub(crate) fn set_master(&mut self, index: usize, master: &Tensor) -> Result<()> {
        let (parameter, rest, address) = self.parameter(index)?;
        let count = parameter.weight.elem_count();
        if master.elem_count() != count || master.dtype() != DType::F32 {
            bail!("a master of {master:?} is not that of {:?}", parameter.weight.shape());
        }
        let master = master.contiguous()?.flatten_all()?;
        with_rows(&master, |device, master| {
            let arguments = [
                master.argument(),
                Long(count as i64),
                Pointer(address),
                pointer(device, rest),
            ];
            // SAFETY: the kernel's arguments, of `count` elements each.
            unsafe { launch(device, IMAGE, "adamw_split_masters", each(count), &arguments) }
        })
    }

    /// The norm of the gradients and the factor that clips it, `[2]` in double precision.
    pub(crate) fn update(&mut self, gradients: &[&Tensor], limit: f64, numbers: &UpdateNumbers) -> Result<Tensor> {
        let table = self.table_of(gradients)?;
        let uploaded = match self.table.take() {
            Some((known, uploaded)) if known == table => uploaded,
            _ => upload(&self.device, &table)?,
        };
        let (_, uploaded) = self.table.insert((table, uploaded));
        let device = &self.device;
        let (table, first_blocks) = (pointer(device, uploaded), pointer(device, &self.first_blocks));
        let (count, parts) = (Int(self.parameters.len() as i32), pointer(device, &self.parts));
        let adding = |blocks: usize| Launch {
            grid: (blocks, 1),
            threads: ADAMW_THREADS,
            shared_bytes: ADAMW_SHARED_BYTES,
        };
        // SAFETY: the kernel's arguments; the table has what `place` found.
        unsafe {
            let arguments = [table, first_blocks, count, parts];
            launch(device, IMAGE, "adamw_gradient_squares", adding(self.blocks), &arguments)
        }?;
        let norm_and_scale = uninitialised::<f64>(device, 2)?;
        // SAFETY: the kernel's arguments.
        unsafe {
            let arguments = [
                parts,
                Int(self.blocks as i32),
                Double(limit),
                pointer(device, &norm_and_scale),
            ];
            launch(device, IMAGE, "adamw_clipping", adding(1), &arguments)
        }?;
        let scale = Pointer(address_of(device, &norm_and_scale) + size_of::<f64>() as u64);
        let by = Update(agreement::Update {
            beta1: numbers.betas.0,
            beta2: numbers.betas.1,
            rate: numbers.rate,
            root_scale: numbers.root_scale,
            epsilon: numbers.epsilon,
            keep: numbers.keep,
        });
        let how = Launch {
            shared_bytes: 0,
            ..adding(self.blocks)
        };
        let name = kernel("adamw", DType::BF16, None)?;
        // SAFETY: the kernel's arguments; the table has what `place` found.
        unsafe { launch(device, IMAGE, &name, how, &[table, first_blocks, count, scale, by]) }?;
        let storage = Storage::Cuda(CudaStorage {
            slice: CudaStorageSlice::F64(norm_and_scale),
            device: device.clone(),
        });
        Ok(Tensor::from_storage(storage, 2, BackpropOp::none(), false))
    }

    /// The table with the addresses of these gradients.
    fn table_of(&self, gradients: &[&Tensor]) -> Result<Vec<Parameter>> {
        if gradients.len() != self.parameters.len() {
            bail!("{} gradients for {} parameters", gradients.len(), self.parameters.len());
        }
        let entry = |((parameter, rest), gradient): ((&UpdatedParameter, &CudaSlice<u16>), &&Tensor)| {
            let places = (
                place(&parameter.weight, DType::BF16),
                place(&parameter.first_moment, DType::F32),
                place(&parameter.second_moment, DType::F32),
                place(gradient, DType::F32),
            );
            let (Some(weight), Some(first_moment), Some(second_moment), Some(gradient_at)) = places else {
                bail!("a parameter or its gradient is not whole, aligned and on the GPU");
            };
            if gradient.elem_count() != parameter.weight.elem_count() {
                bail!(
                    "a gradient of {:?} for {:?}",
                    gradient.shape(),
                    parameter.weight.shape()
                );
            }
            Ok(Parameter {
                weight,
                rest: address_of(&self.device, rest),
                first_moment,
                second_moment,
                gradient: gradient_at,
                count: parameter.weight.elem_count() as i64,
                decays: i32::from(parameter.decays),
            })
        };
        let parameters = self.parameters.iter().zip(&self.rests);
        parameters.zip(gradients).map(entry).collect()
    }
}

/// A thread for each element.
fn each(count: usize) -> Launch {
    Launch {
        grid: (count.div_ceil(ADAMW_THREADS), 1),
        threads: ADAMW_THREADS,
        shared_bytes: 0,
    }
}
