//! Comparing what a pipeline names with a cache that is kept in another place, before any of it is fetched.

use leadspan_cache::{Difference, Identity};
use leadspan_files::create_folder;

use super::Preparation;
use crate::{Pipeline, PrecomputeError, stamp::Maker, teacher::TeacherSource};

/// The first value in which `stored`, the identity of a cache that is kept elsewhere, differs from what the pipeline names; `None` if the
/// pipeline can go on with that cache.
///
/// Nothing is written if there is a difference. If there is none, the folder of the cache remembers the hash of the teacher's weights
/// for the capture.
///
/// # Errors
///
/// If the model, its chat template or the settings cannot be used.
pub fn difference_from(pipeline: &Pipeline, stored: &Identity) -> Result<Option<Difference>, PrecomputeError> {
    let source = TeacherSource::open(pipeline)?;
    let preparation = Preparation::new(pipeline, &source)?;
    let mut asked = preparation.identity_like(None, stored.teacher.as_ref())?;
    if let (Some(asked), Some(stored)) = (&mut asked.teacher, &stored.teacher) {
        // These take long to read, so everything else is compared first.
        asked.weights_blake3.clone_from(&stored.weights_blake3);
        asked.lora_blake3.clone_from(&stored.lora_blake3);
    }
    if let Some(difference) = stored.first_difference(&asked) {
        return Ok(Some(difference));
    }
    let weights = preparation.weights_hash()?;
    let asked = preparation.identity_like(weights.as_ref(), stored.teacher.as_ref())?;
    let difference = stored.first_difference(&asked);
    let dir = pipeline.cache_dir();
    if let (None, Some(weights), Ok(())) = (&difference, weights, create_folder(&dir)) {
        weights.remember(&dir, Maker::Worker);
    }
    Ok(difference)
}
