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
//!     manifest.json             once all units are there: how many, sums, and one hash of all shards
//!   layers/0.5-0.75-prompt+chain_of_thought+answer/
//!                               what an extension added: only what the layers before it lack
//!   .claims/                    who prepares or extends the cache, or captures which unit, at the moment
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
//! checked in the pieces in which it is read, and the Parquet library only ever sees bytes whose checksum holds. [`verify`]
//! compares the blake3 of whole files too, which covers what readers never look at.
//!
//! Checksums are against accidents: a file that was forged with matching ones can say what it likes. It cannot do more than
//! that. What its pages and indices claim is compared with the file's size before room is made for it, a panic of the
//! Parquet library is an error, and no block decodes to more entries than the cache's identity allows. `tests/mutations`
//! holds every reader to that.
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
//!   writer of the same file removes the temporary, once it can take the lock that a living writer holds, or, in a folder of
//!   thousands of files, whoever finishes; nothing else ever does. A claim it held is taken over. The next run takes up the shard if it is sound, and writes it anew if not.
//! - **A power cut** leaves each file either absent or whole: everything whose commit had returned is there, where the
//!   device keeps what it acknowledges as synced.
//! - **Not covered:** somebody who modifies or truncates a committed file in place. Before a file is read, such damage
//!   is found by the checksums; while it is mapped, truncation ends the reading process with a bus error. On file systems
//!   where locks do not reach other machines, a writer may clear up a living writer's temporary: that one then fails, or
//!   finds the unit committed, and nothing is lost.
//!
//! # Processes beside each other
//!
//! Any number may read and write one cache. Making, preparing and extending it is one process's at a time, under a
//! [lock](LockGuard); which process captures which unit is theirs to agree on, by their numbers or by [`Claims`]. Both are files
//! in `.claims/` that hold for a lease and need neither locks of the file system nor clocks that agree. Nothing depends on
//! them for what is stored: of two writers of one unit the first to commit wins, whatever the other's device.
//!
//! # Bytes, fidelity, speed
//!
//! Measured on the SmolLM2-135M teacher's distributions over 53,041 positions of `pipelines/smollm2-gsm` (vocabulary
//! 49,152, two shards) on a virtual machine with 2 cores (AMD EPYC, AVX-512). The files are whole: ids, probabilities, tails,
//! targets, heads, footers. KL is that of the teacher's K + 1 outcomes against the decoded ones, in nats; the errors are
//! 95th percentiles of |Δ log p| over all entries and over each position's rarest quarter; reading is done by one thread,
//! sample by sample through [`Reader::span`]. `cargo run --release -p leadspan-cache --example codec -- CACHE`, where CACHE
//! holds 128 exact entries a position (`tests/compare/README.md` has all the commands of this section):
//!
//! ```text
//!   k  precision  bytes/position  mean KL   99 % KL   p95 |Δ log p|  rarest quarter  largest   positions/s
//!  32  standard             54.0    3.9e-5    9.5e-5          0.153           0.228    2.773       1232562
//!  32  fine                 65.9    4.7e-6    1.7e-5          0.010           0.010    0.016       1318660
//!  32  exact               130.7     0.0e0     0.0e0          0.000           0.000    0.000       1621621
//!  64  standard             97.9    5.1e-5    1.2e-4          0.220           0.297    2.773        616418
//!  64  fine                124.1    5.0e-6    1.7e-5          0.010           0.010    0.016        718578
//!  64  exact               246.9     0.0e0     0.0e0          0.000           0.000    0.000        873406
//! 128  standard            179.6    6.4e-5    1.6e-4          0.297           0.387    2.780        301167
//! 128  fine                237.7    5.2e-6    1.7e-5          0.010           0.010    0.016        357803
//! 128  exact               474.3     0.0e0     0.0e0          0.000           0.000    0.000        455100
//! ```
//!
//! (Errors of 2.8 nats are of tokens below 5e-11, which share one level.) Beside it DistillKit's layout with its recommended
//! settings on the same positions (`tests/compare/distillkit_layout.py`: 16 entries in bf16, the others as a polynomial in
//! the rank, ids packed at 16 bits, Parquet with snappy; its fit solved in double precision, in its favour); `exact tail`
//! is the KL it would have if it stored the tail:
//!
//! ```text
//!   k  bytes/position  mean KL   99 % KL   p95 |Δ log p|  rarest quarter  mean KL, exact tail
//!  32           115.2  1.7e-04   3.1e-03           0.066           0.077              2.1e-05
//!  64           181.1  2.3e-04   3.6e-03           0.094           0.067              6.1e-05
//! 128           309.4  3.0e-04   4.0e-03           0.100           0.053              1.1e-04
//! ```
//!
//! # What was tried
//!
//! On the same positions at k = 64 and zstd 3 (`tests/compare/codec_alternatives.py`, which has k = 32 and 128 too; speed is
//! numpy's and Arrow's and tells the alternatives apart, not what Rust would make of them):
//!
//! | layout | bytes a position | mean KL | rarest quarter | positions/s |
//! |---|---|---|---|---|
//! | typed list columns in byte planes, rank order, u32 ids, f32 (format 1) | 256.0 | 0 | 0 | 1,026,000 |
//! | the same with f16 | 164.3 | 1e-7 | 0.004 | 1,181,000 |
//! | sets: id order, differences, f16 | 142.9 | 1e-7 | 0.004 | 902,000 |
//! | log-probabilities in steps of 1/16 nat, ids numbered by frequency, differences in ties | 107.6 | 8e-5 | 0.040 | 371,000 |
//! | √p in steps of 1/333, likewise | 94.2 | 9e-5 | 1.352 | 313,000 |
//! | p^¼ in steps of 1/192, likewise | 99.9 | 5e-5 | 0.297 | 322,000 |
//! | the last as binary rows of 1,024 positions | 99.6 | 5e-5 | 0.297 | 326,000 |
//! | … of 16 positions, many to a page | 103.1 | 5e-5 | 0.297 | 245,000 |
//! | … of 16 positions, a page each, which is what reading prefixes needs | 128.3 | 5e-5 | 0.297 | 185,000 |
//!
//! What decided: p^¼ costs 6 bytes more than √p and errs four times less on rare entries, for losses and temperatures that
//! feel them, at half the divergence. Compressing pages makes prefixes and bytes enemies: a page must hold a thousand
//! positions to be small, and a dozen to be read alone. A coder whose frequencies are fitted to the row group has no such
//! quarrel: blocks of a dozen positions are as small as pages of a thousand. Not done, for a reader's sake: frequencies that
//! depend on the token before, which would make a position unreadable without the corpus.
//!
//! # What reading touches
//!
//! On the whole cache of smollm2-gsm (97.9 bytes a position, samples of some 210 tokens), heads and blocks counted by the
//! reader (`cargo run --release -p leadspan-cache --example reading -- CACHE`):
//!
//! ```text
//! all training samples: 231452 positions, 22578454 bytes of heads and blocks
//!
//! proportion  of the positions  of the bytes  more than the proportion
//!        0.1             0.094         0.124                     0.024
//!       0.25             0.245         0.289                     0.039
//!        0.5             0.496         0.544                     0.044
//!       0.75             0.747         0.784                     0.034
//!
//! one sample alone, bytes touched over its own: median 2.18, 99th percentile 3.11, largest 3.21
//! ```
//!
//! A head is read once and kept; the last line counts it anew for every sample. The first positions of a sample are the
//! dearest here, since the prompt is the least predictable.
//!
//! # Size
//!
//! Opening lists the folders of the layers and reads the prepared corpus; shards are mapped as samples of them are first
//! read. A cache of 10,000 shards (80,000 samples, 8 million tokens) opens in 0.05 seconds with 61 MB of memory at its
//! peak, and the first sample of a shard takes 0.3 ms (`… --example many_shards -- FOLDER`, on a memory file system).
//!
//! On paper, a billion positions at k = 64 from samples of 2,000 tokens: blocks of 64 positions save the small blocks' 1.2
//! bytes, so some 96 bytes a position, 96 GB; 488 shards of 1,024 samples, 197 MB each, with 16 row groups; half of it is
//! read for a proportion of 0.5. What then weighs is the prepared corpus: 500,000 samples with 4 bytes a token are 4 GB
//! in memory and 2 to 3 GB on disk, read in about 10 seconds, by every process that opens the cache.
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
mod choice;
mod claim;
mod commit;
mod corpus;
mod corpus_table;
mod coverage;
mod error;
mod export;
mod faults;
mod hashing;
mod heartbeat;
mod identity;
mod inspect;
mod json;
mod layer;
mod layer_dir;
mod leftovers;
mod lock;
mod manifest;
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

pub use cache::{Cache, REPLAY};
pub use claim::{Attempt, Claim, Claims, Holder, Pauses, Renewal};
pub use commit::{PendingFile, commit_bytes, commit_file};
pub use corpus::{CorpusPart, PreparedCorpus, WorkUnit};
pub use coverage::Coverage;
pub use error::CacheError;
pub use export::{ExportFacts, export};
pub use faults::before_each_write;
pub use heartbeat::{Heard, Heartbeat, WorkerState, heartbeats, remove_heartbeats_of_gone};
pub use identity::{CODEC_VERSION, Difference, Identity, TeacherIdentity};
pub use inspect::{CorpusInspection, Inspection, LayerInspection};
pub use layer::{Band, Layer, NotALayer};
pub use layer_dir::LayerDir;
pub use lock::{Lock, LockGuard};
pub use manifest::Manifest;
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
