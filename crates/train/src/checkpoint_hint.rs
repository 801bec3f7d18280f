//! What to do about a file of a checkpoint that cannot be used.

use std::{io, path::Path};

use leadspan_files::Refusal;

/// What to do about `error`, if it came up at `path` of a checkpoint.
pub(crate) fn hint(error: &io::Error, path: &Path) -> Option<String> {
    path.parent().filter(|folder| folder.ends_with("checkpoints"))?;
    let shown = path.display();
    Some(if Refusal::of(error).is_some() {
        format!("remove the folder `{shown}`: checkpoints have such names")
    } else {
        format!(
            "run the same command again, with the version that began the run; without `{shown}` and its receipt, which ends in `.json`, \
             the run goes on from the checkpoint before it"
        )
    })
}
