//! Layers: which proportions of which sections a cache holds, in which folders, and which of them answer a request.
//!
//! - `coverage`, `layer`: what is asked for, and what a layer holds. Pure;
//! - `folder`, `committed`, `manifest`: a layer on disk;
//! - `elsewhere`: work units that are committed in another place;
//! - `stored`, `choice`, `uncaptured`: the layers of a cache, which of them to read, and what is still to be captured;
//! - `leftovers`: removing what killed writers left.

mod choice;
mod committed;
mod coverage;
mod elsewhere;
mod folder;
mod layer;
mod leftovers;
pub(crate) mod manifest;
mod stored;
mod uncaptured;

pub use choice::Missing;
pub(crate) use choice::{Choice, choose};
pub use coverage::Coverage;
pub use elsewhere::Elsewhere;
pub(crate) use folder::DESCRIPTION;
pub use folder::LayerDir;
pub(crate) use layer::reach;
pub use layer::{Band, Layer, NotALayer};
pub use manifest::Manifest;
