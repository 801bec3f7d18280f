//! The prepared corpus: its samples and work units, and the files that keep them.
//!
//! - `columns`: the samples of one part, in memory or mapped;
//! - `files`: the two data files of a part;
//! - `description`: the JSON file that makes data files a part;
//! - `parts`: writing and reading all parts in order;
//! - `stored`: the corpus of a cache;
//! - `copying`: from one cache to another.

mod columns;
mod copying;
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

pub(crate) use copying::push_copy;
pub use files::CorpusWriter;
pub use prepared::{CorpusPart, PreparedCorpus};
pub use sample_ref::SampleRef;
pub use work_unit::WorkUnit;
