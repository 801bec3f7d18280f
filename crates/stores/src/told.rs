//! What is told of a copy, and how it ended.

use crate::StoreError;

/// What happened during a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// So much is to be looked at, and copied unless it is there.
    Begun {
        /// The number of files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// So many bytes were copied.
    Moved(u64),
    /// A file was there already, with so many bytes.
    Passed(u64),
}

/// How a copy ended if it did not fail.
#[derive(Debug)]
pub enum Outcome {
    /// Everything was copied that was there.
    Done(Summary),
    /// It was told to stop. The same call does the rest.
    Stopped,
}

/// What a copy did.
#[derive(Debug, Default)]
pub struct Summary {
    /// Files that were copied.
    pub files_copied: u64,
    /// Their bytes.
    pub bytes_copied: u64,
    /// Files that were there already.
    pub files_there: u64,
    /// Their bytes.
    pub bytes_there: u64,
    /// Whether the cache that was copied is complete: it has an inventory that lists all of its work units.
    pub complete: bool,
    /// Files that are not a cache's, which were not copied.
    pub passed_over: Vec<String>,
    /// Work units that were not pulled because their files are damaged or missing in the store.
    pub problems: Vec<StoreError>,
}

impl Summary {
    pub(crate) fn count(&mut self, copied: Copied) {
        match copied {
            Copied::Moved(bytes) => {
                self.files_copied += 1;
                self.bytes_copied += bytes;
            }
            Copied::There(bytes) => {
                self.files_there += 1;
                self.bytes_there += bytes;
            }
        }
    }
}

/// What became of one file, with its size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    Moved(u64),
    There(u64),
}
