//! A claim that is written under a temporary name, and gets its real name by a hard link.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use leadspan_files::try_lock;

use super::{claim::Claim, holder::Holder};

/// A claim that is whole and has only its temporary name.
pub(super) struct Fresh {
    aside: Aside,
    file: File,
    pub(super) holder: Holder,
    text: Vec<u8>,
    /// When the file was created, in the file server's time.
    pub(super) made: SystemTime,
}

/// A temporary file name. Dropping this removes the file.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Fresh {
    /// Writes a claim of `holder` beside `path`.
    pub(super) fn create(path: &Path, holder: Holder) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = path.with_file_name(format!(".{name}.{}", holder.token));
        let mut file = create_new(&aside)?;
        let aside = Aside(aside);
        // Read while the file is empty: this machine may delay written data and stamp it with its own time.
        let made = file.metadata()?.modified()?;
        let mut text = serde_json::to_vec(&holder).map_err(io::Error::other)?;
        text.push(b'\n');
        file.write_all(&text)?;
        Ok(Self {
            aside,
            file,
            holder,
            text,
            made,
        })
    }

    /// The temporary name.
    pub(super) fn temporary(&self) -> &Path {
        &self.aside.0
    }

    /// Gives it the name `path`; returns whether that name was free.
    pub(super) fn link(&mut self, path: &Path) -> io::Result<bool> {
        let taken = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(false),
            _ => Err(error),
        };
        match fs::hard_link(&self.aside.0, path) {
            Ok(()) => Ok(true),
            // On a file system without hard links, a new file replaces the link. It exists before its text is written.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
                ) =>
            {
                match create_new(path) {
                    Ok(file) => self.file = file,
                    Err(error) => return taken(error),
                }
                self.file.write_all(&self.text)?;
                Ok(true)
            }
            Err(error) => taken(error),
        }
    }

    /// The claim, once it has the name `path`.
    pub(super) fn into_claim(self, path: &Path) -> Claim {
        Claim {
            path: path.to_owned(),
            token: self.holder.token,
            text: self.text,
            _file: self.file,
        }
    }
}

/// Creates a file and locks it. Other processes on this machine see from the lock that its writer is alive.
fn create_new(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    // Without locks on the file system, a death is only noticed later.
    let _ = try_lock(&file);
    Ok(file)
}
