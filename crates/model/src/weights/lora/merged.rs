//! The weights of a student with its adapters merged into them.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::modules::tensor_names;
use crate::weights::parameters::Parameters;

/// The weights of a student by their names, each adapted one as W + s · B · A in single precision in main memory. `learnt` are the
/// matrices of the adapters in single precision, by their names. Weights without an adapter are not copied.
///
/// # Errors
///
/// If a matrix is missing, or there is no memory for the sums.
pub fn merged_weights(parameters: &Parameters, learnt: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>> {
    let matrix = |name: &str| match learnt.iter().find(|(other, _)| *other == name) {
        Some((_, tensor)) => tensor.detach().to_device(&Device::Cpu),
        None => bail!("the student has no `{name}`"),
    };
    let merged = |(name, weight): (&str, &Tensor)| {
        let Some((module, scale)) = parameters.adapted(name) else {
            return Ok((name.to_owned(), weight.clone()));
        };
        let [narrow, widen] = tensor_names(module);
        let added = matrix(&widen)?.matmul(&matrix(&narrow)?)?.affine(scale, 0.0)?;
        let weight = weight.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        Ok((name.to_owned(), (weight + added)?))
    };
    parameters.constants().map(merged).collect()
}
