//! Claims: small files by which processes that share a folder keep out of each other's way, on any file system.
//!
//! A claim is a file in `.claims/` that exists as long as a process holds it. It is written under a temporary name and then
//! hard-linked to its real name, so that it appears whole or not at all. Over NFS, where the reply to the link may be lost,
//! the text of the claim says who holds it. The *lease* is how long a claim stays valid after its last renewal, which rewrites
//! the file. All times are the file server's: the modification time of the claim is compared with that of a file that was just
//! created beside it. The clocks of the machines do not matter.
//!
//! A process on the holder's own machine sees at once that the holder is dead, from the lock on the claim. Other machines wait
//! until the lease has run out, by the server's clock or, should that clock be set back, by their own. A process that takes a claim over renames the file first and checks that it is the one that it
//! found dead. If it is another process's new claim, it is put back.
//!
//! Correctness does not depend on claims. A worker that was suspended, or whose machine lost its network, may continue after it
//! was replaced. Then two workers do the same work: they commit the same bytes, or the first commit wins.

mod claim;
mod found;
mod fresh;
mod holder;
mod pauses;
mod unchanged;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use leadspan_files::{FileError, remove_if_dead, require_own_folder};

pub use self::{
    claim::{Claim, Renewal},
    holder::Holder,
    pauses::Pauses,
};
use self::{
    found::{Found, is_gone},
    fresh::Fresh,
    unchanged::Unchanged,
};

const FOLDER: &str = ".claims";

/// What this process has seen. It outlives each [`Claims`], since one who waits for a lock may make one for every attempt.
static UNCHANGED: Unchanged = Unchanged::new();

/// The path of the claim `name` in the folder `dir`, whether it exists or not.
pub(crate) fn path_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(FOLDER).join(name)
}

/// The claims in a folder, as one process makes and sees them.
#[derive(Debug)]
pub struct Claims {
    folder: PathBuf,
    lease: Duration,
    own: Holder,
}

/// The result of asking for a claim.
#[derive(Debug)]
pub enum Attempt {
    /// This process holds it now.
    Claimed(Claim),
    /// Another process holds it.
    Held(Holder),
}

impl Claims {
    /// The claims of the cache in `dir`, each valid for `lease` after its last renewal. Writes nothing yet.
    ///
    /// # Errors
    ///
    /// If the system provides no random numbers.
    pub fn new(dir: &Path, lease: Duration) -> Result<Self, FileError> {
        let folder = dir.join(FOLDER);
        let own = Holder::this_process().map_err(FileError::io("name a holder of claims in", &folder))?;
        Ok(Self { folder, lease, own })
    }

    /// How long a claim stays valid after its last renewal.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// A random number of this process.
    pub fn number(&self) -> u64 {
        u64::from_str_radix(&self.own.token[..16], 16).unwrap_or_default()
    }

    /// Whether a process, dead or alive, has claimed `name`.
    pub(crate) fn is_claimed(&self, name: &str) -> bool {
        self.folder.join(name).symlink_metadata().is_ok()
    }

    /// Claims `name`, unless another process holds it that is alive or whose lease still runs.
    ///
    /// # Errors
    ///
    /// If the cache's folder is gone or cannot be written to.
    pub fn attempt(&self, name: &str) -> Result<Attempt, FileError> {
        let path = self.folder.join(name);
        self.attempt_at(&path).map_err(FileError::io("claim", &path))
    }

    fn attempt_at(&self, path: &Path) -> io::Result<Attempt> {
        let mut fresh = self.fresh(path)?;
        loop {
            match fresh.link(path) {
                Ok(true) => return Ok(Attempt::Claimed(fresh.into_claim(path))),
                Ok(false) => {}
                // A process that found the cache complete has removed the folder.
                Err(error) if is_gone(&error) => {
                    fresh = self.fresh(path)?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let Some(found) = Found::read(path)? else { continue };
            if found.holder.as_ref() == Some(&fresh.holder) {
                // The link was made, and the reply was lost.
                return Ok(Attempt::Claimed(fresh.into_claim(path)));
            }
            if !found.is_dead(&self.own, fresh.made, self.lease) && !self.is_unchanged_for_a_lease(path, &found) {
                return Ok(Attempt::Held(found.holder.unwrap_or_else(Holder::unknown)));
            }
            found.clear_away(path, fresh.temporary())?;
            UNCHANGED.forget(path);
        }
    }

    /// Whether this process has found the claim as it is for longer than the lease.
    fn is_unchanged_for_a_lease(&self, path: &Path, found: &Found) -> bool {
        let token = found.holder.as_ref().map_or("", |holder| &holder.token);
        UNCHANGED.time(path, (token, found.renewed), Instant::now()) > self.lease
    }

    /// A claim that has only its temporary name. Creates the folder of claims if it is missing, but not the cache's own folder.
    fn fresh(&self, path: &Path) -> io::Result<Fresh> {
        let holder = self.own.with_new_token()?;
        require_own_folder(&self.folder)?;
        loop {
            match Fresh::create(path, holder.clone()) {
                Err(error) if is_gone(&error) => {}
                created => return created,
            }
            // The process that drops the last claim removes the folder, which happens often if few processes work.
            match fs::create_dir(&self.folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
    }

    /// Claims a work unit of a layer, as [`attempt`](Self::attempt) does.
    ///
    /// # Errors
    ///
    /// Those of [`attempt`](Self::attempt).
    pub fn attempt_unit(&self, layer: &str, unit: &str) -> Result<Attempt, FileError> {
        self.attempt(&format!("{layer}.{unit}"))
    }

    /// Waits for `name`, and calls `waiting` with its holder before each pause.
    ///
    /// # Errors
    ///
    /// Those of [`attempt`](Self::attempt).
    pub fn wait_for(&self, name: &str, waiting: &mut dyn FnMut(&Holder)) -> Result<Claim, FileError> {
        let mut pauses = Pauses::default();
        loop {
            match self.attempt(name)? {
                Attempt::Claimed(claim) => return Ok(claim),
                Attempt::Held(holder) => waiting(&holder),
            }
            pauses.next();
        }
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        // Fails if the folder has any claim in it.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Removes from the cache in `dir` the claims of dead processes on units that are committed, and the temporary files of dead
/// processes. Files that cannot be removed are harmless and stay.
pub fn remove_dead_claims(dir: &Path, is_committed: &dyn Fn(&str, &str) -> bool) {
    let folder = dir.join(FOLDER);
    if require_own_folder(&folder).is_err() {
        return;
    }
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        // A name without a dot is a lock, which this function leaves alone.
        let is_of_no_use = name
            .rsplit_once('.')
            .is_some_and(|(layer, unit)| name.starts_with('.') || is_committed(layer, unit));
        if is_of_no_use {
            remove_if_dead(&entry.path());
        }
    }
    let _ = fs::remove_dir(&folder);
}

#[cfg(test)]
mod tests;
