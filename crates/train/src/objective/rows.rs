//! Supervised positions as rows: targets, weights, and the teacher's entries as probabilities.

use leadspan_distribution::Distributions;

/// The supervised positions of one forward pass, in the order of their hidden states.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub(crate) targets: Vec<u32>,
    pub(crate) weights: Vec<f32>,
    pub(crate) offsets: Vec<usize>,
    pub(crate) token_ids: Vec<u32>,
    pub(crate) probabilities: Vec<f32>,
    /// Probability outside the entries.
    pub(crate) tails: Vec<f32>,
    /// Σ p log p over entries and tail of each row: the part of the divergence that does not depend on the student.
    pub(crate) negative_entropies: Vec<f64>,
}

/// Weighted sums of losses over rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// −log q of the target.
    pub cross_entropy: f64,
    /// KL(teacher ‖ student), 0 at the optimum.
    pub forward_kl: f64,
    /// The divergence plus the teacher's entropy: −Σ p log q.
    pub soft_cross_entropy: f64,
    /// The rows' weights; divide by it for means.
    pub weight: f64,
    /// How often the student's most probable token is the teacher's.
    pub top_1_agreement: f64,
}

impl LossSums {
    pub(crate) fn add(&mut self, other: &Self) {
        self.cross_entropy += other.cross_entropy;
        self.forward_kl += other.forward_kl;
        self.soft_cross_entropy += other.soft_cross_entropy;
        self.weight += other.weight;
        self.top_1_agreement += other.top_1_agreement;
    }
}

impl Rows {
    /// No rows.
    pub fn new() -> Self {
        Self {
            offsets: vec![0],
            ..Self::default()
        }
    }

    /// Adds the positions of one sample, all with the same `weight`.
    ///
    /// The entries are rescaled so that they and the tail sum to one exactly. Entries beyond `vocabulary`, the rows of
    /// the student's head, move to the tail.
    ///
    /// # Panics
    ///
    /// Where there are not as many targets as distributions.
    pub fn push_sample(&mut self, targets: &[u32], distributions: &Distributions, weight: f32, vocabulary: usize) {
        assert_eq!(targets.len(), distributions.len(), "one target for each position");
        for (&target, position) in targets.iter().zip(distributions.iter()) {
            let tail = f64::from(position.tail_logprob).exp().min(1.0);
            let stored: f64 = position.logprobs.iter().map(|&logprob| f64::from(logprob).exp()).sum();
            let scale = if stored > 0.0 { (1.0 - tail) / stored } else { 0.0 };
            let (mut moved, mut negative_entropy) = (0.0, 0.0);
            for (&token, &logprob) in position.token_ids.iter().zip(position.logprobs) {
                let probability = f64::from(logprob).exp() * scale;
                if (token as usize) < vocabulary {
                    self.token_ids.push(token);
                    self.probabilities.push(probability as f32);
                    negative_entropy += x_log_x(probability);
                } else {
                    moved += probability;
                }
            }
            let tail = tail + moved;
            self.targets.push(target);
            self.weights.push(weight);
            self.offsets.push(self.token_ids.len());
            self.tails.push(tail as f32);
            self.negative_entropies.push(negative_entropy + x_log_x(tail));
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    pub(crate) fn entries(&self, row: usize) -> (&[u32], &[f32]) {
        let entries = self.offsets[row]..self.offsets[row + 1];
        (&self.token_ids[entries.clone()], &self.probabilities[entries])
    }
}

/// x log x, with 0 log 0 = 0.
fn x_log_x(x: f64) -> f64 {
    if x > 0.0 { x * x.ln() } else { 0.0 }
}
