//! Gradients of processes that each have a GPU of their own: NCCL carries them from GPU to GPU, without host memory.
//!
//! The pieces of a stretch travel as they do between processes otherwise, and a GPU adds up its piece in the order of the
//! processes. So NCCL adds nothing up itself, and the bits are those that host memory and MPI give.

use std::sync::Arc;

use candle_core::{
    CpuStorage, CudaStorage, DType, Device, Error, InplaceOp2, Layout, Result, Tensor, bail,
    cuda_backend::cudarc::{
        driver::{CudaStream, CudaView, CudaViewMut},
        nccl::{Comm, Id, group_end, group_start, result::NcclError},
    },
};

use super::team::{Place, Team};
use crate::TrainError;

/// Words of a message: what identifies a GPU, and then the connection.
const GPU: usize = 2;
const ID: usize = 16;
const WORDS: usize = GPU + ID;

/// The GPU of one of several processes, connected with those of the others.
pub(crate) struct Gpus {
    comm: Comm,
}

impl Gpus {
    /// Connects the GPUs of all processes. `None` if the process is alone, if one of them has no GPU, or if two of them share one,
    /// which NCCL cannot connect.
    ///
    /// # Errors
    ///
    /// If the device fails, NCCL cannot begin, or another process has failed.
    ///
    /// # Panics
    ///
    /// If NCCL cannot connect them: the others wait for this process, and a panic ends them.
    pub(crate) fn connect(team: &Team<'_>, device: &Device) -> std::result::Result<Option<Self>, TrainError> {
        if team.is_alone() {
            return Ok(None);
        }
        let stream = match device {
            Device::Cuda(device) => Some(device.cuda_stream()),
            _ => None,
        };
        let all = team.exchange(Place::Gpus, &words(team, stream.as_ref())?)?;
        let gpus: Vec<&[u64]> = all.iter().map(|words| &words[..GPU]).collect();
        let is_apart = |(place, gpu): (usize, &&[u64])| **gpu != [0; GPU] && !gpus[..place].contains(gpu);
        let Some(stream) = stream.filter(|_| gpus.iter().enumerate().all(is_apart)) else {
            return Ok(None);
        };
        stream.context().bind_to_thread().map_err(Error::wrap)?;
        let mut id = [0; 8 * ID];
        for (bytes, word) in id.chunks_exact_mut(8).zip(&all[0][GPU..]) {
            for (byte, told) in bytes.iter_mut().zip(word.to_le_bytes()) {
                *byte = told.cast_signed();
            }
        }
        match Comm::from_rank(stream, team.rank(), team.count(), Id::uninit(id)) {
            Ok(comm) => Ok(Some(Self { comm })),
            Err(error) => panic!(
                "the GPUs of {} processes could not be connected: {}",
                team.count(),
                failed(&error)
            ),
        }
    }

    /// Adds numbers up over all processes, in their order.
    ///
    /// # Shapes
    ///
    /// `numbers` and the result are `[N]`, in single precision; all processes have the same N.
    ///
    /// # Errors
    ///
    /// If the device or NCCL fails. The other processes wait for this one then.
    pub(super) fn sum(&self, numbers: &Tensor) -> Result<Tensor> {
        let (count, length) = (self.comm.world_size(), numbers.elem_count());
        let piece = length.div_ceil(count);
        let pieces = numbers.pad_with_zeros(0, 0, piece * count - length)?;
        let received = Tensor::zeros(piece * count, DType::F32, numbers.device())?;
        received.inplace_op2(&pieces, &Exchange(&self.comm))?;
        let mut sum = received.narrow(0, 0, piece)?;
        for process in 1..count {
            sum = (sum + received.narrow(0, process * piece, piece)?)?;
        }
        let all = Tensor::zeros(piece * count, DType::F32, numbers.device())?;
        all.inplace_op2(&sum, &Gather(&self.comm))?;
        all.narrow(0, 0, length)
    }
}

/// What a process tells: its GPU, or zeros if it has none, and, if it is the first, the id of the connection.
fn words(team: &Team<'_>, stream: Option<&Arc<CudaStream>>) -> Result<[u64; WORDS]> {
    let mut words = [0; WORDS];
    let Some(stream) = stream else { return Ok(words) };
    let uuid = stream.context().uuid().map_err(Error::wrap)?;
    put(&mut words[..GPU], &uuid.bytes);
    if team.is_first() {
        let id = Id::new().map_err(|error| failed(&error))?;
        put(&mut words[GPU..], id.internal());
    }
    Ok(words)
}

fn put(words: &mut [u64], bytes: &[i8]) {
    let (chunks, _) = bytes.as_chunks();
    for (word, bytes) in words.iter_mut().zip(chunks) {
        *word = u64::from_le_bytes(bytes.map(i8::cast_unsigned));
    }
}

fn failed(error: &NcclError) -> Error {
    Error::Msg(format!("NCCL failed: {:?}", error.0))
}

/// Sends each process its piece of a tensor, and receives the piece of every process that is this one's.
struct Exchange<'a>(&'a Comm);

impl InplaceOp2 for Exchange<'_> {
    fn name(&self) -> &'static str {
        "exchange-pieces"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        bail!("NCCL connects GPUs")
    }

    fn cuda_fwd(
        &self,
        received: &mut CudaStorage,
        received_layout: &Layout,
        sent: &CudaStorage,
        sent_layout: &Layout,
    ) -> Result<()> {
        let (sent, mut received) = (view(sent, sent_layout)?, view_mut(received, received_layout)?);
        let piece = sent.len() / self.0.world_size();
        let mut exchange = || -> std::result::Result<(), NcclError> {
            group_start()?;
            for process in 0..self.0.world_size() {
                let piece = process * piece..(process + 1) * piece;
                self.0.send(&sent.slice(piece.clone()), process as i32)?;
                self.0.recv(&mut received.slice_mut(piece), process as i32)?;
            }
            group_end().map(drop)
        };
        exchange().map_err(|error| failed(&error))
    }
}

/// Sends all processes a tensor, and receives those of all.
struct Gather<'a>(&'a Comm);

impl InplaceOp2 for Gather<'_> {
    fn name(&self) -> &'static str {
        "gather-pieces"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        bail!("NCCL connects GPUs")
    }

    fn cuda_fwd(
        &self,
        received: &mut CudaStorage,
        received_layout: &Layout,
        sent: &CudaStorage,
        sent_layout: &Layout,
    ) -> Result<()> {
        let (sent, mut received) = (view(sent, sent_layout)?, view_mut(received, received_layout)?);
        let gathered = self.0.all_gather(&sent, &mut received);
        gathered.map(drop).map_err(|error| failed(&error))
    }
}

/// The numbers of a contiguous tensor.
fn view<'a>(storage: &'a CudaStorage, layout: &Layout) -> Result<CudaView<'a, f32>> {
    let (begin, end) = bounds(layout)?;
    Ok(storage.as_cuda_slice::<f32>()?.slice(begin..end))
}

fn view_mut<'a>(storage: &'a mut CudaStorage, layout: &Layout) -> Result<CudaViewMut<'a, f32>> {
    let (begin, end) = bounds(layout)?;
    Ok(storage.as_cuda_slice_mut::<f32>()?.slice_mut(begin..end))
}

fn bounds(layout: &Layout) -> Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some(bounds) => Ok(bounds),
        None => bail!("numbers to exchange do not lie one after the other"),
    }
}
