//! An export that `datasets.load_dataset` loads: a row for each position in `data/`, a row for each sample in `samples/`.

use std::path::Path;

use leadspan_sequence::Split;

use super::{
    Exported, FolderSettings,
    folder::{Files, Folder},
    reader_of,
    rows::{self, BATCH_BYTES, ExportRows},
    samples::{self, SampleRows},
};
use crate::{Cache, CacheError, Progress, card::Card, export_list::ExportList};

/// The tables of one split.
struct Tables {
    positions: Files,
    rows: ExportRows,
    samples: Files,
    sample_rows: SampleRows,
}

/// Writes every stored position and the tokens of every sample as Parquet files into the new folder `out`, with a description
/// and a list of the files, which an import reads.
///
/// Memory is bounded by a row group of each table and split. `progress` counts samples.
///
/// # Errors
///
/// Those of [`Reader`](crate::Reader), and [`CacheError::Io`] if `out` cannot be written. Then `out` is as it was.
pub fn export_dataset(
    cache: &Cache,
    out: &Path,
    settings: &FolderSettings,
    progress: &mut dyn FnMut(Progress),
) -> Result<Exported, CacheError> {
    let reader = reader_of(cache, settings.proportion, settings.missing)?;
    let complete = reader.missing_units().next().is_none();
    let list = ExportList::new(ExportList::DATASET, complete, *reader.coverage(), cache.identity());
    let folder = Folder::create(out, list)?;
    let tables = |split| -> Result<Tables, CacheError> {
        let position_table = (rows::schema(), rows::writer_properties());
        let sample_table = (samples::schema(), rows::writer_properties());
        Ok(Tables {
            positions: folder.table(ExportList::POSITIONS, split, position_table, settings.limits)?,
            rows: ExportRows::default(),
            samples: folder.table(ExportList::SAMPLES, split, sample_table, settings.limits)?,
            sample_rows: SampleRows::default(),
        })
    };
    let (mut train, mut validation) = (tables(Split::Train)?, tables(Split::Validation)?);
    let corpus = reader.corpus();
    let total = corpus.len() as u64;
    let mut row_count = 0;
    for (index, sample) in corpus.samples().enumerate() {
        let of_split = match sample.split {
            Split::Train => &mut train,
            Split::Validation => &mut validation,
        };
        let span = reader.span(index as u32)?;
        row_count += span.positions.len() as u64;
        of_split.rows.add(sample, &span);
        of_split.sample_rows.add(sample, corpus.tokens(index)?);
        of_split.flush(BATCH_BYTES)?;
        progress(Progress {
            done: index as u64 + 1,
            total,
        });
    }
    for tables in [&mut train, &mut validation] {
        tables.flush(0)?;
    }
    let card = Card::of(cache)?
        .licensed(settings.license.as_deref())
        .audited(settings.fidelity.clone());
    let files = [train.positions, validation.positions, train.samples, validation.samples];
    let card = |list: &ExportList| card.exported(list);
    let (files, bytes) = folder.finish(files, (total, row_count), card, settings.overwrite)?;
    Ok(Exported {
        samples: total,
        rows: row_count,
        files,
        bytes,
    })
}

impl Tables {
    /// Writes the rows of a table that have at least `bytes` bytes.
    fn flush(&mut self, bytes: usize) -> Result<(), CacheError> {
        if self.rows.bytes() >= bytes {
            self.positions.write(&std::mem::take(&mut self.rows).into_batch())?;
        }
        if self.sample_rows.bytes() >= bytes {
            self.samples
                .write(&std::mem::take(&mut self.sample_rows).into_batch())?;
        }
        Ok(())
    }
}
