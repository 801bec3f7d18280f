//! A claim that this process holds.

use std::{
    fs::{self, File},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
};

use leadspan_files::FileError;

use super::found::Found;

/// A claim of this process. It is held until it is dropped, or until the process ends and the lease runs out.
#[derive(Debug)]
pub struct Claim {
    pub(super) path: PathBuf,
    pub(super) token: String,
    pub(super) text: Vec<u8>,
    /// The lock on it tells other processes on this machine that the holder is alive.
    pub(super) _file: File,
}

/// Whether a claim is still held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease starts again now.
    Renewed,
    /// The lease had run out, and another process took the claim over or removed it.
    Lost,
}

impl Claim {
    /// Starts the lease again.
    ///
    /// # Errors
    ///
    /// If the claim cannot be read or written.
    pub fn renew(&self) -> Result<Renewal, FileError> {
        self.rewrite().map_err(FileError::io("renew the claim", &self.path))
    }

    fn rewrite(&self) -> io::Result<Renewal> {
        let Some(mut found) = Found::read(&self.path)? else {
            return Ok(Renewal::Lost);
        };
        if found.holder.is_none_or(|holder| holder.token != self.token) {
            return Ok(Renewal::Lost);
        }
        // A network file system passes the write on when this handle is closed.
        found.file.seek(SeekFrom::Start(0))?;
        found.file.write_all(&self.text)?;
        Ok(Renewal::Renewed)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let is_ours = Found::read(&self.path).is_ok_and(|found| {
            found
                .and_then(|found| found.holder)
                .is_some_and(|holder| holder.token == self.token)
        });
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
        if let Some(folder) = self.path.parent() {
            let _ = fs::remove_dir(folder);
        }
    }
}
