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
    /// The numbers in the order of the fields.
    pub(crate) fn numbers(&self) -> [f64; 6] {
        [
            self.cross_entropy,
            self.distillation,
            self.forward_kl,
            self.soft_cross_entropy,
            self.weight,
            self.top_1_agreement,
        ]
    }

    /// The sums whose [`numbers`](Self::numbers) these are.
    pub(crate) fn from_numbers(numbers: [f64; 6]) -> Self {
        let [
            cross_entropy,
            distillation,
            forward_kl,
            soft_cross_entropy,
            weight,
            top_1_agreement,
        ] = numbers;
        Self {
            cross_entropy,
            distillation,
            forward_kl,
            soft_cross_entropy,
            weight,
            top_1_agreement,
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let (mine, theirs) = (self.numbers(), other.numbers());
        *self = Self::from_numbers(std::array::from_fn(|place| mine[place] + theirs[place]));
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
            sums.add(&LossSums::from_numbers(losses.wait()?));
        }
        Ok(sums)
    }
}
