//! Next-token distributions of several positions, stored back to back.

/// The stored part of the teacher's next-token distributions of consecutive rows.
///
/// The number of entries may differ from position to position. Within one, entries run from the most probable to the
/// least, ties to the lower token id.
#[derive(Clone, Debug, PartialEq)]
pub struct Distributions {
    offsets: Vec<u32>,
    token_ids: Vec<u32>,
    logprobs: Vec<f32>,
    tail_logprobs: Vec<f32>,
    target_logprobs: Vec<f32>,
}

/// The stored distribution of one position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position<'a> {
    /// Token ids, most probable first.
    pub token_ids: &'a [u32],
    /// Natural-log probabilities of those tokens, descending.
    pub logprobs: &'a [f32],
    /// Natural log of the probability outside the entries; −∞ where the entries are the whole vocabulary.
    pub tail_logprob: f32,
    /// Natural-log probability of the token that follows, whether or not it is among the entries.
    pub target_logprob: f32,
}

/// Parts that do not form distributions.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DistributionError {
    /// The offsets do not start at 0, descend, or do not end at the number of entries.
    #[error("entry offsets do not ascend from 0 to the {entries} entries (at position {position})")]
    Offsets {
        /// The first position whose offset is wrong.
        position: usize,
        /// The number of entries.
        entries: usize,
    },
    /// Columns differ in length.
    #[error("{column} has {found} values where {expected} belong")]
    Length {
        /// Which column.
        column: &'static str,
        /// How many values it has.
        found: usize,
        /// How many it should have.
        expected: usize,
    },
    /// Entries are not ordered from the most probable to the least, ties to the lower id.
    #[error("entries of position {position} are not ordered by probability and token id")]
    Order {
        /// The position.
        position: usize,
    },
    /// A value is not a log-probability: above 0 (beyond rounding), or not a number.
    #[error("{column} of position {position} holds `{value}`, which is not a log-probability")]
    NotALogprob {
        /// Which column.
        column: &'static str,
        /// The position.
        position: usize,
        /// The value.
        value: f32,
    },
}

/// How far above 0 rounding may lift the logarithm of a probability of nearly one.
const ROUNDING: f32 = 1e-5;

impl Default for Distributions {
    fn default() -> Self {
        Self::new()
    }
}

impl Distributions {
    /// No positions yet.
    pub fn new() -> Self {
        Self::with_capacity(0, 0)
    }

    /// No positions yet, with room for `positions` of `entries` entries in all.
    pub fn with_capacity(positions: usize, entries: usize) -> Self {
        let mut offsets = Vec::with_capacity(positions + 1);
        offsets.push(0);
        Self {
            offsets,
            token_ids: Vec::with_capacity(entries),
            logprobs: Vec::with_capacity(entries),
            tail_logprobs: Vec::with_capacity(positions),
            target_logprobs: Vec::with_capacity(positions),
        }
    }

    /// Distributions from columns, as read back from storage.
    ///
    /// `offsets` has one value more than there are positions; entries of position i are `offsets[i]..offsets[i + 1]`.
    ///
    /// # Errors
    ///
    /// Where the columns do not fit each other, entries are out of order, or a value is no log-probability.
    pub fn from_parts(
        offsets: Vec<u32>,
        token_ids: Vec<u32>,
        logprobs: Vec<f32>,
        tail_logprobs: Vec<f32>,
        target_logprobs: Vec<f32>,
    ) -> Result<Self, DistributionError> {
        let entries = token_ids.len();
        let positions = tail_logprobs.len();
        let length = |column, found, expected| {
            if found == expected {
                Ok(())
            } else {
                Err(DistributionError::Length {
                    column,
                    found,
                    expected,
                })
            }
        };
        length("offsets", offsets.len(), positions + 1)?;
        length("logprobs", logprobs.len(), entries)?;
        length("target_logprobs", target_logprobs.len(), positions)?;
        if offsets[0] != 0 || offsets[positions] as usize != entries {
            return Err(DistributionError::Offsets {
                position: if offsets[0] == 0 { positions } else { 0 },
                entries,
            });
        }
        if let Some(position) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
            return Err(DistributionError::Offsets { position, entries });
        }
        let distributions = Self {
            offsets,
            token_ids,
            logprobs,
            tail_logprobs,
            target_logprobs,
        };
        (0..positions).try_for_each(|position| distributions.check(position))?;
        Ok(distributions)
    }

    fn check(&self, index: usize) -> Result<(), DistributionError> {
        let position = self.get(index);
        let logprob = |column, value: f32| {
            if value <= ROUNDING {
                Ok(())
            } else {
                Err(DistributionError::NotALogprob {
                    column,
                    position: index,
                    value,
                })
            }
        };
        logprob("tail_logprobs", position.tail_logprob)?;
        logprob("target_logprobs", position.target_logprob)?;
        position
            .logprobs
            .iter()
            .try_for_each(|&value| logprob("logprobs", value))?;
        let ordered = (1..position.logprobs.len()).all(|rank| {
            let (before, here) = (position.logprobs[rank - 1], position.logprobs[rank]);
            before > here || (before == here && position.token_ids[rank - 1] < position.token_ids[rank])
        });
        if ordered {
            Ok(())
        } else {
            Err(DistributionError::Order { position: index })
        }
    }

    /// Adds one position, whose entries are ordered as [`Distributions`] says.
    ///
    /// # Panics
    ///
    /// Where there are more ids than log-probabilities or the other way round.
    pub fn push(&mut self, token_ids: &[u32], logprobs: &[f32], tail_logprob: f32, target_logprob: f32) {
        assert_eq!(
            token_ids.len(),
            logprobs.len(),
            "every entry has an id and a log-probability"
        );
        self.token_ids.extend_from_slice(token_ids);
        self.logprobs.extend_from_slice(logprobs);
        self.offsets.push(self.token_ids.len() as u32);
        self.tail_logprobs.push(tail_logprob);
        self.target_logprobs.push(target_logprob);
    }

    /// Adds the positions of `other` behind those of `self`.
    pub fn append(&mut self, other: &Self) {
        let base = self.token_ids.len() as u32;
        self.offsets
            .extend(other.offsets[1..].iter().map(|offset| base + offset));
        self.token_ids.extend_from_slice(&other.token_ids);
        self.logprobs.extend_from_slice(&other.logprobs);
        self.tail_logprobs.extend_from_slice(&other.tail_logprobs);
        self.target_logprobs.extend_from_slice(&other.target_logprobs);
    }

    /// The number of positions.
    pub fn len(&self) -> usize {
        self.tail_logprobs.len()
    }

    /// Whether there are no positions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The distribution of position `index`.
    ///
    /// # Panics
    ///
    /// Where `index` is not below [`len`](Self::len).
    pub fn get(&self, index: usize) -> Position<'_> {
        let entries = self.offsets[index] as usize..self.offsets[index + 1] as usize;
        Position {
            token_ids: &self.token_ids[entries.clone()],
            logprobs: &self.logprobs[entries],
            tail_logprob: self.tail_logprobs[index],
            target_logprob: self.target_logprobs[index],
        }
    }

    /// The positions, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Position<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Where each position's entries begin, and at last the number of entries.
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// All token ids, position after position.
    pub fn token_ids(&self) -> &[u32] {
        &self.token_ids
    }

    /// All log-probabilities, position after position.
    pub fn logprobs(&self) -> &[f32] {
        &self.logprobs
    }

    /// The tail log-mass of each position.
    pub fn tail_logprobs(&self) -> &[f32] {
        &self.tail_logprobs
    }

    /// The log-probability of each position's target.
    pub fn target_logprobs(&self) -> &[f32] {
        &self.target_logprobs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Distributions {
        let mut distributions = Distributions::new();
        distributions.push(&[4, 2], &[-0.5, -2.0], -1.5, -2.0);
        distributions.push(&[], &[], 0.0, -3.0);
        distributions
    }

    #[test]
    fn appended_positions_keep_their_entries() {
        let mut all = two();
        all.append(&two());
        assert_eq!(all.len(), 4);
        assert_eq!(all.get(2), two().get(0));
        assert_eq!(all.get(3), two().get(1));
    }

    #[test]
    fn parts_that_do_not_fit_are_named() {
        let from = Distributions::from_parts;
        assert_eq!(
            from(
                vec![0, 2, 2],
                vec![4, 2],
                vec![-0.5, -2.0],
                vec![-1.5, 0.0],
                vec![-2.0, -3.0]
            )
            .unwrap(),
            two()
        );
        let error = from(vec![0, 2], vec![4, 2], vec![-0.5], vec![-1.5], vec![-2.0]).unwrap_err();
        assert!(matches!(
            error,
            DistributionError::Length {
                column: "logprobs",
                found: 1,
                expected: 2
            }
        ));
        let error = from(vec![0, 1], vec![4, 2], vec![-0.5, -2.0], vec![-1.5], vec![-2.0]).unwrap_err();
        assert!(matches!(
            error,
            DistributionError::Offsets {
                position: 1,
                entries: 2
            }
        ));
        let error = from(vec![0, 2], vec![4, 2], vec![-2.0, -0.5], vec![-1.5], vec![-2.0]).unwrap_err();
        assert!(matches!(error, DistributionError::Order { position: 0 }));
        let error = from(vec![0, 2], vec![4, 2], vec![-2.0, -2.0], vec![-1.5], vec![-2.0]).unwrap_err();
        assert!(matches!(error, DistributionError::Order { position: 0 }));
        for bad in [0.5, f32::NAN, f32::INFINITY] {
            let error = from(vec![0, 1], vec![4], vec![bad], vec![-1.5], vec![-2.0]).unwrap_err();
            assert!(matches!(
                error,
                DistributionError::NotALogprob {
                    column: "logprobs",
                    position: 0,
                    ..
                }
            ));
        }
    }
}
