//! A store that is a folder: files are written by the commit protocol.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use leadspan_files::{
    FileError, PendingFile, commit_bytes, create_folder, open_unlinked, read_unlinked, require_own_folder,
};

use crate::{
    StoreError,
    listing::walk,
    source::Source,
    store::{MOST_BYTES, Object, PIECE, Replacing, Store},
};

/// A folder as a store.
pub(crate) struct Folder {
    dir: PathBuf,
    url: String,
}

impl Folder {
    pub(crate) fn new(dir: PathBuf, url: String) -> Self {
        Self { dir, url }
    }

    /// The path of a file that is to be written. Its folder is made.
    fn target(&self, name: &str) -> Result<PathBuf, FileError> {
        let path = self.dir.join(name);
        let folder = path.parent().unwrap_or(&self.dir);
        for own in folder.ancestors().take_while(|folder| *folder != self.dir) {
            require_own_folder(own).map_err(FileError::io("use", own))?;
        }
        create_folder(folder)?;
        Ok(path)
    }
}

/// A path without links, with what does not exist yet as it is written.
fn nearest(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|existing| {
        let rest = path.strip_prefix(existing).ok()?;
        Some(existing.canonicalize().ok()?.join(rest))
    })
}

/// What was found at a path, or `None` if there is no file.
fn unless_missing<T>(result: io::Result<T>, path: &Path) -> Result<Option<T>, FileError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(FileError::io("read", path)(error)),
    }
}

impl Store for Folder {
    fn url(&self) -> &str {
        &self.url
    }

    fn list(&self) -> Result<Option<BTreeMap<String, Object>>, StoreError> {
        let mut found = BTreeMap::new();
        let mut note = |name: String, metadata: &fs::Metadata| {
            if metadata.is_file() {
                let object = Object {
                    bytes: metadata.len(),
                    md5: None,
                };
                found.insert(name, object);
            }
        };
        walk(&self.dir, &mut note)?;
        Ok(Some(found))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.dir.join(name);
        Ok(unless_missing(read_unlinked(&path, MOST_BYTES), &path)?)
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let path = self.dir.join(name);
        let Some(file) = unless_missing(open_unlinked(&path), &path)? else {
            return Err(StoreError::Missing {
                place: self.url_of(name),
                why: "",
            });
        };
        let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], range.start + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::io("read", path)(error).into()),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn put(&self, name: &str, bytes: Vec<u8>, replacing: Replacing) -> Result<bool, StoreError> {
        let path = self.target(name)?;
        match replacing {
            Replacing::Yes => commit_bytes(&path, &bytes)?,
            Replacing::No => {
                let mut pending = PendingFile::create(&path)?;
                io::Write::write_all(&mut pending, &bytes).map_err(FileError::io("write", &path))?;
                return Ok(pending.commit_new()?.is_none());
            }
        }
        Ok(true)
    }

    fn put_large(&self, name: &str, source: &mut Source<'_>) -> Result<(), StoreError> {
        let path = self.target(name)?;
        let mut pending = PendingFile::create(&path)?;
        loop {
            let piece = source.piece(PIECE)?;
            if piece.is_empty() {
                return Ok(pending.commit()?);
            }
            io::Write::write_all(&mut pending, &piece).map_err(FileError::io("write", &path))?;
            source.moved(piece.len() as u64);
        }
    }

    fn require_target(&self, dir: &Path) -> Result<(), StoreError> {
        let (Some(here), Some(there)) = (nearest(dir), nearest(&self.dir)) else {
            return Ok(());
        };
        if there == here || !there.starts_with(&here) {
            return Ok(());
        }
        Err(StoreError::Inside {
            path: dir.to_owned(),
            url: self.url.clone(),
        })
    }
}
