//! The objective: from hidden states to the loss and its gradient, without ever holding all logits.
//!
//! With p the teacher's and q the student's next-token distribution at a position, K the stored entries, z the
//! student's logits and y the token that follows, a position's loss is (1 − α)·CE + α·τ²·D with CE = −log q_y.
//!
//! D compares p and q over *outcomes*: the entries, and in most policies one bucket for all other tokens. The student's
//! probabilities of outcomes are the softmax of scores: z_v / τ for an entry, lse_{u∉K} z_u / τ for the bucket. So
//! log q_tail = lse_{u∉K} z_u − lse z, not log(1 − Σ), which would lose it where the student is sure.
//!
//! | divergence | D | ∂D/∂log q_o, up to a multiple of q_o |
//! |---|---|---|
//! | `forward_kl` | Σ p log(p/q) | −p |
//! | `reverse_kl` | Σ q log(q/p) | q log(q/p) |
//! | `jensen_shannon`, m = βp + (1 − β)q | β Σ p log(p/m) + (1 − β) Σ q log(q/m) | (1 − β) q log(q/m) |
//! | `skew_kl`, m = λp + (1 − λ)q | Σ p log(p/m) | −(1 − λ) p q/m |
//! | `skew_reverse_kl`, m = λq + (1 − λ)p | Σ q log(q/m) | q log(q/m) + λ q (1 − q/m) |
//! | `total_variation` | ½ Σ \|p − q\| | ½ q sign(q − p) |
//!
//! With g_o = ∂D/∂log q_o, and s_v the token's share of its outcome (1 for an entry, exp(z_v/τ − lse_{u∉K} z_u/τ) in the
//! bucket), the gradient with respect to z_v is
//!
//! ```text
//! (1 − α)·(softmax(z)_v − [v = y])  +  α·τ·s_v·(g_o − q_o Σ g)      o being the outcome of v
//! ```
//!
//! which for forward KL at τ = 1 is q_v − p_v for entries and q_v − p_tail·s_v elsewhere.
//!
//! | tail policy | teacher | student | divergences |
//! |---|---|---|---|
//! | `bucket` | entries and bucket | entries and bucket | all |
//! | `renormalize_teacher` | entries, scaled to sum to one | over its vocabulary | forward KL |
//! | `renormalize_both` | entries, scaled to sum to one | conditioned on the entries | all |
//! | `sampled` | entries, and drawn tokens with p_tail · draws / all draws | over its vocabulary | forward KL |
//!
//! A bucket makes forward KL a lower bound on the divergence over the whole vocabulary. Of the teacher at τ the entries
//! are known, and the bucket where the cache has its term; hence the temperatures that are declared at capture.
//! With `sampled`, −Σ p log q is what is learnt and reported: its mean over draws is that of the whole distribution.
//!
//! SupervisedRows go through the head in chunks of bounded bytes. On the CPU each chunk of logits is turned into its gradient in
//! place (`fused`); on other devices stock operations do the same (`composed`), and a test holds both to each other,
//! to finite differences, and to numbers from `PyTorch`.

mod composed;
mod distillation;
mod divergence;
mod fused;
mod head;
mod loss_sums;
mod outcomes;
mod supervised_rows;
mod teacher;
mod tensor_divergence;

pub use distillation::Distillation;
pub use head::{HeadGradients, HeadPass, backward, forward};
pub use loss_sums::LossSums;
pub use supervised_rows::SupervisedRows;

#[cfg(test)]
mod tests;
