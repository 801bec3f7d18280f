//! Shards: one immutable Parquet file for each work unit of a layer, with its receipt, its writer and its reader.

pub(crate) mod blocks;
mod file;
mod reader;
mod receipt;
pub(crate) mod seal;
mod writer;

pub(crate) use file::{Head, Shard};
pub use reader::{BytesRead, Missing, Reader, Span};
pub use receipt::Receipt;
pub use writer::{ShardWriter, adopt};
