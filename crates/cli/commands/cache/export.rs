//! `leadspan cache export`: the stored positions as a Parquet file for other programs.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use leadspan_cache::{Cache, Exported, is_export};
use serde::Serialize;
use serde_json::json;

use crate::{
    amounts::{bytes, grouped},
    arguments::ExportArguments,
    commands::{Ending, Showing, missing},
    failure::{Context as _, Result},
    last_line,
    outputs::{self, OutputRefusal},
    path_text,
    progress::{Counted, ProgressMeter},
};

pub(super) fn run(cache: &Cache, export: &ExportArguments, showing: Showing) -> Result<Ending> {
    let out = &export.out;
    let inputs: Vec<&Path> = export.folder.config.as_deref().into_iter().collect();
    outputs::check_file(out, export.overwrite, &inputs)?;
    if !out.exists() {
        outputs::require_parquet(out)?;
    } else if !is_export(out).with_context(|| "could not see whether it may be replaced".to_owned())? {
        let path = out.clone();
        return Err(OutputRefusal::Foreign { path }.into());
    }
    let missing = missing(export.allow_incomplete);
    let mut bar = None;
    let exported = leadspan_cache::export(cache, out, export.proportion, missing, &mut |progress| {
        let bar = bar.get_or_insert_with(|| ProgressMeter::new(showing.progress, Counted::Samples, progress.total));
        bar.advance(progress.done, true, || "exporting".to_owned());
    })
    .with_context(|| format!("could not export `{}` to `{}`", cache.dir().display(), out.display()))?;
    drop(bar);
    let written = Written {
        out: out.clone(),
        exported,
    };
    last_line::note(json!(written));
    showing.result(&written)?;
    Ok(Ending::Done)
}

/// The result of the command.
#[derive(Serialize)]
struct Written {
    #[serde(serialize_with = "path_text::as_text")]
    out: PathBuf,
    #[serde(flatten)]
    exported: Exported,
}

impl fmt::Display for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "wrote {} positions of {} samples to `{}`, {}",
            grouped(self.exported.rows),
            grouped(self.exported.samples),
            self.out.display(),
            bytes(self.exported.bytes)
        )
    }
}
