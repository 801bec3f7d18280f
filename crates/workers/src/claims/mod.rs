//! Claims: small files by which processes that share a cache keep out of each other's way, on any file system.
//!
//! A claim is a file in the cache's `.claims/`, there as long as somebody holds it. It is made by a hard link from a file
//! that is whole already, so it appears under its name at once or not at all, also on NFS, where the reply may be lost:
//! whose claim it is says its text. Its *lease* is how long it outlives its last renewal, which rewrites it. Both times
//! are the file server's: a claim's last modification, and that of a file that was made just now beside it. No clock of
//! this machine is compared with anything.
//!
//! On the machine of its holder a dead process is known at once, by the lock that it held on its claim; elsewhere when the
//! lease is over. Whoever takes over renames the claim away first, and makes sure that it is the one that was found to be
//! dead: should it be somebody's fresh one, it is put back.
//!
//! Nothing depends on claims for its correctness. A worker that was suspended, or whose machine was cut off, may wake up
//! after it was replaced; then two do the same, and what they commit is the same or the first one's.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use leadspan_files::{FileError, remove_if_dead};

const FOLDER: &str = ".claims";

/// Who holds a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Different for every claim that anybody makes.
    token: String,
    /// The name of its machine.
    pub host: String,
    /// Which running kernel that is; empty where it does not say.
    kernel: String,
    /// Its number there.
    pub process: u32,
}

impl Holder {
    fn this_process() -> Result<Self, io::Error> {
        let of_kernel = |name: &str| {
            let text = fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).unwrap_or_default();
            text.trim().to_owned()
        };
        Ok(Self {
            token: token()?,
            host: of_kernel("hostname"),
            kernel: of_kernel("random/boot_id"),
            process: process::id(),
        })
    }

    /// Of a claim that does not say whose it is.
    fn unknown() -> Self {
        Self {
            token: String::new(),
            host: String::new(),
            kernel: String::new(),
            process: 0,
        }
    }

    fn is_on_this_machine(&self, own: &Self) -> bool {
        !self.kernel.is_empty() && self.kernel == own.kernel
    }
}

/// 24 hexadecimal digits that nobody else has.
fn token() -> io::Result<String> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.map(|byte| format!("{byte:02x}")).concat())
}

impl fmt::Display for Holder {
    /// Such as `process 4711 on node7`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "process {}", self.process)?;
        if self.host.is_empty() {
            Ok(())
        } else {
            write!(formatter, " on {}", self.host)
        }
    }
}

/// The claims in a cache's folder, as one process makes and sees them.
#[derive(Debug)]
pub struct Claims {
    folder: PathBuf,
    lease: Duration,
    own: Holder,
}

/// What asking for a claim comes to.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Claimed(Claim),
    /// Somebody holds it.
    Held(Holder),
}

/// A claim that is held until it is dropped, or its process ends and its lease with it.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    token: String,
    text: Vec<u8>,
    /// Its lock tells others on this machine that the holder lives.
    _file: File,
}

/// Whether a claim is still ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Its lease runs from now.
    Renewed,
    /// It had run out, and somebody took it over, or cleared it away.
    Lost,
}

impl Claims {
    /// Those of the cache in `dir`, which outlive their last renewal by `lease`. Writes nothing yet.
    ///
    /// # Errors
    ///
    /// Where the system has no random numbers.
    pub fn new(dir: &Path, lease: Duration) -> Result<Self, FileError> {
        let folder = dir.join(FOLDER);
        let own = Holder::this_process().map_err(FileError::io("name a holder of claims in", &folder))?;
        Ok(Self { folder, lease, own })
    }

    /// How long a claim outlives its last renewal.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// A number that is different for every process.
    pub fn number(&self) -> u64 {
        u64::from_str_radix(&self.own.token[..16], 16).unwrap_or_default()
    }

    /// Whether anybody, dead or alive, has claimed `name`.
    pub(crate) fn is_claimed(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// Claims `name`, unless somebody holds it who is alive, or whose lease is not over.
    ///
    /// # Errors
    ///
    /// Where the cache's folder is gone or cannot be written to.
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
                // Somebody who found the cache complete has cleared up.
                Err(error) if is_gone(&error) => {
                    fresh = self.fresh(path)?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let Some(found) = Found::read(path)? else { continue };
            if found.holder.as_ref() == Some(&fresh.holder) {
                // The link was made, and word of it was lost.
                return Ok(Attempt::Claimed(fresh.into_claim(path)));
            }
            if !found.is_dead(&self.own, fresh.made, self.lease) {
                return Ok(Attempt::Held(found.holder.unwrap_or_else(Holder::unknown)));
            }
            clear_away(path, &found, &fresh.aside.0)?;
        }
    }

    /// A claim that has no name yet. The folder is made where it is missing; the cache's own folder is not.
    fn fresh(&self, path: &Path) -> io::Result<Fresh> {
        let holder = Holder {
            token: token()?,
            ..self.own.clone()
        };
        loop {
            match Fresh::create(path, holder.clone()) {
                Err(error) if is_gone(&error) => {}
                created => return created,
            }
            // Whoever lets the last claim go removes the folder, again and again where few work.
            match fs::create_dir(&self.folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
    }

    /// Claims a work unit of a layer, likewise.
    ///
    /// # Errors
    ///
    /// Those of [`attempt`](Self::attempt).
    pub fn attempt_unit(&self, layer: &str, unit: &str) -> Result<Attempt, FileError> {
        self.attempt(&format!("{layer}.{unit}"))
    }

    /// Waits for `name`, calling `waiting` with its holder now and then.
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
        // Refused where anybody's claim is there.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Removes from the cache in `dir` the claims of dead processes, as far as can be told here, to units that are committed,
/// and whatever else they left. What cannot be removed is harmless and stays.
pub fn remove_dead_claims(dir: &Path, is_committed: &dyn Fn(&str, &str) -> bool) {
    let folder = dir.join(FOLDER);
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        // A name without a point is the lock of preparing, which is not for this to judge.
        let is_of_no_use = name
            .rsplit_once('.')
            .is_some_and(|(layer, unit)| name.starts_with('.') || is_committed(layer, unit));
        if is_of_no_use {
            remove_if_dead(&entry.path());
        }
    }
    let _ = fs::remove_dir(&folder);
}

/// Ever longer pauses between looking again, up to two seconds.
#[derive(Debug)]
pub struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(Duration::from_millis(20))
    }
}

impl Pauses {
    /// Sleeps for the next of them.
    pub fn next(&mut self) {
        thread::sleep(self.0);
        self.0 = (self.0 * 3 / 2).min(Duration::from_secs(2));
    }
}

/// A claim that is whole and has no name yet that counts.
struct Fresh {
    aside: Aside,
    file: File,
    holder: Holder,
    text: Vec<u8>,
    /// Now, as the file server has it.
    made: SystemTime,
}

/// The name of a file that goes when this is dropped.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Fresh {
    fn create(path: &Path, holder: Holder) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = path.with_file_name(format!(".{name}.{}", holder.token));
        let mut file = create_new(&aside)?;
        let aside = Aside(aside);
        // Of an empty file: what is written may be kept back, and stamped, by this machine.
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

    /// Gives it the name that counts; tells whether nobody had it.
    fn link(&mut self, path: &Path) -> io::Result<bool> {
        let taken = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(false),
            _ => Err(error),
        };
        match fs::hard_link(&self.aside.0, path) {
            Ok(()) => Ok(true),
            // Without hard links, a new file has to do, which is there before its text is.
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

    fn into_claim(self, path: &Path) -> Claim {
        Claim {
            path: path.to_owned(),
            token: self.holder.token,
            text: self.text,
            _file: self.file,
        }
    }
}

/// A new file, locked: others on this machine see by that that its writer lives.
fn create_new(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    // A file system without locks costs only that a death is seen later.
    let _ = file.try_lock();
    Ok(file)
}

/// A claim as it was found.
struct Found {
    file: File,
    /// `None` where its text is not whole.
    holder: Option<Holder>,
    renewed: SystemTime,
}

impl Found {
    /// `None` where it is gone by now. Opening asks the file server for the times that it has.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut opened = File::options().read(true).write(true).open(path);
        // Other users' claims may not be ours to write to.
        if opened
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        {
            opened = File::open(path);
        }
        let mut file = match opened {
            Err(error) if is_gone(&error) => return Ok(None),
            opened => opened?,
        };
        let mut text = Vec::new();
        let read = file.metadata().and_then(|metadata| {
            (&mut file).take(1 << 12).read_to_end(&mut text)?;
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

    /// Whether nobody holds it any more: its holder is gone from this machine, or its lease is over.
    fn is_dead(&self, own: &Holder, now: SystemTime, lease: Duration) -> bool {
        let is_here = self
            .holder
            .as_ref()
            .is_some_and(|holder| holder.is_on_this_machine(own));
        let is_over = now.duration_since(self.renewed).is_ok_and(|age| age > lease);
        is_over || (is_here && self.file.try_lock().is_ok())
    }
}

/// Removes a dead claim, by way of a name that nobody else uses.
fn clear_away(path: &Path, found: &Found, aside: &Path) -> io::Result<()> {
    let grave = aside.with_extension("dead");
    match fs::rename(path, &grave) {
        Err(error) if is_gone(&error) => return Ok(()),
        renamed => renamed?,
    }
    let taken = Found::read(&grave)?;
    let is_that_one = taken.is_none_or(|taken| taken.holder == found.holder);
    if !is_that_one {
        // Somebody else was faster, and this is theirs. Where a third has claimed it meanwhile, two do the same.
        let _ = fs::hard_link(&grave, path);
    }
    match fs::remove_file(&grave) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Whether a file is not there any more, in the words of a local or of a network file system.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle
    )
}

impl Claim {
    /// Makes the lease begin anew.
    ///
    /// # Errors
    ///
    /// Where the file system refuses.
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
        // Through a handle that is closed afterwards, which is when a network file system passes it on.
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

#[cfg(test)]
mod tests;
