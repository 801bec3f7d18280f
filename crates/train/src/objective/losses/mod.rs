//! The losses of `train.loss`: how far the student q is from the teacher p, one file a loss.
//!
//! Each loss is a sum over outcomes. A file has the formula and its source, the part of one outcome for the fused path on
//! the CPU, the same in stock operations for other devices, and a row worked out by hand. To add a loss, write its file
//! and add its line to the list below; its name in pipeline files and logs is that of its module.

pub(super) mod formula;
mod forward_kl;
mod jensen_shannon;
mod reverse_kl;
mod skew_kl;
mod skew_reverse_kl;
mod soft_cross_entropy;
mod total_variation;

use candle_core::{Result, Tensor};
use leadspan_model::kernels::DeviceLoss;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

use self::{formula::Formula, soft_cross_entropy::SoftCrossEntropy};
use super::{outcomes::value_and_slopes, probability::Probability, tensor_probabilities::TensorProbabilities};

/// The settings that some losses have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LossParameters {
    /// β of `jensen_shannon`.
    pub(crate) jensen_shannon_beta: f64,
    /// λ of `skew_kl` and `skew_reverse_kl`.
    pub(crate) skew: f64,
}

/// Declares the losses: the values of `train.loss`, and the divergences behind them.
macro_rules! losses {
    ($($(#[$attribute:meta])* $module:ident::$loss:ident,)*) => {
        /// The divergence of the student from the teacher that is minimised.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Loss {
            $($(#[$attribute])* $loss,)*
        }

        impl Loss {
            /// All losses.
            pub const ALL: [Self; [$(stringify!($loss)),*].len()] = [$(Self::$loss),*];

            /// The name in pipeline files and logs.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$loss => stringify!($module),)*
                }
            }

            /// The divergence of this loss with `parameters`, which are in range.
            pub(super) fn divergence(self, parameters: LossParameters) -> Divergence {
                match self {
                    $(Self::$loss => $module::divergence(parameters),)*
                }
            }
        }

        /// A loss with its parameters.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub(super) enum Divergence {
            $($loss($module::$loss),)*
            /// The loss of drawn tokens; not a value of `train.loss`.
            SoftCrossEntropy(SoftCrossEntropy),
        }

        impl Divergence {
            /// The name in logs.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$loss(_) => stringify!($module),)*
                    Self::SoftCrossEntropy(_) => "soft_cross_entropy",
                }
            }

            fn formula(&self) -> &dyn Formula {
                match self {
                    $(Self::$loss(formula) => formula,)*
                    Self::SoftCrossEntropy(formula) => formula,
                }
            }

            /// D of one row, and its gradient with respect to the student's scores in `slopes`; see [`value_and_slopes`].
            pub(super) fn of_row(
                &self,
                teacher: &[Probability],
                student: &[Probability],
                beside: f64,
                slopes: &mut Vec<f64>,
            ) -> f64 {
                match self {
                    $(Self::$loss(formula) => value_and_slopes(formula, teacher, student, beside, slopes),)*
                    Self::SoftCrossEntropy(formula) => value_and_slopes(formula, teacher, student, beside, slopes),
                }
            }
        }
    };
}

losses! {
    /// KL(teacher ‖ student).
    #[default]
    forward_kl::ForwardKl,
    /// KL(student ‖ teacher).
    reverse_kl::ReverseKl,
    /// β·KL(teacher ‖ m) + (1 − β)·KL(student ‖ m), m being β of the teacher and 1 − β of the student.
    jensen_shannon::JensenShannon,
    /// KL from the teacher to a mixture of λ of the teacher and 1 − λ of the student.
    skew_kl::SkewKl,
    /// KL from the student to a mixture of λ of the student and 1 − λ of the teacher.
    skew_reverse_kl::SkewReverseKl,
    /// Half the sum of the absolute differences.
    total_variation::TotalVariation,
}

/// The name in pipeline files.
impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Divergence {
    /// KL(p ‖ q).
    pub(super) const FORWARD_KL: Self = Self::ForwardKl(forward_kl::ForwardKl);

    /// −Σ p log q.
    pub(super) const SOFT_CROSS_ENTROPY: Self = Self::SoftCrossEntropy(SoftCrossEntropy);

    /// The number of this loss in the kernels of GPUs, and its parameter there.
    pub(super) fn on_device(self) -> (DeviceLoss, f64) {
        match self {
            Self::ForwardKl(_) => (DeviceLoss::ForwardKl, 0.0),
            Self::ReverseKl(_) => (DeviceLoss::ReverseKl, 0.0),
            Self::JensenShannon(loss) => (DeviceLoss::JensenShannon, loss.beta),
            Self::SkewKl(loss) => (DeviceLoss::SkewKl, loss.skew),
            Self::SkewReverseKl(loss) => (DeviceLoss::SkewReverseKl, loss.skew),
            Self::TotalVariation(_) => (DeviceLoss::TotalVariation, 0.0),
            Self::SoftCrossEntropy(_) => (DeviceLoss::SoftCrossEntropy, 0.0),
        }
    }

    /// log p of an outcome to which the teacher gives nothing, in tensors.
    pub(super) fn log_of_nothing(&self) -> f64 {
        self.formula().log_of_nothing()
    }

    /// D of each row, `[C, 1]`, and ∂D/∂log q of each outcome, `[C, W + 1]`.
    pub(super) fn of_rows(&self, p: &TensorProbabilities, q: &TensorProbabilities) -> Result<(Tensor, Tensor)> {
        let (terms, derivative) = self.formula().terms(p, q)?;
        Ok((terms.sum_keepdim(1)?, derivative))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divergence(loss: Loss, skew: f64) -> Divergence {
        loss.divergence(LossParameters {
            jensen_shannon_beta: 0.3,
            skew,
        })
    }

    #[test]
    fn every_term_is_finite_where_either_side_gives_nothing() {
        let all = Loss::ALL.map(|loss| divergence(loss, 0.1)).into_iter();
        for divergence in all.chain([Divergence::SOFT_CROSS_ENTROPY]) {
            for p in [f64::NEG_INFINITY, -2e4, -1.0, 0.0] {
                for q in [f64::NEG_INFINITY, -2e4, -1.0, 0.0] {
                    let (p, q) = (Probability::of_log(p), Probability::of_log(q));
                    let (value, derivative) = divergence.formula().term(p, q);
                    // KL is infinite by definition if the student gives 0 to an outcome that the teacher does not.
                    let infinite = p.log >= -1.0
                        && q.log == f64::NEG_INFINITY
                        && matches!(divergence, Divergence::ForwardKl(_) | Divergence::SoftCrossEntropy(_));
                    assert!(
                        derivative.is_finite() && value.is_finite() != infinite,
                        "{divergence:?} {p:?} {q:?}: {value} {derivative}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_ends_of_the_mixtures_are_the_two_directions_of_kl() {
        let (p, q) = (Probability::of_log(-0.7), Probability::of_log(-1.9));
        for (skewed, plain) in [(Loss::SkewKl, Loss::ForwardKl), (Loss::SkewReverseKl, Loss::ReverseKl)] {
            let value = |loss| divergence(loss, 1e-7).formula().term(p, q).0;
            let (a, b) = (value(skewed), value(plain));
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
