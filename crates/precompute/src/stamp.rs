//! What tells whether a file is still the one that was hashed earlier, and whether the hash may be trusted here.
//!
//! Size and modification time can be set at will, so a stamp also has what cannot: inode, change time and device, and the hash
//! of some blocks of the file, which are read at every start. Another machine may see another file under the same path. So a
//! stamp counts only on the machine that made it, until it starts anew, or if the command `prepare` made it: that command runs
//! once for all workers.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
};

use leadspan_files::{commit_bytes, open_regular, read_regular, read_unlinked};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What identifies a file and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// The full path, without links.
    path: String,
    pub(crate) bytes: u64,
    /// When its contents changed, as it says: nanoseconds since 1970.
    modified_ns: i64,
    /// When its contents, owner or rights changed: nanoseconds since 1970.
    changed_ns: i64,
    inode: u64,
    /// The number of its file system on this machine.
    device: u64,
    /// The hash of some of its blocks.
    sample_blake3: String,
}

/// The bytes of a block of the sample.
const BLOCK: u64 = 16 << 10;

/// The number of blocks of the sample. Smaller files are read as a whole.
const BLOCKS: u64 = 8;

impl Stamp {
    /// The stamp of a file, or `None` if it cannot be read.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        let file = open_regular(&path).ok()?;
        let metadata = file.metadata().ok()?;
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Some(Self {
            path: path.to_str()?.to_owned(),
            bytes: metadata.len(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
            sample_blake3: sample(&file, metadata.len()).ok()?,
        })
    }

    /// Whether this is the stamp of the same file in the same state as `earlier`, which was made as `made` says. Machines number
    /// their file systems as they like.
    pub(crate) fn is_as(&self, earlier: &Self, made: &Made) -> bool {
        let device = if made.is_here() { self.device } else { earlier.device };
        Self { device, ..self.clone() } == *earlier
    }
}

/// The hash of some blocks of a file: the first, the last, and others at equal distances.
fn sample(file: &File, bytes: u64) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut add = |start: u64, length: u64| -> io::Result<()> {
        let mut block = vec![0; length as usize];
        file.read_exact_at(&mut block, start)?;
        hasher.update(&block);
        Ok(())
    };
    if bytes <= BLOCK * BLOCKS {
        add(0, bytes)?;
    } else {
        let distance = (bytes - BLOCK) / (BLOCKS - 1);
        for number in 0..BLOCKS - 1 {
            add(number * distance, BLOCK)?;
        }
        add(bytes - BLOCK, BLOCK)?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Which command stores a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Maker {
    /// `prepare`, for all workers.
    Prepare,
    /// A worker, for itself.
    Worker,
}

/// Who made a stamp, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    made_by: Maker,
    /// The boot id of the kernel; empty if the system does not have one.
    boot_id: String,
}

impl Made {
    /// Here, by this command.
    pub(crate) fn here(made_by: Maker) -> Self {
        let boot_id = read_regular(Path::new("/proc/sys/kernel/random/boot_id"), 4096).unwrap_or_default();
        Self {
            made_by,
            boot_id: String::from_utf8_lossy(&boot_id).trim().to_owned(),
        }
    }

    /// Whether it was made on this machine since it started.
    fn is_here(&self) -> bool {
        !self.boot_id.is_empty() && self.boot_id == Self::here(self.made_by).boot_id
    }

    /// Whether a hash with a stamp that was made so may be taken without reading the file.
    pub(crate) fn is_trusted(&self) -> bool {
        self.made_by == Maker::Prepare || self.is_here()
    }

    /// How a hash is remembered that was taken without reading the file, by a command of this kind.
    pub(crate) fn kept_by(&self, maker: Maker) -> Self {
        match maker {
            Maker::Prepare => Self::here(maker),
            Maker::Worker => self.clone(),
        }
    }
}

/// The most bytes of a file that remembers hashes.
const MOST_BYTES: u64 = 256 << 20;

/// What is remembered at `path`; `None` if nothing is, or something that this version does not understand.
pub(crate) fn remembered<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&read_unlinked(path, MOST_BYTES).ok()?).ok()
}

/// Stores what is remembered at `path`, unless it is there already. A failure is not an error: it costs only time.
pub(crate) fn remember<T: Serialize>(path: &Path, what: &T) {
    let bytes = serde_json::to_vec_pretty(what).expect("names and numbers serialize");
    if read_unlinked(path, MOST_BYTES).ok().as_deref() != Some(&bytes) {
        let _ = commit_bytes(path, &bytes);
    }
}

/// Sets the modification time of a file, in seconds since 1970.
#[cfg(test)]
pub(crate) fn set_time(path: &Path, seconds: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
        .unwrap();
}

/// Writes to a file of remembered hashes what `stamp_now` says of every file but its hash, so that a changed file has the stamp
/// of the one that was hashed. `change` then changes the record.
#[cfg(test)]
pub(crate) fn forge(record: &Path, files: &[&Path], change: impl Fn(&mut serde_json::Value)) {
    let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    let list = match &mut value {
        serde_json::Value::Array(list) => list,
        other => other["files"].as_array_mut().unwrap(),
    };
    for (entry, path) in list.iter_mut().zip(files) {
        let stamp = serde_json::to_value(Stamp::of(path).unwrap()).unwrap();
        entry
            .as_object_mut()
            .unwrap()
            .extend(stamp.as_object().unwrap().clone());
    }
    change(&mut value);
    std::fs::write(record, value.to_string()).unwrap();
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_stamp_tells_files_of_equal_size_and_time_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let made = Made::here(Maker::Worker);
        let stamp = || Stamp::of(&path).unwrap();
        fs::write(&path, b"one").unwrap();
        set_time(&path, 1_000_000);
        let first = stamp();
        assert!(stamp().is_as(&first, &made));
        // Written in place: the sample differs, whatever the clock of the file system says.
        fs::write(&path, b"two").unwrap();
        set_time(&path, 1_000_000);
        let second = stamp();
        assert_eq!((second.bytes, second.modified_ns), (first.bytes, first.modified_ns));
        assert!(!second.is_as(&first, &made));
        // The change time alone counts as well.
        let later = Stamp {
            changed_ns: second.changed_ns + 1,
            ..second.clone()
        };
        assert!(!later.is_as(&second, &made));
        // Another file under the name.
        let other = folder.path().join("other");
        fs::write(&other, b"two").unwrap();
        set_time(&other, 1_000_000);
        fs::rename(&other, &path).unwrap();
        assert_ne!(stamp().inode, second.inode);
    }

    #[test]
    fn a_sample_has_the_first_and_the_last_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let length = (BLOCK * BLOCKS * 3 + 5) as usize;
        let mut bytes = vec![0u8; length];
        let hash = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Stamp::of(&path).unwrap().sample_blake3
        };
        let whole = hash(&bytes);
        let distance = (length as u64 - BLOCK) / (BLOCKS - 1);
        for place in [
            0,
            BLOCK - 1,
            distance,
            3 * distance + 7,
            length as u64 - BLOCK,
            length as u64 - 1,
        ] {
            bytes[place as usize] = 1;
            assert_ne!(hash(&bytes), whole, "{place}");
            bytes[place as usize] = 0;
        }
        // Every byte of a small file is in it.
        let small = vec![0u8; (BLOCK * BLOCKS) as usize];
        let whole = hash(&small);
        for place in [BLOCK as usize * 3, small.len() - 2] {
            let mut small = small.clone();
            small[place] = 1;
            assert_ne!(hash(&small), whole);
        }
        assert!(Stamp::of(folder.path()).is_none());
    }

    #[test]
    fn what_a_worker_on_another_machine_made_is_not_trusted() {
        let here = Made::here(Maker::Worker);
        assert!(here.is_trusted() && !here.boot_id.is_empty());
        let elsewhere = |made_by| Made {
            made_by,
            boot_id: "another".to_owned(),
        };
        assert!(!elsewhere(Maker::Worker).is_trusted());
        assert!(elsewhere(Maker::Prepare).is_trusted());
        let unknown = Made {
            made_by: Maker::Worker,
            boot_id: String::new(),
        };
        assert!(!unknown.is_trusted());
        // File systems have other numbers elsewhere, and the same ones here.
        let folder = tempfile::tempdir().unwrap();
        let stamp = Stamp::of(tempfile::NamedTempFile::new_in(folder.path()).unwrap().path()).unwrap();
        let other = Stamp {
            device: stamp.device + 1,
            ..stamp.clone()
        };
        assert!(stamp.is_as(&other, &elsewhere(Maker::Prepare)) && !stamp.is_as(&other, &here));
    }
}
