//! Shards: one immutable Parquet file for each work unit of a layer.
//!
//! - `seal`, `footer`, `blocks`: what a shard contains;
//! - `file`: a shard that is mapped and checked;
//! - `writer`, `commit`, `receipt`: writing a shard and committing it;
//! - `reader`, `layer_reader`, `heads`: reading samples from the shards of several layers.

pub(crate) mod blocks;
mod commit;
mod file;
mod footer;
mod heads;
mod layer_reader;
mod reader;
mod receipt;
pub(crate) mod seal;
mod writer;

#[cfg(test)]
mod tests;

pub use commit::adopt;
pub(crate) use file::Shard;
pub use reader::{BytesRead, Reader, Span};
pub use receipt::Receipt;
pub(crate) use receipt::{check_committed, require_listed};
pub use writer::ShardWriter;
