//! The free space of a file system, and whether a planned cache fits into it.

use std::path::Path;

/// Bytes that an ordinary user can still write to the file system of `path`, which need not exist yet; `None` if the system
/// does not tell.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|folder| folder.exists());
    // The last ancestor of a relative path is empty and stands for the current folder.
    let there = there
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let system = rustix::fs::statvfs(there).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Whether a predicted number of bytes fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It fits with at least a tenth of the need to spare.
    Fits,
    /// It may or may not fit, given the error of the prediction.
    Tight,
    /// It does not fit even if the prediction is a tenth too high.
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
    fn a_cache_that_does_not_fit_is_told_from_one_that_may_not() {
        assert_eq!(Fit::of(100, 1000), Fit::Fits);
        assert_eq!([Fit::of(100, 109), Fit::of(100, 91)], [Fit::Tight; 2]);
        assert_eq!(Fit::of(100, 89), Fit::TooLarge);
        assert_eq!(Fit::of(0, 0), Fit::Fits);
    }

    #[test]
    fn a_folder_that_does_not_exist_yet_is_on_its_parents_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let there = free_bytes(folder.path()).unwrap();
        assert!(there > 0);
        assert!(free_bytes(&folder.path().join("not/yet")).unwrap() > 0);
        assert!(free_bytes(Path::new("not/yet")).unwrap() > 0);
    }
}
