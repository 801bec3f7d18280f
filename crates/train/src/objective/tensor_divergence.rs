//! The divergences in tensor operations: the same formulas as for one outcome, over `[C, W + 1]`.
//!
//! Logarithms of nothing are large and finite here, so that they vanish against a probability of 0.

use candle_core::{Result, Tensor};

use super::{composed::Probabilities, divergence::Divergence};

/// D of each row, `[C, 1]`, and ∂D/∂log q of each outcome, up to the same multiple of q in a row.
pub(super) fn value_and_derivative(
    divergence: Divergence,
    p: &Tensor,
    log_p: &Tensor,
    student: &Probabilities,
) -> Result<(Tensor, Tensor)> {
    let (q, log_q) = (&student.q, &student.log_q);
    let (parts, derivative) = match divergence {
        Divergence::ForwardKl => ((p * (log_p - log_q)?)?, p.neg()?),
        Divergence::SoftCrossEntropy => ((p * log_q)?.neg()?, p.neg()?),
        Divergence::ReverseKl => {
            let parts = (q * (log_q - log_p)?)?;
            (parts.clone(), parts)
        }
        Divergence::JensenShannon { beta } => {
            let log_m = log_mixture(beta, log_p, log_q)?;
            let student = ((q * (log_q - &log_m)?)? * (1.0 - beta))?;
            let teacher = ((p * (log_p - &log_m)?)? * beta)?;
            ((teacher + &student)?, student)
        }
        Divergence::SkewKl { skew } => {
            let log_m = log_mixture(skew, log_p, log_q)?;
            let ratio = (log_q - &log_m)?.exp()?;
            ((p * (log_p - &log_m)?)?, ((p * ratio)? * (skew - 1.0))?)
        }
        Divergence::SkewReverseKl { skew } => {
            let log_ratio = (log_q - log_mixture(skew, log_q, log_p)?)?;
            let through_m = (log_ratio.exp()?.affine(-skew, skew)? * q)?;
            let parts = (q * log_ratio)?;
            (parts.clone(), (parts + through_m)?)
        }
        Divergence::TotalVariation => {
            let difference = (q - p)?;
            ((difference.abs()? * 0.5)?, ((difference.sign()? * q)? * 0.5)?)
        }
    };
    Ok((parts.sum_keepdim(1)?, derivative))
}

/// log(w·eᵃ + (1 − w)·eᵇ).
fn log_mixture(weight: f64, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = ((a + weight.ln())?, (b + (1.0 - weight).ln())?);
    let max = a.maximum(&b)?;
    let sum = ((a - &max)?.exp()? + (b - &max)?.exp()?)?;
    sum.log()? + max
}
