//! The prepared corpus: its samples and work units, and the files that keep them.

mod prepared;
pub(crate) mod table;

pub(crate) use prepared::next_number;
pub use prepared::{CorpusPart, PreparedCorpus, WorkUnit};
