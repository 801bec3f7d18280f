//! What all Parquet files of this crate share, whatever their columns.

use std::{path::Path, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::{WriterProperties, WriterPropertiesBuilder},
};

use leadspan_files::PendingFile;

use crate::{CacheError, hashing::HashingWriter};

/// About how many bytes a row group may reach before it is written out: what a writer holds in memory.
pub(crate) const ROW_GROUP_BYTES: usize = 16 << 20;

/// Who wrote the file. Without a program version, so that the bytes depend on the format alone.
const CREATED_BY: &str = "leadspan";

/// Settings that make bytes small and the same everywhere; columns choose their encodings on top.
pub(crate) fn writer_properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("3 is a level of zstd")))
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(None)
}

/// A Parquet file that is written to its last byte, but not committed.
pub(crate) struct Finished {
    pub(crate) file: PendingFile,
    /// Size and hash of what came after the last region that was ended.
    pub(crate) last_region: (u64, blake3::Hash),
}

/// Writes the footer. Unlike the library's `into_inner`, this keeps the kind of an error that the file system gives.
///
/// # Errors
///
/// Where the file system refuses.
pub(crate) fn finish(mut writer: ArrowWriter<HashingWriter<PendingFile>>) -> Result<Finished, ParquetError> {
    writer.finish()?;
    let output = writer.inner_mut();
    let last_region = output.end_region();
    let file = output.take()?;
    Ok(Finished { file, last_region })
}

/// What `decode` reads of the Parquet file at `path`; a panic of the library, which checks most of what a forged file can
/// say but not all, is an error.
///
/// # Errors
///
/// Where it fails or panics.
pub(crate) fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, CacheError> {
    leadspan_files::guarded(decode)
        .unwrap_or_else(|problem| Err(ParquetError::General(problem)))
        .map_err(CacheError::parquet("read", path))
}

/// The field of a list's values, named as the Parquet format names it.
pub(crate) fn list_item(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("element", data_type, false))
}
