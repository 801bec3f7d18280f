//! The objective of supervised rows on a GPU: from hidden states to losses and gradients, a chunk of logits at a time.
//!
//! `crates/train/src/objective` has the formulas, and their forms on other devices.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::{Kernels, weight::GradientSum};

/// A divergence, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[expect(missing_docs, reason = "the losses themselves say what they are")]
pub enum DeviceLoss {
    ForwardKl = 0,
    ReverseKl = 1,
    JensenShannon = 2,
    SkewKl = 3,
    SkewReverseKl = 4,
    TotalVariation = 5,
    SoftCrossEntropy = 6,
}

impl DeviceLoss {
    /// All divergences.
    pub const ALL: [Self; 7] = [
        Self::ForwardKl,
        Self::ReverseKl,
        Self::JensenShannon,
        Self::SkewKl,
        Self::SkewReverseKl,
        Self::TotalVariation,
        Self::SoftCrossEntropy,
    ];
}

/// What is learnt: (1 − α) · CE + α · τ² · D.
#[derive(Clone, Copy, Debug)]
pub struct DeviceObjectiveKind {
    /// D.
    pub loss: DeviceLoss,
    /// The parameter of D, between 0 and 1; anything if it has none.
    pub parameter: f64,
    /// Whether the student, too, is conditioned on the entries.
    pub on_entries_alone: bool,
    /// τ.
    pub temperature: f64,
    /// α.
    pub alpha: f64,
}

/// Supervised rows in host memory. Row r has the entries `offsets[r]..offsets[r + 1]` of `token_ids`; its outcomes are these and
/// a bucket, and begin at `offsets[r] + r`. Logarithms of probabilities may be −∞.
#[derive(Clone, Debug)]
pub struct DeviceRows<'a> {
    /// The token after each row.
    pub targets: &'a [u32],
    /// The weight of each row.
    pub weights: &'a [f32],
    /// The first entry of each row, and the number of all entries.
    pub offsets: Vec<u32>,
    /// The tokens of the entries.
    pub token_ids: &'a [u32],
    /// The logarithms of the teacher's probabilities of the outcomes at temperature 1 with a bucket.
    pub measured: Vec<f64>,
    /// The same as they are learnt; `None` if those are the measured ones.
    pub taught: Option<Vec<f64>>,
    /// Tokens inside the bucket that are learnt individually.
    pub drawn: Option<DrawnTokens<'a>>,
}

/// Drawn tokens. Row r has those of `offsets[r]..offsets[r + 1]`, distinct and no entries.
#[derive(Clone, Debug)]
pub struct DrawnTokens<'a> {
    /// The first drawn token of each row, and the number of all.
    pub offsets: Vec<u32>,
    /// The tokens.
    pub token_ids: &'a [u32],
    /// Their probabilities.
    pub probabilities: &'a [f64],
}

/// The work on the supervised rows of one pass.
pub struct DeviceObjective {
    #[cfg(feature = "cuda")]
    on_device: cuda::objective::Work,
    #[cfg(not(feature = "cuda"))]
    never: std::convert::Infallible,
}

/// The sums of losses over the rows of a pass, on the device until somebody waits for them.
#[derive(Clone, Debug)]
pub struct DeviceLosses(Tensor);

impl DeviceLosses {
    /// Waits for the sums, each weighted: cross-entropy, D without τ², forward KL and soft cross-entropy at temperature 1 with a
    /// bucket, weight, and the weight of rows where teacher and student agree on the most probable token.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn wait(&self) -> Result<[f64; 6]> {
        let sums = self.0.to_vec1::<f64>()?;
        match sums.try_into() {
            Ok(sums) => Ok(sums),
            Err(sums) => bail!("{} sums of losses instead of 6", sums.len()),
        }
    }
}

impl DeviceRows<'_> {
    /// The most entries and the most drawn tokens of a row.
    #[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code))]
    pub(crate) fn most(&self) -> (usize, usize) {
        let most = |offsets: &[u32]| offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0) as usize;
        (
            most(&self.offsets),
            self.drawn.as_ref().map_or(0, |drawn| most(&drawn.offsets)),
        )
    }

    /// Refuses what would make the kernel read or write beyond an array.
    ///
    /// # Errors
    ///
    /// If the parts do not fit each other, or a token is outside the vocabulary.
    #[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code))]
    pub(crate) fn check(&self, vocabulary: usize) -> Result<()> {
        let rows = self.targets.len();
        let cut = |offsets: &[u32], count: usize| {
            offsets.len() == rows + 1
                && offsets[0] == 0
                && offsets[rows] as usize == count
                && offsets.is_sorted()
                && i32::try_from(count + rows).is_ok()
        };
        let outcomes = self.token_ids.len() + rows;
        let fits = self.weights.len() == rows
            && cut(&self.offsets, self.token_ids.len())
            && self.measured.len() == outcomes
            && self.taught.as_ref().is_none_or(|taught| taught.len() == outcomes)
            && self.drawn.as_ref().is_none_or(|drawn| {
                cut(&drawn.offsets, drawn.token_ids.len()) && drawn.probabilities.len() == drawn.token_ids.len()
            });
        if !fits {
            bail!("the parts of {rows} supervised rows do not fit each other");
        }
        let drawn = self.drawn.iter().flat_map(|drawn| drawn.token_ids);
        let mut tokens = self.targets.iter().chain(self.token_ids).chain(drawn);
        if tokens.any(|&token| token as usize >= vocabulary) {
            bail!("a supervised row has a token outside a vocabulary of {vocabulary}");
        }
        Ok(())
    }
}

impl DeviceObjective {
    /// Whether hidden states like these have an objective on their device.
    pub fn is_for(hidden: &Tensor) -> bool {
        Kernels::Fused.fuse(hidden) && !hidden.device().is_cpu()
    }

    /// Begins with the rows of `hidden` `[N, H]`, under a head of weight `weight` `[V, H]`. Gradients are computed if there is a
    /// sum for that of the head. `None` if the device has no kernel for this.
    ///
    /// # Errors
    ///
    /// If the shapes do not fit or the device fails.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn begin(
        hidden: &Tensor,
        weight: &Tensor,
        rows: &DeviceRows<'_>,
        kind: &DeviceObjectiveKind,
        weight_gradient: Option<&GradientSum>,
    ) -> Result<Option<Self>> {
        #[cfg(feature = "cuda")]
        if Self::is_for(hidden) && cuda::objective::has_kernel(rows) {
            let on_device = cuda::objective::Work::begin(hidden, weight, rows, kind, weight_gradient)?;
            return Ok(Some(Self { on_device }));
        }
        Ok(None)
    }

    /// Does some of the rows: their logits, losses and gradients.
    ///
    /// # Errors
    ///
    /// If the device fails.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn chunk(&mut self, rows: Range<usize>) -> Result<()> {
        #[cfg(feature = "cuda")]
        return self.on_device.chunk(rows);
        #[cfg(not(feature = "cuda"))]
        match self.never {}
    }

    /// The losses, and the gradient of the hidden states if gradients were asked for.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn finish(self) -> Result<(DeviceLosses, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        return self
            .on_device
            .finish()
            .map(|(sums, gradient)| (DeviceLosses(sums), gradient));
        #[cfg(not(feature = "cuda"))]
        match self.never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> DeviceRows<'static> {
        DeviceRows {
            targets: &[1, 2],
            weights: &[0.5, 0.5],
            offsets: vec![0, 2, 3],
            token_ids: &[0, 4, 3],
            measured: vec![-1.0; 5],
            taught: None,
            drawn: Some(DrawnTokens {
                offsets: vec![0, 0, 1],
                token_ids: &[2],
                probabilities: &[0.1],
            }),
        }
    }

    #[test]
    fn rows_that_would_be_read_beyond_an_array_are_refused() {
        assert!(rows().check(5).is_ok());
        assert_eq!(rows().most(), (2, 1));
        type Change = fn(&mut DeviceRows<'static>);
        let changes: [Change; 8] = [
            |rows| rows.weights = &[1.0],
            |rows| rows.offsets = vec![0, 3],
            |rows| rows.offsets = vec![0, 3, 2],
            |rows| rows.offsets = vec![1, 2, 3],
            |rows| rows.offsets = vec![0, 2, 4],
            |rows| rows.measured.truncate(4),
            |rows| rows.taught = Some(vec![0.0; 3]),
            |rows| rows.drawn.as_mut().unwrap().probabilities = &[],
        ];
        for change in changes {
            let mut changed = rows();
            change(&mut changed);
            assert!(changed.check(5).is_err(), "{changed:?}");
        }
        for vocabulary in [1, 4] {
            assert!(rows().check(vocabulary).is_err());
        }
    }

    #[test]
    fn the_cpu_has_a_form_of_its_own() {
        let hidden = Tensor::zeros((2, 8), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        assert!(!DeviceObjective::is_for(&hidden));
    }
}
