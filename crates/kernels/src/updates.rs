//! Updates of all parameters on a GPU in one launch: `AdamW` (arXiv 1711.05101) with a clipped gradient.
//!
//! `crates/train/src/optimizer` has the formulas, and their forms on other devices.

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::updated_parameter::{UpdateNumbers, UpdatedParameter};

/// Parameters that are updated together. A parameter is its master, the weight in single precision, rounded to nearest, ties
/// away from zero. The bits that it lacks are kept here, so that no bit of the master is lost.
pub struct DeviceUpdates {
    #[cfg(feature = "cuda")]
    on_device: cuda::adamw::Updates,
    #[cfg(not(feature = "cuda"))]
    never: std::convert::Infallible,
}

/// The norm of all gradients of an update, on the device until somebody waits for it.
#[derive(Clone, Debug)]
pub struct DeviceNorm(Tensor);

impl DeviceNorm {
    /// Waits for the norm before clipping. If it is not finite, the update changed nothing.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn wait(&self) -> Result<f64> {
        self.0.get(0)?.to_scalar::<f64>()
    }
}

impl DeviceUpdates {
    /// Updates of these parameters, whose masters are the parameters themselves. `None` if their device has no kernel for them.
    ///
    /// # Errors
    ///
    /// If the device has no memory.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn new(parameters: &[UpdatedParameter]) -> Result<Option<Self>> {
        #[cfg(feature = "cuda")]
        if cuda::adamw::has_kernel(parameters) {
            let on_device = cuda::adamw::Updates::new(parameters)?;
            return Ok(Some(Self { on_device }));
        }
        Ok(None)
    }

    /// The master of a parameter, in single precision on its device.
    ///
    /// # Errors
    ///
    /// If the device fails.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn master(&self, index: usize) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        return self.on_device.master(index);
        #[cfg(not(feature = "cuda"))]
        match self.never {}
    }

    /// Makes `master`, in single precision, that of a parameter, and the parameter the rounded master.
    ///
    /// # Errors
    ///
    /// If it has another number of elements, or the device fails.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn set_master(&mut self, index: usize, master: &Tensor) -> Result<()> {
        #[cfg(feature = "cuda")]
        return self.on_device.set_master(index, master);
        #[cfg(not(feature = "cuda"))]
        match self.never {}
    }

    /// Updates every parameter by its gradient, in single precision and in the order of the parameters. Gradients whose norm
    /// is above `limit` are scaled down to it. Waits for nothing.
    ///
    /// # Errors
    ///
    /// If the gradients do not fit, or the device fails.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn update(&mut self, gradients: &[&Tensor], limit: f64, numbers: &UpdateNumbers) -> Result<DeviceNorm> {
        #[cfg(feature = "cuda")]
        return self.on_device.update(gradients, limit, numbers).map(DeviceNorm);
        #[cfg(not(feature = "cuda"))]
        match self.never {}
    }
}
