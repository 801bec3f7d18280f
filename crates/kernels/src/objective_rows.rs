//! What the objective on a GPU takes: supervised rows in host memory, and what is learnt from them.

use candle_core::{Result, bail};

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

    type Change = fn(&mut DeviceRows<'static>);

    #[test]
    fn rows_that_would_be_read_beyond_an_array_are_refused() {
        assert!(rows().check(5).is_ok());
        assert_eq!(rows().most(), (2, 1));
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
}
