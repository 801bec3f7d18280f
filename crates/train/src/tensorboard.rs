//! Event files for TensorBoard: the numbers of `metrics.jsonl`, for those who watch a run.
//!
//! The format is TensorFlow's: records of a length, the length's checksum, a message and the message's checksum, all little
//! endian; a message is an `Event` of tensorflow/core/util/event.proto, in the wire format of Protocol Buffers. It is
//! written here because what is needed of it is five fields, and the crates that write it bring two dozen others.
//!
//! Each process writes a file of its own, whose name sorts after those before it. It begins with a mark from which TensorBoard
//! drops the later steps of earlier files: a run that was killed and resumed shows each step once.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use leadspan_files::{open_own, require_own_folder};
use serde_json::Value;

use crate::TrainError;

/// What TensorBoard recognises its files by; a number and the writer's name follow.
const PREFIX: &str = "events.out.tfevents.";

/// The open event file of this process.
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Creates the next file in `folder`, which is created if it is not there. `step` is the first step that this file may hold;
    /// `now` is the time since 1970.
    ///
    /// # Errors
    ///
    /// [`TrainError::Io`] if the folder is a link, or if it cannot be written.
    pub(crate) fn create(folder: &Path, step: usize, now: Duration) -> Result<Self, TrainError> {
        let failed = |action: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| TrainError::Io { action, path, source }
        };
        require_own_folder(folder).map_err(failed("use", folder))?;
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        let number = next_number(folder, now.as_secs()).map_err(failed("list", folder))?;
        let path = folder.join(format!("{PREFIX}{number:010}.leadspan"));
        let file = open_own(&path, File::options().create_new(true).append(true)).map_err(failed("create", &path))?;
        let mut events = Self { path, file };
        events.append(&event(now, 0, 3, b"brain.Event:2"))?;
        // A session log whose status (field 1) is START (1).
        events.append(&event(now, step, 7, &[1 << 3, 1]))?;
        Ok(events)
    }

    /// Appends the numbers of a metrics line after `step` steps, each under `group` and its own name.
    ///
    /// # Errors
    ///
    /// [`TrainError::Io`].
    pub(crate) fn write(&mut self, group: &str, step: usize, line: &Value, now: Duration) -> Result<(), TrainError> {
        let fields = line.as_object().into_iter().flatten();
        let numbers = fields.filter(|(name, _)| !["step", "steps"].contains(&name.as_str()));
        let mut summary = Vec::new();
        for (name, value) in numbers {
            let Some(value) = value.as_f64() else { continue };
            let mut scalar = Vec::new();
            put_bytes(&mut scalar, 1, format!("{group}/{name}").as_bytes());
            scalar.push(2 << 3 | 5);
            #[expect(clippy::cast_possible_truncation, reason = "TensorBoard's scalars are f32")]
            scalar.extend((value as f32).to_le_bytes());
            put_bytes(&mut summary, 1, &scalar);
        }
        self.append(&event(now, step, 5, &summary))
    }

    /// Appends a record, in one write: who reads the growing file sees whole records.
    fn append(&mut self, message: &[u8]) -> Result<(), TrainError> {
        let length = (message.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked(crc32c(&length)).to_le_bytes());
        record.extend(message);
        record.extend(masked(crc32c(message)).to_le_bytes());
        self.file.write_all(&record).map_err(|source| TrainError::Io {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }
}

/// A number for a file's name: the seconds since 1970, or one more than the largest in `folder` if that is later.
fn next_number(folder: &Path, seconds: u64) -> io::Result<u64> {
    let mut next = seconds;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name
            .to_string_lossy()
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('.').next()?.parse().ok());
        next = next.max(number.map_or(0, |number: u64| number.saturating_add(1)));
    }
    Ok(next)
}

/// An `Event`: wall time (field 1), step (field 2), and bytes as the field `what`.
fn event(now: Duration, step: usize, what: u8, bytes: &[u8]) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1];
    event.extend(now.as_secs_f64().to_le_bytes());
    // What is 0 is left out.
    if step > 0 {
        event.push(2 << 3);
        put_number(&mut event, step as u64);
    }
    put_bytes(&mut event, what, bytes);
    event
}

/// Appends a field of bytes, which is also how messages and text lie inside a message.
fn put_bytes(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    put_number(message, bytes.len() as u64);
    message.extend(bytes);
}

/// Appends a number, seven bits a byte, the lowest first.
fn put_number(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

/// CRC-32C: the polynomial 0x1edc6f41, reflected.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

/// A checksum as it is stored: rotated, plus a constant, so that a checksum over stored checksums stays a good one.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, B.4, and the check value of the algorithm.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked(0), 0xa282_ead8);
        assert_eq!(masked(1), 0xa284_ead8);
    }

    #[test]
    fn a_file_has_the_bytes_that_tensorflow_writes() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(&folder.path().join("tensorboard"), 300, Duration::from_secs(2)).unwrap();
        let line = json!({ "event": "step", "step": 300, "steps": 9, "loss": 0.5, "absent": null });
        events.write("train", 300, &line, Duration::from_millis(2500)).unwrap();
        let path = folder
            .path()
            .join("tensorboard/events.out.tfevents.0000000002.leadspan");
        let mut bytes = fs::read(path).unwrap();
        // By `SerializeToString` of the messages in tensorboard 2.20.
        let version = b"\x09\0\0\0\0\0\0\0\x40\x1a\x0dbrain.Event:2".as_slice();
        let start = b"\x09\0\0\0\0\0\0\0\x40\x10\xac\x02\x3a\x02\x08\x01".as_slice();
        let scalar = b"\x09\0\0\0\0\0\0\x04\x40\x10\xac\x02\x2a\x13\x0a\x11\x0a\x0atrain/loss\x15\0\0\0\x3f".as_slice();
        for message in [version, start, scalar] {
            let rest = bytes.split_off(16 + message.len());
            assert_eq!(bytes[..8], (message.len() as u64).to_le_bytes());
            assert_eq!(bytes[8..12], masked(crc32c(&bytes[..8])).to_le_bytes());
            assert_eq!(&bytes[12..bytes.len() - 4], message);
            assert_eq!(bytes[bytes.len() - 4..], masked(crc32c(message)).to_le_bytes());
            bytes = rest;
        }
        assert!(bytes.is_empty());
    }

    #[test]
    fn each_process_has_a_file_that_sorts_after_those_before_it_even_if_the_clock_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        for seconds in [1_800_000_000, 1_800_000_000, 5, 1_900_000_000] {
            EventFile::create(folder.path(), 0, Duration::from_secs(seconds)).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let numbers = [1_800_000_000_u64, 1_800_000_001, 1_800_000_002, 1_900_000_000];
        assert_eq!(names, numbers.map(|number| format!("{PREFIX}{number}.leadspan")));
    }

    #[test]
    fn a_link_in_place_of_the_folder_is_refused() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = folder.path().join("tensorboard");
        std::os::unix::fs::symlink(outside.path(), &link).unwrap();
        let error = EventFile::create(&link, 0, Duration::ZERO).map(drop).unwrap_err();
        assert!(
            matches!(&error, TrainError::Io { path, .. } if *path == link),
            "{error}"
        );
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
