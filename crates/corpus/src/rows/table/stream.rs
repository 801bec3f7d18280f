//! Checks that an Arrow stream must pass before the library reads it.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use arrow::{
    error::ArrowError,
    ipc::{CompressionType, root_as_message},
};

/// The last bytes of a complete stream.
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Whether a file ends like a complete Arrow stream. The file is rewound.
pub(super) fn is_whole(file: &mut File) -> std::io::Result<bool> {
    let mut end = [0; END_OF_STREAM.len()];
    let bytes = file.seek(SeekFrom::End(0))?;
    if bytes >= end.len() as u64 {
        file.seek(SeekFrom::End(-(end.len() as i64)))?;
        file.read_exact(&mut end)?;
    }
    file.rewind()?;
    Ok(end == END_OF_STREAM)
}

/// Checks that the messages of an Arrow stream lie within its `bytes`: the library allocates memory for them before it
/// reads them. Returns the name of the compression of its batches, if they are compressed.
pub(super) fn check_messages(stream: &mut (impl Read + Seek), bytes: u64) -> Result<Option<&'static str>, ArrowError> {
    const CONTINUATION: u32 = u32::MAX;
    let mut at = 0;
    loop {
        let mut word = || {
            let mut word = [0; 4];
            stream.read_exact(&mut word)?;
            at += word.len() as u64;
            Ok::<u32, ArrowError>(u32::from_le_bytes(word))
        };
        let metadata_bytes = match word()? {
            CONTINUATION => word()?,
            old_form => old_form,
        };
        if metadata_bytes == 0 {
            return Ok(None);
        }
        let beyond = || ArrowError::ParseError(format!("a message at byte {at} ends beyond the file's {bytes} bytes"));
        if u64::from(metadata_bytes) > bytes - at {
            return Err(beyond());
        }
        let mut metadata = vec![0; metadata_bytes as usize];
        stream.read_exact(&mut metadata)?;
        let message = root_as_message(&metadata).map_err(|error| ArrowError::ParseError(error.to_string()))?;
        let batch = message.header_as_record_batch();
        let batch = batch.or_else(|| {
            message
                .header_as_dictionary_batch()
                .and_then(|dictionary| dictionary.data())
        });
        if let Some(compression) = batch.and_then(|batch| batch.compression()) {
            return Ok(Some(match compression.codec() {
                CompressionType::ZSTD => "zstd",
                _ => "LZ4",
            }));
        }
        let body = u64::try_from(message.bodyLength()).ok();
        let end = body.and_then(|body| body.checked_add(at + u64::from(metadata_bytes)));
        at = end.filter(|&end| end <= bytes).ok_or_else(beyond)?;
        stream.seek(SeekFrom::Start(at))?;
    }
}
