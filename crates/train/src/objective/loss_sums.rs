//! Sums over rows: the losses and the metrics beside them.

use candle_core::Result;
use leadspan_model::kernels::DeviceLosses;

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

/// Losses that a device may still be adding up.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    known: LossSums,
    on_device: Vec<DeviceLosses>,
}

impl Losses {
    pub(super) fn known(known: LossSums) -> Self {
        Self {
            known,
            on_device: Vec::new(),
        }
    }

    pub(super) fn on_device(losses: DeviceLosses) -> Self {
        Self {
            known: LossSums::default(),
            on_device: vec![losses],
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.known.add(&other.known);
        self.on_device.extend(other.on_device);
    }

    /// Waits for the sums.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn wait(&self) -> Result<LossSums> {
        let mut sums = self.known;
        for losses in &self.on_device {
            let [
                cross_entropy,
                distillation,
                forward_kl,
                soft_cross_entropy,
                weight,
                top_1_agreement,
            ] = losses.wait()?;
            sums.add(&LossSums {
                cross_entropy,
                distillation,
                forward_kl,
                soft_cross_entropy,
                weight,
                top_1_agreement,
            });
        }
        Ok(sums)
    }
}
