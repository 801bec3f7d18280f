//! Layers: which bands of proportions and sections a cache holds, in which folders, and which of them answer a request.

mod choice;
mod coverage;
mod folder;
mod layer;
mod leftovers;
pub(crate) mod manifest;
mod stored;
mod uncaptured;

pub use choice::Missing;
pub(crate) use choice::{Choice, choose};
pub use coverage::Coverage;
pub use folder::LayerDir;
pub(crate) use layer::reach;
pub use layer::{Band, Layer, NotALayer};
pub use manifest::Manifest;
