//! A student's forward pass with its backward pass, layer by layer.
//!
//! Each layer is a segment of its own, from its input to its output: a tape of fused operations, or the tensor library's
//! graph of stock operations. The backward pass drops a segment as soon as its gradients are known, so memory never exceeds
//! what the forward pass left. What else it keeps is chosen by [`Activations`]: the rest is computed again.

use candle_core::{DType, Result, Tensor, Var};
use leadspan_kernels::{GradientSum, Kernels, Packed, Pass, Tape, Weight, scatter_rows};

use super::{Decoder, layer::DecoderLayer};
use crate::{error::ModelError, stop::Stop};

/// A forward pass of a [trainable](Decoder::trainable) decoder, up to the final hidden states of some tokens.
#[derive(Debug)]
pub struct Trace<'a> {
    decoder: &'a Decoder,
    packed: &'a Packed,
    layers: Vec<LayerTrace>,
    /// The rows whose final hidden states are taken: `[P]` of u32.
    places: Tensor,
    /// The last normalisation of those rows.
    last: Segment,
    stop: Stop<'a>,
}

/// What a forward pass keeps for its backward pass, which computes the rest again, to the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activations {
    /// Everything.
    All,
    /// Everything but the products of gate and up, if operations are fused.
    WithoutGates,
    /// The inputs of the layers alone.
    LayerInputs,
}

/// Everything, or the inputs of the layers alone: activation checkpointing.
impl From<bool> for Activations {
    fn from(activation_checkpointing: bool) -> Self {
        if activation_checkpointing {
            Self::LayerInputs
        } else {
            Self::All
        }
    }
}

/// What the forward pass keeps of a layer.
#[derive(Debug)]
enum LayerTrace {
    /// The whole segment.
    Kept(Segment),
    /// Only the input; the backward pass computes the layer again.
    Recomputed(Tensor),
}

/// Operations from an input to an output, with what their backward pass needs.
#[derive(Debug)]
enum Segment {
    /// Fused operations.
    Tape { tape: Tape, input: Tensor, output: Tensor },
    /// Stock operations.
    Graph { input: Var, output: Tensor },
}

impl Decoder {
    /// Runs whole sequences forward, ready for the backward pass, and takes the final hidden states of the rows `places`,
    /// which are all different.
    ///
    /// # Errors
    ///
    /// As [`hidden_states`](Decoder::hidden_states). [`Trace::backward`] checks `stop` as well.
    pub fn trace<'a>(
        &'a self,
        packed: &'a Packed,
        places: &[u32],
        activations: impl Into<Activations>,
        stop: Stop<'a>,
    ) -> std::result::Result<Trace<'a>, ModelError> {
        let activations = activations.into();
        let places = Tensor::from_slice(places, places.len(), self.device())?;
        let mut hidden = self.embed(packed)?;
        let mut layers = Vec::with_capacity(self.layers().len());
        for layer in self.layers() {
            stop.check()?;
            if activations == Activations::LayerInputs {
                let output = if self.kernels().fuse(&hidden) {
                    layer.forward(&hidden, packed, self.rotary(), self.kernels())?
                } else {
                    // Stock operations round otherwise where neither the input nor a weight is tracked.
                    let of = |input: &Tensor, pass: Pass<'_>| layer.forward(input, packed, self.rotary(), pass);
                    Segment::forward(hidden.clone(), self.kernels(), of)?.output()
                };
                layers.push(LayerTrace::Recomputed(hidden));
                hidden = output.detach();
            } else {
                let recomputes = activations == Activations::WithoutGates;
                let segment = Segment::forward(hidden, self.kernels(), |input, pass| {
                    layer.forward(input, packed, self.rotary(), pass.recomputing(recomputes))
                })?;
                hidden = segment.output();
                layers.push(LayerTrace::Kept(segment));
            }
        }
        let rows = hidden.index_select(&places, 0)?;
        let last = Segment::forward(rows, self.kernels(), |input, pass| self.finish(input, pass))?;
        Ok(Trace {
            decoder: self,
            packed,
            layers,
            places,
            last,
            stop,
        })
    }
}

impl Decoder {
    /// The gradients of a layer's input and weights, in single precision, where the gradient of its output is its input. Leaves
    /// no gradient behind.
    pub(super) fn layer_gradients(
        &self,
        layer: &DecoderLayer,
        input: &Tensor,
        packed: &Packed,
        kernels: Kernels,
    ) -> Result<Vec<Tensor>> {
        let sums: Vec<&GradientSum> = layer.weights().filter_map(Weight::gradient).collect();
        let clear = || sums.iter().for_each(|sum| sum.clear());
        clear();
        let segment = Segment::forward(input.clone(), kernels, |input, pass| {
            layer.forward(input, packed, self.rotary(), pass)
        })?;
        let of_input = segment.backward(input.clone(), layer.weights())?;
        let mut gradients = vec![of_input.to_dtype(DType::F32)?];
        for sum in sums.iter().filter_map(|sum| sum.get()) {
            gradients.push(sum.copy()?);
        }
        clear();
        Ok(gradients)
    }
}

impl Trace<'_> {
    /// The final hidden states of the chosen rows, `[P, H]`, untracked.
    pub fn rows(&self) -> Tensor {
        self.last.output()
    }

    /// Runs the backward pass from the gradient of [`rows`](Self::rows), in any dtype, and adds to the gradients of all
    /// parameters except the head's.
    ///
    /// # Errors
    ///
    /// If the device fails. [`ModelError::Stopped`] if the stop of the forward pass is requested: then some gradients are
    /// added and others are not.
    pub fn backward(self, gradient: &Tensor) -> std::result::Result<(), ModelError> {
        let decoder = self.decoder;
        let norm = &decoder.norm().weight;
        let gradient = gradient.to_dtype(self.last.output().dtype())?;
        let rows = self.last.backward(gradient, [norm].into_iter())?;
        let mut gradient = scatter_rows(&rows, &self.places, self.packed.tokens().len())?;
        for (layer, left) in decoder.layers().iter().zip(self.layers).rev() {
            self.stop.check()?;
            let segment = match left {
                LayerTrace::Kept(segment) => segment,
                LayerTrace::Recomputed(input) => Segment::forward(input, decoder.kernels(), |input, pass| {
                    layer.forward(input, self.packed, decoder.rotary(), pass)
                })?,
            };
            gradient = segment.backward(gradient, layer.weights())?;
        }
        if let Some(embedding) = decoder.embedding_gradient() {
            let gradient = decoder.scale_embeddings(gradient)?;
            embedding.add_rows(&gradient, self.packed.tokens(), decoder.kernels())?;
        }
        Ok(())
    }
}

impl Segment {
    /// Runs `forward` from `input`, ready for the backward pass.
    fn forward(input: Tensor, kernels: Kernels, forward: impl Fn(&Tensor, Pass<'_>) -> Result<Tensor>) -> Result<Self> {
        if kernels.fuse(&input) {
            let tape = Tape::default();
            let output = forward(&input, Pass::on(&tape))?;
            Ok(Self::Tape { tape, input, output })
        } else {
            let input = Var::from_tensor(&input)?;
            let output = forward(input.as_tensor(), kernels.into())?;
            Ok(Self::Graph { input, output })
        }
    }

    /// The output, untracked.
    fn output(&self) -> Tensor {
        match self {
            Self::Tape { output, .. } => output.clone(),
            Self::Graph { output, .. } => output.detach(),
        }
    }

    /// The gradient of the input from the gradient of the output. Adds the gradients of `weights`, which are all parameters
    /// of the segment, to their sums.
    fn backward<'a>(self, gradient: Tensor, weights: impl Iterator<Item = &'a Weight>) -> Result<Tensor> {
        match self {
            Self::Tape { tape, input, output } => tape.backward(&input, &output, gradient),
            Self::Graph { input, output } => {
                // The gradient of Σ output · g with respect to the output is g.
                let mut store = (output * gradient)?.sum_all()?.backward()?;
                for weight in weights {
                    if let (Some(sum), Some(gradient)) = (weight.gradient(), store.remove(weight.tensor())) {
                        sum.add(&gradient)?;
                    }
                }
                store.remove(input.as_tensor()).ok_or_else(|| {
                    candle_core::Error::Msg("the output of a pass does not depend on its input".to_owned())
                })
            }
        }
    }
}
