//! One safetensors file, mapped into memory.
//!
//! Which weights a model needs, and which file has them, is not decided here.

use std::path::Path;

use leadspan_files::{MappedFile, open_regular};
use safetensors::{
    SafeTensors,
    tensor::{Metadata, TensorView},
};

use crate::error::ModelError;

/// The bytes of the number at the start of a file that gives the size of its header.
const HEADER_LENGTH_BYTES: usize = 8;

/// A mapped file and its header.
pub(super) struct MappedWeights {
    /// For the message about a bus error.
    _noted: MappedFile,
    bytes: memmap2::Mmap,
    metadata: Metadata,
    /// Where the tensors' bytes begin.
    data: usize,
}

impl MappedWeights {
    /// Maps the file at `path` and reads its header.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`] if the file cannot be opened or is no regular file, [`ModelError::Weights`] if it is damaged.
    #[expect(unsafe_code, reason = "memory-mapping weight files; the argument is at the block")]
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let file = open_regular(path).map_err(|source| ModelError::Io {
            action: "open",
            path: path.to_owned(),
            source,
        })?;
        let damaged = |reason: String| ModelError::Weights {
            path: path.to_owned(),
            reason,
        };
        // SAFETY: the mapping is read-only and is dropped with what reads the model. Model files are inputs that nobody changes
        // during a run. Reading a file that shrinks while it is mapped raises a bus error, which the program reports with the
        // path that is noted here before it ends; this leaves no partial output behind, because every output is committed by
        // a rename.
        let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(|error| damaged(error.to_string()))?;
        let noted = MappedFile::note(path, &bytes);
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
        Ok(Self {
            _noted: noted,
            bytes,
            metadata,
            data: HEADER_LENGTH_BYTES + header,
        })
    }

    /// The names of the tensors, in the order of their bytes.
    pub(super) fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// A text of the file's metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// A tensor; `None` if the file has none of this name.
    pub(super) fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let info = self.metadata.info(name)?;
        let (start, end) = info.data_offsets;
        let data = self.bytes.get(self.data + start..self.data + end)?;
        TensorView::new(info.dtype, info.shape.clone(), data).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_weight_is_known_by_its_addresses_until_its_file_is_unmapped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-teacher/model.safetensors");
        std::fs::copy(fixture, &path).unwrap();
        let file = MappedWeights::open(&path).unwrap();
        let mut addresses = Vec::new();
        for name in file.names() {
            let bytes = file.tensor(&name).unwrap().data().as_ptr_range();
            addresses.extend([bytes.start as usize, bytes.end as usize - 1]);
        }
        assert!(addresses.len() > 20, "{}", addresses.len());
        // A path with the name of this folder is no other test's.
        let known =
            |address: &usize| leadspan_files::mapped_file_at(*address) == Some(path.as_os_str().as_encoded_bytes());
        assert!(addresses.iter().all(known));
        drop(file);
        assert!(!addresses.iter().any(known));
    }
}
