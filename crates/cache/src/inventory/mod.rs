//! The inventory of a cache: one file that lists the hash of everything else, so that no part can be exchanged unnoticed.
//!
//! ```text
//! inventory.json ── identity.json ── tokenizer files
//!        ├───────── description of each part of the corpus ── its data files
//!        ├───────── identity and descriptions of the samples to replay ── their files
//!        └───────── shard of each listed work unit
//! ```
//!
//! It is written when a capture is complete and when a corpus was prepared by itself. Whatever was added since is not
//! listed yet. Whatever is listed is compared when it is opened. A cache without an inventory is older, or not complete.
//!
//! - `contents`: the file, and comparing with it;
//! - `gone`: what it lists and the cache no longer has;
//! - `taking`: writing it.

mod contents;
mod gone;
mod taking;

pub use contents::{Inventory, ListedReplay, ListedShard};
pub(crate) use contents::{ListedParts, OTHER};
