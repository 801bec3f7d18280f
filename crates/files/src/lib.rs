//! Files that appear under their name whole and durable, or not at all.
//!
//! [`PendingFile`] is the one commit protocol of the project: a temporary sibling is written and synced, renamed to its name,
//! and the folder is synced. Whatever stops the process in between leaves the name as it was. [`faults`] lets tests fail any
//! one of these operations. [`guarded`] turns a panic of a decoding library into an error.
//! [`SafetensorsWriter`] writes tensors one after another.
//!
//! This crate knows neither caches nor runs.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod commit;
mod error;
pub mod faults;
mod guard;
mod safetensors_writer;

pub use commit::{
    Clearing, PendingFile, commit_bytes, commit_bytes_in, commit_file, create_folder, remove_if_dead, replace_bytes,
    temporary_of,
};
pub use error::{FileError, hint, is_unexpected};
pub use guard::{guarded, panics_become_errors};
pub use safetensors_writer::{SafetensorsWriter, TensorHeader};
