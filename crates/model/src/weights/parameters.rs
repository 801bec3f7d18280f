//! The student's parameters: named variables, and where their first values come from.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use crate::{
    DecoderConfig, GradientSum, ModelError, ModelSource, RotaryScaling, StoredDtype, kernels::Weight,
    weights::initial::normals, weights::weight_source::WeightSource,
};

/// How a student starts.
pub enum StudentStart {
    /// From a model, all of it or only some of its layers (a depth-pruned start).
    Model {
        /// The model.
        source: ModelSource,
        /// The layers to keep, ascending; `None` keeps all.
        layers: Option<Vec<usize>>,
    },
    /// From a configuration, with seeded random weights.
    Config {
        /// The architecture.
        config: DecoderConfig,
        /// The seed.
        seed: u64,
    },
}

/// The student's parameters by their Hugging Face names, in the order of the names.
#[derive(Clone, Debug)]
pub struct Parameters {
    dtype: StoredDtype,
    parameters: BTreeMap<String, Parameter>,
}

#[derive(Clone, Debug)]
struct Parameter {
    variable: Var,
    gradient: GradientSum,
}

impl Parameters {
    /// Names and variables, ordered by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Var)> {
        let parameters = self.parameters.iter();
        parameters.map(|(name, parameter)| (name.as_str(), &parameter.variable))
    }

    /// Names and the sums of gradients, ordered by name.
    pub fn gradients(&self) -> impl ExactSizeIterator<Item = (&str, &GradientSum)> {
        let parameters = self.parameters.iter();
        parameters.map(|(name, parameter)| (name.as_str(), &parameter.gradient))
    }

    /// The variable of that name.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.parameters.get(name).map(|parameter| &parameter.variable)
    }

    /// The number format of the variables.
    pub(crate) fn dtype(&self) -> StoredDtype {
        self.dtype
    }

    /// How many numbers there are to learn.
    pub fn count(&self) -> usize {
        self.iter().map(|(_, variable)| variable.elem_count()).sum()
    }
}

/// A weight source that turns each weight into a variable and remembers it.
pub(crate) struct Variables<'a> {
    dtype: StoredDtype,
    start: Start<'a>,
    parameters: BTreeMap<String, Parameter>,
}

enum Start<'a> {
    Model {
        weights: Box<dyn WeightSource + 'a>,
        layers: Option<&'a [usize]>,
    },
    Seeded {
        seed: u64,
        device: Device,
    },
}

/// Standard deviation of seeded weights, the usual `initializer_range`.
const INITIAL_DEVIATION: f64 = 0.02;

impl StudentStart {
    /// The student's architecture, and its first weights as they are asked for.
    pub(crate) fn open(
        &self,
        dtype: StoredDtype,
        device: &Device,
    ) -> Result<(DecoderConfig, Variables<'_>), ModelError> {
        let (config, start) = match self {
            Self::Model { source, layers } => {
                let mut config = source.config().clone();
                if let Some(layers) = layers {
                    let available = config.num_hidden_layers;
                    let wrong = (0..layers.len())
                        .find(|&index| layers[index] >= available || (index > 0 && layers[index - 1] >= layers[index]));
                    if layers.is_empty() || wrong.is_some() {
                        let layer = wrong.map_or(0, |index| layers[index]);
                        return Err(ModelError::Layers {
                            path: source.path().to_owned(),
                            layer,
                            available,
                        });
                    }
                    config.num_hidden_layers = layers.len();
                }
                let weights = source.weights(dtype, device)?;
                (
                    config,
                    Start::Model {
                        weights,
                        layers: layers.as_deref(),
                    },
                )
            }
            Self::Config { config, seed } => (
                config.clone(),
                Start::Seeded {
                    seed: *seed,
                    device: device.clone(),
                },
            ),
        };
        if config.experts.is_some() {
            return Err(ModelError::Unteachable {
                because: "it is a mixture of experts, which runs as a teacher only",
            });
        }
        if matches!(config.rope_scaling, RotaryScaling::Divisors { .. }) {
            return Err(ModelError::Unteachable {
                because: "its GGUF file has rotary divisors (`rope_freqs.weight`), which the `config.json` of a trained \
                          model could not hold",
            });
        }
        Ok((
            config,
            Variables {
                dtype,
                start,
                parameters: BTreeMap::new(),
            },
        ))
    }
}

impl Variables<'_> {
    pub(crate) fn into_parameters(self) -> Parameters {
        Parameters {
            dtype: self.dtype,
            parameters: self.parameters,
        }
    }
}

impl WeightSource for Variables<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let initial = match &mut self.start {
            Start::Model { weights, layers } => weights.tensor(&source_name(name, *layers), shape)?,
            Start::Seeded { seed, device } => seeded(name, shape, *seed, device)?,
        };
        let variable = Var::from_tensor(&initial.to_dtype(self.dtype.dense())?)?;
        let tensor = variable.as_tensor().clone();
        let gradient = GradientSum::new(&tensor)?;
        self.parameters
            .insert(name.to_owned(), Parameter { variable, gradient });
        Ok(tensor)
    }

    fn weight(&mut self, name: &str, shape: &[usize]) -> Result<Weight, ModelError> {
        let tensor = self.tensor(name, shape)?;
        let gradient = self.parameters[name].gradient.clone();
        Ok(Weight::learning(tensor, gradient))
    }
}

/// Weights that share the storage of the variables but are no part of any graph.
impl WeightSource for &Parameters {
    fn tensor(&mut self, name: &str, _shape: &[usize]) -> Result<Tensor, ModelError> {
        let missing = || ModelError::MissingWeight {
            path: "the student".into(),
            name: name.to_owned(),
        };
        Ok(self.get(name).ok_or_else(missing)?.as_detached_tensor())
    }
}

/// Norms start at 1, biases at 0, everything else normal.
fn seeded(name: &str, shape: &[usize], seed: u64, device: &Device) -> candle_core::Result<Tensor> {
    if name.ends_with("norm.weight") {
        Tensor::ones(shape, candle_core::DType::F32, device)
    } else if name.ends_with(".bias") {
        Tensor::zeros(shape, candle_core::DType::F32, device)
    } else {
        Tensor::from_vec(
            normals(seed, name, INITIAL_DEVIATION, shape.iter().product()),
            shape,
            device,
        )
    }
}

/// The name in the full model of a weight of the depth-pruned one.
fn source_name(name: &str, layers: Option<&[usize]>) -> String {
    const PREFIX: &str = "model.layers.";
    let (Some(layers), Some((index, rest))) = (layers, name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')))
    else {
        return name.to_owned();
    };
    let index: usize = index.parse().expect("layer weights are named by their number");
    format!("{PREFIX}{}.{rest}", layers[index])
}
