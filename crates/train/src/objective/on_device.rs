//! The objective on a GPU: the kernels crate turns each chunk of logits into its gradient, and nobody waits for the losses.

use std::ops::Range;

use candle_core::Tensor;
use leadspan_model::{
    GradientSum, ModelError, Stop,
    kernels::{DeviceLosses, DeviceObjective, DeviceObjectiveKind},
};

use super::SupervisedRows;

/// The losses of `rows`, and the gradient of `hidden` if there is a sum for that of the head. `None` if the device has no
/// kernel for them.
pub(super) fn losses_and_gradient(
    (hidden, weight): (&Tensor, &Tensor),
    (rows, alpha): (&SupervisedRows, f32),
    weight_gradient: Option<&GradientSum>,
    chunks: impl Iterator<Item = Range<usize>>,
    stop: Stop<'_>,
) -> Result<Option<(DeviceLosses, Option<Tensor>)>, ModelError> {
    let kind = kind(rows, alpha);
    let Some(mut work) = DeviceObjective::begin(hidden, weight, &rows.on_device(), &kind, weight_gradient)? else {
        return Ok(None);
    };
    for range in chunks {
        stop.check()?;
        work.chunk(range)?;
    }
    Ok(Some(work.finish()?))
}

/// What is learnt from these rows.
fn kind(rows: &SupervisedRows, alpha: f32) -> DeviceObjectiveKind {
    let distillation = &rows.distillation;
    let (loss, parameter) = distillation.divergence().on_device();
    DeviceObjectiveKind {
        loss,
        parameter,
        on_entries_alone: distillation.is_on_entries_alone(),
        temperature: distillation.temperature(),
        alpha: f64::from(alpha),
    }
}

#[cfg(test)]
mod tests {
    use leadspan_model::kernels::DeviceLoss;

    use super::*;
    use crate::{
        Loss, TailPolicy,
        objective::{
            Distillation,
            tests::{distillation, random_case},
        },
    };

    #[test]
    fn every_loss_has_its_number_and_its_parameter() {
        let found = Loss::ALL.map(|loss| {
            let rows = SupervisedRows::new(distillation(loss, TailPolicy::RenormalizeBoth, 2.0));
            let kind = kind(&rows, 0.25);
            assert_eq!((kind.temperature, kind.alpha, kind.on_entries_alone), (2.0, 0.25, true));
            (kind.loss, kind.parameter)
        });
        assert_eq!(
            found,
            [
                (DeviceLoss::ForwardKl, 0.0),
                (DeviceLoss::ReverseKl, 0.0),
                (DeviceLoss::JensenShannon, 0.3),
                (DeviceLoss::SkewKl, 0.2),
                (DeviceLoss::SkewReverseKl, 0.2),
                (DeviceLoss::TotalVariation, 0.0),
            ]
        );
        let sampled = SupervisedRows::new(distillation(Loss::ForwardKl, TailPolicy::Sampled, 1.0));
        let kind = kind(&sampled, 1.0);
        assert_eq!(
            (kind.loss, kind.on_entries_alone),
            (DeviceLoss::SoftCrossEntropy, false)
        );
    }

    #[test]
    fn rows_go_to_the_device_as_the_other_forms_read_them() {
        for policy in TailPolicy::ALL {
            let (_, rows) = random_case(distillation(Loss::ForwardKl, policy, 1.0), 5, (7, 40, 6, 9));
            let sent = rows.on_device();
            let is_same = rows.distillation == Distillation::default();
            assert_eq!(sent.taught.is_none(), is_same, "{policy}");
            assert_eq!(sent.drawn.is_some(), policy == TailPolicy::Sampled);
            for row in 0..rows.len() {
                let [first, end] = [row, row + 1].map(|row| sent.offsets[row] as usize);
                assert_eq!(&sent.token_ids[first..end], rows.token_ids(row));
                let outcomes = first + row..end + row + 1;
                let logs = |outcomes: &[crate::objective::probability::Probability]| -> Vec<f64> {
                    outcomes.iter().map(|outcome| outcome.log).collect()
                };
                assert_eq!(sent.measured[outcomes.clone()], logs(rows.measured(row)));
                let taught = sent.taught.as_ref().unwrap_or(&sent.measured);
                assert_eq!(taught[outcomes], logs(rows.taught(row)));
                if let Some(drawn) = &sent.drawn {
                    let [first, end] = [row, row + 1].map(|row| drawn.offsets[row] as usize);
                    let found = (&drawn.token_ids[first..end], &drawn.probabilities[first..end]);
                    assert_eq!(found, rows.drawn(row));
                }
            }
        }
    }
}
