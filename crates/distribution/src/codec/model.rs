//! What the blocks of one row group share: the numbering of the vocabulary and the frequencies of tokens.

use std::ops::Range;

use super::{
    CodecError, Layout,
    block::{BlockReader, Joiner, Numbers, Splitter},
    context,
    integers::{BitWriter, TOKENS, split},
    precision::Levels,
    rans::{self, Ranges, Slots},
};
use crate::{Distributions, EntrySettings};

/// A codec fitted to some positions; see the [module's front page](super).
#[derive(Clone, Debug)]
pub struct Model {
    layout: Layout,
    /// The token id of each number.
    numbering: Vec<u32>,
    /// One list a context, empty where nothing is coded in it.
    frequencies: Vec<Vec<u32>>,
    slots: Slots,
    levels: Levels,
}

impl Model {
    /// The model that encodes `distributions`.
    ///
    /// # Panics
    ///
    /// Where they have other temperatures than the layout says.
    pub fn fit(distributions: &Distributions, layout: Layout) -> Self {
        assert!(
            distributions.is_empty() || distributions.temperatures() == layout.temperatures,
            "every position has a tail term for each temperature"
        );
        let numbering = numbering(distributions);
        let numbers = Lookup::new(&numbering);
        let mut counts = vec![[0u64; TOKENS]; context::COUNT];
        let mut splitter = Splitter::default();
        for position in distributions.iter() {
            splitter.split(&position, &layout, &numbers, &mut |context, integer| {
                counts[context][split(integer).token as usize] += 1;
            });
        }
        let frequencies = counts.iter().map(|counts| rans::frequencies(counts)).collect();
        Self::new(layout, numbering, frequencies).expect("fitted frequencies sum to 4096")
    }

    /// A model from what [`numbering`](Self::numbering) and [`frequencies`](Self::frequencies) gave.
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

    /// The frequencies of every context, each list behind its length.
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
            splitter: Splitter::default(),
            tokens: Vec::new(),
            bits: BitWriter::default(),
            words: Vec::new(),
        }
    }

    /// Adds the `positions` positions of a block to `into`.
    ///
    /// # Errors
    ///
    /// [`CodecError::Damaged`]; `into` then holds some of the positions.
    ///
    /// # Panics
    ///
    /// Where `into` holds positions with other temperatures.
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
    splitter: Splitter,
    tokens: Vec<(u8, u8)>,
    bits: BitWriter,
    words: Vec<u16>,
}

impl Encoder<'_> {
    /// The block of some of the positions that the model was fitted to.
    ///
    /// # Panics
    ///
    /// Where the model was fitted to others, and something in these never occurred in those.
    pub fn encode(&mut self, distributions: &Distributions, positions: Range<usize>) -> Vec<u8> {
        let Self {
            model,
            numbers,
            ranges,
            splitter,
            tokens,
            bits,
            words,
        } = self;
        tokens.clear();
        bits.clear();
        for index in positions {
            let position = distributions.get(index);
            splitter.split(&position, &model.layout, numbers, &mut |context, integer| {
                let parts = split(integer);
                tokens.push((context as u8, parts.token));
                bits.push(parts.bits, parts.width);
            });
        }
        let mut block = Vec::new();
        let reversed = tokens
            .iter()
            .rev()
            .map(|&(context, token)| (&ranges[context as usize], token));
        rans::encode(reversed, words, &mut block);
        block.extend(bits.finish().iter().rev());
        block
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
