//! The objective: from hidden states to the loss and its gradient, without ever holding all logits.
//!
//! With p the teacher's and q the student's next-token distribution at a position, K the stored entries, z the
//! student's logits and y the token that follows, a position's loss is (1 − α)·CE + α·τ²·D with CE = −log q_y.
//!
//! D compares p and q over *outcomes*: the entries, and in most policies one bucket for all other tokens. The student's
//! probabilities of outcomes are the softmax of scores: z_v / τ for an entry, lse_{u∉K} z_u / τ for the bucket. So
//! log q_tail = lse_{u∉K} z_u − lse z, not log(1 − Σ), which loses precision if the entries' probabilities sum to almost one.
//!
//! Each value of D has a file of its own in `losses/`: its formula, its source, and ∂D/∂log q_o.
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
//! `crates/README.md` has the tables of losses and tail policies and says which go together.
//!
//! At a temperature τ the teacher's entries follow from the cache, but its bucket needs a stored term, so temperatures are
//! declared at capture. With `sampled`, −Σ p log q is learnt and reported: its mean over draws is that of the whole
//! distribution.
//!
//! Rows go through the head in chunks of bounded bytes. On the CPU each chunk of logits is turned into its gradient in
//! place (`fused`), and so it is on a GPU in bfloat16 (`on_device`, by a kernel of the kernels crate). Elsewhere stock
//! operations do the same (`composed`). Tests compare the forms with each other, with finite differences, and with numbers
//! from `PyTorch`.

mod composed;
mod distillation;
mod fused;
mod head;
mod loss_sums;
mod losses;
mod measure;
mod on_device;
mod outcomes;
mod probability;
mod supervised_rows;
mod tail_policy;
mod teacher;
mod tensor_probabilities;

pub use distillation::Distillation;
pub(crate) use head::runs_in_gpu_kernels;
pub use head::{HeadGradients, HeadPass, backward, forward};
pub use loss_sums::{LossSums, Losses};
pub use losses::Loss;
pub(crate) use losses::LossParameters;
pub(crate) use measure::measures;
pub use supervised_rows::SupervisedRows;
pub use tail_policy::TailPolicy;
pub(crate) use teacher::teacher_entropy;

#[cfg(test)]
pub(crate) mod tests;
