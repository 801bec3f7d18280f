//! Shards: one immutable Parquet file for each work unit of a layer.
//!
//! - `seal`, `footer`, `blocks`: what a shard contains;
//! - `file`, `places`, `pieces`: a shard that is checked before it is parsed;
//! - `writer`, `commit`, `receipt`: writing a shard and committing it;
//! - `reader`, `layer_reader`, `heads`: reading samples from the shards of several layers.

pub(crate) mod blocks;
mod commit;
mod file;
mod footer;
mod heads;
mod layer_reader;
mod pieces;
mod places;
mod reader;
mod receipt;
pub(crate) mod seal;
mod writer;

#[cfg(test)]
mod tests;

pub use commit::adopt;
pub(crate) use file::Head;
pub(crate) use file::Shard;
pub(crate) use layer_reader::wanted_ordinals;
pub use reader::{BytesRead, Reader, Span};
pub use receipt::Receipt;
pub(crate) use receipt::{check_committed, committed_in, require_listed};
pub use writer::ShardWriter;
pub(crate) use writer::Sums;
