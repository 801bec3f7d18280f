//! `leadspan cache export`: the stored positions for everybody else's tools.

use leadspan_cache::Cache;
use serde_json::json;

use crate::{
    amounts::{bytes, grouped},
    arguments::Export,
    commands::{Ending, Showing, missing},
    failure::{Context as _, Result},
    last_line, output,
    progress::{Counted, Progress},
};

pub(super) fn run(cache: &Cache, export: &Export, showing: Showing) -> Result<Ending> {
    let out = &export.out;
    if out.is_dir() {
        return Err(output::OutputError::IsAFolder { path: out.clone() }.into());
    }
    let missing = missing(export.allow_incomplete);
    let mut bar = None;
    let facts = leadspan_cache::export(cache, out, export.proportion, missing, &mut |progress| {
        let bar = bar.get_or_insert_with(|| Progress::new(showing.progress, Counted::Samples, progress.total));
        bar.advance(progress.done, true, || "exporting".to_owned());
    })
    .with_context(|| format!("could not export `{}` to `{}`", cache.dir().display(), out.display()))?;
    drop(bar);
    last_line::note(json!({ "out": out, "samples": facts.samples, "rows": facts.rows, "bytes": facts.bytes }));
    if showing.json {
        output::json(&json!({
            "out": out, "samples": facts.samples, "rows": facts.rows, "bytes": facts.bytes
        }))?;
    } else {
        output::text(format_args!(
            "wrote {} positions of {} samples to `{}`, {}",
            grouped(facts.rows),
            grouped(facts.samples),
            out.display(),
            bytes(facts.bytes)
        ))?;
    }
    Ok(Ending::Done)
}
