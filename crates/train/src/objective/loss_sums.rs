//! Sums over rows: the losses and the metrics beside them.

/// Weighted sums of losses over rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// −log q of the target.
    pub cross_entropy: f64,
    /// D as the distillation has it, without τ².
    pub distillation: f64,
    /// KL(teacher ‖ student) at temperature 1 over entries and bucket, 0 at the optimum, for every distillation.
    pub forward_kl: f64,
    /// That plus the teacher's entropy: −Σ p log q.
    pub soft_cross_entropy: f64,
    /// The rows' weights; divide by it for means.
    pub weight: f64,
    /// How often the student's most probable token is the teacher's.
    pub top_1_agreement: f64,
}

impl LossSums {
    pub(crate) fn add(&mut self, other: &Self) {
        self.cross_entropy += other.cross_entropy;
        self.distillation += other.distillation;
        self.forward_kl += other.forward_kl;
        self.soft_cross_entropy += other.soft_cross_entropy;
        self.weight += other.weight;
        self.top_1_agreement += other.top_1_agreement;
    }
}
