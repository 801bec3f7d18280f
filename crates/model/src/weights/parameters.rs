//! The student's parameters: named variables, and the source of their initial values.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use leadspan_kernels::{GradientSum, Weight};

use super::{initial::initial_weight, source::ModelSource, weight_source::WeightSource};
use crate::{
    config::{DecoderConfig, scaling::RotaryScaling},
    device::StoredDtype,
    error::ModelError,
};

/// The source of a student's architecture and initial weights.
#[expect(clippy::large_enum_variant, reason = "a run has one")]
pub enum StudentStart {
    /// A model, all of it or only some of its layers (a depth-pruned start).
    Model {
        /// The model.
        source: ModelSource,
        /// The layers to keep, ascending; `None` keeps all.
        layers: Option<Vec<usize>>,
    },
    /// A configuration, with seeded random weights.
    Config {
        /// The architecture.
        config: DecoderConfig,
        /// The seed.
        seed: u64,
    },
}

/// The student's parameters by their Hugging Face names, ordered by name.
#[derive(Clone, Debug)]
pub struct Parameters {
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

    /// Names and sums of gradients, ordered by name.
    pub fn gradients(&self) -> impl ExactSizeIterator<Item = (&str, &GradientSum)> {
        let parameters = self.parameters.iter();
        parameters.map(|(name, parameter)| (name.as_str(), &parameter.gradient))
    }

    /// The variable of this name.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.parameters.get(name).map(|parameter| &parameter.variable)
    }

    /// The number of trainable numbers.
    pub fn count(&self) -> usize {
        self.iter().map(|(_, variable)| variable.elem_count()).sum()
    }
}

/// A weight source that makes a variable of each weight that is asked for, and records it.
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
        /// What the weights of norms are.
        norms: f32,
        device: Device,
    },
}

impl StudentStart {
    /// The student's architecture, and a source of its initial weights.
    ///
    /// # Errors
    ///
    /// If chosen layers do not exist, the weights cannot be opened, or the architecture cannot be trained.
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
                    config.parts = config.parts.of_layers(layers);
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
                    norms: if config.family.description().norms_around_one {
                        0.0
                    } else {
                        1.0
                    },
                    device: device.clone(),
                },
            ),
        };
        if config.experts.is_some() {
            return Err(ModelError::CannotBeTrained {
                because: "it is a mixture of experts, which runs as a teacher only",
            });
        }
        if config.parts.linear.is_some() {
            return Err(ModelError::CannotBeTrained {
                because: "it has layers of linear attention, which run as a teacher only",
            });
        }
        if matches!(config.rope_scaling, RotaryScaling::Divisors { .. }) {
            return Err(ModelError::CannotBeTrained {
                because: "its GGUF file has rotary divisors (`rope_freqs.weight`), which a `config.json` cannot express",
            });
        }
        // A family with fixed biases has none on the output; another has all or none.
        let has_output_bias = config.family.description().reads_attention_bias && config.qkv_bias;
        let has_qkv_bias = config.qkv_bias || config.family.description().has_qkv_biases;
        if (config.qkv_bias, config.output_bias) != (has_qkv_bias, has_output_bias) {
            return Err(ModelError::CannotBeTrained {
                because: "its GGUF file has biases in only some of its projections, which a `config.json` cannot express",
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
    /// The variables made so far.
    pub(crate) fn into_parameters(self) -> Parameters {
        Parameters {
            parameters: self.parameters,
        }
    }
}

impl WeightSource for Variables<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let initial = match &mut self.start {
            Start::Model { weights, layers } => weights.tensor(&source_name(name, *layers), shape)?,
            Start::Seeded { seed, norms, device } => initial_weight(name, shape, (*seed, *norms), device)?,
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

/// Weights that share the storage of the variables but do not belong to any graph.
impl WeightSource for &Parameters {
    fn tensor(&mut self, name: &str, _shape: &[usize]) -> Result<Tensor, ModelError> {
        let missing = || ModelError::MissingWeight {
            path: "the student".into(),
            name: name.to_owned(),
        };
        Ok(self.get(name).ok_or_else(missing)?.as_detached_tensor())
    }
}

/// The name in the whole model of a weight of the depth-pruned model.
fn source_name(name: &str, layers: Option<&[usize]>) -> String {
    const PREFIX: &str = "model.layers.";
    let (Some(layers), Some((index, rest))) = (layers, name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')))
    else {
        return name.to_owned();
    };
    let index: usize = index.parse().expect("layer weights are named by their number");
    format!("{PREFIX}{}.{rest}", layers[index])
}
