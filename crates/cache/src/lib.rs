//! The stored form of teacher distributions: what people keep, copy between clusters and train from.
//!
//! A cache is a folder: its [identity](Identity), the tokenizer's files, the prepared corpus, and layers of shards, one shard
//! per work unit. `docs/format.md` describes every file and byte; `docs/benchmarks.md` has sizes, errors and speeds. To other
//! programs, shards are ordinary Parquet files.
//!
//! The bytes of a shard depend only on the format version, the corpus and the distributions: not on a clock, the version of
//! the program or a path. Receipts, which are files of their own, name the program's version.
//!
//! # Checksums
//!
//! Everything that is read is checked in the pieces in which it is read. A reader compares a shard's seal with its size, index
//! and footer when it opens the shard, a head's blake3 before it parses the head, and a block's CRC-32 before it decodes the
//! block. The Parquet library therefore only sees bytes whose checksum holds. [`verify`] also compares the blake3 of whole
//! files, which covers what readers never look at.
//!
//! Checksums protect against accidents. A file that was forged with matching checksums can state wrong distributions, and
//! nothing more: what its pages and indices claim is compared with the file's size before memory is allocated, a panic of the
//! Parquet library becomes an error, and no block decodes to more entries than the cache's identity allows. `tests/mutations`
//! holds every reader to that; `docs/security.md` tells what else is bounded.
//!
//! # Guarantees
//!
//! Every file is written by one protocol: a temporary sibling (`.NAME.XXXXXX.tmp`, which no reader looks at) is
//! written and synced, renamed to its name, and the folder is synced. A work unit is committed once its shard and its
//! receipt are both there. A committed shard is never modified; a second writer of the same unit leaves it as it is.
//!
//! - **An error return** leaves what was visible before, and removes its temporary. One exception: if syncing the
//!   folder fails after the rename, the new file is visible and whole, but may not survive a power cut.
//! - **A killed process** leaves what was visible before, and perhaps a temporary, or a shard without its receipt. The next
//!   writer of the same file removes the temporary, once it can take the lock that a living writer holds; in a folder of
//!   thousands of files, whoever finishes the layer does. Nothing else ever removes it. A claim that the process held is
//!   taken over. The next run adopts the shard if it is sound, and writes it again if not.
//! - **A power cut** leaves each file either absent or whole. Everything whose commit had returned is there, if the
//!   device keeps what it acknowledges as synced.
//! - **Not covered:** somebody who modifies or truncates a committed file in place. The checksums find such damage before
//!   a file is read; while it is mapped, truncation ends the reading process with a bus error. On file systems
//!   whose locks do not reach other machines, a writer may remove a living writer's temporary: that writer then fails, or
//!   finds the unit committed, and nothing is lost.
//!
//! # Concurrent processes
//!
//! Any number of processes may read and write one cache. Only one at a time creates, prepares or extends it, under a
//! [lock](leadspan_workers::LockGuard). Worker numbers or [claims](leadspan_workers::Claims) decide which process captures
//! which unit. Locks and claims are files in `.claims/` that hold for a lease; they need neither locks of the file system nor
//! synchronised clocks. What is stored does not depend on them: of two writers of one unit the first to commit wins, whatever
//! device the other has.
//!
//! Opening a cache lists the folders of its layers and reads the prepared corpus. Shards are mapped when a sample of them is
//! first read.
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
mod corpus;
mod error;
mod export;
mod hashing;
mod identity;
mod inspect;
mod json;
mod layers;
mod mapping;
mod parquet_files;
mod shard;
mod verify;

#[cfg(test)]
mod tests;

pub use cache::{Cache, REPLAY};
pub use corpus::{CorpusPart, CorpusWriter, PreparedCorpus, SampleRef, WorkUnit};
pub use error::CacheError;
pub use export::{ExportFacts, export};
pub use identity::{CODEC_VERSION, Difference, Identity, TeacherIdentity};
pub use inspect::{CorpusInspection, Inspection, LayerInspection};
pub use layers::{Band, Coverage, Layer, LayerDir, Manifest, Missing, NotALayer};
pub use shard::{BytesRead, Reader, Receipt, ShardWriter, Span, adopt};
pub use verify::{Problem, Verification, repair, verify};

/// The version of everything on disk that this program reads and writes.
pub const FORMAT_VERSION: u32 = 2;

/// How far a long operation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Steps done.
    pub done: u64,
    /// Steps in all.
    pub total: u64,
}
