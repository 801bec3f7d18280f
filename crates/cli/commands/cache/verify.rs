//! `leadspan cache verify`: every byte of a cache compared with its checksums.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use leadspan_cache::{Cache, Verification};
use serde::Serialize;
use serde_json::json;

use crate::{
    amounts::{bytes, grouped},
    commands::{Ending, Showing, prepare::Waited},
    failure::{Context as _, Result},
    last_line, path_text,
    progress::{Counted, ProgressMeter},
};

pub(super) fn run(cache: &Cache, repair: bool, showing: Showing) -> Result<Ending> {
    let mut bar = None;
    let found = leadspan_cache::verify(cache, &mut |progress| {
        let bar = bar.get_or_insert_with(|| ProgressMeter::new(showing.progress, Counted::Shards, progress.total));
        bar.advance(progress.done, true, || "checking".to_owned());
    })
    .with_context(|| format!("could not verify `{}`", cache.dir().display()))?;
    drop(bar);
    let dropped = if repair {
        leadspan_cache::repair_telling(&found, &mut Waited::telling())
            .with_context(|| format!("could not repair `{}`", cache.dir().display()))?
    } else {
        Vec::new()
    };
    last_line::note(json!({
        "cache": path_text::text(cache.dir()), "files": found.files, "bytes": found.bytes, "positions": found.positions,
        "problems": found.problems.len(),
    }));
    let verified = Verified {
        dir: cache.dir(),
        found,
        dropped,
    };
    showing.result(&verified)?;
    let Verified { found, dropped, .. } = verified;
    let cured = dropped.len() == found.problems.len();
    match found.problems.into_iter().next() {
        None => Ok(Ending::Done),
        Some(_) if repair && cured => {
            let teacher = cache.identity().teacher.as_ref();
            if teacher.is_some_and(|teacher| teacher.imported.is_some()) {
                tracing::warn!("run the same `leadspan cache import` again to write the dropped work units");
            } else {
                tracing::warn!("run `leadspan precompute` to capture the dropped work units again");
            }
            Ok(Ending::Done)
        }
        Some(first) => Err(first.error).with_context(|| format!("`{}` is damaged", cache.dir().display())),
    }
}

/// The result of the command.
#[derive(Serialize)]
struct Verified<'a> {
    #[serde(serialize_with = "path_text::as_text")]
    dir: &'a Path,
    #[serde(flatten)]
    found: Verification,
    /// The shards and manifests that were removed.
    #[serde(serialize_with = "path_text::as_texts")]
    dropped: Vec<PathBuf>,
}

impl fmt::Display for Verified<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verification {
            files,
            bytes: size,
            positions,
            problems,
            notes,
            ..
        } = &self.found;
        for problem in problems {
            writeln!(formatter, "problem: {}", problem.error)?;
        }
        for note in notes {
            writeln!(formatter, "note: {note}")?;
        }
        for path in &self.dropped {
            writeln!(formatter, "dropped: `{}`", path.display())?;
        }
        write!(
            formatter,
            "{} files, {}, {} positions checked: {}",
            grouped(*files),
            bytes(*size),
            grouped(*positions),
            match problems.len() {
                0 => "all sound".to_owned(),
                1 => "1 problem".to_owned(),
                count => format!("{count} problems"),
            }
        )
    }
}
