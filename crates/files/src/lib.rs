//! Files that appear under their name complete and durable, or not at all.
//!
//! [`PendingFile`] implements the project's only commit protocol: a temporary sibling is written, synced and renamed to
//! its name, and the folder is synced. If the process stops before the rename, the name stays as it was. [`faults`] lets
//! tests fail any one operation. [`UnnamedFile`] holds what is needed only while a process runs. [`guarded`] turns a
//! panic of a decoding library into an error. [`open_unlinked`] and its siblings open files that somebody else may have
//! written. [`MappedFile`] notes which files are mapped into memory. [`SafetensorsWriter`] writes tensors one after
//! another. [`TOKENIZER_FILES`] lists the files that a cache and an exported model may hold of a tokenizer. [`visible()`] writes
//! out what would steer a terminal.
//!
//! This crate does not depend on caches or runs.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod commit;
mod error;
pub mod faults;
mod guard;
mod hashing;
mod locking;
mod mapped;
mod regular;
mod safetensors_writer;
mod tokenizer_files;
mod unnamed;
mod visible;

pub use commit::{
    Clearing, PendingFile, commit_bytes, commit_bytes_in, commit_file, create_folder, remove_if_dead, replace_bytes,
    temporary_of,
};
pub use error::{FileError, hint, is_link_to_itself, is_unexpected};
pub use guard::{guarded, panics_become_errors};
pub use hashing::hash_contents;
pub use locking::{Locking, try_lock};
pub use mapped::{MappedFile, mapped_file_at};
pub use regular::{
    Refusal, is_plain_name, open_own, open_regular, open_unlinked, read_regular, read_unlinked, require_own_folder,
};
pub use safetensors_writer::{SafetensorsWriter, TensorHeader};
pub use tokenizer_files::{TOKENIZER_FILES, is_tokenizer_file};
pub use unnamed::UnnamedFile;
pub use visible::{steers, visible, visible_json, visible_page};
