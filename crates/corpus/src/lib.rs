//! From data sets to tokenized, sectioned and ordered samples.
//!
//! [`prepare`] reads rows of JSON lines, JSON arrays, Parquet tables or Arrow streams and turns each into a conversation
//! ([`Format`]). It renders the conversation through the model's own [`ChatTemplate`], finds the chain of thought in the text,
//! and tokenizes the text without adding anything. Samples that cannot be used are dropped and counted, each with a
//! [`DropReason`]. The rest are returned in a seeded order. [`append`] does the same for rows that were added later, and checks
//! that the earlier rows still give the same samples. [`sample`] prepares only a few rows, to predict the result for all.
//!
//! The same files, settings, template and tokenizer give the same [`Prepared`], whatever the number of threads, the clock,
//! or the order in which a directory lists its files. This crate writes nothing: storing the samples is the cache's task.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod append;
mod bad_row;
mod control_tokens;
mod conversation;
mod copies;
#[cfg(test)]
mod data_set_tests;
mod data_settings;
mod error;
mod files;
mod folder;
mod intake;
mod layout;
mod lead_span;
mod message;
mod order;
mod pattern;
mod prepare;
mod problems;
mod reading;
mod report;
mod row_filter;
mod row_problem;
mod row_rules;
mod rows;
mod sample_maker;
mod sampled;
mod section_settings;
mod sections;
mod shown;
mod template;
#[cfg(test)]
mod test_tokenizers;
mod token_bytes;
mod tokenize;
mod turn;
mod turn_end;
mod validation_size;

pub use append::{Appended, Known, KnownSample, append, append_into};
pub use bad_row::BadRow;
pub use conversation::Given;
pub use data_settings::DataSettings;
pub use error::CorpusError;
pub use files::{FileFingerprint, files_fingerprint, input_files, matching_files, name_of};
pub use intake::PreparedSample;
pub use layout::{ColumnNames, Format, SystemPrompt};
pub use message::{EmptyContent, Message, Role};
pub use order::Place;
pub use prepare::{Arrangement, Prepared, prepare, prepare_into};
pub use problems::{Problem, problems};
pub use report::{DropReason, PrepareProgress, PrepareReport, SectionTokens};
pub use row_filter::{InvalidRowFilter, RowFilter};
pub use row_problem::RowProblem;
pub use row_rules::RowRules;
pub use sampled::{Sampled, sample};
pub use section_settings::{SectionSettings, WithoutMarkers};
pub use template::ChatTemplate;
pub use token_bytes::TokenBytes;
pub use turn_end::end_of_turn;
pub use validation_size::{InvalidValidationSize, ValidationSize};
