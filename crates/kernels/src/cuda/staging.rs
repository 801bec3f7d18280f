//! Copies to the device for which nobody waits.
//!
//! The driver copies from ordinary memory only after everything that was launched before, and meanwhile the device runs out of
//! work. So values go through pinned memory, which the device reads when it gets there.

use std::{
    collections::VecDeque,
    ptr, slice,
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{
    CudaDevice, Result,
    cuda_backend::{
        WrapErr as _,
        cudarc::driver::{CudaSlice, CudaStream, DeviceRepr, HostSlice, PinnedHostSlice, SyncOnDrop},
    },
};

/// Fewer bytes are copied from ordinary memory: the driver takes them at once.
const FEW_BYTES: usize = 32 << 10;
/// So many copies may be on their way before one must have arrived.
const BUFFERS: usize = 24;

/// Pinned memory, the longest unused first.
static BUFFERS_BY_AGE: Mutex<VecDeque<PinnedHostSlice<u64>>> = Mutex::new(VecDeque::new());

/// Copies values to the device.
pub(super) fn upload<T: DeviceRepr + Copy + 'static>(device: &CudaDevice, values: &[T]) -> Result<CudaSlice<T>> {
    let stream = device.cuda_stream();
    let bytes = size_of_val(values);
    if bytes < FEW_BYTES {
        return stream.clone_htod(values).w();
    }
    let words = bytes.div_ceil(size_of::<u64>());
    let mut buffer = taken(device, words)?;
    // Waits until an earlier copy from this buffer has arrived.
    let host = buffer.as_mut_slice().w()?;
    // SAFETY: the buffer has at least so many bytes, and a value is plain bytes to the device.
    unsafe { ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), host.as_mut_ptr().cast::<u8>(), bytes) };
    // SAFETY: all of it is written below.
    let mut copy = unsafe { device.alloc::<T>(values.len()) }?;
    let part = Part {
        buffer: &buffer,
        count: values.len(),
    };
    stream.memcpy_htod(&part, &mut copy).w()?;
    BUFFERS_BY_AGE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push_back(buffer);
    Ok(copy)
}

/// The first `count` values of pinned memory, of whatever type.
struct Part<'b> {
    buffer: &'b PinnedHostSlice<u64>,
    count: usize,
}

impl<T: DeviceRepr> HostSlice<T> for Part<'_> {
    fn len(&self) -> usize {
        self.count
    }

    unsafe fn stream_synced_slice<'a>(&'a self, stream: &'a CudaStream) -> (&'a [T], SyncOnDrop<'a>) {
        // SAFETY: by this function's contract.
        let (words, on_drop) = unsafe { self.buffer.stream_synced_slice(stream) };
        // SAFETY: so many values were written to its start, which is aligned for all of them.
        (
            unsafe { slice::from_raw_parts(words.as_ptr().cast(), self.count) },
            on_drop,
        )
    }

    unsafe fn stream_synced_mut_slice<'a>(&'a mut self, _: &'a CudaStream) -> (&'a mut [T], SyncOnDrop<'a>) {
        unreachable!("nothing is copied to the host through a part")
    }
}

/// Pinned memory of at least `words` words for a device.
fn taken(device: &CudaDevice, words: usize) -> Result<PinnedHostSlice<u64>> {
    let context = Arc::clone(device.cuda_stream().context());
    let mut buffers = BUFFERS_BY_AGE.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |buffer: &PinnedHostSlice<u64>| buffer.len() >= words && buffer.context().ordinal() == context.ordinal();
    if buffers.len() >= BUFFERS {
        let place = buffers.iter().position(fits).unwrap_or(0);
        // One that does not fit makes room for one that does.
        if let Some(buffer) = buffers.remove(place).filter(fits) {
            return Ok(buffer);
        }
    }
    drop(buffers);
    // SAFETY: it is read by the device alone, after it was written. Without flags it is cached.
    unsafe { context.alloc_pinned_with_flags(words.next_power_of_two(), 0) }.w()
}
