//! An export that DistillKit trains from: a row for each sample, with packed entries of every position.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, ListBuilder, PrimitiveBuilder, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef, UInt8Type, UInt64Type},
};
use leadspan_diagnosis::Diagnosis;
use leadspan_sequence::{SectionSet, Split};

use super::{
    Exported, FolderSettings,
    folder::{Files, Folder},
    reader_of,
    rows::BATCH_BYTES,
};
use crate::{
    Cache, CacheError, Progress, Span,
    card::Card,
    distillkit::{Quantization, SETTINGS, pack},
    export_list::ExportList,
    parquet_files,
};

/// Why a cache cannot be written in DistillKit's layout.
#[derive(Debug, thiserror::Error)]
pub enum NotDistillKit {
    /// The cache cannot be read, or the folder cannot be written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Not every position of a lead span is stored.
    #[error("DistillKit's layout has every position of a sample, but this cache holds the sections `{sections}` alone")]
    Sections {
        /// The sections that are stored.
        sections: SectionSet,
    },
    /// A position has another number of entries than the first one.
    #[error(
        "DistillKit's layout has equally many entries at every position, but position {position} of sample `{sample}` has \
         {found} and the first has {expected}"
    )]
    Entries {
        /// The sample's id.
        sample: String,
        /// The position.
        position: u32,
        /// Its entries.
        found: usize,
        /// Those of the first position.
        expected: usize,
    },
    /// An entry is not in the vocabulary.
    #[error("token {token} of sample `{sample}` is not in a vocabulary of {vocabulary}")]
    Vocabulary {
        /// The sample's id.
        sample: String,
        /// The token.
        token: u32,
        /// The tokens of the tokenizer.
        vocabulary: u32,
    },
}

impl Diagnosis for NotDistillKit {
    fn is_unexpected(&self) -> bool {
        matches!(self, Self::Cache(error) if error.is_unexpected())
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Cache(error) => error.hint(),
            Self::Sections { .. } | Self::Entries { .. } => {
                Some("`--format dataset` writes what is stored, whatever it is".to_owned())
            }
            Self::Vocabulary { .. } => Some("give the number of the teacher's tokens with `--vocabulary`".to_owned()),
        }
    }
}

/// Writes every sample that has positions as a row of DistillKit's layout into the new folder `out`: its kept tokens, and of
/// each position the entries, as they are in single precision. Tails, targets outside the entries, sections and ids are lost.
/// `vocabulary` is the number of the teacher's tokens. `progress` counts samples.
///
/// # Errors
///
/// [`NotDistillKit`] if the layout does not have what is stored; then `out` is as it was.
pub fn export_distillkit(
    cache: &Cache,
    out: &Path,
    settings: &FolderSettings,
    vocabulary: u32,
    progress: &mut dyn FnMut(Progress),
) -> Result<Exported, NotDistillKit> {
    let reader = reader_of(cache, settings.proportion, settings.missing)?;
    let sections = reader.coverage().sections;
    if sections != SectionSet::ALL {
        return Err(NotDistillKit::Sections { sections });
    }
    let complete = reader.missing_units().next().is_none();
    let list = ExportList::new(ExportList::DISTILLKIT, complete, *reader.coverage(), cache.identity());
    let folder = Folder::create(out, list)?;
    let table = |split| {
        let properties = parquet_files::writer_properties().build();
        folder.table(ExportList::POSITIONS, split, (schema(), properties), settings.limits)
    };
    let mut files = [table(Split::Train)?, table(Split::Validation)?];
    let mut rows = [SampleRows::default(), SampleRows::default()];
    let (mut packing, mut samples, mut positions) = (None, 0, 0);
    let corpus = reader.corpus();
    for (index, sample) in corpus.samples().enumerate() {
        let span = reader.span(index as u32)?;
        if !span.positions.is_empty() {
            let first = span.distributions.get(0).token_ids.len();
            let packing = packing.get_or_insert_with(|| Quantization::lossless(first.max(1), vocabulary));
            let at = usize::from(sample.split == Split::Validation);
            rows[at].add(sample.id, &span, packing)?;
            samples += 1;
            positions += span.positions.len() as u64;
            write(&mut files[at], &mut rows[at], BATCH_BYTES)?;
        }
        progress(Progress {
            done: index as u64 + 1,
            total: corpus.len() as u64,
        });
    }
    for (files, rows) in files.iter_mut().zip(&mut rows) {
        write(files, rows, 0)?;
    }
    let packing = packing.unwrap_or_else(|| Quantization::lossless(1, vocabulary));
    folder.add(SETTINGS, packing.to_yaml().as_bytes())?;
    let card = Card::of(cache)?
        .licensed(settings.license.as_deref())
        .audited(settings.fidelity.clone());
    let card = |list: &ExportList| card.exported(list);
    let (files, bytes) = folder.finish(files, (samples, positions), card, settings.overwrite)?;
    Ok(Exported {
        samples,
        rows: positions,
        files,
        bytes,
    })
}

fn write(files: &mut Files, rows: &mut SampleRows, bytes: usize) -> Result<(), CacheError> {
    if rows.bytes < bytes {
        return Ok(());
    }
    files.write(&std::mem::take(rows).into_batch())
}

fn bytes_field() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::UInt8, false))
}

fn position_field() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::List(bytes_field()), false))
}

fn schema() -> SchemaRef {
    let tokens = Arc::new(Field::new("element", DataType::UInt64, false));
    let list = |name: &str, item| Field::new(name, DataType::List(item), false);
    Arc::new(Schema::new(vec![
        list("input_ids", tokens),
        list("compressed_logprobs", position_field()),
        list("bytepacked_indices", position_field()),
    ]))
}

type Bytes = ListBuilder<ListBuilder<PrimitiveBuilder<UInt8Type>>>;

/// Samples that have not been written yet.
struct SampleRows {
    tokens: ListBuilder<PrimitiveBuilder<UInt64Type>>,
    logprobs: Bytes,
    ids: Bytes,
    bytes: usize,
}

impl Default for SampleRows {
    fn default() -> Self {
        let bytes = || {
            let position = ListBuilder::new(PrimitiveBuilder::new()).with_field(bytes_field());
            ListBuilder::new(position).with_field(position_field())
        };
        let token = Arc::new(Field::new("element", DataType::UInt64, false));
        Self {
            tokens: ListBuilder::new(PrimitiveBuilder::new()).with_field(token),
            logprobs: bytes(),
            ids: bytes(),
            bytes: 0,
        }
    }
}

impl SampleRows {
    fn add(&mut self, id: &str, span: &Span, packing: &Quantization) -> Result<(), NotDistillKit> {
        // All sections are stored, so the positions are 0, 1, … up to the last.
        let kept = &span.tokens[..=span.positions.len()];
        for &token in kept {
            self.tokens.values().append_value(u64::from(token));
        }
        self.tokens.append(true);
        let mut packed = Vec::with_capacity(packing.id_bytes());
        for (&position, distribution) in span.positions.iter().zip(span.distributions.iter()) {
            let (ids, found) = (distribution.token_ids, distribution.token_ids.len());
            if found != packing.k {
                return Err(NotDistillKit::Entries {
                    sample: id.to_owned(),
                    position,
                    found,
                    expected: packing.k,
                });
            }
            if let Some(&token) = ids.iter().find(|&&token| token >= packing.d) {
                return Err(NotDistillKit::Vocabulary {
                    sample: id.to_owned(),
                    token,
                    vocabulary: packing.d,
                });
            }
            let values = self.logprobs.values();
            for logprob in distribution.logprobs {
                values.values().append_slice(&logprob.to_le_bytes());
            }
            values.append(true);
            packed.clear();
            pack(ids, packing.id_bits(), &mut packed);
            self.ids.values().values().append_slice(&packed);
            self.ids.values().append(true);
        }
        self.logprobs.append(true);
        self.ids.append(true);
        self.bytes += 8 * kept.len() + span.positions.len() * (packing.logprob_bytes() + packing.id_bytes());
        Ok(())
    }

    fn into_batch(mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.tokens.finish()),
            Arc::new(self.logprobs.finish()),
            Arc::new(self.ids.finish()),
        ];
        RecordBatch::try_new(schema(), columns).expect("the columns are built to the schema, one row a sample")
    }
}
