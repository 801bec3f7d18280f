//! How much space a file system has left, and whether what is planned fits into it.

use std::path::Path;

/// Bytes that an ordinary user can still write where `path` is, or will be; `None` where the system does not say.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|folder| folder.exists());
    // A relative path's last ancestor is empty, and stands for the current folder.
    let there = there
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let system = rustix::fs::statvfs(there).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Whether so many bytes fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// With more than a tenth of the need to spare.
    Fits,
    /// But for the error of a prediction.
    Tight,
    /// Not even where the prediction is a tenth too high.
    TooLarge,
}

impl Fit {
    pub(crate) fn of(need: u64, free: u64) -> Self {
        let (need, free) = (need as f64, free as f64);
        if free < 0.9 * need {
            Self::TooLarge
        } else if free < 1.1 * need {
            Self::Tight
        } else {
            Self::Fits
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told_from_what_may_not() {
        assert_eq!(Fit::of(100, 1000), Fit::Fits);
        assert_eq!([Fit::of(100, 109), Fit::of(100, 91)], [Fit::Tight; 2]);
        assert_eq!(Fit::of(100, 89), Fit::TooLarge);
        assert_eq!(Fit::of(0, 0), Fit::Fits);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_on_its_parents_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let there = free_bytes(folder.path()).unwrap();
        assert!(there > 0);
        assert!(free_bytes(&folder.path().join("not/yet")).unwrap() > 0);
        assert!(free_bytes(Path::new("not/yet")).unwrap() > 0);
    }
}
