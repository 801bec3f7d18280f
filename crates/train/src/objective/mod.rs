//! The objective: from hidden states to the loss and its gradient, without ever holding all logits.
//!
//! With p the teacher's and q the student's next-token distribution at a position, K the stored entries, z the
//! student's logits and y the token that follows, a position's loss is (1 − α)·CE + α·D with
//!
//! - CE = −log q_y;
//! - D = Σ_K p (log p − log q) + p_tail (log p_tail − log q_tail), the forward KL divergence of the K entries and one
//!   bucket for all the rest: a lower bound on the divergence over the whole vocabulary, and never negative.
//!   log q_tail = lse_{u∉K} z_u − lse z, not log(1 − Σ), which would lose it where the student is sure.
//!
//! The gradient with respect to z_v is q_v − (1 − α)[v = y] − α p_v for v in K, and
//! q_v − (1 − α)[v = y] − α p_tail · exp(z_v − lse_{u∉K} z_u) elsewhere.
//!
//! Rows go through the head in chunks of bounded bytes. On the CPU each chunk of logits is turned into its gradient in
//! place (`fused`); on other devices stock operations do the same (`composed`), and a test holds both to each other,
//! to finite differences, and to numbers from `PyTorch`.

mod composed;
mod fused;
mod head;
mod rows;

pub use head::{HeadGradients, HeadPass, backward, forward};
pub use rows::{LossSums, Rows};

#[cfg(test)]
mod tests;
