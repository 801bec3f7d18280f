//! A claim as another process finds it: who holds it, and whether the holder is dead.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    time::{Duration, SystemTime},
};

use leadspan_files::{Locking, open_own, open_unlinked, try_lock};

use super::holder::Holder;

/// The most bytes that are read of a claim.
const MOST_BYTES: u64 = 1 << 12;

/// A claim as it was found.
pub(super) struct Found {
    pub(super) file: File,
    /// `None` if the text is not whole.
    pub(super) holder: Option<Holder>,
    /// The last renewal, in the file server's time.
    pub(super) renewed: SystemTime,
}

impl Found {
    /// Reads a claim; `None` if it is gone. Opening the file makes a network file system fetch its current times.
    ///
    /// What is no regular file is an error: nobody here made it.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut opened = open_own(path, File::options().read(true).write(true));
        // Claims of other users may be read-only for this process.
        if opened
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        {
            opened = open_unlinked(path);
        }
        let mut file = match opened {
            Err(error) if is_gone(&error) => return Ok(None),
            opened => opened?,
        };
        let mut text = Vec::new();
        let read = file.metadata().and_then(|metadata| {
            (&mut file).take(MOST_BYTES).read_to_end(&mut text)?;
            metadata.modified()
        });
        let renewed = match read {
            Err(error) if is_gone(&error) => return Ok(None),
            read => read?,
        };
        Ok(Some(Self {
            file,
            holder: serde_json::from_slice(&text).ok(),
            renewed,
        }))
    }

    /// Whether the holder is dead: its process is gone from this machine, or its lease has run out at the time `now` of the
    /// file server.
    pub(super) fn is_dead(&self, own: &Holder, now: SystemTime, lease: Duration) -> bool {
        let is_here = self
            .holder
            .as_ref()
            .is_some_and(|holder| holder.is_on_this_machine(own));
        let is_over = now.duration_since(self.renewed).is_ok_and(|age| age > lease);
        is_over || (is_here && matches!(try_lock(&self.file), Ok(Locking::Locked)))
    }

    /// Removes this claim of a dead process from `path`. It is first renamed to a name derived from `aside`, which no other
    /// process uses.
    pub(super) fn clear_away(&self, path: &Path, aside: &Path) -> io::Result<()> {
        let grave = aside.with_extension("dead");
        match fs::rename(path, &grave) {
            Err(error) if is_gone(&error) => return Ok(()),
            renamed => renamed?,
        }
        let taken = Self::read(&grave)?;
        let is_this_one = taken.is_none_or(|taken| taken.holder == self.holder);
        if !is_this_one {
            // Another process was faster, and this is its claim. If a third has claimed the name meanwhile, two do the same work.
            let _ = fs::hard_link(&grave, path);
        }
        match fs::remove_file(&grave) {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether an error means that the file is gone, on a local or a network file system.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle
    )
}
