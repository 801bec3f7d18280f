//! The prepared corpus: its samples and work units, and the files that keep them.
//!
//! `columns` is how the samples of one part lie in memory or in a map, `files` how they are stored, `description` and `parts`
//! what makes files a part, and `stored` how a cache keeps its corpus.

mod columns;
mod description;
mod files;
mod parquet_table;
mod parts;
mod placement;
mod prepared;
mod sample_ref;
mod stored;
mod work_unit;

#[cfg(test)]
mod tests;

pub use files::CorpusWriter;
pub use prepared::{CorpusPart, PreparedCorpus};
pub use sample_ref::SampleRef;
pub use work_unit::WorkUnit;
