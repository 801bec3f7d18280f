//! From data sets to tokenized, sectioned and ordered samples.
//!
//! [`prepare`] reads rows of JSON lines, Parquet tables or Arrow streams, turns each into a conversation ([`Format`]), renders it through the model's
//! own [`ChatTemplate`], finds where the chain of thought begins and ends in the rendered text, tokenizes it without
//! adding anything, drops what cannot be used (every drop has a [`DropReason`] and is counted) and returns the samples
//! in a seeded order. [`append`] does the same for rows that came later, and makes sure that the earlier ones still give
//! the samples they gave. [`sample`] prepares a few rows only, to know what all of them would come to.
//!
//! The same files, settings, template and tokenizer give the same [`Prepared`] whatever the number of threads, the
//! clock, or the order in which a directory lists its files. Nothing is written here: storing the samples is the
//! cache's business.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod append;
mod error;
mod files;
mod folder;
mod layout;
mod message;
mod order;
mod prepare;
mod problems;
mod report;
mod row_filter;
mod row_problem;
mod rows;
mod sample_maker;
mod sampled;
mod sections;
mod data_settings;
mod template;
#[cfg(test)]
mod test_tokenizers;
mod tokenize;
mod turn;
mod validation_size;

pub use append::{Appended, KnownSample, append, append_into};
pub use error::CorpusError;
pub use files::{FileFingerprint, files_fingerprint, input_files};
pub use layout::Format;
pub use message::{Message, Role};
pub use order::Place;
pub use prepare::{Arrangement, Prepared, PreparedSample, prepare, prepare_into};
pub use problems::{Problem, problems};
pub use report::{DropReason, PrepareProgress, PrepareReport, SectionTokens};
pub use row_filter::{InvalidRowFilter, RowFilter};
pub use row_problem::RowProblem;
pub use sampled::{Sampled, sample};
pub use data_settings::{BadRow, ColumnNames, DataSettings, SectionSettings, SystemPrompt, WithoutMarkers};
pub use template::ChatTemplate;
pub use validation_size::{InvalidValidationSize, ValidationSize};
