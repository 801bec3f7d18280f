//! Shards: one immutable Parquet file for each work unit of a layer, with its receipt, its writer and its reader.

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
pub use writer::ShardWriter;
