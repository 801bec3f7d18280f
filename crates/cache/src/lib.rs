//! The stored form of teacher distributions, which people keep, copy between machines and train from.
//!
//! A cache is a folder: its [identity](Identity), the tokenizer's files, the prepared corpus, layers of shards, one shard
//! per work unit, and the inventory, which lists the hashes of all of these. `docs/format.md` describes every file and byte; `docs/benchmarks.md` has sizes, errors and
//! speeds. To other programs, shards are ordinary Parquet files.
//!
//! The bytes of a shard depend only on the format version, the corpus and the distributions, not on a clock, a path or
//! the version of the program. The version of the program is in the receipts, which are separate files.
//!
//! # Checksums
//!
//! Everything that is read is checked in the pieces in which it is read. A reader compares a shard's seal with its
//! size, index and footer when it opens the shard, a head with its blake3 before it parses the head, and a block with
//! its CRC-32 before it decodes the block. The Parquet library therefore only sees bytes whose checksum matches. The
//! tokens of a sample have a CRC-32, and the tokenizer's files are [compared](Cache::tokenizer_contents) whole.
//! [`verify`] also compares the blake3 of whole files, which covers bytes that readers never read.
//!
//! [`take_inventory`](Cache::take_inventory) binds all of this together: the identity, the parts of the corpus, the
//! samples to replay, and the tail of every shard, which has the hashes of the rest of the shard. A file that was
//! exchanged for another one with matching checksums is therefore named when it is opened. The blake3 of the inventory
//! stands for the whole cache. In a cache without an inventory, which is older or not complete yet, a shard is compared
//! with its receipt, and the receipts of a layer with its manifest.
//!
//! Checksums protect against accidents and mistakes. Whoever forges the inventory as well can state wrong distributions,
//! and nothing more: the sizes that its pages and indices claim are compared with the file's size before memory is
//! allocated, a panic of the Parquet library becomes an error, and no block decodes to more entries than the cache's
//! identity allows. `tests/mutations` tests this for every reader; `docs/security.md` describes the other bounds.
//!
//! # Guarantees
//!
//! Every file is written by one protocol: a temporary file beside it (`.NAME.XXXXXX.tmp`, which readers ignore) is
//! written and synced, renamed to its name, and the folder is synced. A work unit is committed once its shard and its
//! receipt both exist. A committed shard is never modified; a second writer of the same unit leaves it as it is.
//!
//! - **An error return** leaves the visible files as they were and removes the temporary file. One exception: if
//!   syncing the folder fails after the rename, the new file is visible and whole, but may not survive a power cut.
//! - **A killed process** leaves the visible files as they were, and possibly a temporary file, or a shard without its
//!   receipt. The next writer of the same file removes the temporary file if it can take the lock that a living writer
//!   holds; in a folder of thousands of files, the process that finishes the layer removes it. Nothing else removes it.
//!   A claim of the killed process is taken over. The next run adopts the shard if it is sound, and writes it again
//!   otherwise.
//! - **A power cut** leaves each file either absent or whole. Every file whose commit has returned exists, if the
//!   device keeps what it reports as synced.
//! - **Not covered:** modifying or truncating a committed file in place. The checksums find such damage before a file
//!   is read. If a file is truncated while it is mapped, reading it raises a bus error; the program names the file and
//!   ends. On file systems whose
//!   locks do not reach other machines, a writer may remove the temporary file of a living writer. That writer then
//!   fails, or finds the unit committed, and nothing is lost.
//!
//! # Concurrent processes
//!
//! Any number of processes may read and write one cache. One process at a time creates, prepares or extends it, under a
//! [lock](leadspan_workers::LockGuard); other locks keep apart those that add a layer or take the inventory. Worker numbers or [claims](leadspan_workers::Claims) decide which process
//! captures which unit. Locks and claims are files in `.claims/` that are valid for a lease; they need neither
//! file-system locks nor synchronized clocks. Correctness does not depend on them: of two writers of one unit, the
//! first to commit wins.
//!
//! Opening a cache reads `identity.json` and the inventory. Only regular files are opened: a named pipe, a device or a
//! link in the place of a file is an error. The prepared corpus is opened when it is first used, and a shard is mapped
//! when one of its samples is first read.
//!
//! # Cutting and merging
//!
//! [`cut`](cut()) makes a smaller cache from a larger one, and [`merge`] one from several of different samples, by copying
//! blocks. Both read of a shard only what they need, through [`CacheFiles`].
//!
//! # Reading
//!
//! ```no_run
//! use leadspan_cache::{Cache, Coverage, Missing, Reader};
//! use leadspan_sequence::SectionSet;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = Cache::open("cache".as_ref())?;
//! let asked = Coverage { proportion: "0.5".parse()?, sections: SectionSet::ALL };
//! let reader = Reader::open(&cache, asked, Missing::Refused)?;
//! for index in 0..reader.corpus().len() as u32 {
//!     let span = reader.span(index)?;
//!     assert_eq!(span.positions.len(), span.distributions.len());
//! }
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cache;
mod card;
mod corpus;
mod cut;
mod distillkit;
mod error;
mod export;
mod export_list;
mod hashing;
mod identity;
mod import;
mod inspect;
mod inventory;
mod json;
mod layers;
mod mapping;
mod parquet_files;
mod ranged;
mod replay;
mod shard;
mod strangers;
mod tokenizer;
mod verify;

#[cfg(test)]
mod tests;

pub use cache::Cache;
pub use card::{Card, Fidelity};
pub use corpus::{CorpusPart, CorpusWriter, PreparedCorpus, SampleRef, WorkUnit};
pub use cut::{CutSettings, FRAME, Following, Made, cut, cut_reading, merge, require_place};
pub use error::CacheError;
pub use export::{
    Exported, FileLimits, FolderSettings, NotDistillKit, export, export_dataset, export_distillkit, foreign_to_export,
    is_export,
};
pub use identity::{
    CODEC_VERSION, Difference, Identity, ImportedIdentity, ServerAnswers, ServerIdentity, TeacherIdentity,
};
pub use import::{ImportError, ImportSettings, Imported, SettingsProblem, Vocabulary, import};
pub use inspect::{CorpusInspection, Inspection, LayerInspection};
pub use inventory::{Inventory, ListedReplay, ListedShard};
pub use layers::{Band, Coverage, Elsewhere, Layer, LayerDir, Manifest, Missing, NotALayer};
pub use ranged::{CacheFiles, Folder, RangedFile};
pub use replay::{REPLAY, copies_of_held_out};
pub use shard::{BytesRead, Reader, Receipt, ShardWriter, Span, adopt};
pub use verify::{Problem, Verification, repair, repair_telling, verify};

/// The version of the format of caches, layers and shards. Parts of the prepared corpus have a version of their own.
pub const FORMAT_VERSION: u32 = 2;

/// The progress of a long operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Steps done.
    pub done: u64,
    /// Steps in all.
    pub total: u64,
}
