//! Settings and functions for all Parquet files of this crate.

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

/// Approximate encoded size in bytes at which a row group is written. It bounds the writer's memory.
pub(crate) const ROW_GROUP_BYTES: usize = 16 << 20;

/// The writer that a file states. It has no program version, so that the bytes depend only on the format.
const CREATED_BY: &str = "leadspan";

/// Settings that keep files small and identical on every machine. Callers add the encodings of their columns.
pub(crate) fn writer_properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("3 is a level of zstd")))
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(None)
}

/// A Parquet file that is complete but not committed.
pub(crate) struct Finished {
    pub(crate) file: PendingFile,
    /// Size and hash of the bytes after the last region that was ended.
    pub(crate) last_region: (u64, blake3::Hash),
}

/// Writes the footer. Unlike the library's `into_inner`, this keeps the kind of an I/O error.
///
/// # Errors
///
/// The error of the file system or of the library.
pub(crate) fn finish(mut writer: ArrowWriter<HashingWriter<PendingFile>>) -> Result<Finished, ParquetError> {
    writer.finish()?;
    let output = writer.inner_mut();
    let last_region = output.end_region();
    let file = output.take()?;
    Ok(Finished { file, last_region })
}

/// Runs `decode` on the Parquet file at `path`. The library does not check everything that a forged file can state, so
/// a panic becomes an error.
///
/// # Errors
///
/// [`CacheError::Parquet`] if `decode` fails or panics; [`CacheError::Io`] if it fails with an I/O error.
pub(crate) fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, CacheError> {
    leadspan_files::guarded(decode)
        .unwrap_or_else(|problem| Err(ParquetError::General(problem)))
        .map_err(CacheError::parquet("read", path))
}

/// The field of the values of a list, with the name that the Parquet format specifies.
pub(crate) fn list_item(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("element", data_type, false))
}
