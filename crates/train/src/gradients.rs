//! One forward and backward pass, which adds to the stored gradients of all parameters.

use candle_core::{DType, Tensor};
use leadspan_model::{Activations, Decoder, Parameters, Stop};

use crate::{
    MicroBatch, TrainError,
    objective::{self, HeadPass, Losses},
};

/// The hidden states of a micro-batch's supervised positions, `[N, H]`, in the order of its rows; no graph is built.
///
/// # Errors
///
/// If the device fails, and [`ModelError::Stopped`](leadspan_model::ModelError::Stopped) if `stop` is requested before the end.
pub(crate) fn supervised_hidden_states(
    student: &Decoder,
    batch: &MicroBatch,
    stop: Stop<'_>,
) -> Result<Tensor, TrainError> {
    let hidden = student.hidden_states(&batch.packed, stop)?;
    let places = Tensor::from_slice(&batch.places, batch.places.len(), student.device())?;
    Ok(hidden.index_select(&places, 0)?)
}

/// The head's weight as many passes take it: in single precision, unless a GPU's kernel takes it as it is.
///
/// # Panics
///
/// If the student's head is quantised.
pub(crate) fn head_weight(student: &Decoder, pass: HeadPass) -> Result<Tensor, TrainError> {
    let weight = student.head_weight().expect("a student's head is dense");
    if pass.is_on_device(&weight) {
        return Ok(weight);
    }
    Ok(weight.to_dtype(DType::F32)?)
}

/// Adds the gradients of one micro-batch to those of the student's parameters, and returns its losses, for which a GPU
/// may still be at work. Gradients of weights that are constant are not computed.
///
/// What `activations` do not keep is computed again; the bits are the same.
///
/// # Errors
///
/// If the device fails, and [`ModelError::Stopped`](leadspan_model::ModelError::Stopped) if `stop` is requested before the end: the gradients then hold part of
/// the sum.
///
/// # Panics
///
/// If the student's head is quantised.
pub fn accumulate(
    student: &Decoder,
    batch: &MicroBatch,
    pass: HeadPass,
    activations: impl Into<Activations>,
    stop: Stop<'_>,
) -> Result<Losses, TrainError> {
    let trace = student.trace(&batch.packed, &batch.places, activations, stop)?;
    let (rows, weight) = (trace.rows(), head_weight(student, pass)?);
    let head_gradient = student.head_gradient();
    let Some(choice) = &batch.choice else {
        let head = objective::backward(pass, (&rows, &weight), &batch.rows, head_gradient, stop)?;
        trace.backward(&head.hidden)?;
        return Ok(head.sums);
    };
    // Which rows are learnt is decided now, and no gradient flows through the decision.
    let measures = objective::measures(pass, (&rows, &weight), &batch.rows, choice.measure(), stop)?;
    let (chosen, weights) = choice.rows(&measures, &batch.rows.weights);
    let learnt = batch.rows.selected(&chosen, weights);
    let chosen: Vec<u32> = chosen.into_iter().map(|row| row as u32).collect();
    let chosen = Tensor::from_slice(&chosen, chosen.len(), rows.device())?;
    let hidden = rows.index_select(&chosen, 0)?;
    let head = objective::backward(pass, (&hidden, &weight), &learnt, head_gradient, stop)?;
    let gradient = Tensor::zeros(rows.dims(), head.hidden.dtype(), rows.device())?;
    trace.backward(&gradient.index_add(&chosen, &head.hidden, 0)?)?;
    Ok(head.sums)
}

/// Clears all gradients and keeps their memory.
pub fn clear(parameters: &Parameters) {
    for (_, gradient) in parameters.gradients() {
        gradient.clear();
    }
}

/// Names and gradients of all parameters, in the order of the names.
///
/// # Errors
///
/// [`TrainError::NoGradient`] if a parameter received no gradient since they were last cleared.
pub fn all(parameters: &Parameters) -> Result<Vec<(&str, &Tensor)>, TrainError> {
    parameters
        .gradients()
        .map(|(name, gradient)| match gradient.get() {
            Some(gradient) => Ok((name, gradient)),
            None => Err(TrainError::NoGradient { name: name.to_owned() }),
        })
        .collect()
}

/// The global norm, summed in double precision in the order of the names.
///
/// # Errors
///
/// If the device fails.
pub fn norm(gradients: &[(&str, &Tensor)]) -> Result<f64, TrainError> {
    let mut squares = 0.0;
    for (_, gradient) in gradients {
        squares += crate::optimizer::sum_of_squares(gradient)?;
    }
    Ok(squares.sqrt())
}
