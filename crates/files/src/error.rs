//! Errors of the file system, with the path they concern.

use std::{io, path::PathBuf};

use leadspan_diagnosis::Diagnosis;

use crate::Refusal;

/// A file or folder that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} `{}`", path.display())]
pub struct FileError {
    /// What was attempted, such as `open`.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The error of the operating system.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// Turns an I/O error into one that names the file.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self { action, path, source }
    }
}

impl Diagnosis for FileError {
    fn is_unexpected(&self) -> bool {
        is_unexpected(&self.source)
    }

    fn hint(&self) -> Option<String> {
        hint(&self.source, &self.path)
    }
}

/// Whether the error is one that the user cannot mend.
pub fn is_unexpected(error: &io::Error) -> bool {
    Refusal::of(error).is_none()
        && !matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge
                | io::ErrorKind::InvalidFilename
        )
}

/// A hint for an error of the operating system on the file at `path`, if there is one.
pub fn hint(error: &io::Error, path: &std::path::Path) -> Option<String> {
    if Refusal::of(error) == Some(Refusal::LfsPointer) {
        return Some("run `git lfs pull` in the folder that was cloned, or download the file itself".to_owned());
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => Some(format!(
            "give yourself access to `{}` or choose another folder",
            path.display()
        )),
        io::ErrorKind::ReadOnlyFilesystem => Some(format!(
            "mount the disk of `{}` with write access or choose another folder",
            path.display()
        )),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space and run the same command again: what was finished is kept".to_owned())
        }
        io::ErrorKind::FileTooLarge => Some(
            "allow larger files (`ulimit -f`) and run the same command again: what was finished is kept".to_owned(),
        ),
        _ => None,
    }
}
