//! What decides about positions after the student's forward pass.

/// A measure of positions that is known after the student's forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// H(q) = lse z − Σ q z over the student's whole vocabulary at temperature 1, in nats.
    StudentEntropy,
    /// KL(p ‖ q) at temperature 1 over the stored entries and the bucket, whatever the loss.
    Disagreement,
}
