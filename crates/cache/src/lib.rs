//! The stored form of teacher distributions: what people keep, copy between clusters and train from.
//!
//! # On disk
//!
//! ```text
//! CACHE/
//!   identity.json               format version; what must agree for the distributions to mean the same
//!   tokenizer/                  the tokenizer's files, byte for byte
//!   corpus/samples.parquet      the prepared corpus as it was first made, one row a sample
//!   corpus/prepared.json        how it was prepared; size and blake3 of the table
//!   corpus/samples-001.parquet …   a later part: samples of rows that were appended to the data
//!   corpus/prepared-001.json …     the same of it, and blake3 of the description before
//!   layers/0-0.5-prompt+chain_of_thought+answer/
//!     layer.json                which part of which sections it holds
//!     train-000000.parquet …    one shard a work unit
//!     train-000000.json …       its receipt, written after it: size, blake3, what made it
//!     validation-000000.parquet …
//!   layers/0.5-0.75-prompt+chain_of_thought+answer/
//!                               what an extension added: only what the layers before it lack
//!   .lock                       held by whoever prepares or extends the cache
//!   .weights.json               this machine's memory of the teacher's hash; no part of the cache
//! ```
//!
//! `samples.parquet`: `sample_id` string, `split` string, `tokens` list\<uint32\>, `prompt_end` and
//! `chain_of_thought_end` uint32, `work_unit` uint32 (counted within the split), `row_hash` 32 bytes. The corpus is the
//! rows of all parts in their order: a part that is appended moves no sample and touches no work unit, and its own units
//! go on counting. It is there from the moment its description is committed, after its table.
//!
//! A shard has one row per block, which is 8 to 64 consecutive stored positions of one sample, about a sixteenth of it:
//!
//! | column | type | encoding |
//! |---|---|---|
//! | `sample` | uint32: index in the prepared corpus | delta, zstd |
//! | `first_position` | uint32: i of its first position, whose distribution predicts token i + 1 | delta, zstd |
//! | `positions` | uint32: how many | delta, zstd |
//! | `block_bytes` | uint32: length of `block` | delta, zstd |
//! | `numbering` | list\<uint32\>: in the first row of a row group, token ids from the most frequent on | delta, zstd |
//! | `frequencies` | list\<uint32\>: in the first row of a row group, the frequencies of the coder's tokens | delta, zstd |
//! | `block` | binary: CRC-32 (4 bytes) of the rest; the positions, coded as [`leadspan_distribution::codec`] describes | plain, not compressed again |
//!
//! Everything before the column of blocks is the *head* of a row group: it is read once and kept, and says where each
//! block lies in the memory map. Shards are ordinary Parquet files to everybody else's readers; `FORMAT.md` beside this
//! crate's manifest is the whole format on one page.
//!
//! Bytes depend on the format version, the corpus and the distributions alone: no clock, no program version, no path.
//! Receipts name the program's version beside.
//!
//! # Checksums
//!
//! Between the magic and the first row group lies a 64-byte seal (version, sizes, blake3 of index and footer); the footer's
//! `leadspan` entry is JSON that says which identity, layer, work unit and corpus rows the shard belongs to, what kind of
//! device made it, and size and blake3 of each row group and its head. A reader compares the seal with index and footer
//! when it opens a shard, a head before it parses it, and a block's CRC-32 before it decodes it. So whatever is read is
//! checked in the pieces in which it is read, and the Parquet library, which may panic on damaged bytes, only ever sees
//! bytes whose checksum holds. [`verify`] compares the blake3 of whole files too, which covers what readers never look at.
//! Checksums are against accidents; a file that was forged with matching ones is outside what they promise.
//!
//! # What can be relied on
//!
//! Every file is written by one protocol: a temporary sibling (`.NAME.XXXXXX.tmp`, which no reader looks at) is
//! written and synced, renamed to its name, and the folder is synced. A work unit is committed once its shard and its
//! receipt are both there. A committed shard is never modified; a second writer of the same unit leaves it as it is.
//!
//! - **An error return** leaves what was visible before, and removes its temporary. One exception: when syncing the
//!   folder fails after the rename, the new file is visible and whole, but not yet certain to outlive a power cut.
//! - **A killed process** leaves what was visible before, and perhaps a temporary, or a shard without its receipt. The next
//!   writer of the same file removes the temporary, once it can take the lock that a living writer holds; nothing else
//!   ever does. The next run takes up the shard if it is sound, and writes it anew if not.
//! - **A power cut** leaves each file either absent or whole: everything whose commit had returned is there, where the
//!   device keeps what it acknowledges as synced.
//! - **Not covered:** somebody who modifies or truncates a committed file in place. Before a file is read, such damage
//!   is found by the checksums; while it is mapped, truncation ends the reading process with a bus error. On file systems
//!   where locks do not reach other machines, a writer may clear up a living writer's temporary: that one then fails, or
//!   finds the unit committed, and nothing is lost.
//!
//! # Bytes, fidelity, speed
//!
//! BENCHMARK
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
//! for index in 0..reader.corpus().samples().len() as u32 {
//!     let span = reader.span(index)?;
//!     assert_eq!(span.positions.len(), span.distributions.len());
//! }
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod blocks;
mod cache;
mod commit;
mod corpus;
mod corpus_table;
mod coverage;
mod error;
mod export;
mod faults;
mod hashing;
mod identity;
mod inspect;
mod json;
mod layer;
mod layer_dir;
mod mapping;
mod parquet_files;
mod reader;
mod receipt;
mod seal;
mod shard;
mod shard_writer;
mod verify;

#[cfg(test)]
mod bytes_touched;
#[cfg(test)]
mod corruption;
#[cfg(test)]
mod interruption;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod synthetic;

pub use cache::{Cache, LockGuard};
pub use commit::{PendingFile, commit_bytes, commit_file};
pub use corpus::{CorpusPart, PreparedCorpus, WorkUnit};
pub use coverage::Coverage;
pub use error::CacheError;
pub use export::{ExportFacts, export};
pub use identity::{CODEC_VERSION, Difference, Identity, TeacherIdentity};
pub use inspect::{CorpusInspection, Inspection, LayerInspection};
pub use layer::{Band, Layer, NotALayer};
pub use layer_dir::LayerDir;
pub use reader::{BytesRead, Missing, Reader, Span};
pub use receipt::Receipt;
pub use shard_writer::{ShardWriter, adopt};
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
