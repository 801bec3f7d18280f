//! `leadspan cache export`: the stored positions as plain Parquet, for other tools.

use std::{fmt, path::PathBuf};

use leadspan_cache::Cache;
use serde::Serialize;
use serde_json::json;

use crate::{
    amounts::{bytes, grouped},
    arguments::ExportArguments,
    commands::{Ending, Showing, missing},
    failure::{Context as _, Result},
    last_line, output,
    progress::{Counted, ProgressMeter},
};

pub(super) fn run(cache: &Cache, export: &ExportArguments, showing: Showing) -> Result<Ending> {
    let out = &export.out;
    if out.is_dir() {
        return Err(output::OutputError::IsAFolder { path: out.clone() }.into());
    }
    let missing = missing(export.allow_incomplete);
    let mut bar = None;
    let facts = leadspan_cache::export(cache, out, export.proportion, missing, &mut |progress| {
        let bar = bar.get_or_insert_with(|| ProgressMeter::new(showing.progress, Counted::Samples, progress.total));
        bar.advance(progress.done, true, || "exporting".to_owned());
    })
    .with_context(|| format!("could not export `{}` to `{}`", cache.dir().display(), out.display()))?;
    drop(bar);
    let exported = Exported {
        out: out.clone(),
        samples: facts.samples,
        rows: facts.rows,
        bytes: facts.bytes,
    };
    last_line::note(json!(exported));
    showing.result(&exported)?;
    Ok(Ending::Done)
}

/// The result of the command.
#[derive(Serialize)]
struct Exported {
    out: PathBuf,
    samples: u64,
    rows: u64,
    bytes: u64,
}

impl fmt::Display for Exported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "wrote {} positions of {} samples to `{}`, {}",
            grouped(self.rows),
            grouped(self.samples),
            self.out.display(),
            bytes(self.bytes)
        )
    }
}
