//! Layers: which bands of proportions and sections a cache holds, in which folders, and which of them answer a request.

pub(crate) mod choice;
mod coverage;
mod folder;
mod layer;
mod leftovers;
pub(crate) mod manifest;

pub use coverage::Coverage;
pub use folder::LayerDir;
pub use layer::{Band, Layer, NotALayer};
pub(crate) use layer::{division, reach, remainder};
pub use manifest::Manifest;
