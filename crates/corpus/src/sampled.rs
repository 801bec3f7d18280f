//! Prepares a random sample of the rows, to predict what preparing all of them gives.
//!
//! All rows are read, but only the drawn ones are parsed, rendered and tokenized, which takes most of the time. A row's
//! key is BLAKE3 of the seed (8 bytes, little-endian), `sample`, a zero byte, the index of its file and its number (8
//! bytes each, little-endian); the rows with the smallest keys are drawn.

use std::{collections::BinaryHeap, path::Path};

use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::{
    ChatTemplate, CorpusError, DataSettings, PrepareProgress, Prepared, RowRules, SectionSettings, ValidationSize,
    copies::content,
    intake::Intake,
    order::Arranging,
    prepare::{arrange, prepare},
    reading::Input,
    rows::{RawRow, RowContent},
    sample_maker::SampleMaker,
};

/// Rows between two reports of progress.
const PROGRESS_ROWS: u64 = 4096;

/// The samples of some of the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// The corpus of the drawn rows. If `data.validation` or `data.training` is a count, it is scaled down like the
    /// rows.
    pub prepared: Prepared,
    /// The number of all rows.
    pub rows: u64,
    /// The number of rows that were drawn; all rows if there are no more than asked for.
    pub drawn: u64,
}

/// Prepares `most` rows of `data`. If there are no more than that, the result is that of [`prepare`](crate::prepare()).
///
/// `progress` is called on this thread while rows are read. Repeated ids are found among the drawn rows only.
///
/// # Errors
///
/// Those of [`prepare`](crate::prepare()), as far as the drawn rows show them.
pub fn sample(
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    most: usize,
    progress: &dyn Fn(PrepareProgress),
) -> Result<Sampled, CorpusError> {
    let input = Input::find(base, data, sections)?;
    let mut reading = input.rows(data, RowRules::CURRENT);
    let mut drawing = Drawing::new(most, data.seed);
    while let Some(row) = reading.next_row()? {
        drawing.take(row);
        if drawing.rows.is_multiple_of(PROGRESS_ROWS) {
            progress(PrepareProgress {
                rows: drawing.rows,
                kept: drawing.drawn.len() as u64,
                bytes_read: reading.bytes_read(),
                bytes_total: input.bytes,
            });
        }
    }
    let Drawing { rows, drawn, .. } = drawing;
    if rows <= most as u64 {
        let prepared = prepare(base, data, sections, template, tokenizer, progress)?;
        return Ok(Sampled {
            prepared,
            rows,
            drawn: rows,
        });
    }
    let mut drawn: Vec<RawRow> = drawn.into_iter().map(|one| one.row).collect();
    drawn.sort_unstable_by_key(|row| (row.file, row.number));
    let maker = SampleMaker::new(data, sections, template, tokenizer, &input.names, RowRules::CURRENT)?;
    let outcomes: Vec<_> = drawn.par_iter().map(|row| maker.make(row)).collect();
    let (mut samples, mut arranging) = (Vec::new(), Arranging::default());
    let mut intake = Intake::new(data.on_bad_row, &input.names);
    for (row, outcome) in drawn.iter().zip(outcomes) {
        if let Some(sample) = intake.take(row, outcome)? {
            arranging.add(&sample.id, sample.bounds, content(&sample.tokens));
            samples.push(sample);
        }
    }
    let report = intake.report;
    let share = drawn.len() as f64 / rows as f64;
    let validation = match data.validation {
        ValidationSize::Count(count) => ValidationSize::Count(reduced(count, share)),
        share @ ValidationSize::Share(_) => share,
    };
    let training = data.training.map(|most| reduced(most, share));
    let arrangement = arrange(&arranging, report, input.files, validation, training, data.seed)?;
    Ok(Sampled {
        prepared: arrangement.of(samples),
        rows,
        drawn: drawn.len() as u64,
    })
}

/// A count for all rows, scaled to a share of them: at least 1, unless it is 0.
fn reduced(count: usize, share: f64) -> usize {
    ((count as f64 * share).round() as usize).max(count.min(1))
}

/// The rows with the smallest keys so far.
struct Drawing {
    most: usize,
    seed: u64,
    rows: u64,
    /// Rows with the largest keys leave first.
    drawn: BinaryHeap<Drawn>,
}

struct Drawn {
    key: [u8; 32],
    row: RawRow,
}

impl Drawing {
    fn new(most: usize, seed: u64) -> Self {
        Self {
            most,
            seed,
            rows: 0,
            drawn: BinaryHeap::new(),
        }
    }

    fn take(&mut self, row: RawRow) {
        self.rows += 1;
        let key = key(self.seed, row.file as u64, row.number);
        let full = self.drawn.len() >= self.most;
        if full && self.drawn.peek().is_none_or(|last| last.key <= key) {
            return;
        }
        if full {
            self.drawn.pop();
        }
        let row = alone(row);
        self.drawn.push(Drawn { key, row });
    }
}

/// The row without its batch: a row of a table would keep the whole batch in memory.
fn alone(mut row: RawRow) -> RawRow {
    if let RowContent::Record { .. } = row.content
        && let Ok(fields) = row.content.fields(RowRules::CURRENT)
    {
        row.content = RowContent::Line(fields.to_line());
    }
    row
}

fn key(seed: u64, file: u64, number: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&seed.to_le_bytes())
        .update(b"sample\0")
        .update(&file.to_le_bytes())
        .update(&number.to_le_bytes());
    *hasher.finalize().as_bytes()
}

impl PartialEq for Drawn {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Drawn {}

impl PartialOrd for Drawn {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Drawn {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use leadspan_sequence::Split;
    use serde_json::json;

    use super::*;
    use crate::{template::tests::SMOLLM2, test_tokenizers::byte_level};

    fn sample_of(base: &Path, data: &serde_json::Value, most: usize) -> Result<Sampled, CorpusError> {
        let template = ChatTemplate::new(SMOLLM2, Some("<bos>"), Some("<eos>")).unwrap();
        let (data, sections) = (
            serde_json::from_value(data.clone()).unwrap(),
            SectionSettings::default(),
        );
        sample(base, &data, &sections, &template, &byte_level(true), most, &|_| ())
    }

    fn rows(count: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let row = |n: usize| {
            let thought = "so ".repeat(n % 9);
            json!({"question": "?", "chain_of_thought": thought, "answer": n}).to_string() + "\n"
        };
        fs::write(folder.path().join("a.jsonl"), (0..count).map(row).collect::<String>()).unwrap();
        folder
    }

    #[test]
    fn no_more_rows_than_asked_for_are_prepared_as_they_will_be() {
        let folder = rows(50);
        let data = json!({"files": ["a.jsonl"], "format": "columns", "validation": 7, "seed": 4});
        let found = sample_of(folder.path(), &data, 50).unwrap();
        assert_eq!((found.rows, found.drawn), (50, 50));
        let template = ChatTemplate::new(SMOLLM2, Some("<bos>"), Some("<eos>")).unwrap();
        let data = serde_json::from_value(data).unwrap();
        let sections = SectionSettings::default();
        let whole = prepare(folder.path(), &data, &sections, &template, &byte_level(true), &|_| ()).unwrap();
        assert_eq!(found.prepared, whole);
    }

    #[test]
    fn some_rows_are_drawn_by_the_seed_and_counts_are_reduced_like_them() {
        let folder = rows(400);
        let of = |seed: u64| {
            let data =
                json!({"files": ["a.jsonl"], "format": "columns", "validation": 40, "training": 300, "seed": seed});
            sample_of(folder.path(), &data, 100).unwrap()
        };
        let found = of(1);
        assert_eq!((found.rows, found.drawn), (400, 100));
        let report = &found.prepared.report;
        assert_eq!((report.rows, report.kept_validation, report.kept_train), (100, 10, 75));
        let ids = |found: &Sampled| -> Vec<String> {
            found.prepared.samples.iter().map(|sample| sample.id.clone()).collect()
        };
        assert_eq!(ids(&of(1)), ids(&found));
        assert_ne!(ids(&of(2)), ids(&found));
        // An id tells the line of its row: the drawn rows are spread over the file.
        let late = found.prepared.samples.iter().filter(|sample| {
            let line: usize = sample.id.rsplit(':').next().unwrap().parse().unwrap();
            line > 200
        });
        assert!((25..65).contains(&late.count()));
        assert!(
            found
                .prepared
                .samples
                .iter()
                .any(|sample| sample.split == Split::Validation)
        );
    }

    #[test]
    fn a_row_of_a_table_is_drawn_like_a_line() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/data-sets");
        let data = |validation: usize| json!({"path": "hub", "format": "open-thoughts", "validation": validation});
        let found = sample_of(&fixtures, &data(0), 2).unwrap();
        assert_eq!(found.drawn, 2);
        let whole = sample_of(&fixtures, &data(0), 1000).unwrap();
        assert!(whole.rows > 2);
        for sample in &found.prepared.samples {
            assert!(whole.prepared.samples.contains(sample), "{}", sample.id);
        }
    }
}
