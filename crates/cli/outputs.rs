//! Places to write to: whether they are inside a cache, whether a folder can be made there, and whether a file may be replaced.

use std::{
    fs::{self, FileType},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Component, Path, PathBuf},
};

use leadspan_diagnosis::Diagnosis;

/// A file that may not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputRefusal {
    /// It would be inside a cache.
    #[error("`{}` is inside the cache `{}`, in which only leadspan writes", path.display(), cache.display())]
    InCache { path: PathBuf, cache: PathBuf },
    /// There is something else than a file.
    #[error("`{}` is {found}, not a file", path.display())]
    NotAFile { path: PathBuf, found: &'static str },
    /// No folder can be made there.
    #[error("`{}` is {found}", path.display())]
    NotAFolder { path: PathBuf, found: String },
    /// The folder has other files.
    #[error("`{}` has `{}`, but is not the folder of a report", path.display(), found.display())]
    Occupied { path: PathBuf, found: PathBuf },
    /// The command reads it.
    #[error("`{}` is the file `{}`, which this command reads", path.display(), input.display())]
    IsInput { path: PathBuf, input: PathBuf },
    /// It exists, and nobody said that it may be replaced.
    #[error("`{}` exists already", path.display())]
    Exists { path: PathBuf },
    /// It exists, and another program wrote it.
    #[error("`{}` exists already, and leadspan did not write it", path.display())]
    Foreign { path: PathBuf },
    /// There is something in it that another program wrote.
    #[error("`{}` has `{}`, which leadspan did not write", path.display(), found.display())]
    HasForeign { path: PathBuf, found: PathBuf },
    /// The folder that it would be in is not there.
    #[error("there is no folder `{}` for `{}`", folder.display(), path.display())]
    NoFolder { path: PathBuf, folder: PathBuf },
    /// An option of folders was given for a file.
    #[error("`{flag}` is for an export that is a folder, but `--format file` writes one file")]
    NoFolderAsked { flag: &'static str },
    /// Its name promises another format.
    #[error("`{}` would be a Parquet file, which is the only format that is written", path.display())]
    OtherFormat { path: PathBuf },
    /// It cannot be looked at.
    #[error("could not look at `{}`", path.display())]
    Unknown {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Diagnosis for OutputRefusal {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::InCache { cache, .. } => format!("choose a path outside of `{}`", cache.display()),
            Self::NotAFile { .. } | Self::IsInput { .. } => "choose another path".to_owned(),
            Self::Exists { .. } => "add `--overwrite` to replace it, or choose another path".to_owned(),
            Self::Foreign { .. } => "choose another path, or move the file away".to_owned(),
            Self::HasForeign { found, .. } => format!("move `{}` away, or choose another path", found.display()),
            Self::NoFolderAsked { .. } => "add `--format dataset`".to_owned(),
            Self::NotAFolder { .. } => "choose another folder".to_owned(),
            Self::Occupied { .. } => "choose a new or an empty folder".to_owned(),
            Self::NoFolder { folder, .. } => format!("create it: `mkdir -p {}`", folder.display()),
            Self::OtherFormat { path } => {
                format!(
                    "name it `{}`, and convert it afterwards",
                    path.with_extension("parquet").display()
                )
            }
            Self::Unknown { .. } => return None,
        })
    }
}

/// Checks that a file may be written at `path`: it is not inside a cache, it is none of `inputs`, and if there is a file,
/// `overwrite` allows to replace it.
///
/// # Errors
///
/// The first reason why it may not.
pub(crate) fn check_file(path: &Path, overwrite: bool, inputs: &[&Path]) -> Result<(), OutputRefusal> {
    let owned = || path.to_owned();
    if let Some(cache) = cache_around(path) {
        return Err(OutputRefusal::InCache { path: owned(), cache });
    }
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return require_folder_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(()),
        Err(source) => return Err(OutputRefusal::Unknown { path: owned(), source }),
    };
    if !there.is_file() {
        let found = kind(there.file_type());
        return Err(OutputRefusal::NotAFile { path: owned(), found });
    }
    let is_there = |input: &&&Path| {
        fs::metadata(input).is_ok_and(|input| (input.dev(), input.ino()) == (there.dev(), there.ino()))
    };
    if let Some(input) = inputs.iter().find(is_there) {
        let input = (*input).to_owned();
        return Err(OutputRefusal::IsInput { path: owned(), input });
    }
    if overwrite {
        Ok(())
    } else {
        Err(OutputRefusal::Exists { path: owned() })
    }
}

/// Refuses a new file or folder whose folder is not there.
///
/// # Errors
///
/// [`OutputRefusal::NoFolder`].
pub(crate) fn require_folder_of(path: &Path) -> Result<(), OutputRefusal> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => Err(OutputRefusal::NoFolder {
            path: path.to_owned(),
            folder: folder.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Refuses the name of a new Parquet file whose extension is that of something else. What begins with a digit is no extension,
/// but the end of a number: `half-0.5`.
///
/// # Errors
///
/// [`OutputRefusal::OtherFormat`].
pub(crate) fn require_parquet(path: &Path) -> Result<(), OutputRefusal> {
    let extension = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    if extension.starts_with(|letter: char| letter.is_ascii_digit()) || ["", "parquet", "pq"].contains(&&*extension) {
        return Ok(());
    }
    Err(OutputRefusal::OtherFormat { path: path.to_owned() })
}

fn kind(found: FileType) -> &'static str {
    if found.is_file() {
        "a file"
    } else if found.is_dir() {
        "a folder"
    } else if found.is_symlink() {
        "a symbolic link"
    } else if found.is_fifo() {
        "a named pipe"
    } else if found.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// Why no folder can be at `place`, which is [without links](without_links): it or a folder around it is a file or a link that
/// leads nowhere, or it belongs to the system. `None` if one can be.
pub(crate) fn obstacle(place: &Path) -> Option<String> {
    let of_system = ["/dev", "/proc", "/sys"]
        .into_iter()
        .find(|root| place.starts_with(root));
    // Memory that is used like a disk.
    if let Some(root) = of_system.filter(|_| !place.starts_with("/dev/shm")) {
        return Some(format!("in `{root}`, which belongs to the system"));
    }
    let there = |folder| Some((folder, fs::symlink_metadata(folder).ok()?.file_type()));
    let (nearest, found) = place.ancestors().find_map(there)?;
    let what = match kind(found) {
        _ if found.is_dir() => return None,
        "a symbolic link" => "a symbolic link that leads nowhere",
        what => what,
    };
    Some(if nearest == place {
        what.to_owned()
    } else {
        let name = nearest.file_name().unwrap_or_default();
        format!("inside `{}`, which is {what}", Path::new(name).display())
    })
}

/// The innermost cache that a path is inside of, or is itself. Links are followed.
pub(crate) fn cache_around(path: &Path) -> Option<PathBuf> {
    without_links(path)
        .ancestors()
        .find(|folder| is_cache(folder))
        .map(Path::to_owned)
}

/// Whether a folder looks like a cache, sound or not.
pub(crate) fn is_cache(folder: &Path) -> bool {
    folder.join("identity.json").exists()
        && ["tokenizer", "corpus", "layers"]
            .iter()
            .any(|name| folder.join(name).is_dir())
}

/// A full path in which every folder that exists is named without links. The rest, which is yet to be made, is taken as it is
/// written.
pub(crate) fn without_links(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for part in std::path::absolute(path)
        .unwrap_or_else(|_| path.to_owned())
        .components()
    {
        match part {
            Component::ParentDir => {
                found.pop();
            }
            part => found.push(part),
        }
        if let Ok(real) = found.canonicalize() {
            found = real;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::fs::symlink, process::Command};

    #[test]
    fn a_file_is_written_neither_into_a_cache_nor_over_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("cache/layers/one")).unwrap();
        fs::write(at("cache/identity.json"), b"damaged").unwrap();
        fs::write(at("cache/layers/one/train-000000.parquet"), b"shard").unwrap();
        symlink("cache/layers", at("layers")).unwrap();
        for path in [
            "cache",
            "cache/identity.json",
            "cache/layers/one/train-000000.parquet",
            "cache/new.parquet",
            "layers/one/new.parquet",
            "other/../cache/new.parquet",
        ] {
            let error = check_file(&at(path), true, &[]).unwrap_err();
            assert!(matches!(error, OutputRefusal::InCache { .. }), "{path}: {error}");
        }
        fs::write(at("there"), b"old").unwrap();
        fs::hard_link(at("there"), at("again")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink("there", at("link")).unwrap();
        symlink("/dev/null", at("null")).unwrap();
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        for (path, found) in [
            (at("folder"), "a folder"),
            (at("link"), "a symbolic link"),
            (at("null"), "a symbolic link"),
            (at("pipe"), "a named pipe"),
            ("/dev/null".into(), "a device"),
        ] {
            let error = check_file(&path, true, &[]).unwrap_err();
            assert!(
                matches!(&error, OutputRefusal::NotAFile { found: said, .. } if *said == found),
                "{error}"
            );
        }
        let input = at("again");
        let error = check_file(&at("there"), true, &[&input]).unwrap_err();
        assert!(matches!(error, OutputRefusal::IsInput { .. }), "{error}");
        let error = check_file(&at("there"), false, &[]).unwrap_err();
        assert!(matches!(error, OutputRefusal::Exists { .. }), "{error}");
        check_file(&at("there"), true, &[]).unwrap();
        check_file(&at("new"), false, &[&input]).unwrap();
        let error = check_file(&at("caches/new"), false, &[]).unwrap_err();
        assert!(
            matches!(&error, OutputRefusal::NoFolder { folder, .. } if folder.ends_with("caches")),
            "{error}"
        );
        assert!(error.hint().unwrap().starts_with("create it: `mkdir -p "), "{error}");
    }

    #[test]
    fn a_name_that_promises_another_format_is_refused() {
        for name in [
            "half",
            "half.parquet",
            "half.PARQUET",
            "half.pq",
            "half-0.5",
            "a.b/half",
        ] {
            require_parquet(Path::new(name)).unwrap();
        }
        for name in ["half.csv", "half.jsonl", "half.arrow", "half.parquet.gz"] {
            let error = require_parquet(Path::new(name)).unwrap_err();
            assert!(error.hint().unwrap().contains(".parquet`"), "{name}: {error}");
        }
    }

    #[test]
    fn a_folder_can_be_neither_at_nor_below_what_is_no_folder_nor_in_what_belongs_to_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let at = |name: &str| without_links(&root.join(name));
        fs::write(at("file"), b"").unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("folder", root.join("link")).unwrap();
        symlink("/dev/null", root.join("null")).unwrap();
        for (place, said) in [
            (at("file"), "a file".to_owned()),
            (at("file/run"), "inside `file`, which is a file".to_owned()),
            (at("dangling"), "a symbolic link that leads nowhere".to_owned()),
            (
                at("dangling/a/b"),
                "inside `dangling`, which is a symbolic link that leads nowhere".to_owned(),
            ),
            (at("null"), "in `/dev`, which belongs to the system".to_owned()),
            ("/dev".into(), "in `/dev`, which belongs to the system".to_owned()),
            (
                "/proc/1/run".into(),
                "in `/proc`, which belongs to the system".to_owned(),
            ),
            ("/sys/run".into(), "in `/sys`, which belongs to the system".to_owned()),
        ] {
            assert_eq!(obstacle(&place), Some(said), "{}", place.display());
        }
        for place in [
            at("folder"),
            at("link"),
            at("link/new/run"),
            at("new"),
            "/dev/shm/run".into(),
            "/devices".into(),
        ] {
            assert_eq!(obstacle(&place), None, "{}", place.display());
        }
    }
}
