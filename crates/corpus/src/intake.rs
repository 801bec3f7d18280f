//! Counts rows by outcome, refuses repeated ids, and passes on the samples.

use std::collections::{HashMap, hash_map::Entry};

use leadspan_sequence::SectionBounds;

use crate::{
    BadRow, CorpusError, DropReason, PrepareReport,
    rows::RawRow,
    sample_maker::{MadeSample, RowError},
};

/// One sample as [`prepare_into`](crate::prepare_into) gives it: its place and split are not known before the last row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedSample {
    /// The row's own id, or `FILE:LINE`.
    pub id: String,
    /// Token ids of the whole templated sequence.
    pub tokens: Vec<u32>,
    /// Where its sections begin and end.
    pub bounds: SectionBounds,
    /// The hash of its content: see [`Prepared::row_hashes`](crate::Prepared::row_hashes).
    pub row_hash: [u8; 32],
    /// How many of its tokens the row asks to keep, if `data.lead_span_column` names a field of it.
    pub lead_span: Option<u32>,
}

/// Counts the outcomes of rows, which it is given in the order of the rows.
pub(crate) struct Intake<'a> {
    on_bad_row: BadRow,
    names: &'a [String],
    /// The file and row of every id, by the BLAKE3 of the id. Ids may be long, and every row has one.
    places: HashMap<[u8; 32], (usize, u64)>,
    pub(crate) report: PrepareReport,
}

impl<'a> Intake<'a> {
    pub(crate) fn new(on_bad_row: BadRow, names: &'a [String]) -> Self {
        Self {
            on_bad_row,
            names,
            places: HashMap::new(),
            report: PrepareReport::default(),
        }
    }

    /// Counts a row and returns its sample; `None` if the row is left out or dropped.
    pub(crate) fn take(
        &mut self,
        row: &RawRow,
        made: Result<Option<MadeSample>, RowError>,
    ) -> Result<Option<PreparedSample>, CorpusError> {
        self.report.rows += 1;
        let made = match made {
            Ok(Some(made)) => made,
            Ok(None) => {
                self.drop_one(DropReason::FilteredOut);
                return Ok(None);
            }
            Err(RowError::Fatal(error)) => return Err(error),
            Err(RowError::Bad(problem)) => {
                return match self.on_bad_row {
                    BadRow::Stop => {
                        let file = self.names[row.file].clone();
                        Err(CorpusError::BadRow {
                            file,
                            line: row.number,
                            problem,
                        })
                    }
                    BadRow::Skip => {
                        self.report.add_bad_row(&self.place(row.file, row.number), &problem);
                        Ok(None)
                    }
                };
            }
        };
        let MadeSample {
            id,
            without_markers,
            outcome,
        } = made;
        match self.places.entry(*blake3::hash(id.as_bytes()).as_bytes()) {
            Entry::Vacant(entry) => {
                entry.insert((row.file, row.number));
            }
            Entry::Occupied(entry) => {
                let &(file, number) = entry.get();
                let (first, second) = (self.place(file, number), self.place(row.file, row.number));
                return Err(CorpusError::DuplicateId { id, first, second });
            }
        }
        self.report.without_markers += u64::from(without_markers);
        match outcome {
            Ok(content) => {
                self.report.tokens.add(content.bounds);
                Ok(Some(PreparedSample {
                    id,
                    tokens: content.tokens,
                    bounds: content.bounds,
                    row_hash: content.row_hash,
                    lead_span: content.lead_span,
                }))
            }
            Err(reason) => {
                self.drop_one(reason);
                Ok(None)
            }
        }
    }

    fn drop_one(&mut self, reason: DropReason) {
        *self.report.dropped.entry(reason).or_default() += 1;
    }

    fn place(&self, file: usize, row: u64) -> String {
        format!("{}:{row}", self.names[file])
    }
}
