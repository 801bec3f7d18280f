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

/// Where a sample is stored: its layer, the number of the open shard, its index in that corpus, and its first block in the shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredSample<'a> {
    pub(super) layer: &'a Layer,
    pub(super) shard: usize,
    pub(super) index: u32,
    pub(super) first_block: usize,
}

/// The blocks of a sample in the layer `wanted`, whose positions the layer of `stored` holds. `index` is its index in the new
/// corpus.
pub(super) fn new_blocks(index: u32, sample: SampleRef<'_>, stored: StoredSample<'_>, wanted: &Layer) -> Vec<NewBlock> {
    let held: Vec<u32> = stored.layer.positions(sample).collect();
    let size = block_positions(sample.token_count());
    let ranges = wanted_ordinals((sample, sample.bounds.tokens()), stored.layer, wanted);
    let ordinals: Vec<usize> = ranges.into_iter().flatten().collect();
    let block_of = |ordinals: &[usize]| {
        let mut pieces: Vec<Piece> = Vec::new();
        for &ordinal in ordinals {
            let (block, place) = (ordinal / size, ordinal % size);
            match pieces.last_mut() {
                Some(last) if last.block == stored.first_block + block && last.taken.end == place => {
                    last.taken.end = place + 1;
                }
                _ => pieces.push(Piece {
                    shard: stored.shard,
                    block: stored.first_block + block,
                    stored: (stored.index, held[block * size], size.min(held.len() - block * size)),
                    taken: place..place + 1,
                }),
            }
        }
        NewBlock {
            sample: index,
            first_position: held[ordinals[0]],
            positions: ordinals.len() as u32,
            pieces,
        }
    };
    ordinals.chunks(size).map(block_of).collect()
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

    fn stored(layer: &Layer) -> StoredSample<'_> {
        StoredSample {
            layer,
            shard: 1,
            index: 7,
            first_block: 10,
        }
    }

    #[test]
    fn a_shorter_proportion_takes_whole_blocks_and_the_beginning_of_one() {
        // 41 tokens, 40 positions, blocks of 8. Of 0.5, 20 tokens and 19 positions.
        let (whole, half) = (layer("1", &Section::ALL), layer("0.5", &Section::ALL));
        let blocks = new_blocks(3, sample(41), stored(&whole), &half);
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
        let same = new_blocks(3, sample(38), stored(&whole), &whole);
        assert!(same.iter().all(|block| block.whole().is_some()));
        assert_eq!(same.last().unwrap().positions, 5);
        assert!(new_blocks(0, sample(1), stored(&whole), &whole).is_empty());
    }

    #[test]
    fn fewer_sections_are_pieces_of_several_blocks() {
        // 30 tokens: targets of the prompt 1..10, of the chain of thought 10..20, of the answer 20..30.
        let (whole, ends) = (
            layer("1", &Section::ALL),
            layer("1", &[Section::Prompt, Section::Answer]),
        );
        let blocks = new_blocks(0, sample(30), stored(&whole), &ends);
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
}
