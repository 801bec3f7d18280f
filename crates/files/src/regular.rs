//! Opening files that somebody else may have written.
//!
//! A path that leads to a named pipe would block for ever, a device may never end, and a link may lead out of the folder that
//! the user named. Every reader opens its files here: only regular files are opened, without waiting, and files that are
//! read as a whole have a limit. A Git LFS pointer, which a clone without Git LFS has in place of a large file, is refused.

use std::{
    fmt,
    fs::{self, File, FileType, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::faults;

/// Why a file was not opened although it is there. It is the inner error of the [`io::Error`] that the functions here return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is no regular file; the text says what it is.
    NotRegular(&'static str),
    /// It is no folder; the text says what it is.
    NotAFolder(&'static str),
    /// It has more bytes than its reader takes.
    TooLarge {
        /// Bytes that the reader takes.
        limit: u64,
    },
    /// It is a pointer of Git LFS: a few lines of text in the place of a file that was not downloaded.
    LfsPointer,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRegular(found) => write!(formatter, "it is {found}, not a regular file"),
            Self::NotAFolder(found) => write!(formatter, "it is {found}, not a folder"),
            Self::TooLarge { limit } => write!(
                formatter,
                "it has more than the {limit} bytes that such a file may have"
            ),
            Self::LfsPointer => write!(formatter, "it is a Git LFS pointer, not the file that it stands for"),
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// The refusal that is inside an I/O error, if there is one.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(io::ErrorKind::InvalidInput, refusal)
    }
}

/// Opens a regular file for reading. Links are followed: use this for files that the user named.
///
/// # Errors
///
/// If there is no file, it cannot be opened, it is no regular file, or it is a Git LFS pointer ([`Refusal`]).
pub fn open_regular(path: &Path) -> io::Result<File> {
    open(path, fs::metadata(path)?.file_type(), OFlags::empty())
}

/// Opens a regular file for reading. A link is refused: use this for every file inside a cache, a run or an evaluation, and
/// build its path with a name that [`is_plain_name`] accepts.
///
/// # Errors
///
/// Those of [`open_regular`], and if the path is a symbolic link.
pub fn open_unlinked(path: &Path) -> io::Result<File> {
    open(path, fs::symlink_metadata(path)?.file_type(), OFlags::NOFOLLOW)
}

/// Opens a file that this program writes, such as a lock or a log, as `options` say. A link is refused: somebody else may have
/// put it there, and its target would be written to.
///
/// # Errors
///
/// Those of [`open_regular`], and if the path is a symbolic link. A missing file is an error unless `options` create it.
pub fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(found) => refuse_unless_regular(found.file_type())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    faults::writable()?;
    open_as(path, options, OFlags::NOFOLLOW)
}

/// Refuses a path that is there and is no folder, or is a link to one: what is written or removed in a folder of this program
/// must not be somewhere else.
///
/// # Errors
///
/// [`Refusal::NotAFolder`], or if the file system does not answer.
pub fn require_own_folder(path: &Path) -> io::Result<()> {
    // With a slash at its end, the system would follow a link.
    let path: PathBuf = path.components().collect();
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(found) => Err(Refusal::NotAFolder(name_of(found.file_type())).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The bytes of a regular file, of which there may be `limit`. Links are followed.
///
/// # Errors
///
/// Those of [`open_regular`], if the file cannot be read, or if it has more bytes.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read(open_regular(path)?, limit)
}

/// The bytes of a regular file, of which there may be `limit`. A link is refused.
///
/// # Errors
///
/// Those of [`open_unlinked`], if the file cannot be read, or if it has more bytes.
pub fn read_unlinked(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read(open_unlinked(path)?, limit)
}

/// Whether a name that a file gives leads to a file in the same folder: not empty, no separator, not `.` or `..`.
pub fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(only)) if only == name)
        && components.next().is_none()
        && !name.contains('\0')
}

/// How every pointer of Git LFS begins.
const LFS_BEGINNING: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The bytes below which every pointer of Git LFS stays.
const LFS_BYTES: u64 = 1024;

/// Opens a file whose type was read from its name. The type is compared again once it is open, because the name may lead to
/// another file by then. Devices are never opened: opening alone may do something.
fn open(path: &Path, file_type: FileType, flags: OFlags) -> io::Result<File> {
    refuse_unless_regular(file_type)?;
    let file = open_as(path, OpenOptions::new().read(true), flags)?;
    refuse_lfs_pointer(&file)?;
    Ok(file)
}

fn open_as(path: &Path, options: &mut OpenOptions, flags: OFlags) -> io::Result<File> {
    let flags = (flags | OFlags::NONBLOCK).bits().cast_signed();
    let file = options.custom_flags(flags).open(path)?;
    refuse_unless_regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// Refuses a pointer of Git LFS. The place at which the file is read next stays where it is.
fn refuse_lfs_pointer(file: &File) -> io::Result<()> {
    let bytes = file.metadata()?.len();
    if !(LFS_BEGINNING.len() as u64..LFS_BYTES).contains(&bytes) {
        return Ok(());
    }
    let mut beginning = [0; LFS_BEGINNING.len()];
    match file.read_exact_at(&mut beginning, 0) {
        Ok(()) if beginning == LFS_BEGINNING => Err(Refusal::LfsPointer.into()),
        Ok(()) => Ok(()),
        // It became shorter meanwhile.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error),
    }
}

fn refuse_unless_regular(file_type: FileType) -> Result<(), Refusal> {
    if file_type.is_file() {
        Ok(())
    } else {
        Err(Refusal::NotRegular(name_of(file_type)))
    }
}

/// What a file is.
fn name_of(file_type: FileType) -> &'static str {
    if file_type.is_file() {
        "a file"
    } else if file_type.is_dir() {
        "a folder"
    } else if file_type.is_symlink() {
        "a symbolic link"
    } else if file_type.is_fifo() {
        "a named pipe"
    } else if file_type.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

fn read(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Refusal::TooLarge { limit }.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn refusal(result: io::Result<Vec<u8>>) -> Option<Refusal> {
        Refusal::of(&result.unwrap_err())
    }

    #[test]
    fn only_regular_files_are_read_and_nothing_waits() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), b"twelve bytes").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("/dev/zero", at("zero")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();

        assert_eq!(read_regular(&at("file"), 12).unwrap(), b"twelve bytes");
        assert_eq!(read_unlinked(&at("file"), 12).unwrap(), b"twelve bytes");
        assert_eq!(read_regular(&at("link"), 12).unwrap(), b"twelve bytes");
        for (name, followed, unlinked) in [
            ("pipe", "a named pipe", "a named pipe"),
            ("zero", "a device", "a symbolic link"),
            (".", "a folder", "a folder"),
        ] {
            assert_eq!(
                refusal(read_regular(&at(name), 12)),
                Some(Refusal::NotRegular(followed)),
                "{name}"
            );
            assert_eq!(
                refusal(read_unlinked(&at(name), 12)),
                Some(Refusal::NotRegular(unlinked)),
                "{name}"
            );
        }
        assert_eq!(
            refusal(read_unlinked(&at("link"), 12)),
            Some(Refusal::NotRegular("a symbolic link"))
        );
        assert_eq!(
            read_regular(&at("none"), 12).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn what_this_program_writes_is_never_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("secret"), b"untouched").unwrap();
        symlink("secret", at("log")).unwrap();
        symlink("not-there", at("dangling")).unwrap();
        symlink(".", at("loop")).unwrap();
        for name in ["log", "dangling"] {
            let opened = open_own(&at(name), File::options().create(true).append(true).read(true));
            let refused = Refusal::of(&opened.unwrap_err());
            assert_eq!(refused, Some(Refusal::NotRegular("a symbolic link")), "{name}");
        }
        assert_eq!(fs::read(at("secret")).unwrap(), b"untouched");
        assert!(!at("not-there").exists());
        open_own(&at("new"), File::options().create(true).append(true)).unwrap();
        assert_eq!(read_unlinked(&at("new"), 0).unwrap(), b"");

        assert!(require_own_folder(folder.path()).is_ok() && require_own_folder(&at("none")).is_ok());
        for (name, found) in [
            ("loop", "a symbolic link"),
            ("loop/", "a symbolic link"),
            ("secret", "a file"),
        ] {
            let refused = Refusal::of(&require_own_folder(&at(name)).unwrap_err());
            assert_eq!(refused, Some(Refusal::NotAFolder(found)));
        }
    }

    #[test]
    fn a_file_of_more_bytes_than_its_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"twelve bytes").unwrap();
        assert_eq!(refusal(read_regular(&path, 11)), Some(Refusal::TooLarge { limit: 11 }));
    }

    #[test]
    fn a_git_lfs_pointer_is_not_taken_for_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12345\n";
        fs::write(&path, pointer).unwrap();
        for refused in [read_regular(&path, 4096), read_unlinked(&path, 4096)] {
            let error = refused.unwrap_err();
            assert_eq!(Refusal::of(&error), Some(Refusal::LfsPointer));
            assert!(crate::hint(&error, &path).unwrap().contains("`git lfs pull`"));
        }
        // Text about pointers, or an empty file, is none.
        for text in [
            "",
            "version",
            "version https://example.org/spec/v1, said the page of the format",
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_regular(&path, 4096).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn a_plain_name_leads_to_the_same_folder() {
        for name in ["tokenizer.json", "..json", ".hidden", "a b", "ü"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in ["", ".", "..", "../a", "a/b", "/a", "a/", "./a", "a\0b"] {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }
}
