//! Errors of the file system, with the path they concern.

use std::{
    io,
    path::{Path, PathBuf},
};

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

/// What processes put into a folder while they work there, and make anew whenever it is missing.
const OF_PROCESSES: [&str; 3] = [".claims", ".workers", ".lock"];

/// The file or folder of [`OF_PROCESSES`] that a path is, or is in.
fn of_processes(path: &Path) -> Option<&Path> {
    let mut nearest = path.ancestors().take(2);
    nearest.find(|found| OF_PROCESSES.iter().any(|name| found.ends_with(name)))
}

fn removal(path: &Path) -> String {
    format!(
        "remove `{}`: leadspan did not make it, and does not need it",
        path.display()
    )
}

/// Whether the error says that links lead to each other in a circle.
pub fn is_link_to_itself(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::LOOP)
}

/// Whether the error is one that the user cannot mend.
pub fn is_unexpected(error: &io::Error) -> bool {
    Refusal::of(error).is_none()
        && !is_link_to_itself(error)
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
pub fn hint(error: &io::Error, path: &Path) -> Option<String> {
    match (Refusal::of(error), of_processes(path)) {
        (Some(Refusal::LfsPointer), _) => {
            return Some("run `git lfs pull` in the folder that was cloned, or download the file itself".to_owned());
        }
        (Some(Refusal::NotAFolder(_)), Some(folder)) => return Some(removal(folder)),
        (Some(Refusal::NotRegular(_)), Some(_)) => return Some(removal(path)),
        (Some(Refusal::NotAFolder("a symbolic link")), None) => {
            return Some(format!(
                "put a folder in the place of the link `{}`: the folder of a cache or a run may be a link, what is inside may not",
                path.display()
            ));
        }
        _ => {}
    }
    if is_link_to_itself(error) {
        return Some(format!(
            "`{}` leads to itself: remove the link, or let it lead to what is meant",
            path.display()
        ));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_itself_is_no_fault_of_leadspan() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loop");
        std::os::unix::fs::symlink("loop", &path).unwrap();
        let error = std::fs::metadata(path.join("inside")).unwrap_err();
        assert!(is_link_to_itself(&error) && !is_unexpected(&error), "{error}");
        assert!(hint(&error, &path).unwrap().contains("leads to itself"));
    }

    #[test]
    fn a_link_or_a_pipe_in_the_place_of_what_leadspan_makes_is_named_with_the_way_out() {
        let hint_about = |refusal: Refusal, path: &str| hint(&refusal.into(), Path::new(path));
        let (pipe, link) = (
            Refusal::NotRegular("a named pipe"),
            Refusal::NotAFolder("a symbolic link"),
        );
        for (refusal, path, removed) in [
            (pipe, "cache/.claims/preparing", Some("cache/.claims/preparing")),
            (pipe, "run/.lock", Some("run/.lock")),
            (link, "cache/.claims/preparing", Some("cache/.claims")),
            (link, "cache/.workers", Some("cache/.workers")),
            (link, "cache/layers", None),
            (pipe, "cache/identity.json", None),
        ] {
            let given = hint_about(refusal, path).unwrap_or_default();
            let expected = removed.map(|removed| format!("remove `{removed}`:"));
            assert_eq!(given.starts_with("remove "), expected.is_some(), "{path}: {given}");
            assert!(
                expected.is_none_or(|expected| given.starts_with(&expected)),
                "{path}: {given}"
            );
        }
        assert!(
            hint_about(link, "cache/layers")
                .unwrap()
                .contains("the link `cache/layers`")
        );
    }
}
