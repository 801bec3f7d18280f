//! `AdamW` (arXiv 1711.05101), in place, in single precision for parameters of any dtype.
//!
//! Moments are always in single precision. Parameters in another dtype have *masters*, weights in single precision: an
//! update is applied to the master, and the parameter is the rounded master. So updates too small to change a parameter
//! add up until they do.
//!
//! On a GPU, parameters in bfloat16 are updated by a kernel that keeps a master as the parameter and 16 further bits. Its
//! rounding of a master differs from that of others if the master lies exactly between two numbers. The state is the same
//! on every device.

mod in_place;

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use leadspan_model::{
    Kernels,
    kernels::{DeviceNorm, DeviceUpdates, UpdateNumbers, UpdatedParameter},
};
use std::collections::BTreeMap;

use self::in_place::{Blend, MoveBy};
pub(crate) use self::in_place::{is_finite, sum_of_squares};

/// The constants of [`AdamW`].
#[derive(Clone, Copy, Debug)]
pub struct AdamWSettings {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled decay, for the parameters that have it.
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    /// β₁ = 0.9, β₂ = 0.999, ε = 1e-8, no decay: the defaults of `PyTorch`, except for the decay.
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// The optimizer: for each parameter a pair of moments and, where it is not in single precision, a master.
pub struct AdamW {
    settings: AdamWSettings,
    step: i32,
    parameters: Vec<Parameter>,
    /// The updates on a GPU, which then has the masters.
    on_device: Option<DeviceUpdates>,
}

struct Parameter {
    name: String,
    variable: Var,
    /// The master, if the variable is not in single precision and a GPU does not have it.
    master: Option<Tensor>,
    first_moment: Tensor,
    second_moment: Tensor,
    decays: bool,
}

impl AdamW {
    /// An optimizer of the named parameters, with the operations of [`Kernels::Stock`] on a GPU. Norms and biases do not
    /// decay. Masters start with the parameters' values.
    ///
    /// # Errors
    ///
    /// If moments and masters cannot be allocated.
    pub fn new<'a>(parameters: impl Iterator<Item = (&'a str, &'a Var)>, settings: AdamWSettings) -> Result<Self> {
        Self::with_kernels(parameters, settings, Kernels::Stock)
    }

    /// As [`new`](Self::new), with these kernels. On the CPU they make no difference.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_kernels<'a>(
        parameters: impl Iterator<Item = (&'a str, &'a Var)>,
        settings: AdamWSettings,
        kernels: Kernels,
    ) -> Result<Self> {
        let mut parameters: Vec<Parameter> = parameters
            .map(|(name, variable)| {
                let zeros = || Tensor::zeros(variable.shape(), DType::F32, variable.device());
                Ok(Parameter {
                    name: name.to_owned(),
                    variable: variable.clone(),
                    master: None,
                    first_moment: zeros()?,
                    second_moment: zeros()?,
                    decays: !(name.ends_with("norm.weight") || name.ends_with(".bias")),
                })
            })
            .collect::<Result<_>>()?;
        let updated: Vec<UpdatedParameter> = parameters.iter().map(Parameter::on_device).collect();
        let on_device = match kernels {
            Kernels::Fused => DeviceUpdates::new(&updated)?,
            Kernels::Stock => None,
        };
        for parameter in &mut parameters {
            if on_device.is_none() && parameter.variable.dtype() != DType::F32 {
                parameter.master = Some(parameter.variable.as_detached_tensor().to_dtype(DType::F32)?);
            }
        }
        Ok(Self {
            settings,
            step: 0,
            parameters,
            on_device,
        })
    }

    /// Names and weights in single precision, in the order of the parameters: masters, or the parameters themselves. Where a
    /// GPU has the masters they are copies in host memory.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn weights(&self) -> Result<Vec<(&str, Tensor)>> {
        let names = self.parameters.iter().map(|parameter| parameter.name.as_str());
        names
            .enumerate()
            .map(|(index, name)| Ok((name, self.weight(index)?)))
            .collect()
    }

    /// The weight of a parameter in single precision; on the host if a GPU has only its parts.
    fn weight(&self, index: usize) -> Result<Tensor> {
        match &self.on_device {
            Some(updates) => updates.master(index)?.to_device(&Device::Cpu),
            None => Ok(self.parameters[index].weight().clone()),
        }
    }

    /// The tensors that are kept from one update to the next, with their names in the state.
    fn tensors(&self, index: usize) -> Result<[(String, Tensor); 3]> {
        let parameter = &self.parameters[index];
        let [first, second] = parameter.moments();
        Ok([
            (parameter.name.clone(), self.weight(index)?),
            (first.0, first.1.clone()),
            (second.0, second.1.clone()),
        ])
    }

    /// The number of updates so far, and the tensors that another optimizer of the same parameters needs to continue: the
    /// [weights](Self::weights) and their moments under the names `NAME`, `NAME.first_moment` and `NAME.second_moment`, all
    /// in single precision. What is no copy is changed by the next update.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn state(&self) -> Result<(u32, BTreeMap<String, Tensor>)> {
        let mut state = BTreeMap::new();
        for index in 0..self.parameters.len() {
            state.extend(self.tensors(index)?);
        }
        Ok((self.step as u32, state))
    }

    /// Restores a [state](Self::state), to the bit. `stored` is called with the name of each tensor in turn. Parameters
    /// become the weights, rounded to their dtype.
    ///
    /// # Errors
    ///
    /// If `stored` fails, or a tensor is missing or has another shape. Parameters and optimizer are then unusable.
    pub fn restore(&mut self, step: u32, stored: &mut dyn FnMut(&str) -> Result<Option<Tensor>>) -> Result<()> {
        for (index, parameter) in self.parameters.iter().enumerate() {
            let (shape, device) = (parameter.variable.shape(), parameter.variable.device());
            let mut asked = |name: &str| match stored(name)? {
                Some(stored) if stored.shape() == shape && stored.dtype() == DType::F32 => {
                    stored.to_device(device)?.contiguous()
                }
                _ => bail!(
                    "the optimizer's state has no `{name}` of shape {:?} in f32",
                    shape.dims()
                ),
            };
            let weight = asked(&parameter.name)?;
            match &mut self.on_device {
                Some(updates) => updates.set_master(index, &weight)?,
                None => parameter.weight().slice_set(&weight, 0, 0)?,
            }
            for (name, into) in parameter.moments() {
                into.slice_set(&asked(&name)?, 0, 0)?;
            }
            parameter.round_master()?;
        }
        self.step = step as i32;
        Ok(())
    }

    /// The name of the first tensor of the [state](Self::state), or parameter rounded to its own dtype, that has a number that is
    /// not finite; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn first_not_finite(&self) -> Result<Option<String>> {
        for (index, parameter) in self.parameters.iter().enumerate() {
            for (name, tensor) in self.tensors(index)? {
                if !is_finite(&tensor)? {
                    return Ok(Some(name));
                }
            }
            // The largest master is finite and may still be beyond the parameter's dtype.
            let has_master = parameter.variable.dtype() != DType::F32;
            if has_master && !is_finite(&parameter.variable.as_detached_tensor())? {
                let dtype = parameter.variable.dtype().as_str();
                return Ok(Some(format!("{} in {dtype}", parameter.name)));
            }
        }
        Ok(None)
    }

    /// Updates every parameter: g ← scale · g; m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²;
    /// θ ← θ − η(λθ + m̂ / (√v̂ + ε)) with m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ). θ is the master if there is one;
    /// the parameter is then the rounded master.
    ///
    /// `gradients` have the names of the parameters, in the same order.
    ///
    /// # Errors
    ///
    /// If a gradient is missing or the device fails.
    pub fn update<'a>(
        &mut self,
        gradients: impl Iterator<Item = (&'a str, &'a Tensor)>,
        scale: f64,
        learning_rate: f64,
    ) -> Result<()> {
        if self.on_device.is_some() {
            bail!("a GPU has the masters and clips the gradients itself");
        }
        let gradients = self.in_order(gradients)?;
        self.step += 1;
        let betas = (self.settings.beta1, self.settings.beta2);
        for (parameter, gradient) in self.parameters.iter().zip(gradients) {
            let move_by = self.move_by(learning_rate, parameter.decays);
            let gradient = gradient.to_dtype(DType::F32)?.contiguous()?;
            if gradient.device().is_cpu() {
                parameter.update_in_place(&gradient, scale, betas, &move_by)?;
            } else {
                parameter.update_composed(&gradient, scale, betas, &move_by)?;
            }
            parameter.round_master()?;
        }
        Ok(())
    }

    /// The same where a GPU has the masters, with gradients scaled down to the norm `limit` if theirs is larger; `None`
    /// elsewhere. Waits for nothing. If the norm is not finite, nothing but the number of updates changes.
    ///
    /// # Errors
    ///
    /// If a gradient is missing or the device fails.
    pub fn update_on_device<'a>(
        &mut self,
        gradients: impl Iterator<Item = (&'a str, &'a Tensor)>,
        limit: f64,
        learning_rate: f64,
    ) -> Result<Option<DeviceNorm>> {
        if self.on_device.is_none() {
            return Ok(None);
        }
        let gradients = self.in_order(gradients)?;
        self.step += 1;
        let MoveBy {
            rate,
            root_scale,
            epsilon,
            keep,
        } = self.move_by(learning_rate, true);
        let numbers = UpdateNumbers {
            betas: (self.settings.beta1, self.settings.beta2),
            rate,
            root_scale,
            epsilon,
            keep,
        };
        let updates = self.on_device.as_mut();
        updates
            .map(|updates| updates.update(&gradients, limit, &numbers))
            .transpose()
    }

    /// The gradients, one for each parameter.
    fn in_order<'a>(&self, mut gradients: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<Vec<&'a Tensor>> {
        let one = |parameter: &Parameter| match gradients.next() {
            Some((name, gradient)) if name == parameter.name => Ok(gradient),
            _ => bail!("no gradient for `{}` in the order of the parameters", parameter.name),
        };
        self.parameters.iter().map(one).collect()
    }

    /// The numbers of the update that is being made.
    fn move_by(&self, learning_rate: f64, decays: bool) -> MoveBy {
        let decay = if decays { self.settings.weight_decay } else { 0.0 };
        let bias1 = 1.0 - self.settings.beta1.powi(self.step);
        let bias2 = 1.0 - self.settings.beta2.powi(self.step);
        MoveBy {
            rate: (learning_rate / bias1) as f32,
            root_scale: (1.0 / bias2.sqrt()) as f32,
            epsilon: self.settings.epsilon as f32,
            keep: (1.0 - learning_rate * decay) as f32,
        }
    }
}

impl Parameter {
    /// The tensor to which updates are applied.
    fn weight(&self) -> &Tensor {
        self.master.as_ref().unwrap_or(self.variable.as_tensor())
    }

    /// The parameter as the kernels of a GPU update it.
    fn on_device(&self) -> UpdatedParameter {
        UpdatedParameter {
            weight: self.variable.as_detached_tensor(),
            first_moment: self.first_moment.clone(),
            second_moment: self.second_moment.clone(),
            decays: self.decays,
        }
    }

    /// The moments, with their names in the state.
    fn moments(&self) -> [(String, &Tensor); 2] {
        [
            (format!("{}.first_moment", self.name), &self.first_moment),
            (format!("{}.second_moment", self.name), &self.second_moment),
        ]
    }

    /// Sets a parameter that has a master to the rounded master.
    fn round_master(&self) -> Result<()> {
        match &self.master {
            Some(master) => self.variable.set(&master.to_dtype(self.variable.dtype())?),
            None => Ok(()),
        }
    }

    /// The update of the weight and its moments in place, on the CPU.
    fn update_in_place(&self, gradient: &Tensor, scale: f64, betas: (f64, f64), move_by: &MoveBy) -> Result<()> {
        let first = Blend {
            keep: betas.0 as f32,
            add: ((1.0 - betas.0) * scale) as f32,
            square: false,
        };
        let second = Blend {
            keep: betas.1 as f32,
            add: ((1.0 - betas.1) * scale * scale) as f32,
            square: true,
        };
        self.first_moment.inplace_op2(gradient, &first)?;
        self.second_moment.inplace_op2(gradient, &second)?;
        self.weight()
            .inplace_op3(&self.first_moment, &self.second_moment, move_by)
    }

    /// The same in stock operations, which every device has.
    fn update_composed(&self, gradient: &Tensor, scale: f64, betas: (f64, f64), move_by: &MoveBy) -> Result<()> {
        let gradient = (gradient * scale)?;
        let blend = |moment: &Tensor, beta: f64, term: Tensor| (moment * beta)? + (term * (1.0 - beta))?;
        let first = blend(&self.first_moment, betas.0, gradient.clone())?;
        let second = blend(&self.second_moment, betas.1, gradient.sqr()?)?;
        self.first_moment.slice_set(&first, 0, 0)?;
        self.second_moment.slice_set(&second, 0, 0)?;
        let root = ((second.sqrt()? * f64::from(move_by.root_scale))? + f64::from(move_by.epsilon))?;
        let moved = ((first * f64::from(move_by.rate))? / root)?;
        let value = ((self.weight().detach() * f64::from(move_by.keep))? - moved)?;
        self.weight().slice_set(&value, 0, 0)
    }
}

#[cfg(test)]
mod tests;
