//! Files without a name, for data that is larger than memory should hold.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::{FileError, faults};

/// A temporary file without a name in a folder.
///
/// The system frees it when its process ends, whether it returns, panics or is killed. Other processes never see it. Its
/// contents are not synced. Like the operations of the commit protocol, creating it and writing to it can
/// [fail on purpose](crate::faults).
#[derive(Debug)]
pub struct UnnamedFile {
    file: File,
    folder: PathBuf,
}

impl UnnamedFile {
    /// Creates an empty file in `folder`.
    ///
    /// # Errors
    ///
    /// Fails if the folder does not exist or cannot be written to.
    pub fn create_in(folder: &Path) -> Result<Self, FileError> {
        let failed = || FileError::io("create a temporary file in", folder);
        faults::step().map_err(failed())?;
        // The random name of a temporary would say nothing to whoever reads the message.
        let file = tempfile::tempfile_in(folder).map_err(|error| failed()(error.kind().into()))?;
        Ok(Self {
            file,
            folder: folder.to_owned(),
        })
    }

    /// The folder that the file was created in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Fills `bytes` with the contents of the file from `start`, counted in bytes.
    ///
    /// # Errors
    ///
    /// Fails if the file ends before, or the system cannot read it.
    pub fn read_at(&mut self, start: u64, bytes: &mut [u8]) -> Result<(), FileError> {
        let found = self.file.seek(SeekFrom::Start(start));
        let read = found.and_then(|_| self.file.read_exact(bytes));
        read.map_err(FileError::io("read a temporary file in", &self.folder))
    }
}

impl Write for UnnamedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        faults::step()?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_from_any_place_and_the_folder_shows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = UnnamedFile::create_in(folder.path()).unwrap();
        file.write_all(b"one two three").unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut word = [0; 3];
        for (start, expected) in [(4, b"two"), (0, b"one")] {
            file.read_at(start, &mut word).unwrap();
            assert_eq!(&word, expected);
        }
        let error = file.read_at(11, &mut word).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn creating_and_writing_can_fail_on_purpose() {
        let folder = tempfile::tempdir().unwrap();
        let write = || -> io::Result<()> {
            let mut file = UnnamedFile::create_in(folder.path()).map_err(|error| error.source)?;
            file.write_all(b"one")
        };
        for number in 0..2 {
            let (result, reached) = faults::failing_at(number, write);
            assert!(reached && result.unwrap_err().kind() == io::ErrorKind::StorageFull);
        }
        assert!(!faults::failing_at(2, write).1);
        let missing = folder.path().join("missing");
        let error = UnnamedFile::create_in(&missing).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
