//! Opening a GPU.

use candle_core::{
    CudaDevice, Device, Result,
    cuda_backend::{
        WrapErr as _,
        cudarc::driver::{result, sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD},
    },
};

/// GPU number `ordinal`, with one stream for everything.
///
/// One stream runs everything in the order in which it was launched, from whatever thread, so no events need to order uses of
/// memory. Freed memory stays with the process: taking it from the driver anew would wait for the device.
pub(crate) fn open(ordinal: usize) -> Result<Device> {
    let device = CudaDevice::new_with_stream(ordinal)?;
    // SAFETY: every allocation, copy, kernel and product of the process uses the device's one stream.
    unsafe { device.disable_event_tracking() };
    let stream = device.cuda_stream();
    let mut threshold = u64::MAX;
    // SAFETY: the attribute is a 64-bit number, which the driver copies.
    unsafe {
        let pool = result::device::get_default_mem_pool(stream.context().cu_device()).w()?;
        result::mem_pool::set_attribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, (&raw mut threshold).cast()).w()?;
    }
    Ok(Device::Cuda(device))
}
