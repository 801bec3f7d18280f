//! Samples in the order of their rows, in a temporary file, until all rows are read and their final order is known.
//!
//! The file lies in the cache's folder and has no name, so that a killed process leaves nothing. A record is, little-endian:
//!
//! ```text
//! row hash: 32 bytes │ prompt_end, chain_of_thought_end, tokens, lead span, bytes of the id: u32 each │ id │ token ids: u32 each
//! ```
//!
//! A sample that has no lead span of its own has 0 there.
//!
//! In memory are 12 bytes for each sample: where its record ends, and its largest token.

use std::{
    io::{BufWriter, Write},
    path::Path,
};

use leadspan_cache::{CacheError, CorpusWriter, SampleRef};
use leadspan_corpus::{Place, PreparedSample};
use leadspan_files::{FileError, UnnamedFile};
use leadspan_sequence::SectionBounds;

/// Bytes written at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Bytes of a record before the id.
const HEAD_BYTES: usize = 32 + 5 * 4;

/// The file while rows are read.
pub(super) struct RowSpool {
    file: BufWriter<UnnamedFile>,
    /// A record, built before it is written.
    record: Vec<u8>,
    index: Index,
}

/// What is in memory of each sample, in the order of the rows.
#[derive(Default)]
struct Index {
    ends: Vec<u64>,
    largest_tokens: Vec<u32>,
}

impl RowSpool {
    /// An empty file in `folder`.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be written to.
    pub(super) fn create_in(folder: &Path) -> Result<Self, FileError> {
        Ok(Self {
            file: BufWriter::with_capacity(BUFFER_BYTES, UnnamedFile::create_in(folder)?),
            record: Vec::new(),
            index: Index::default(),
        })
    }

    /// Adds the sample of the next row.
    ///
    /// # Errors
    ///
    /// Fails if the file system refuses.
    pub(super) fn push(&mut self, sample: &PreparedSample) -> Result<(), FileError> {
        let PreparedSample {
            id,
            tokens,
            bounds,
            row_hash,
            lead_span,
        } = sample;
        let numbers = [
            bounds.prompt_end(),
            bounds.chain_of_thought_end(),
            tokens.len() as u32,
            // A row that asks to keep anything keeps at least one token.
            lead_span.unwrap_or(0),
            id.len() as u32,
        ];
        self.record.clear();
        self.record.extend_from_slice(row_hash);
        self.record
            .extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self.record.extend_from_slice(id.as_bytes());
        self.record.extend(tokens.iter().flat_map(|token| token.to_le_bytes()));
        let end = self.index.ends.last().copied().unwrap_or(0) + self.record.len() as u64;
        self.index.ends.push(end);
        self.index
            .largest_tokens
            .push(tokens.iter().copied().max().unwrap_or(0));
        let written = self.file.write_all(&self.record);
        written.map_err(|source| write_failed(self.file.get_ref().folder(), source))
    }

    /// The file with all samples.
    ///
    /// # Errors
    ///
    /// Fails if the file system refuses.
    pub(super) fn finish(self) -> Result<SpooledRows, FileError> {
        let file = self.file.into_inner().map_err(|error| {
            let (source, writer) = error.into_parts();
            write_failed(writer.get_ref().folder(), source)
        })?;
        Ok(SpooledRows {
            file,
            index: self.index,
            record: Vec::new(),
            sample: PreparedSample {
                id: String::new(),
                tokens: Vec::new(),
                bounds: SectionBounds::new(0, 0, 0).expect("three empty sections are in order"),
                row_hash: [0; 32],
                lead_span: None,
            },
        })
    }
}

fn write_failed(folder: &Path, source: std::io::Error) -> FileError {
    FileError::io("write a temporary file in", folder)(source)
}

/// The file once all rows are read. Samples are known by their number in the order of the rows.
pub(super) struct SpooledRows {
    file: UnnamedFile,
    index: Index,
    /// The bytes that were read last.
    record: Vec<u8>,
    /// The sample that was read last.
    sample: PreparedSample,
}

impl SpooledRows {
    /// The largest token id of a sample, or 0 if it has no tokens.
    pub(super) fn largest_token(&self, number: usize) -> u32 {
        self.index.largest_tokens[number]
    }

    /// Reads a sample.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
    pub(super) fn read(&mut self, number: usize) -> Result<&PreparedSample, FileError> {
        let start = number.checked_sub(1).map_or(0, |before| self.index.ends[before]);
        self.record.resize((self.index.ends[number] - start) as usize, 0);
        self.file.read_at(start, &mut self.record)?;
        let (head, rest) = self.record.split_at(HEAD_BYTES);
        let (row_hash, numbers) = head.split_at(32);
        let [prompt_end, chain_of_thought_end, tokens, kept, id_bytes] = [0, 1, 2, 3, 4].map(|place| {
            let bytes = numbers[4 * place..][..4].try_into().expect("a number has four bytes");
            u32::from_le_bytes(bytes)
        });
        let (id, token_bytes) = rest.split_at(id_bytes as usize);
        let PreparedSample {
            id: sample_id,
            tokens: sample_tokens,
            bounds,
            row_hash: sample_hash,
            lead_span,
        } = &mut self.sample;
        sample_id.clear();
        sample_id.push_str(std::str::from_utf8(id).expect("an id is text"));
        sample_tokens.clear();
        let token_ids = token_bytes.chunks_exact(4);
        sample_tokens.extend(token_ids.map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes"))));
        *bounds = SectionBounds::new(prompt_end, chain_of_thought_end, tokens).expect("they were bounds before");
        sample_hash.copy_from_slice(row_hash);
        *lead_span = (kept > 0).then_some(kept);
        Ok(&self.sample)
    }

    /// Writes the samples of `places` to the cache, in this order. Their lead spans are those of the data's field `column`.
    ///
    /// # Errors
    ///
    /// Fails if this file cannot be read or the file system refuses.
    pub(super) fn write(
        &mut self,
        places: &[Place],
        column: Option<&str>,
        files: &mut CorpusWriter,
    ) -> Result<(), CacheError> {
        for place in places {
            let sample = self.read(place.sample)?;
            let in_corpus = SampleRef {
                id: &sample.id,
                split: place.split,
                bounds: sample.bounds,
            };
            files.push(in_corpus, &sample.tokens, &sample.row_hash)?;
            if let (Some(column), Some(kept)) = (column, sample.lead_span) {
                files.push_lead_span(column, kept);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: u32) -> PreparedSample {
        PreparedSample {
            id: format!("row {number}: “é”"),
            tokens: (0..3 * number).map(|token| token * token).collect(),
            bounds: SectionBounds::new(number, 2 * number, 3 * number).unwrap(),
            row_hash: [number as u8; 32],
            lead_span: (number % 2 == 1).then_some(number),
        }
    }

    #[test]
    fn samples_are_read_in_any_order_as_they_were_pushed() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = RowSpool::create_in(folder.path()).unwrap();
        for number in 0..5 {
            spool.push(&sample(number)).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut rows = spool.finish().unwrap();
        for number in [3, 0, 4, 4, 1, 2] {
            assert_eq!(rows.read(number as usize).unwrap(), &sample(number));
        }
        let largest = [0, 1, 2].map(|number| rows.largest_token(number));
        assert_eq!(largest, [0, 4, 25]);
    }
}
