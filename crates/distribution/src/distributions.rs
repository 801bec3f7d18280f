//! Next-token distributions of several positions, stored back to back.

/// The stored part of the teacher's next-token distributions of consecutive rows.
///
/// The number of entries may differ between positions. The entries of a position are ordered by descending probability,
/// ties by ascending token id.
#[derive(Clone, Debug, PartialEq)]
pub struct Distributions {
    offsets: Vec<u32>,
    token_ids: Vec<u32>,
    logprobs: Vec<f32>,
    tail_logprobs: Vec<f32>,
    target_logprobs: Vec<f32>,
    /// One value per position and declared temperature.
    temperature_tails: Vec<f32>,
    sampled_offsets: Vec<u32>,
    sampled_token_ids: Vec<u32>,
    sampled_draws: Vec<u32>,
}

/// The stored distribution of one position.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Position<'a> {
    /// Token ids, most probable first.
    pub token_ids: &'a [u32],
    /// Natural-log probabilities of those tokens, descending.
    pub logprobs: &'a [f32],
    /// Natural log of the probability outside the entries; −∞ if the entries are the whole vocabulary.
    pub tail_logprob: f32,
    /// Natural-log probability of the token that follows, even if it is not among the entries.
    pub target_logprob: f32,
    /// t_τ = log Σ exp(ℓ_u / τ) over the tokens u outside the entries, one value for each declared temperature τ; −∞ if
    /// the entries are the whole vocabulary.
    pub temperature_tails: &'a [f32],
    /// Tokens drawn from the tail, ascending. Each represents its share of the draws in the tail mass.
    pub sampled_token_ids: &'a [u32],
    /// The number of draws of each of them, at least 1.
    pub sampled_draws: &'a [u32],
}

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
            temperature_tails: Vec::new(),
            sampled_offsets: vec![0],
            sampled_token_ids: Vec::new(),
            sampled_draws: Vec::new(),
        }
    }

    /// Adds one position, whose entries are ordered as [`Distributions`] says.
    ///
    /// # Panics
    ///
    /// If the numbers of ids and log-probabilities differ, if those of drawn tokens and draws differ, or if the number of
    /// temperatures differs from that of earlier positions.
    pub fn push(&mut self, position: Position<'_>) {
        assert_eq!(
            position.token_ids.len(),
            position.logprobs.len(),
            "every entry has an id and a log-probability"
        );
        assert_eq!(
            position.sampled_token_ids.len(),
            position.sampled_draws.len(),
            "every drawn token has a number of draws"
        );
        assert!(
            self.is_empty() || self.temperatures() == position.temperature_tails.len(),
            "all positions have the same temperatures"
        );
        self.token_ids.extend_from_slice(position.token_ids);
        self.logprobs.extend_from_slice(position.logprobs);
        self.offsets.push(self.token_ids.len() as u32);
        self.tail_logprobs.push(position.tail_logprob);
        self.target_logprobs.push(position.target_logprob);
        self.temperature_tails.extend_from_slice(position.temperature_tails);
        self.sampled_token_ids.extend_from_slice(position.sampled_token_ids);
        self.sampled_draws.extend_from_slice(position.sampled_draws);
        self.sampled_offsets.push(self.sampled_token_ids.len() as u32);
    }

    /// Appends the positions of `other`.
    ///
    /// # Panics
    ///
    /// If both have positions and their numbers of temperatures differ.
    pub fn append(&mut self, other: &Self) {
        assert!(
            self.is_empty() || other.is_empty() || self.temperatures() == other.temperatures(),
            "all positions have the same temperatures"
        );
        let (base, sampled_base) = (self.token_ids.len() as u32, self.sampled_token_ids.len() as u32);
        self.offsets
            .extend(other.offsets[1..].iter().map(|offset| base + offset));
        self.sampled_offsets
            .extend(other.sampled_offsets[1..].iter().map(|offset| sampled_base + offset));
        self.token_ids.extend_from_slice(&other.token_ids);
        self.logprobs.extend_from_slice(&other.logprobs);
        self.tail_logprobs.extend_from_slice(&other.tail_logprobs);
        self.target_logprobs.extend_from_slice(&other.target_logprobs);
        self.temperature_tails.extend_from_slice(&other.temperature_tails);
        self.sampled_token_ids.extend_from_slice(&other.sampled_token_ids);
        self.sampled_draws.extend_from_slice(&other.sampled_draws);
    }

    /// Approximate bytes that the positions take in memory.
    pub fn bytes(&self) -> usize {
        let entries = self.token_ids.len() + self.sampled_token_ids.len();
        16 * self.len() + 8 * entries + 4 * self.temperature_tails.len()
    }

    /// The number of temperatures for which every position has a tail term.
    pub fn temperatures(&self) -> usize {
        self.temperature_tails.len() / self.len().max(1)
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
    /// If `index` is not below [`len`](Self::len).
    pub fn get(&self, index: usize) -> Position<'_> {
        let entries = self.offsets[index] as usize..self.offsets[index + 1] as usize;
        let sampled = self.sampled_offsets[index] as usize..self.sampled_offsets[index + 1] as usize;
        let temperatures = self.temperatures();
        Position {
            token_ids: &self.token_ids[entries.clone()],
            logprobs: &self.logprobs[entries],
            tail_logprob: self.tail_logprobs[index],
            target_logprob: self.target_logprobs[index],
            temperature_tails: &self.temperature_tails[index * temperatures..(index + 1) * temperatures],
            sampled_token_ids: &self.sampled_token_ids[sampled.clone()],
            sampled_draws: &self.sampled_draws[sampled],
        }
    }

    /// The positions, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Position<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The index of each position's first entry, and finally the number of entries.
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

    /// The number of distinct drawn tokens, summed over positions.
    pub fn sampled_entries(&self) -> usize {
        self.sampled_token_ids.len()
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
        distributions.push(Position {
            token_ids: &[4, 2],
            logprobs: &[-0.5, -2.0],
            tail_logprob: -1.5,
            target_logprob: -2.0,
            ..Position::default()
        });
        distributions.push(Position {
            target_logprob: -3.0,
            ..Position::default()
        });
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
    #[should_panic(expected = "the same temperatures")]
    fn positions_of_other_temperatures_do_not_mix() {
        let mut other = Distributions::new();
        other.push(Position {
            temperature_tails: &[-1.0],
            ..Position::default()
        });
        two().append(&other);
    }
}
