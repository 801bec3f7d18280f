//! The samples of one part as columns: ids, section bounds and hashes, and the tokens of all samples in one buffer.
//!
//! The buffers are in memory or mapped from the part's files. Tokens that are mapped are compared with their checksum
//! each time they are read.

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

/// The samples of one part. Rows are counted within the part.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    pub(super) ids: LargeStringArray,
    /// The number of training samples. They come first; the others are held out.
    pub(super) train: usize,
    /// Where the tokens of each sample end in `tokens`.
    pub(super) token_ends: ScalarBuffer<u64>,
    pub(super) prompt_ends: ScalarBuffer<u32>,
    pub(super) chain_of_thought_ends: ScalarBuffer<u32>,
    /// The largest token id of each sample; 0 if it has no tokens.
    pub(super) largest_tokens: ScalarBuffer<u32>,
    pub(super) row_hashes: FixedSizeBinaryArray,
    /// How much of each sample its row asks to keep, if the data says so.
    pub(super) lead_spans: Option<LeadSpans>,
    /// The tokens of all samples, one sample after the other.
    pub(super) tokens: ScalarBuffer<u32>,
    /// The checksums of mapped tokens; `None` if the tokens are in memory.
    pub(super) stored: Option<StoredTokens>,
}

/// How many tokens of each sample are kept, and the column of the data that says so.
#[derive(Clone, Debug)]
pub(super) struct LeadSpans {
    pub(super) column: String,
    pub(super) tokens: ScalarBuffer<u32>,
}

/// The file of the tokens and their checksums.
#[derive(Clone, Debug)]
pub(super) struct StoredTokens {
    pub(super) path: PathBuf,
    /// CRC-32 of the tokens of each sample, as little-endian bytes.
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
            .expect("bounds are checked before the columns are made");
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

    /// The tokens of a sample.
    ///
    /// # Errors
    ///
    /// [`CacheError::Damaged`] if they are mapped and differ from their checksum; [`CacheError::Inconsistent`] if their
    /// largest one is not the stated one, by which readers know that a model has all of them.
    pub(super) fn tokens(&self, row: usize) -> Result<&[u32], CacheError> {
        let tokens = &self.tokens[self.token_start(row) as usize..self.token_ends[row] as usize];
        match &self.stored {
            Some(StoredTokens { path, crc32s }) if crc32(tokens) != crc32s[row] => Err(CacheError::Damaged {
                path: path.clone(),
                part: format!("tokens of sample `{}`", self.ids.value(row)),
            }),
            Some(StoredTokens { path, .. }) if largest(tokens) != self.largest_tokens[row] => {
                Err(CacheError::Inconsistent {
                    path: path.clone(),
                    problem: format!(
                        "the largest token of sample `{}` is {}, but the table states {}",
                        self.ids.value(row),
                        largest(tokens),
                        self.largest_tokens[row]
                    ),
                })
            }
            _ => Ok(tokens),
        }
    }

    pub(super) fn row_hash(&self, row: usize) -> &[u8; 32] {
        let hash = self.row_hashes.value(row);
        hash.try_into().expect("the column is 32 bytes wide")
    }
}

/// CRC-32 of tokens as little-endian bytes.
pub(super) fn crc32(tokens: &[u32]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    with_bytes(tokens, |bytes| hasher.update(bytes));
    hasher.finalize()
}

/// The largest token id, or 0 if there are no tokens.
pub(super) fn largest(tokens: &[u32]) -> u32 {
    tokens.iter().copied().max().unwrap_or(0)
}

/// Passes tokens to `take` as little-endian bytes, piece by piece.
pub(super) fn with_bytes(tokens: &[u32], mut take: impl FnMut(&[u8])) {
    let mut bytes = [0; 4096];
    for piece in tokens.chunks(bytes.len() / 4) {
        for (place, token) in bytes.chunks_exact_mut(4).zip(piece) {
            place.copy_from_slice(&token.to_le_bytes());
        }
        take(&bytes[..4 * piece.len()]);
    }
}

/// Builds [`Columns`] in memory.
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
    /// The column of the data that says how much is kept, and what it says.
    lead_spans: Option<(String, Vec<u32>)>,
    tokens: Vec<u32>,
    crc32s: Vec<u32>,
}

impl ColumnsBuilder {
    /// Adds a sample with its tokens. Their number is the one that `sample.bounds` states.
    pub(crate) fn push(&mut self, sample: SampleRef<'_>, tokens: &[u32], row_hash: &[u8; 32]) {
        self.push_edges(sample, tokens, row_hash);
        self.tokens.extend_from_slice(tokens);
    }

    /// Adds a sample without storing its tokens.
    pub(super) fn push_edges(&mut self, sample: SampleRef<'_>, tokens: &[u32], row_hash: &[u8; 32]) {
        debug_assert_eq!(tokens.len(), sample.token_count());
        self.ids.extend_from_slice(sample.id.as_bytes());
        self.id_ends.push(self.ids.len() as i64);
        self.train += usize::from(sample.split == Split::Train);
        let before = self.token_ends.last().copied().unwrap_or(0);
        self.token_ends.push(before + sample.token_count() as u64);
        self.prompt_ends.push(sample.bounds.prompt_end());
        self.chain_of_thought_ends.push(sample.bounds.chain_of_thought_end());
        self.largest_tokens.push(largest(tokens));
        self.row_hashes.extend_from_slice(row_hash);
        self.crc32s.push(crc32(tokens));
    }

    /// Adds the lead span of the sample that was pushed last: so many tokens, as the data's field `column` says.
    pub(super) fn push_lead_span(&mut self, column: &str, tokens: u32) {
        let (_, lead_spans) = self.lead_spans.get_or_insert_with(|| (column.to_owned(), Vec::new()));
        lead_spans.push(tokens);
    }

    /// Whether all samples have a lead span, or none has.
    pub(super) fn have_all_lead_spans(&self) -> bool {
        let lead_spans = self.lead_spans.as_ref();
        lead_spans.is_none_or(|(_, lead_spans)| lead_spans.len() == self.token_ends.len())
    }

    /// The split of each sample, assuming that training samples come first.
    pub(super) fn splits(&self) -> impl Iterator<Item = Split> {
        let held_out = self.token_ends.len() - self.train;
        repeat_n(Split::Train, self.train).chain(repeat_n(Split::Validation, held_out))
    }

    /// The columns, and the CRC-32 of the tokens of each sample.
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
            lead_spans: self.lead_spans.map(|(column, tokens)| LeadSpans {
                column,
                tokens: tokens.into(),
            }),
            tokens: self.tokens.into(),
            stored: None,
        };
        (columns, self.crc32s.into())
    }

    /// The columns. Their tokens are in memory.
    pub(crate) fn finish(self) -> Columns {
        self.build().0
    }
}
