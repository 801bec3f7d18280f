//! The samples of one part as columns: ids, edges and hashes, and the tokens of all samples in one buffer.
//!
//! The buffers are either in memory or mapped from the part's files. The columns do not know which; only a sample whose
//! checksum is stored is checked when its tokens are read.

use std::{
    iter::{once, repeat_n},
    path::PathBuf,
};

use arrow::{
    array::{FixedSizeBinaryArray, LargeStringArray},
    buffer::ScalarBuffer,
};
use leadspan_sequence::{SectionBounds, Split};

use super::sample_ref::SampleRef;
use crate::CacheError;

/// Samples of one part. Row numbers count within the part.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    pub(super) ids: LargeStringArray,
    /// So many samples at the start are for training; the others are held out.
    pub(super) train: usize,
    /// Where each sample's tokens end in `tokens`.
    pub(super) token_ends: ScalarBuffer<u64>,
    pub(super) prompt_ends: ScalarBuffer<u32>,
    pub(super) chain_of_thought_ends: ScalarBuffer<u32>,
    /// The largest token id of each sample; 0 if it has no tokens.
    pub(super) largest_tokens: ScalarBuffer<u32>,
    pub(super) row_hashes: FixedSizeBinaryArray,
    /// The tokens of all samples, one after the other.
    pub(super) tokens: ScalarBuffer<u32>,
    /// What the tokens are compared with when they are read.
    pub(super) stored: Option<StoredTokens>,
}

/// Where the tokens are stored, and their checksums.
#[derive(Clone, Debug)]
pub(super) struct StoredTokens {
    pub(super) path: PathBuf,
    /// CRC-32 of each sample's tokens as little-endian bytes.
    pub(super) crc32s: ScalarBuffer<u32>,
}

impl Columns {
    pub(crate) fn len(&self) -> usize {
        self.token_ends.len()
    }

    pub(super) fn token_start(&self, row: usize) -> u64 {
        row.checked_sub(1).map_or(0, |before| self.token_ends[before])
    }

    pub(super) fn sample(&self, row: usize) -> SampleRef<'_> {
        let tokens = (self.token_ends[row] - self.token_start(row)) as u32;
        let bounds = SectionBounds::new(self.prompt_ends[row], self.chain_of_thought_ends[row], tokens)
            .expect("edges are checked before the columns are made");
        SampleRef {
            id: self.ids.value(row),
            split: if row < self.train {
                Split::Train
            } else {
                Split::Validation
            },
            bounds,
        }
    }

    /// The tokens of a sample, compared with their checksum if it is stored.
    pub(super) fn tokens(&self, row: usize) -> Result<&[u32], CacheError> {
        let tokens = &self.tokens[self.token_start(row) as usize..self.token_ends[row] as usize];
        match &self.stored {
            Some(StoredTokens { path, crc32s }) if crc32(tokens) != crc32s[row] => Err(CacheError::Damaged {
                path: path.clone(),
                part: format!("tokens of sample `{}`", self.ids.value(row)),
            }),
            _ => Ok(tokens),
        }
    }

    pub(super) fn row_hash(&self, row: usize) -> &[u8; 32] {
        let hash = self.row_hashes.value(row);
        hash.try_into().expect("the column is 32 bytes wide")
    }
}

/// The checksum of a sample's tokens.
pub(super) fn crc32(tokens: &[u32]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    with_bytes(tokens, |bytes| hasher.update(bytes));
    hasher.finalize()
}

/// Hands over tokens as little-endian bytes, piece by piece.
pub(super) fn with_bytes(tokens: &[u32], mut take: impl FnMut(&[u8])) {
    let mut bytes = [0; 4096];
    for piece in tokens.chunks(bytes.len() / 4) {
        for (place, token) in bytes.chunks_exact_mut(4).zip(piece) {
            place.copy_from_slice(&token.to_le_bytes());
        }
        take(&bytes[..4 * piece.len()]);
    }
}

/// Columns that grow in memory.
#[derive(Debug, Default)]
pub(crate) struct ColumnsBuilder {
    ids: Vec<u8>,
    id_ends: Vec<i64>,
    train: usize,
    pub(super) token_ends: Vec<u64>,
    prompt_ends: Vec<u32>,
    chain_of_thought_ends: Vec<u32>,
    largest_tokens: Vec<u32>,
    row_hashes: Vec<u8>,
    tokens: Vec<u32>,
    crc32s: Vec<u32>,
}

impl ColumnsBuilder {
    /// Adds a sample with its tokens, which `sample.bounds` fit.
    pub(crate) fn push(&mut self, sample: SampleRef<'_>, tokens: &[u32], row_hash: &[u8; 32]) {
        self.push_edges(sample, tokens, row_hash);
        self.tokens.extend_from_slice(tokens);
    }

    /// Adds a sample whose tokens are kept elsewhere.
    pub(super) fn push_edges(&mut self, sample: SampleRef<'_>, tokens: &[u32], row_hash: &[u8; 32]) {
        debug_assert_eq!(tokens.len(), sample.token_count());
        let of_tokens = TokenFacts::of(tokens);
        self.push_facts(sample, of_tokens, row_hash);
    }

    pub(super) fn push_facts(&mut self, sample: SampleRef<'_>, tokens: TokenFacts, row_hash: &[u8; 32]) {
        self.ids.extend_from_slice(sample.id.as_bytes());
        self.id_ends.push(self.ids.len() as i64);
        self.train += usize::from(sample.split == Split::Train);
        let before = self.token_ends.last().copied().unwrap_or(0);
        self.token_ends.push(before + sample.token_count() as u64);
        self.prompt_ends.push(sample.bounds.prompt_end());
        self.chain_of_thought_ends.push(sample.bounds.chain_of_thought_end());
        self.largest_tokens.push(tokens.largest);
        self.row_hashes.extend_from_slice(row_hash);
        self.crc32s.push(tokens.crc32);
    }

    /// The split of each sample, if training samples come first.
    pub(super) fn splits(&self) -> impl Iterator<Item = Split> {
        let held_out = self.token_ends.len() - self.train;
        repeat_n(Split::Train, self.train).chain(repeat_n(Split::Validation, held_out))
    }

    /// The columns, and the checksum of each sample's tokens.
    pub(super) fn build(self) -> (Columns, ScalarBuffer<u32>) {
        let id_offsets: Vec<i64> = once(0).chain(self.id_ends).collect();
        let columns = Columns {
            ids: LargeStringArray::new(
                arrow::buffer::OffsetBuffer::new(ScalarBuffer::from(id_offsets)),
                self.ids.into(),
                None,
            ),
            train: self.train,
            token_ends: self.token_ends.into(),
            prompt_ends: self.prompt_ends.into(),
            chain_of_thought_ends: self.chain_of_thought_ends.into(),
            largest_tokens: self.largest_tokens.into(),
            row_hashes: FixedSizeBinaryArray::new(32, self.row_hashes.into(), None),
            tokens: self.tokens.into(),
            stored: None,
        };
        (columns, self.crc32s.into())
    }

    /// The columns, with the tokens in memory.
    pub(crate) fn finish(self) -> Columns {
        self.build().0
    }
}

/// What the columns hold of a sample's tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenFacts {
    pub(super) largest: u32,
    pub(super) crc32: u32,
}

impl TokenFacts {
    pub(super) fn of(tokens: &[u32]) -> Self {
        Self {
            largest: tokens.iter().copied().max().unwrap_or(0),
            crc32: crc32(tokens),
        }
    }
}
