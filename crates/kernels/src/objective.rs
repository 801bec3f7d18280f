//! The objective of supervised rows on a GPU: from hidden states to losses and gradients, a chunk of logits at a time.
//!
//! `crates/train/src/objective` has the formulas, and their forms on other devices.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::{
    Kernels,
    objective_rows::{DeviceObjectiveKind, DeviceRows},
    weight::GradientSum,
};

/// The work on the supervised rows of one pass.
pub struct DeviceObjective {
    #[cfg(feature = "cuda")]
    on_device: cuda::objective::Work,
    #[cfg(not(feature = "cuda"))]
    never: std::convert::Infallible,
}

/// The sums of losses over the rows of a pass, on the device until somebody waits for them.
#[derive(Clone, Debug)]
pub struct DeviceLosses(Tensor);

impl DeviceLosses {
    /// Waits for the sums, each weighted: cross-entropy, D without τ², forward KL and soft cross-entropy at temperature 1 with a
    /// bucket, weight, and the weight of rows where teacher and student agree on the most probable token.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn wait(&self) -> Result<[f64; 6]> {
        let sums = self.0.to_vec1::<f64>()?;
        match sums.try_into() {
            Ok(sums) => Ok(sums),
            Err(sums) => bail!("{} sums of losses instead of 6", sums.len()),
        }
    }
}

impl DeviceObjective {
    /// Whether hidden states like these have an objective on their device.
    pub fn is_for(hidden: &Tensor) -> bool {
        Kernels::Fused.fuse(hidden) && !hidden.device().is_cpu()
    }

    /// Begins with the rows of `hidden` `[N, H]`, under a head of weight `weight` `[V, H]`. Gradients are computed if there is a
    /// sum for that of the head. `None` if the device has no kernel for this.
    ///
    /// # Errors
    ///
    /// If the shapes do not fit or the device fails.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn begin(
        hidden: &Tensor,
        weight: &Tensor,
        rows: &DeviceRows<'_>,
        kind: &DeviceObjectiveKind,
        weight_gradient: Option<&GradientSum>,
    ) -> Result<Option<Self>> {
        #[cfg(feature = "cuda")]
        if Self::is_for(hidden) && cuda::objective::has_kernel(rows) {
            let on_device = cuda::objective::Work::begin(hidden, weight, rows, kind, weight_gradient)?;
            return Ok(Some(Self { on_device }));
        }
        Ok(None)
    }

    /// Does some of the rows: their logits, losses and gradients.
    ///
    /// # Errors
    ///
    /// If the device fails.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn chunk(&mut self, rows: Range<usize>) -> Result<()> {
        #[cfg(feature = "cuda")]
        return self.on_device.chunk(rows);
        #[cfg(not(feature = "cuda"))]
        match self.never {}
    }

    /// The losses, and the gradient of the hidden states if gradients were asked for.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn finish(self) -> Result<(DeviceLosses, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        return self
            .on_device
            .finish()
            .map(|(sums, gradient)| (DeviceLosses(sums), gradient));
        #[cfg(not(feature = "cuda"))]
        match self.never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_has_a_form_of_its_own() {
        let hidden = Tensor::zeros((2, 8), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        assert!(!DeviceObjective::is_for(&hidden));
    }
}
