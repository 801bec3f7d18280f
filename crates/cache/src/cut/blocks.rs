//! What the blocks of a new shard consist of: pieces of the blocks of other shards. Pure.

use std::ops::Range;

use crate::{Layer, SampleRef, shard::blocks::block_positions, shard::wanted_ordinals};

/// A block of the new shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewBlock {
    /// The sample's index in the new corpus.
    pub(super) sample: u32,
    pub(super) first_position: u32,
    pub(super) positions: u32,
    /// Where its positions come from, in order; at least one.
    pub(super) pieces: Vec<Piece>,
}

/// Consecutive positions of one stored block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The number of the shard among those that are open.
    pub(super) shard: usize,
    /// The number of the block in the shard.
    pub(super) block: usize,
    /// The sample, the first position and the number of positions of the stored block.
    pub(super) stored: (u32, u32, usize),
    /// The positions that are taken, counted within the block.
    pub(super) taken: Range<usize>,
}

impl NewBlock {
    /// The block of a shard that is this block byte for byte, if there is one.
    pub(super) fn whole(&self) -> Option<&Piece> {
        match &self.pieces[..] {
            [piece] if piece.taken.len() == piece.stored.2 => Some(piece),
            _ => None,
        }
    }
}

/// Where positions of a sample are stored: the layer, the positions of it that are taken, the number of the open shard, its index
/// in that corpus, and its first block in the shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredSample<'a> {
    pub(super) layer: &'a Layer,
    pub(super) taken: &'a Layer,
    pub(super) shard: usize,
    pub(super) index: u32,
    pub(super) first_block: usize,
}

/// The blocks of a sample whose positions are taken from these places, each from one of them. `index` is its index in the new
/// corpus.
pub(super) fn new_blocks(index: u32, sample: SampleRef<'_>, stored: &[StoredSample<'_>]) -> Vec<NewBlock> {
    let held = |of: &StoredSample<'_>| of.layer.positions(sample).collect();
    let held: Vec<Vec<u32>> = stored.iter().map(held).collect();
    let size = block_positions(sample.token_count());
    // Each position, the number of its place, and its ordinal there.
    let mut taken: Vec<(u32, usize, usize)> = Vec::new();
    for (place, of) in stored.iter().enumerate() {
        let ranges = wanted_ordinals((sample, sample.bounds.tokens()), of.layer, of.taken);
        let ordinals = ranges.into_iter().flatten();
        taken.extend(ordinals.map(|ordinal| (held[place][ordinal], place, ordinal)));
    }
    taken.sort_unstable();
    let block_of = |taken: &[(u32, usize, usize)]| {
        let mut pieces: Vec<Piece> = Vec::new();
        for &(_, place, ordinal) in taken {
            let (of, held) = (&stored[place], &held[place]);
            let (block, at) = (of.first_block + ordinal / size, ordinal % size);
            match pieces.last_mut() {
                Some(last) if (last.shard, last.block, last.taken.end) == (of.shard, block, at) => {
                    last.taken.end = at + 1;
                }
                _ => {
                    let first = ordinal - at;
                    pieces.push(Piece {
                        shard: of.shard,
                        block,
                        stored: (of.index, held[first], size.min(held.len() - first)),
                        taken: at..at + 1,
                    });
                }
            }
        }
        NewBlock {
            sample: index,
            first_position: taken[0].0,
            positions: taken.len() as u32,
            pieces,
        }
    };
    taken.chunks(size).map(block_of).collect()
}

#[cfg(test)]
mod tests {
    use leadspan_sequence::{Section, SectionBounds, SectionSet, Split};

    use super::*;
    use crate::tests::synthetic::coverage;

    fn layer(proportion: &str, sections: &[Section]) -> Layer {
        coverage(proportion, SectionSet::new(sections.iter().copied()).unwrap()).into()
    }

    fn sample(tokens: u32) -> SampleRef<'static> {
        SampleRef {
            id: "a",
            split: Split::Train,
            bounds: SectionBounds::new(tokens / 3, tokens * 2 / 3, tokens).unwrap(),
        }
    }

    fn stored<'a>(layer: &'a Layer, taken: &'a Layer) -> [StoredSample<'a>; 1] {
        [StoredSample {
            layer,
            taken,
            shard: 1,
            index: 7,
            first_block: 10,
        }]
    }

    #[test]
    fn a_shorter_proportion_takes_whole_blocks_and_the_beginning_of_one() {
        // 41 tokens, 40 positions, blocks of 8. Of 0.5, 20 tokens and 19 positions.
        let (whole, half) = (layer("1", &Section::ALL), layer("0.5", &Section::ALL));
        let blocks = new_blocks(3, sample(41), &stored(&whole, &half));
        let shapes: Vec<_> = blocks
            .iter()
            .map(|block| {
                (
                    block.sample,
                    block.first_position,
                    block.positions,
                    block.whole().is_some(),
                )
            })
            .collect();
        assert_eq!(shapes, [(3, 0, 8, true), (3, 8, 8, true), (3, 16, 3, false)]);
        let piece = |block, first, taken| Piece {
            shard: 1,
            block,
            stored: (7, first, 8),
            taken,
        };
        assert_eq!(blocks[1].pieces, [piece(11, 8, 0..8)]);
        assert_eq!(blocks[2].pieces, [piece(12, 16, 0..3)]);
        // What is taken whole has the same blocks; the last one is shorter.
        let same = new_blocks(3, sample(38), &stored(&whole, &whole));
        assert!(same.iter().all(|block| block.whole().is_some()));
        assert_eq!(same.last().unwrap().positions, 5);
        assert!(new_blocks(0, sample(1), &stored(&whole, &whole)).is_empty());
    }

    #[test]
    fn fewer_sections_are_pieces_of_several_blocks() {
        // 30 tokens: targets of the prompt 1..10, of the chain of thought 10..20, of the answer 20..30.
        let (whole, ends) = (
            layer("1", &Section::ALL),
            layer("1", &[Section::Prompt, Section::Answer]),
        );
        let blocks = new_blocks(0, sample(30), &stored(&whole, &ends));
        // Positions 0 to 8 and 19 to 28 in blocks of 8.
        let taken: Vec<Vec<(usize, Range<usize>)>> = blocks
            .iter()
            .map(|block| {
                let pieces = block.pieces.iter();
                pieces.map(|piece| (piece.block, piece.taken.clone())).collect()
            })
            .collect();
        assert_eq!(
            taken,
            [
                vec![(10, 0..8)],
                vec![(11, 0..1), (12, 3..8), (13, 0..2)],
                vec![(13, 2..5)]
            ]
        );
        assert_eq!((blocks[1].first_position, blocks[1].positions), (8, 8));
        assert_eq!(blocks[2].pieces[0].stored, (7, 24, 5));
    }

    #[test]
    fn bands_that_are_joined_form_blocks_across_their_seam() {
        // 41 tokens, blocks of 8: positions 0 to 18 in one layer, 19 to 39 in the other.
        let (whole, half) = (layer("1", &Section::ALL), layer("0.5", &Section::ALL));
        let mut bands = Vec::from(whole.clone());
        for band in &mut bands {
            band.above = Some("0.5".parse().unwrap());
        }
        let rest = Layer::try_from(bands).unwrap();
        let [first] = stored(&half, &half);
        let [mut second] = stored(&rest, &rest);
        (second.shard, second.first_block) = (2, 30);
        let blocks = new_blocks(0, sample(41), &[first, second]);
        assert!(blocks.iter().map(|block| block.first_position).eq([0, 8, 16, 24, 32]));
        let pieces = |block: &NewBlock| -> Vec<(usize, usize, Range<usize>)> {
            let pieces = block.pieces.iter();
            pieces
                .map(|piece| (piece.shard, piece.block, piece.taken.clone()))
                .collect()
        };
        assert!(blocks[1].whole().is_some());
        assert_eq!(pieces(&blocks[2]), [(1, 12, 0..3), (2, 30, 0..5)]);
        assert_eq!(pieces(&blocks[4]), [(2, 31, 5..8), (2, 32, 0..5)]);
        assert_eq!(blocks[4].pieces[1].stored, (7, 35, 5));
    }
}
