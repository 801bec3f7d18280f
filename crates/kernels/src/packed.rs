//! Sequences one after the other, without padding.

use std::sync::Arc;

/// The tokens of several sequences, one sequence after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    tokens: Vec<u32>,
    /// The first token of each sequence, and the number of all tokens.
    edges: Arc<[usize]>,
    /// The position of each token in its own sequence.
    positions: Arc<[u32]>,
}

impl Packed {
    /// Packs sequences in their order.
    ///
    /// # Example
    ///
    /// ```
    /// let packed = leadspan_kernels::Packed::new([&[5, 6, 7][..], &[8]]);
    /// assert_eq!((packed.tokens(), packed.edges()), (&[5, 6, 7, 8][..], &[0, 3, 4][..]));
    /// ```
    pub fn new<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let (mut tokens, mut edges, mut positions) = (Vec::new(), vec![0], Vec::new());
        for sequence in sequences {
            tokens.extend_from_slice(sequence);
            positions.extend(0..sequence.len() as u32);
            edges.push(tokens.len());
        }
        Self {
            tokens,
            edges: edges.into(),
            positions: positions.into(),
        }
    }

    /// All tokens.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The index of the first token of each sequence, and finally the number of all tokens.
    pub fn edges(&self) -> &[usize] {
        &self.edges
    }

    /// The edges, for operations that share them.
    pub fn shared_edges(&self) -> &Arc<[usize]> {
        &self.edges
    }

    /// The position of each token in its own sequence.
    pub fn positions(&self) -> &Arc<[u32]> {
        &self.positions
    }

    /// The length of the longest sequence.
    pub fn longest(&self) -> usize {
        self.edges
            .windows(2)
            .map(|bounds| bounds[1] - bounds[0])
            .max()
            .unwrap_or(0)
    }

    /// The same sequences, followed by sequences of one token until there are `count` tokens; `None` if there are enough.
    pub fn filled_up_to(&self, count: usize) -> Option<Self> {
        let missing = count.checked_sub(self.tokens.len()).filter(|&missing| missing > 0)?;
        let sequences = self.edges.windows(2).map(|bounds| &self.tokens[bounds[0]..bounds[1]]);
        Some(Self::new(sequences.chain(std::iter::repeat_n(&[0][..], missing))))
    }
}
