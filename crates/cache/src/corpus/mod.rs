//! The prepared corpus: its samples and work units, and the files that keep them.
//!
//! `columns` is how the samples of one part lie in memory or in a map, `files` how they are stored, `table` the descriptions
//! of parts and how a corpus is opened.

mod columns;
mod files;
mod prepared;
pub(crate) mod table;

pub use columns::SampleRef;
pub(crate) use columns::{Columns, ColumnsBuilder};
pub use files::CorpusWriter;
pub use prepared::{CorpusPart, PreparedCorpus, WorkUnit};
pub(crate) use prepared::{check_samples, next_number, plan_units};
