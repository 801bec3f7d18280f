//! One forward and backward pass: the gradient of every parameter, by name.

use std::collections::BTreeMap;

use candle_core::Tensor;
use leadspan_model::{Decoder, Parameters};

use crate::{
    TrainError,
    batches::MicroBatch,
    objective::{self, HeadPass, LossSums},
};

/// Gradients by parameter name; those of several passes are added up.
#[derive(Debug, Default)]
pub(crate) struct Gradients {
    by_name: BTreeMap<String, Tensor>,
}

impl Gradients {
    /// Names and gradients, in the order of the names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.by_name.iter().map(|(name, gradient)| (name.as_str(), gradient))
    }

    fn add(&mut self, name: &str, gradient: Tensor) -> Result<(), TrainError> {
        let sum = match self.by_name.remove(name) {
            Some(sum) => (sum + gradient)?,
            // Products leave transposed views; norm and optimizer read memory in order.
            None => gradient.contiguous()?,
        };
        self.by_name.insert(name.to_owned(), sum);
        Ok(())
    }

    /// The global norm, added up in double precision in the order of the names.
    pub(crate) fn norm(&self) -> Result<f64, TrainError> {
        let mut squares = 0.0;
        for gradient in self.by_name.values() {
            squares += crate::optimizer::sum_of_squares(gradient)?;
        }
        Ok(squares.sqrt())
    }
}

/// The parameter that is the head: the embedding in models that tie them.
fn head_name(parameters: &Parameters) -> &'static str {
    if parameters.get("lm_head.weight").is_some() {
        "lm_head.weight"
    } else {
        "model.embed_tokens.weight"
    }
}

/// The hidden states of a micro-batch's supervised positions, `[N, H]`, in the order of its rows.
pub(crate) fn supervised_rows(student: &Decoder, batch: &MicroBatch) -> Result<Tensor, TrainError> {
    let hidden = student.hidden_states(&batch.tokens(student.device())?)?;
    let (samples, length, width) = hidden.dims3()?;
    let places = Tensor::from_slice(&batch.places, batch.places.len(), student.device())?;
    Ok(hidden.reshape((samples * length, width))?.index_select(&places, 0)?)
}

/// Adds the gradients of one micro-batch to `gradients` and returns its losses.
///
/// The head's part is computed without a graph; its gradient of the hidden states h then drives the rest through the
/// product h · ∂L/∂h, whose gradient with respect to h is ∂L/∂h.
pub(crate) fn accumulate(
    student: &Decoder,
    parameters: &Parameters,
    batch: &MicroBatch,
    pass: HeadPass,
    gradients: &mut Gradients,
) -> Result<LossSums, TrainError> {
    let hidden = supervised_rows(student, batch)?;
    let head_weight = student.head_weight().expect("a trainable head is dense");
    let head = objective::backward(pass, &hidden, head_weight, &batch.rows)?;
    let store = (&hidden * &head.hidden)?.sum_all()?.backward()?;
    let head_name = head_name(parameters);
    for (name, variable) in parameters.iter() {
        let from_trunk = store.get(variable.as_tensor());
        if name == head_name {
            gradients.add(name, head.weight.clone())?;
        } else if from_trunk.is_none() {
            return Err(TrainError::NoGradient { name: name.to_owned() });
        }
        if let Some(gradient) = from_trunk {
            gradients.add(name, gradient.clone())?;
        }
    }
    Ok(head.sums)
}
