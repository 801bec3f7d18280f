//! The two data files of a part: `tokens.u32` holds the tokens of all samples, `samples.arrow` everything else.
//!
//! Both files are mapped. Opening a part reads all of `samples.arrow`, which is small, and compares it with its blake3.
//! Of `tokens.u32` it compares only the size; the tokens of a sample are compared with their CRC-32 when they are read.

use std::{
    collections::HashMap,
    io::{BufWriter, Write},
    iter::repeat_n,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, AsArray, LargeStringArray, RecordBatch, StringArray, UInt32Array, UInt64Array},
    buffer::{Buffer, ScalarBuffer},
    datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type, UInt64Type},
    error::ArrowError,
    ipc::{
        convert::try_fb_to_schema,
        reader::{FileDecoder, read_footer_length},
        root_as_footer,
        writer::FileWriter,
    },
};
use leadspan_sequence::{SectionBounds, Split};
use parquet::errors::ParquetError;

use leadspan_files::PendingFile;

use super::{
    columns::{Columns, ColumnsBuilder, LeadSpans, StoredTokens, with_bytes},
    sample_ref::SampleRef,
};
use crate::{
    CacheError, WorkUnit,
    hashing::{HashingWriter, Region},
    mapping, parquet_files,
};

/// The size of the write buffers, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// The key of the table's metadata that names the column of the data with lead spans.
const LEAD_SPAN_COLUMN: &str = "lead_span_column";

/// The columns of the table; the last one is there if the data has a column of lead spans, which has this name.
fn schema(lead_span_column: Option<&str>) -> SchemaRef {
    let required = |name: &str, data_type| Field::new(name, data_type, false);
    let mut fields = vec![
        required("sample_id", DataType::LargeUtf8),
        required("split", DataType::Utf8),
        required("tokens_end", DataType::UInt64),
        required("prompt_end", DataType::UInt32),
        required("chain_of_thought_end", DataType::UInt32),
        required("work_unit", DataType::UInt32),
        required("largest_token", DataType::UInt32),
        required("tokens_crc32", DataType::UInt32),
        required("row_hash", DataType::FixedSizeBinary(32)),
    ];
    let mut metadata = HashMap::new();
    if let Some(column) = lead_span_column {
        fields.push(required("lead_span_tokens", DataType::UInt32));
        metadata.insert(LEAD_SPAN_COLUMN.to_owned(), column.to_owned());
    }
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// Writes the files of a part, sample by sample. Tokens are written as they come; the other columns are kept in memory.
pub struct CorpusWriter {
    path: PathBuf,
    tokens: BufWriter<HashingWriter<PendingFile>>,
    columns: ColumnsBuilder,
}

/// Sizes and hashes of the files that were written.
pub(crate) struct WrittenFiles {
    pub(crate) table: Region,
    pub(crate) tokens: Region,
}

impl CorpusWriter {
    /// Creates the file of tokens at `path`.
    pub(crate) fn create(path: &Path) -> Result<Self, CacheError> {
        let output = HashingWriter::new(PendingFile::create(path)?);
        Ok(Self {
            path: path.to_owned(),
            tokens: BufWriter::with_capacity(BUFFER_BYTES, output),
            columns: ColumnsBuilder::default(),
        })
    }

    /// Adds the next sample with its tokens and the hash of its row.
    ///
    /// # Errors
    ///
    /// [`CacheError::UnstorableCorpus`] if `sample.bounds` state another number of tokens; [`CacheError::Io`] if the
    /// file system refuses.
    pub fn push(&mut self, sample: SampleRef<'_>, tokens: &[u32], row_hash: &[u8; 32]) -> Result<(), CacheError> {
        if tokens.len() != sample.token_count() {
            let (id, found, expected) = (sample.id, tokens.len(), sample.token_count());
            let problem = format!("sample `{id}` has {found} tokens, but its sections end at {expected}");
            return Err(CacheError::UnstorableCorpus { problem });
        }
        self.columns.push_edges(sample, tokens, row_hash);
        let mut result = Ok(());
        with_bytes(tokens, |bytes| {
            if result.is_ok() {
                result = self.tokens.write_all(bytes);
            }
        });
        result.map_err(CacheError::io("write", &self.path))
    }

    /// Adds how many tokens of the sample that was pushed last are kept, as the data's field `column` says.
    pub fn push_lead_span(&mut self, column: &str, tokens: u32) {
        self.columns.push_lead_span(column, tokens);
    }

    /// Commits the tokens, and then the other columns at the path `table`. The samples form `units`.
    ///
    /// # Errors
    ///
    /// [`CacheError::UnstorableCorpus`] if the samples that were pushed are not those of `units`; [`CacheError::Io`] if
    /// the file system refuses.
    pub(crate) fn finish(self, table: &Path, units: &[WorkUnit]) -> Result<WrittenFiles, CacheError> {
        let splits = units.iter().flat_map(|unit| repeat_n(unit.split, unit.samples.len()));
        if !self.columns.have_all_lead_spans() {
            let problem = "some samples have a lead span of their own, and others have none".to_owned();
            return Err(CacheError::UnstorableCorpus { problem });
        }
        if !splits.eq(self.columns.splits()) {
            let problem = "the samples that were pushed differ from those of the work units".to_owned();
            return Err(CacheError::UnstorableCorpus { problem });
        }
        let failed = || CacheError::io("write", &self.path);
        let output = self.tokens.into_inner();
        let mut tokens = output.map_err(|error| failed()(error.into_error()))?;
        let tokens_region = region(&mut tokens);
        tokens.take().map_err(failed())?.commit()?;
        let failed = || CacheError::parquet("write", table);
        let output = HashingWriter::new(PendingFile::create(table)?);
        let output = BufWriter::with_capacity(BUFFER_BYTES, output);
        let batch = batch(self.columns, units);
        let mut writer = FileWriter::try_new(output, &batch.schema())
            .map_err(from_arrow)
            .map_err(failed())?;
        writer.write(&batch).map_err(from_arrow).map_err(failed())?;
        let output = writer.into_inner().map_err(from_arrow).map_err(failed())?;
        let mut output = output
            .into_inner()
            .map_err(|error| CacheError::io("write", table)(error.into_error()))?;
        let table_region = region(&mut output);
        output.take().map_err(CacheError::io("write", table))?.commit()?;
        Ok(WrittenFiles {
            table: table_region,
            tokens: tokens_region,
        })
    }
}

/// Size and hash of everything that was written to `output`.
fn region(output: &mut HashingWriter<PendingFile>) -> Region {
    let (bytes, hash) = output.end_region();
    Region {
        bytes,
        blake3: hash.to_hex().to_string(),
    }
}

fn from_arrow(error: ArrowError) -> ParquetError {
    match error {
        ArrowError::IoError(_, source) => ParquetError::External(source.into()),
        error => error.into(),
    }
}

fn batch(columns: ColumnsBuilder, units: &[WorkUnit]) -> RecordBatch {
    let (columns, crc32s) = columns.build();
    let per_sample = |unit: &WorkUnit| repeat_n(unit.number, unit.samples.len());
    let work_units: Vec<u32> = units.iter().flat_map(per_sample).collect();
    let split = |row| {
        if row < columns.train {
            Split::Train
        } else {
            Split::Validation
        }
    };
    let splits = (0..columns.len()).map(|row| split(row).as_str());
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(columns.ids.clone()),
        Arc::new(StringArray::from_iter_values(splits)),
        Arc::new(UInt64Array::new(columns.token_ends.clone(), None)),
        Arc::new(UInt32Array::new(columns.prompt_ends.clone(), None)),
        Arc::new(UInt32Array::new(columns.chain_of_thought_ends.clone(), None)),
        Arc::new(UInt32Array::from(work_units)),
        Arc::new(UInt32Array::new(columns.largest_tokens.clone(), None)),
        Arc::new(UInt32Array::new(crc32s, None)),
        Arc::new(columns.row_hashes.clone()),
    ];
    let lead_spans = columns.lead_spans.as_ref();
    arrays.extend(lead_spans.map(|spans| -> ArrayRef { Arc::new(UInt32Array::new(spans.tokens.clone(), None)) }));
    let column = lead_spans.map(|spans| spans.column.as_str());
    RecordBatch::try_new(schema(column), arrays).expect("the columns are built to the schema, one row a sample")
}

/// Maps the files of a part and checks everything except the tokens. Calls `place` with the split and the work unit of
/// each sample, in order.
///
/// # Errors
///
/// [`CacheError::WrongSize`], [`CacheError::Damaged`] or [`CacheError::Inconsistent`] if a file is not the one that was
/// written, or says what cannot be; [`CacheError::Io`] if it cannot be mapped.
pub(crate) fn open(
    table_path: &Path,
    table: &Region,
    tokens_path: &Path,
    tokens: &Region,
    place: &mut dyn FnMut(Split, u32) -> Result<(), String>,
) -> Result<Columns, CacheError> {
    let table_bytes = map_of_size(table_path, table)?;
    if !table.matches(&table_bytes) {
        return Err(CacheError::Damaged {
            path: table_path.to_owned(),
            part: "contents".to_owned(),
        });
    }
    let batch = parquet_files::guarded(table_path, || {
        decode(&Buffer::from(table_bytes)).map_err(ParquetError::from)
    })?;
    let inconsistent = |problem| CacheError::Inconsistent {
        path: table_path.to_owned(),
        problem,
    };
    let found = batch.schema();
    let column = found.metadata().get(LEAD_SPAN_COLUMN).map(String::as_str);
    if found.fields() != schema(column).fields() {
        return Err(inconsistent("its columns are not those of a prepared corpus".into()));
    }
    let token_bytes = Buffer::from(map_of_size(tokens_path, tokens)?);
    let token_count = token_bytes.len() / size_of::<u32>();
    if !token_bytes.len().is_multiple_of(size_of::<u32>()) {
        return Err(CacheError::Inconsistent {
            path: tokens_path.to_owned(),
            problem: format!("its size of {} bytes is not a multiple of 4", token_bytes.len()),
        });
    }
    let numbers = |column: usize| batch.column(column).as_primitive::<UInt32Type>().values().clone();
    let splits = batch.column(1).as_string::<i32>();
    let ids: &LargeStringArray = batch.column(0).as_string::<i64>();
    let work_units = numbers(5);
    let mut columns = Columns {
        ids: ids.clone(),
        train: 0,
        token_ends: batch.column(2).as_primitive::<UInt64Type>().values().clone(),
        prompt_ends: numbers(3),
        chain_of_thought_ends: numbers(4),
        largest_tokens: numbers(6),
        row_hashes: batch.column(8).as_fixed_size_binary().clone(),
        lead_spans: column.map(|column| LeadSpans {
            column: column.to_owned(),
            tokens: numbers(9),
        }),
        // An empty file has no bytes, so its pointer is not aligned.
        tokens: if token_count == 0 {
            ScalarBuffer::default()
        } else {
            ScalarBuffer::new(token_bytes, 0, token_count)
        },
        stored: Some(StoredTokens {
            path: tokens_path.to_owned(),
            crc32s: numbers(7),
        }),
    };
    let mut start = 0;
    for row in 0..columns.len() {
        let split = match splits.value(row) {
            "train" if columns.train == row => Split::Train,
            "train" => {
                return Err(inconsistent(format!(
                    "row {row} is a training sample after a validation sample"
                )));
            }
            "validation" => Split::Validation,
            other => return Err(inconsistent(format!("row {row} has the unknown split `{other}`"))),
        };
        columns.train += usize::from(split == Split::Train);
        let end = columns.token_ends[row];
        let length = end.checked_sub(start).and_then(|length| u32::try_from(length).ok());
        let Some(length) = length.filter(|_| end <= token_count as u64) else {
            return Err(inconsistent(format!(
                "the tokens of row {row} are {start} to {end}, but there are {token_count}"
            )));
        };
        SectionBounds::new(columns.prompt_ends[row], columns.chain_of_thought_ends[row], length)
            .map_err(|error| inconsistent(format!("row {row} has {error}")))?;
        let kept = columns.lead_spans.as_ref().map(|spans| spans.tokens[row]);
        if let Some(kept) = kept.filter(|kept| !(1..=length).contains(kept)) {
            return Err(inconsistent(format!("row {row} keeps {kept} of {length} tokens")));
        }
        place(split, work_units[row]).map_err(inconsistent)?;
        start = end;
    }
    if start != token_count as u64 {
        return Err(inconsistent(format!(
            "its samples have {start} tokens, but the file of tokens has {token_count}"
        )));
    }
    Ok(columns)
}

/// Compares the tokens of a part with the blake3 of their file, and the tokens of each sample with its CRC-32 and its
/// largest token.
///
/// # Errors
///
/// [`CacheError::Damaged`] or [`CacheError::Inconsistent`] if they differ.
pub(crate) fn verify_tokens(columns: &Columns, tokens: &Region) -> Result<(), CacheError> {
    let Some(StoredTokens { path, .. }) = &columns.stored else {
        return Ok(());
    };
    if !tokens.matches(columns.tokens.inner().as_slice()) {
        return Err(CacheError::Damaged {
            path: path.clone(),
            part: "contents".to_owned(),
        });
    }
    (0..columns.len()).try_for_each(|row| columns.tokens(row).map(drop))
}

/// Maps a file and compares its size.
fn map_of_size(path: &Path, region: &Region) -> Result<bytes::Bytes, CacheError> {
    let mapped = mapping::map(path)?;
    let found = mapped.len() as u64;
    if found == region.bytes {
        Ok(mapped)
    } else {
        Err(CacheError::WrongSize {
            path: path.to_owned(),
            found,
            expected: region.bytes,
        })
    }
}

/// Decodes an Arrow file of one record batch. The columns point into `file`.
fn decode(file: &Buffer) -> Result<RecordBatch, ArrowError> {
    const TRAILER: usize = 10;
    let broken = |problem: &str| ArrowError::IpcError(problem.to_owned());
    let trailer_start = file
        .len()
        .checked_sub(TRAILER)
        .ok_or_else(|| broken("it is too short"))?;
    let trailer = file[trailer_start..].try_into().expect("the slice has this length");
    let footer_length = read_footer_length(trailer)?;
    let footer_start = trailer_start
        .checked_sub(footer_length)
        .ok_or_else(|| broken("its footer is longer than the file"))?;
    let footer =
        root_as_footer(&file[footer_start..trailer_start]).map_err(|error| broken(&format!("its footer: {error}")))?;
    let schema = footer.schema().ok_or_else(|| broken("it has no schema"))?;
    let blocks = footer.recordBatches().ok_or_else(|| broken("it has no batches"))?;
    if blocks.len() != 1
        || footer
            .dictionaries()
            .is_some_and(|dictionaries| !dictionaries.is_empty())
    {
        return Err(broken("it does not hold exactly one record batch of plain columns"));
    }
    let block = blocks.get(0);
    let place = |number: i64| usize::try_from(number).map_err(|_| broken("a block starts before the file"));
    let start = place(block.offset())?;
    let end = place(block.bodyLength())?
        .checked_add(place(i64::from(block.metaDataLength()))?)
        .and_then(|length| length.checked_add(start))
        .filter(|&end| end <= footer_start)
        .ok_or_else(|| broken("a block ends after the file"))?;
    let decoder = FileDecoder::new(Arc::new(try_fb_to_schema(schema)?), footer.version());
    decoder
        .read_record_batch(block, &file.slice_with_length(start, end - start))?
        .ok_or_else(|| broken("its block is not a record batch"))
}
