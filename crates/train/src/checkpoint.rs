//! One checkpoint: a safetensors file with the run's progress in its header, and a receipt with its size and checksum. The
//! receipt is written last; a file without its receipt is not a checkpoint.
//!
//! ```text
//! step-00000500.safetensors   NAME (weights in single precision: masters, where there are any),
//!                             NAME.first_moment, NAME.second_moment; in `__metadata__`, `leadspan_run`: the run so far
//! step-00000500.json          {"bytes": 336123456, "blake3": "…"}
//! ```
//!
//! Checkpoints are not compressed: zstd saves 7 % of the weights of SmolLM2-6.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use leadspan_files::{commit_bytes, commit_file, hash_contents, open_unlinked, read_unlinked};
use leadspan_model::write_single_precision;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{TrainError, run_identity::RunIdentity, run_progress::RunProgress};

/// The contents of a checkpoint other than its tensors.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunSoFar {
    /// The run's identity.
    #[serde(rename = "ingredients")]
    pub(crate) identity: RunIdentity,
    /// The run's progress.
    pub(crate) progress: RunProgress,
}

/// The size and checksum of a checkpoint as it was written.
#[derive(Serialize, Deserialize)]
struct Receipt {
    bytes: u64,
    blake3: String,
}

/// The key of [`RunSoFar`] in the header's metadata.
const RUN: &str = "leadspan_run";

/// The longest header that is read. The header of a model of a thousand layers is shorter.
const MAX_HEADER_BYTES: u64 = 100 << 20;

/// The largest receipt that is read.
pub(crate) const MAX_RECEIPT_BYTES: u64 = 1 << 12;

/// The path of a checkpoint's receipt.
pub(crate) fn receipt_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

/// Writes a checkpoint tensor by tensor, in single precision. It is valid once its receipt exists.
///
/// # Errors
///
/// If a file cannot be written, or a tensor cannot be copied from its device.
pub(crate) fn write(path: &Path, run: &RunSoFar, tensors: &BTreeMap<String, Tensor>) -> Result<(), TrainError> {
    // The receipt of an older checkpoint of the same step would not match this one.
    remove_file(&receipt_path(path))?;
    let run = serde_json::to_string(run).expect("numbers and texts serialize");
    let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let receipt = commit_file(path, |file| {
        let mut hashing = Hashing {
            file,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        };
        write_single_precision(&mut hashing, &[("format", "pt"), (RUN, &run)], &tensors)?;
        Ok(Receipt {
            bytes: hashing.bytes,
            blake3: hashing.hasher.finalize().to_hex().to_string(),
        })
    })?;
    let receipt = serde_json::to_vec(&receipt).expect("a number and a text serialize");
    Ok(commit_bytes(&receipt_path(path), &receipt)?)
}

/// Removes a checkpoint, its receipt first. A missing file is no error.
///
/// # Errors
///
/// If a file exists and cannot be removed.
pub(crate) fn remove(path: &Path) -> Result<(), TrainError> {
    remove_file(&receipt_path(path))?;
    remove_file(path)
}

fn remove_file(path: &Path) -> Result<(), TrainError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| TrainError::Io {
            action: "remove",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Counts and hashes the bytes that it passes on.
struct Hashing<W> {
    file: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update_rayon(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Why a checkpoint cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// Its bytes are not those that were written.
    Damaged(String),
    /// It may be whole: a file could not be read, or another version wrote it.
    Unread(io::Error),
}

impl Unusable {
    /// The reason to give for `error`, which came up at a part of the checkpoint.
    fn at(part: &str, error: io::Error) -> Self {
        // What the system refuses may be there another time, unlike what is missing, too short or no file.
        if error.raw_os_error().is_some() && error.kind() != io::ErrorKind::NotFound {
            Self::Unread(error)
        } else {
            Self::Damaged(format!("{part} cannot be read: {error}"))
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(because) => formatter.write_str(because),
            Self::Unread(error) => write!(formatter, "it cannot be read: {error}"),
        }
    }
}

/// A checkpoint whose bytes agree with its receipt.
pub(crate) struct Checkpoint {
    pub(crate) run: RunSoFar,
    file: File,
    header: Map<String, Value>,
    /// The offset of the first tensor in the file.
    start: u64,
    /// The size of the file.
    bytes: u64,
}

impl Checkpoint {
    /// Opens a checkpoint and compares all of it with its receipt. The error says how they differ.
    pub(crate) fn open(path: &Path) -> Result<Self, Unusable> {
        let receipt = read_unlinked(&receipt_path(path), MAX_RECEIPT_BYTES)
            .map_err(|error| Unusable::at("its receipt", error))?;
        let receipt: Receipt = serde_json::from_slice(&receipt)
            .map_err(|error| Unusable::Damaged(format!("its receipt is malformed: {error}")))?;
        let unreadable = |error| Unusable::at("it", error);
        let mut file = open_unlinked(path).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        if bytes != receipt.bytes {
            let because = format!("it has {bytes} bytes instead of {}", receipt.bytes);
            return Err(Unusable::Damaged(because));
        }
        let mut hasher = blake3::Hasher::new();
        hash_contents(&mut hasher, path).map_err(unreadable)?;
        if hasher.finalize().to_hex().as_str() != receipt.blake3 {
            return Err(Unusable::Damaged("its checksum is wrong".to_owned()));
        }
        let (header, start) = read_header(&mut file, bytes).map_err(unreadable)?;
        let run = header["__metadata__"][RUN].as_str().unwrap_or_default();
        let run = serde_json::from_str(run).map_err(|error| {
            let because = format!("another version of leadspan wrote it: {error}");
            Unusable::Unread(io::Error::new(io::ErrorKind::InvalidData, because))
        })?;
        Ok(Self {
            run,
            file,
            header,
            start,
            bytes,
        })
    }

    /// The tensor of that name; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(crate) fn tensor(&mut self, name: &str) -> candle_core::Result<Option<Tensor>> {
        let Some(entry) = self.header.get(name) else {
            return Ok(None);
        };
        let numbers = |key: &str| -> Vec<usize> {
            let items = entry[key].as_array().into_iter().flatten();
            items.filter_map(Value::as_u64).map(|item| item as usize).collect()
        };
        let shape = numbers("shape");
        let start = numbers("data_offsets").first().copied().unwrap_or_default();
        let place = self.start.saturating_add(start as u64);
        // Whoever made the file made its header and its checksum, too.
        let size = shape
            .iter()
            .try_fold(size_of::<f32>(), |size, &item| size.checked_mul(item));
        let size = size.filter(|&size| place.saturating_add(size as u64) <= self.bytes);
        let Some(size) = size else {
            candle_core::bail!("the checkpoint's header places `{name}` beyond the end of the file");
        };
        let mut bytes = vec![0; size];
        self.file.seek(SeekFrom::Start(place))?;
        self.file.read_exact(&mut bytes)?;
        let (numbers, _) = bytes.as_chunks();
        let numbers: Vec<f32> = numbers.iter().map(|&number| f32::from_le_bytes(number)).collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu).map(Some)
    }
}

/// The header of a safetensors file of `bytes` bytes, and where its tensors begin.
fn read_header(file: &mut File, bytes: u64) -> io::Result<(Map<String, Value>, u64)> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length).min(MAX_HEADER_BYTES).min(bytes);
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text)?;
    Ok((serde_json::from_slice(&text)?, 8 + length))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tensors() -> BTreeMap<String, Tensor> {
        let numbers = |count: u16| -> Vec<f32> { (0..count).map(|i| (f32::from(i) * 0.7).sin()).collect() };
        let tensor = |numbers: Vec<f32>, shape: &[usize]| Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap();
        BTreeMap::from([
            ("a.weight".to_owned(), tensor(numbers(6), &[2, 3])),
            ("a.weight.first_moment".to_owned(), tensor(numbers(6), &[2, 3])),
            (
                "b.bias".to_owned(),
                tensor(vec![f32::MIN_POSITIVE / 4.0, -0.0, 1e38], &[3]),
            ),
        ])
    }

    fn run() -> RunSoFar {
        RunSoFar {
            identity: RunIdentity::stored(json!({ "train": { "learning_rate": 4e-6 } })),
            progress: RunProgress {
                step: 7,
                seconds: 0.1 + 0.2,
                ..RunProgress::default()
            },
        }
    }

    fn bits(tensor: &Tensor) -> Vec<u32> {
        let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        numbers.into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn a_checkpoint_comes_back_to_the_bit_and_other_readers_understand_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step-00000007.safetensors");
        write(&path, &run(), &tensors()).unwrap();
        let mut checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.run, run());
        let others = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        assert_eq!(others.len(), 3);
        for (name, tensor) in tensors() {
            let read = checkpoint.tensor(&name).unwrap().unwrap();
            assert_eq!((read.dims(), bits(&read)), (tensor.dims(), bits(&tensor)));
            assert_eq!(bits(&others[&name]), bits(&tensor));
        }
        assert!(checkpoint.tensor("c").unwrap().is_none());
    }

    #[test]
    fn every_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step-00000007.safetensors");
        write(&path, &run(), &tensors()).unwrap();
        let (whole, receipt) = (
            std::fs::read(&path).unwrap(),
            std::fs::read(receipt_path(&path)).unwrap(),
        );
        let opened = |bytes: &[u8], receipt: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            std::fs::write(receipt_path(&path), receipt).unwrap();
            Checkpoint::open(&path).map(drop).map_err(|because| because.to_string())
        };
        assert_eq!(opened(&whole, &receipt), Ok(()));
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert_eq!(
                opened(&flipped, &receipt),
                Err("its checksum is wrong".to_owned()),
                "byte {at}"
            );
        }
        for at in 0..receipt.len() {
            let mut flipped = receipt.clone();
            flipped[at] ^= 1;
            assert!(opened(&whole, &flipped).is_err(), "byte {at} of the receipt");
        }
        assert!(opened(&whole[1..], &receipt).unwrap_err().contains("bytes instead of"));
        std::fs::remove_file(receipt_path(&path)).unwrap();
        assert!(
            Checkpoint::open(&path)
                .map(drop)
                .unwrap_err()
                .to_string()
                .contains("its receipt cannot be read")
        );
    }

    #[test]
    fn a_header_that_lies_about_a_size_is_refused_before_anything_is_allocated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step-00000007.safetensors");
        write(&path, &run(), &tensors()).unwrap();
        let mut checkpoint = Checkpoint::open(&path).unwrap();
        for shape in [
            json!([u64::MAX]),
            json!([1u64 << 40]),
            json!([1u64 << 33, 1u64 << 33]),
            json!([100]),
        ] {
            checkpoint.header["b.bias"]["shape"] = shape;
            let error = checkpoint.tensor("b.bias").unwrap_err().to_string();
            assert!(error.contains("beyond the end of the file"), "{error}");
        }
    }

    #[test]
    fn a_link_or_a_pipe_in_place_of_a_checkpoint_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step-00000007.safetensors");
        write(&path, &run(), &tensors()).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        for (part, said) in [(path.clone(), "it cannot"), (receipt_path(&path), "its receipt cannot")] {
            std::fs::rename(&part, &elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, &part).unwrap();
            let problem = Checkpoint::open(&path).map(drop).unwrap_err().to_string();
            assert!(
                problem.starts_with(said) && problem.contains("a symbolic link"),
                "{problem}"
            );
            std::fs::remove_file(&part).unwrap();
            assert!(
                std::process::Command::new("mkfifo")
                    .arg(&part)
                    .status()
                    .unwrap()
                    .success()
            );
            let problem = Checkpoint::open(&path).map(drop).unwrap_err().to_string();
            assert!(problem.contains("a named pipe"), "{problem}");
            std::fs::remove_file(&part).unwrap();
            std::fs::rename(&elsewhere, &part).unwrap();
        }
    }

    #[test]
    fn a_checkpoint_that_could_not_be_replaced_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step-00000007.safetensors");
        write(&path, &run(), &tensors()).unwrap();
        // A folder stands where the new file should appear.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(write(&path, &run(), &tensors()).is_err());
        assert!(Checkpoint::open(&path).is_err());
    }
}
