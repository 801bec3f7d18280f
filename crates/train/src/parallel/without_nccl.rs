//! The place of NCCL in a program without it: no GPUs are connected.

use candle_core::{Device, Result, Tensor};

use super::team::Team;
use crate::TrainError;

/// GPUs of several processes that are connected: there are none.
pub(crate) enum Gpus {}

impl Gpus {
    /// `None`.
    ///
    /// # Errors
    ///
    /// None.
    #[expect(clippy::unnecessary_wraps, reason = "with NCCL there are errors")]
    pub(crate) fn connect(_: &Team<'_>, _: &Device) -> std::result::Result<Option<Self>, TrainError> {
        Ok(None)
    }

    /// Never called.
    ///
    /// # Errors
    ///
    /// None.
    pub(super) fn sum(&self, _: &Tensor) -> Result<Tensor> {
        match *self {}
    }
}
