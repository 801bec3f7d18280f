//! `AdamW` (arXiv 1711.05101), in place, in single precision for parameters of any dtype.
//!
//! Moments are always in single precision. Parameters in another dtype have *masters*, weights in single precision: an
//! update is applied to the master, and the parameter is the rounded master. So updates too small to change a parameter
//! add up until they do.

mod in_place;

use candle_core::{DType, Result, Tensor, Var, bail};
use std::collections::BTreeMap;

pub(crate) use self::in_place::sum_of_squares;
use self::in_place::{Blend, MoveBy, is_finite};

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
}

struct Parameter {
    name: String,
    variable: Var,
    /// The master, if the variable is not in single precision.
    master: Option<Tensor>,
    first_moment: Tensor,
    second_moment: Tensor,
    decays: bool,
}

impl AdamW {
    /// An optimizer of the named parameters. Norms and biases do not decay. Masters start with the parameters' values.
    ///
    /// # Errors
    ///
    /// If moments and masters cannot be allocated.
    pub fn new<'a>(parameters: impl Iterator<Item = (&'a str, &'a Var)>, settings: AdamWSettings) -> Result<Self> {
        let parameters = parameters
            .map(|(name, variable)| {
                let zeros = || Tensor::zeros(variable.shape(), DType::F32, variable.device());
                Ok(Parameter {
                    name: name.to_owned(),
                    variable: variable.clone(),
                    master: (variable.dtype() != DType::F32)
                        .then(|| variable.as_detached_tensor().to_dtype(DType::F32))
                        .transpose()?,
                    first_moment: zeros()?,
                    second_moment: zeros()?,
                    decays: !(name.ends_with("norm.weight") || name.ends_with(".bias")),
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            settings,
            step: 0,
            parameters,
        })
    }

    /// Names and weights in single precision, in the order of the parameters: masters, or the parameters themselves.
    pub fn weights(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.parameters
            .iter()
            .map(|parameter| (parameter.name.as_str(), parameter.weight()))
    }

    /// The number of updates so far, and the tensors that another optimizer of the same parameters needs to continue: the
    /// [weights](Self::weights) and their moments under the names `NAME`, `NAME.first_moment` and `NAME.second_moment`, all
    /// in single precision. They are not copies: the next update changes them.
    pub fn state(&self) -> (u32, BTreeMap<String, Tensor>) {
        let mut state = BTreeMap::new();
        for parameter in &self.parameters {
            for (name, tensor) in parameter.tensors() {
                state.insert(name, tensor.clone());
            }
        }
        (self.step as u32, state)
    }

    /// Restores a [state](Self::state), to the bit. `stored` is called with the name of each tensor in turn. Parameters
    /// become the weights, rounded to their dtype.
    ///
    /// # Errors
    ///
    /// If `stored` fails, or a tensor is missing or has another shape. Parameters and optimizer are then unusable.
    pub fn restore(&mut self, step: u32, stored: &mut dyn FnMut(&str) -> Result<Option<Tensor>>) -> Result<()> {
        for parameter in &self.parameters {
            for (name, into) in parameter.tensors() {
                match stored(&name)? {
                    Some(stored) if stored.shape() == into.shape() && stored.dtype() == DType::F32 => {
                        into.slice_set(&stored.to_device(into.device())?.contiguous()?, 0, 0)?;
                    }
                    _ => bail!(
                        "the optimizer's state has no `{name}` of shape {:?} in f32",
                        into.dims()
                    ),
                }
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
        for parameter in &self.parameters {
            for (name, tensor) in parameter.tensors() {
                if !is_finite(tensor)? {
                    return Ok(Some(name));
                }
            }
            // The largest master is finite and may still be beyond the parameter's dtype.
            if parameter.master.is_some() && !is_finite(&parameter.variable.as_detached_tensor())? {
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
        self.step += 1;
        let AdamWSettings {
            beta1,
            beta2,
            epsilon,
            weight_decay,
        } = self.settings;
        let bias1 = 1.0 - beta1.powi(self.step);
        let bias2 = 1.0 - beta2.powi(self.step);
        let mut gradients = gradients;
        for parameter in &self.parameters {
            let Some((_, gradient)) = gradients.next().filter(|(name, _)| *name == parameter.name) else {
                bail!("no gradient for `{}` in the order of the parameters", parameter.name);
            };
            let decay = if parameter.decays { weight_decay } else { 0.0 };
            let move_by = MoveBy {
                rate: (learning_rate / bias1) as f32,
                root_scale: (1.0 / bias2.sqrt()) as f32,
                epsilon: epsilon as f32,
                keep: (1.0 - learning_rate * decay) as f32,
            };
            let gradient = gradient.to_dtype(DType::F32)?.contiguous()?;
            if gradient.device().is_cpu() {
                parameter.update_in_place(&gradient, scale, (beta1, beta2), &move_by)?;
            } else {
                parameter.update_composed(&gradient, scale, (beta1, beta2), &move_by)?;
            }
            parameter.round_master()?;
        }
        Ok(())
    }
}

impl Parameter {
    /// The tensor to which updates are applied.
    fn weight(&self) -> &Tensor {
        self.master.as_ref().unwrap_or(self.variable.as_tensor())
    }

    /// The tensors that are kept from one update to the next, with their names in the state.
    fn tensors(&self) -> [(String, &Tensor); 3] {
        [
            (self.name.clone(), self.weight()),
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
