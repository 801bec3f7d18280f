//! The student's parameters: named variables, the weights that stay as they are, and the source of their initial values.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use leadspan_kernels::{GradientSum, Weight};

use super::{
    initial::{initial_narrowing, initial_weight},
    lora::{directory::Lora, modules::tensor_names},
    low_rank::LowRank,
    projection::Projection,
    source::{ModelSource, WeightNames},
    weight_source::WeightSource,
};
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

/// The student's parameters by their Hugging Face names, ordered by name. Adapters have the names of PEFT.
#[derive(Clone, Debug)]
pub struct Parameters {
    learnt: BTreeMap<String, Parameter>,
    /// The weights that are not learnt: all of a student that learns adapters, and else none.
    constants: BTreeMap<String, Tensor>,
    lora: Option<Lora>,
}

#[derive(Clone, Debug)]
struct Parameter {
    variable: Var,
    gradient: GradientSum,
}

impl Parameters {
    /// Names and variables, ordered by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Var)> {
        let parameters = self.learnt.iter();
        parameters.map(|(name, parameter)| (name.as_str(), &parameter.variable))
    }

    /// Names and sums of gradients, ordered by name.
    pub fn gradients(&self) -> impl ExactSizeIterator<Item = (&str, &GradientSum)> {
        let parameters = self.learnt.iter();
        parameters.map(|(name, parameter)| (name.as_str(), &parameter.gradient))
    }

    /// The variable of this name.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.learnt.get(name).map(|parameter| &parameter.variable)
    }

    /// The number of trainable numbers.
    pub fn count(&self) -> usize {
        self.iter().map(|(_, variable)| variable.elem_count()).sum()
    }

    /// Names and values of the weights that are not learnt, ordered by name.
    pub fn constants(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.constants.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The adapters that are learnt; `None` if the weights themselves are.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// The module of the weight `name` and the scale of its adapter, if it has one.
    pub(super) fn adapted<'a>(&self, name: &'a str) -> Option<(&'a str, f64)> {
        let lora = self.lora.as_ref()?;
        Some((lora.modules.of_weight(name)?, lora.settings.scale()))
    }
}

/// A weight source that makes a variable of each weight that is asked for, and records it.
pub(crate) struct Variables<'a> {
    dtype: StoredDtype,
    start: Start<'a>,
    made: Parameters,
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
    /// The student's architecture, and a source of its initial weights. `names` are those that a decoder reads.
    ///
    /// # Errors
    ///
    /// If chosen layers do not exist, the weights cannot be opened, or the architecture cannot be trained.
    pub(crate) fn open(
        &self,
        names: WeightNames,
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
                let weights = source.weights(names, dtype, device)?;
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
                made: Parameters {
                    learnt: BTreeMap::new(),
                    constants: BTreeMap::new(),
                    lora: None,
                },
            },
        ))
    }
}

impl Variables<'_> {
    /// Makes variables of the adapters alone.
    pub(crate) fn adapt(&mut self, lora: Lora) {
        self.made.lora = Some(lora);
    }

    /// The variables made so far, and the weights that are not learnt.
    pub(crate) fn into_parameters(self) -> Parameters {
        self.made
    }

    /// Makes a variable.
    fn learn(&mut self, name: String, initial: &Tensor) -> Result<Weight, ModelError> {
        let variable = Var::from_tensor(&initial.to_dtype(self.dtype.dense())?)?;
        let tensor = variable.as_tensor().clone();
        let gradient = GradientSum::new(&tensor)?;
        let weight = Weight::learning(tensor, gradient.clone());
        self.made.learnt.insert(name, Parameter { variable, gradient });
        Ok(weight)
    }
}

impl WeightSource for Variables<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        Ok(self.weight(name, shape)?.tensor().clone())
    }

    fn weight(&mut self, name: &str, shape: &[usize]) -> Result<Weight, ModelError> {
        let initial = match &mut self.start {
            Start::Model { weights, layers } => weights.tensor(&source_name(name, *layers), shape)?,
            Start::Seeded { seed, norms, device } => initial_weight(name, shape, (*seed, *norms), device)?,
        };
        if self.made.lora.is_none() {
            return self.learn(name.to_owned(), &initial);
        }
        let constant = initial.to_dtype(self.dtype.dense())?;
        self.made.constants.insert(name.to_owned(), constant.clone());
        Ok(Weight::constant_of(constant))
    }

    fn product(&mut self, name: &str, shape: [usize; 2], bias: Option<Weight>) -> Result<Projection, ModelError> {
        let weight = self.weight(name, &shape)?;
        let Some((module, scale)) = self.made.adapted(name) else {
            return Ok(Projection::Dense { weight, bias });
        };
        let Lora { settings, seed, .. } = self.made.lora.as_ref().expect("what is adapted has adapters");
        let ([narrow, widen], [out, width], rank) = (tensor_names(module), shape, settings.rank);
        let device = weight.tensor().device();
        let initial = [
            initial_narrowing(&narrow, [rank, width], *seed, device)?,
            Tensor::zeros((out, rank), DType::F32, device)?,
        ];
        let added = LowRank {
            narrow: self.learn(narrow, &initial[0])?,
            widen: self.learn(widen, &initial[1])?,
            scale,
        };
        let added = Box::new(added);
        Ok(Projection::Adapted { weight, bias, added })
    }

    fn adapts(&self) -> bool {
        self.made.lora.is_some()
    }
}

/// Weights that share the storage of the variables but do not belong to any graph.
impl WeightSource for &Parameters {
    fn tensor(&mut self, name: &str, _shape: &[usize]) -> Result<Tensor, ModelError> {
        let missing = || ModelError::MissingWeight {
            path: "the student".into(),
            name: name.to_owned(),
        };
        match self.get(name) {
            Some(variable) => Ok(variable.as_detached_tensor()),
            None => self.constants.get(name).cloned().ok_or_else(missing),
        }
    }

    fn product(&mut self, name: &str, shape: [usize; 2], bias: Option<Weight>) -> Result<Projection, ModelError> {
        let weight = self.weight(name, &shape)?;
        let Some((module, scale)) = self.adapted(name) else {
            return Ok(Projection::Dense { weight, bias });
        };
        let [narrow, widen] = tensor_names(module);
        let rank = self.get(&narrow).map_or(0, |narrow| narrow.dims()[0]);
        let added = LowRank {
            narrow: self.weight(&narrow, &[rank, shape[1]])?,
            widen: self.weight(&widen, &[shape[0], rank])?,
            scale,
        };
        let added = Box::new(added);
        Ok(Projection::Adapted { weight, bias, added })
    }

    fn adapts(&self) -> bool {
        self.lora.is_some()
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
