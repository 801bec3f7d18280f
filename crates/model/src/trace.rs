//! A student's forward pass that can be gone back through, layer by layer.
//!
//! Each layer is a graph of its own: it starts from a variable that holds the layer's input, and ends with its output. Going
//! back, a layer's graph is dropped as soon as its gradients are known, so no more is ever held than the forward pass left.
//! With activation checkpointing the forward pass leaves the inputs alone, and each layer is computed again on the way back.

use candle_core::{Result, Tensor, Var};

use crate::{Decoder, ModelError, Packed, kernels::scatter_rows, weight::Weight};

/// A forward pass of a [trainable](Decoder::trainable) decoder, up to the final hidden states at some places.
#[derive(Debug)]
pub struct Trace<'a> {
    decoder: &'a Decoder,
    packed: &'a Packed,
    layers: Vec<Segment>,
    /// Where the final hidden states are taken: `[P]` of u32.
    places: Tensor,
    /// The input of the last normalisation at those places, and the hidden states.
    last: (Var, Tensor),
}

/// One layer of the pass.
#[derive(Debug)]
enum Segment {
    /// Its graph is there, from its input to its output.
    Kept { input: Var, output: Tensor },
    /// Only its input is.
    Recomputed { input: Tensor },
}

impl Decoder {
    /// Runs whole sequences forward, ready to go back, and takes the final hidden states at `places`, which are all
    /// different.
    ///
    /// # Errors
    ///
    /// As [`hidden_states`](Decoder::hidden_states).
    pub fn trace<'a>(
        &'a self,
        packed: &'a Packed,
        places: &[u32],
        activation_checkpointing: bool,
    ) -> std::result::Result<Trace<'a>, ModelError> {
        let places = Tensor::from_slice(places, places.len(), self.device())?;
        let mut hidden = self.embed(packed)?;
        let mut layers = Vec::with_capacity(self.layers().len());
        for layer in self.layers() {
            let forward = |input: &Tensor| layer.forward(input, packed, self.rotary(), self.kernels());
            if activation_checkpointing {
                let output = forward(&hidden)?.detach();
                layers.push(Segment::Recomputed { input: hidden });
                hidden = output;
            } else {
                let input = Var::from_tensor(&hidden)?;
                let output = forward(input.as_tensor())?;
                hidden = output.detach();
                layers.push(Segment::Kept { input, output });
            }
        }
        let input = Var::from_tensor(&hidden.index_select(&places, 0)?)?;
        let output = self.norm().forward(input.as_tensor(), self.kernels())?;
        Ok(Trace {
            decoder: self,
            packed,
            layers,
            places,
            last: (input, output),
        })
    }
}

impl Trace<'_> {
    /// The final hidden states at the places that were asked for, `[P, H]`, untracked.
    pub fn rows(&self) -> Tensor {
        self.last.1.detach()
    }

    /// Goes back from the gradient of [`rows`](Self::rows), in whatever dtype it is, and adds to the gradients of all
    /// parameters but the head's.
    ///
    /// # Errors
    ///
    /// Where the device fails.
    pub fn backward(self, gradient: &Tensor) -> std::result::Result<(), ModelError> {
        let (input, output) = self.last;
        let norm = &self.decoder.norm().weight;
        let gradient = gradient.to_dtype(output.dtype())?;
        let rows = go_back(&input, &output, &gradient, [norm].into_iter())?;
        drop(output);
        let mut gradient = scatter_rows(&rows, &self.places, self.packed.tokens().len())?;
        for (layer, segment) in self.decoder.layers().iter().zip(self.layers).rev() {
            let (input, output) = match segment {
                Segment::Kept { input, output } => (input, output),
                Segment::Recomputed { input } => {
                    let input = Var::from_tensor(&input)?;
                    let output = layer.forward(
                        input.as_tensor(),
                        self.packed,
                        self.decoder.rotary(),
                        self.decoder.kernels(),
                    )?;
                    (input, output)
                }
            };
            gradient = go_back(&input, &output, &gradient, layer.weights())?;
        }
        if let Some(embedding) = self.decoder.embedding_gradient() {
            embedding.add_rows(&gradient, self.packed.tokens())?;
        }
        Ok(())
    }
}

/// The gradient of `input` from that of `output`; those of `weights` are added up on the way.
///
/// Fused operations add to the gradients of their parameters themselves, so the graph knows nothing of those.
fn go_back<'a>(
    input: &Var,
    output: &Tensor,
    gradient: &Tensor,
    weights: impl Iterator<Item = &'a Weight>,
) -> Result<Tensor> {
    // The gradient of Σ output · g with respect to the output is g.
    let mut store = (output * gradient)?.sum_all()?.backward()?;
    for weight in weights {
        if let (Some(sum), Some(gradient)) = (weight.gradient(), store.remove(weight.tensor())) {
            sum.add(&gradient)?;
        }
    }
    store
        .remove(input.as_tensor())
        .ok_or_else(|| candle_core::Error::Msg("a layer's output does not depend on its input".to_owned()))
}
