//! The model that the blocks of one row group share: the numbering of the vocabulary and the frequencies of tokens.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    CodecError, Layout,
    block::{BlockReader, Joiner, Numbers, Splitter},
    context,
    integers::{BitWriter, TOKENS, split},
    precision::Levels,
    rans::{self, Ranges, Slots},
};
use crate::{Distributions, EntrySettings};

/// A codec fitted to some positions; see the [module](super).
#[derive(Clone, Debug)]
pub struct Model {
    pub(super) layout: Layout,
    /// The token id of each number.
    pub(super) numbering: Vec<u32>,
    /// One list per context; empty if the context is unused.
    pub(super) frequencies: Vec<Vec<u32>>,
    pub(super) slots: Slots,
    pub(super) levels: Levels,
}

/// Positions that can be coded: in values or in codes.
pub(super) trait Codable: Sync {
    /// The number of positions.
    fn count(&self) -> usize;

    /// Hands every integer of the position `index` to `sink`, with its context.
    fn split(
        &self,
        index: usize,
        splitter: &mut Splitter,
        layout: &Layout,
        numbers: &impl Numbers,
        sink: &mut impl FnMut(usize, u32),
    );
}

impl Codable for Distributions {
    fn count(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn split(
        &self,
        index: usize,
        splitter: &mut Splitter,
        layout: &Layout,
        numbers: &impl Numbers,
        sink: &mut impl FnMut(usize, u32),
    ) {
        splitter.split(&self.get(index), layout, numbers, sink);
    }
}

impl Model {
    /// Fits a model to `distributions`.
    ///
    /// # Panics
    ///
    /// If their number of temperatures differs from the layout's.
    pub fn fit(distributions: &Distributions, layout: Layout) -> Self {
        assert!(
            distributions.is_empty() || distributions.temperatures() == layout.temperatures,
            "every position has a tail term for each temperature"
        );
        let numbering = numbering(distributions);
        let numbers = Lookup::new(&numbering);
        Self::fitted(distributions, numbering, &numbers, layout)
    }

    /// A model with this numbering and the frequencies of the integers of `positions`.
    pub(super) fn fitted<P: Codable>(
        positions: &P,
        numbering: Vec<u32>,
        numbers: &(impl Numbers + Sync),
        layout: Layout,
    ) -> Self {
        let indices = (0..positions.count()).into_par_iter().with_min_len(POSITIONS_OF_A_TASK);
        let counts = indices
            .fold(
                || (no_counts(), Splitter::default()),
                |(mut counts, mut splitter), index| {
                    positions.split(index, &mut splitter, &layout, numbers, &mut |context, integer| {
                        counts[context][split(integer).token as usize] += 1;
                    });
                    (counts, splitter)
                },
            )
            .map(|(counts, _)| counts)
            // Sums of whole numbers: their order does not matter.
            .reduce(no_counts, |mut sums, counts| {
                for (sum, count) in sums.as_flattened_mut().iter_mut().zip(counts.as_flattened()) {
                    *sum += count;
                }
                sums
            });
        let frequencies = counts.iter().map(|counts| rans::frequencies(counts)).collect();
        Self::new(layout, numbering, frequencies).expect("fitted frequencies sum to 4096")
    }

    /// Restores a model from its [`numbering`](Self::numbering) and [`frequencies`](Self::frequencies).
    ///
    /// # Errors
    ///
    /// [`CodecError::NotAModel`].
    pub fn from_parts(layout: Layout, numbering: Vec<u32>, frequencies: &[u32]) -> Result<Self, CodecError> {
        let mut rest = frequencies;
        let mut lists = Vec::with_capacity(context::COUNT);
        for _ in 0..context::COUNT {
            let (&length, after) = rest.split_first().ok_or(CodecError::NotAModel)?;
            let (list, after) = after.split_at_checked(length as usize).ok_or(CodecError::NotAModel)?;
            lists.push(list.to_vec());
            rest = after;
        }
        if !rest.is_empty() || layout.temperatures > EntrySettings::MAX_TEMPERATURES {
            return Err(CodecError::NotAModel);
        }
        Self::new(layout, numbering, lists)
    }

    fn new(layout: Layout, numbering: Vec<u32>, frequencies: Vec<Vec<u32>>) -> Result<Self, CodecError> {
        let slots = Slots::new(&frequencies).ok_or(CodecError::NotAModel)?;
        Ok(Self {
            layout,
            numbering,
            frequencies,
            slots,
            levels: layout.precision.levels(),
        })
    }

    /// The token ids in the order of their numbers: the most frequent class first, ascending within a class.
    pub fn numbering(&self) -> &[u32] {
        &self.numbering
    }

    /// The frequencies of every context, each list preceded by its length.
    pub fn frequencies(&self) -> Vec<u32> {
        let with_length = |list: &Vec<u32>| [&[list.len() as u32], list.as_slice()].concat();
        self.frequencies.iter().flat_map(with_length).collect()
    }

    /// An encoder for positions that the model was fitted to.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder {
            model: self,
            numbers: Lookup::new(&self.numbering),
            ranges: self.frequencies.iter().map(|list| Ranges::new(list)).collect(),
        }
    }

    /// Decodes a block of `positions` positions and appends them to `into`.
    ///
    /// # Errors
    ///
    /// [`CodecError::Damaged`]. `into` then holds only some of the positions.
    ///
    /// # Panics
    ///
    /// If `into` holds positions with another number of temperatures.
    pub fn decode(&self, block: &[u8], positions: usize, into: &mut Distributions) -> Result<(), CodecError> {
        let mut reader = BlockReader::new(&self.slots, block)?;
        let mut joiner = Joiner::default();
        for _ in 0..positions {
            joiner.join(&mut reader, &self.layout, &self.numbering, &self.levels, into)?;
        }
        reader.finish()
    }
}

/// Encodes blocks; see [`Model::encoder`].
pub struct Encoder<'a> {
    model: &'a Model,
    numbers: Lookup,
    ranges: Vec<Ranges>,
}

/// Memory that is reused from block to block.
#[derive(Default)]
pub(super) struct Scratch {
    splitter: Splitter,
    tokens: Vec<(u8, u8)>,
    bits: BitWriter,
    words: Vec<u16>,
}

/// The fewest positions that are worth a task of their own.
const POSITIONS_OF_A_TASK: usize = 256;

impl Scratch {
    /// Collects the tokens and the raw bits of one block.
    pub(super) fn collect<P: Codable>(
        &mut self,
        positions: &P,
        block: Range<usize>,
        layout: &Layout,
        numbers: &impl Numbers,
    ) {
        let Self {
            splitter, tokens, bits, ..
        } = self;
        tokens.clear();
        bits.clear();
        for index in block {
            positions.split(index, splitter, layout, numbers, &mut |context, integer| {
                let parts = split(integer);
                tokens.push((context as u8, parts.token));
                bits.push(parts.bits, parts.width);
            });
        }
    }

    /// Whether all tokens that were collected have a frequency.
    pub(super) fn is_within(&self, ranges: &[Ranges]) -> bool {
        let mut tokens = self.tokens.iter();
        tokens.all(|&(context, token)| ranges[context as usize].has(token))
    }

    /// The block of the tokens and the raw bits that were collected.
    pub(super) fn block(&mut self, ranges: &[Ranges]) -> Vec<u8> {
        let mut block = Vec::new();
        let reversed = self
            .tokens
            .iter()
            .rev()
            .map(|&(context, token)| (&ranges[context as usize], token));
        rans::encode(reversed, &mut self.words, &mut block);
        block.extend(self.bits.finish().iter().rev());
        block
    }
}

fn no_counts() -> Vec<[u64; TOKENS]> {
    vec![[0; TOKENS]; context::COUNT]
}

impl Encoder<'_> {
    /// Encodes some of the positions that the model was fitted to as one block.
    ///
    /// # Panics
    ///
    /// If the positions hold a symbol that does not occur in those that the model was fitted to.
    pub fn encode(&self, distributions: &Distributions, positions: Range<usize>) -> Vec<u8> {
        self.encode_with(&mut Scratch::default(), distributions, positions)
    }

    /// As [`encode`](Self::encode), of several blocks, on all threads.
    ///
    /// # Panics
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_all(&self, distributions: &Distributions, blocks: &[Range<usize>]) -> Vec<Vec<u8>> {
        let encoded = blocks.par_iter().map_init(Scratch::default, |scratch, positions| {
            self.encode_with(scratch, distributions, positions.clone())
        });
        encoded.collect()
    }

    fn encode_with(&self, scratch: &mut Scratch, distributions: &Distributions, positions: Range<usize>) -> Vec<u8> {
        scratch.collect(distributions, positions, &self.model.layout, &self.numbers);
        scratch.block(&self.ranges)
    }
}

/// The ids of a group's entries and draws by ⌊log₂⌋ of how often they occur, descending, then by id.
fn numbering(distributions: &Distributions) -> Vec<u32> {
    let ids = || {
        let positions = distributions.iter();
        positions.flat_map(|position| position.token_ids.iter().chain(position.sampled_token_ids))
    };
    let mut counts = vec![0u32; ids().max().map_or(0, |&id| id as usize + 1)];
    for &id in ids() {
        counts[id as usize] = counts[id as usize].saturating_add(1);
    }
    let mut numbering: Vec<u32> = (0..counts.len() as u32).filter(|&id| counts[id as usize] > 0).collect();
    numbering.sort_by_key(|&id| std::cmp::Reverse(counts[id as usize].ilog2()));
    numbering
}

/// The number of each token id.
struct Lookup(Vec<u32>);

impl Lookup {
    fn new(numbering: &[u32]) -> Self {
        let mut numbers = vec![0; numbering.iter().max().map_or(0, |&id| id as usize + 1)];
        for (number, &id) in numbering.iter().enumerate() {
            numbers[id as usize] = number as u32;
        }
        Self(numbers)
    }
}

impl Numbers for Lookup {
    fn number(&self, token_id: u32) -> u32 {
        self.0[token_id as usize]
    }
}
