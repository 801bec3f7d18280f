//! Caches that are kept in object stores: pushed there, pulled from there, and read by ranges.
//!
//! [`open`] opens the folder of a store that an [`Address`] names. [`push`] copies a cache there and [`pull`] copies one
//! here; [`pull_cut`] fetches only what a smaller cache needs, and makes it here; [`pull_base`] copies what a worker begins with; [`Pushing`] copies away what a capture commits, while it goes on; [`read_ranges`] reads parts of a file.
//!
//! # Order and visibility
//!
//! A file of a cache is visible only when it is whole, on both sides. Here the commit protocol of `leadspan-files` sees to
//! that. In a store an object appears when its upload is complete, also if it consists of several parts. Files are copied in
//! an order in which each one describes what is there already: the tokenizer, `identity.json`, the corpus before its
//! descriptions, each shard before its receipt, the manifests of complete layers, and the inventory at the end. So whatever
//! kills a copy, what is there is a cache that is not complete, and the next copy goes on.
//!
//! # What is compared
//!
//! Before anything is copied, the identity, the descriptions of the corpus, the layers and the inventory on both sides are compared: a
//! push of another cache is refused, and so are layers that hold positions of the other side's. A file that is there is not copied again if it has the same size and, if the store
//! states one, the same MD5; two receipts are the same if they describe the same shard. What is pushed is compared with its
//! receipt while it is read. What is pulled is compared with its receipt, with the corpus's descriptions and with the
//! inventory before it becomes visible. At the end of a push the store is listed again, because a store may lose what it
//! acknowledged.
//!
//! Files are created on the condition that nobody has created them meanwhile, if the store can do that. Several processes
//! may push one cache to one place.
//!
//! # Credentials
//!
//! Credentials come from the variables and files of each store's own tools, and from nowhere else. The program hands
//! the variables over in an [`Environment`]. What they do not settle, such as profiles, single sign-on and the metadata
//! services of clouds, is found by opendal's loaders, which read the environment and these files themselves: the rules are
//! many, and differ from store to store. No text of a store or of a loader reaches a message: of a refusal, only its code is
//! shown.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod environment;
mod error;
mod frame;
mod in_store;
mod listing;
mod local;
mod names;
mod open;
mod overlap;
mod parallel;
mod place;
mod plan;
mod proxies;
mod pull;
mod pull_cut;
mod pulled;
mod push;
mod pushing;
mod ranges;
mod reach;
mod records;
mod remote;
mod same;
mod settings;
mod source;
mod store;
mod there;
mod told;
mod transport;
mod variables;

#[cfg(test)]
mod tests;

pub use address::Address;
pub use environment::{Environment, VARIABLES};
pub use error::StoreError;
pub use open::{Opened, Retrying, open};
pub use pull::{pull, pull_base, pull_frame, stored_identity};
pub use pull_cut::{CutOutcome, PulledCut, pull_cut};
pub use push::push;
pub use pushing::Pushing;
pub use ranges::{RemoteShard, read_ranges};
pub use store::Stopping;
pub use told::{Event, Outcome, Summary};
