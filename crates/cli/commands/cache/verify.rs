//! `leadspan cache verify`: every byte of a cache against its checksums.

use leadspan_cache::{Cache, Verification};
use serde_json::json;

use crate::{
    amounts::{bytes, grouped},
    commands::{Ending, Showing},
    failure::{Context as _, Result},
    last_line, output,
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
        leadspan_cache::repair(&found).with_context(|| format!("could not repair `{}`", cache.dir().display()))?
    } else {
        Vec::new()
    };
    let Verification {
        files,
        bytes: size,
        positions,
        problems,
    } = found;
    let texts: Vec<String> = problems.iter().map(|problem| problem.error.to_string()).collect();
    last_line::note(json!({
        "cache": cache.dir(), "files": files, "bytes": size, "positions": positions, "problems": texts.len(),
    }));
    if showing.json {
        output::json(&json!({
            "dir": cache.dir(), "files": files, "bytes": size, "positions": positions, "problems": texts,
            "dropped": dropped,
        }))?;
    } else {
        for problem in &texts {
            output::text(format_args!("problem: {problem}"))?;
        }
        for path in &dropped {
            output::text(format_args!("dropped: `{}`", path.display()))?;
        }
        output::text(format_args!(
            "{} files, {}, {} positions checked: {}",
            grouped(files),
            bytes(size),
            grouped(positions),
            match problems.len() {
                0 => "all sound".to_owned(),
                1 => "1 problem".to_owned(),
                count => format!("{count} problems"),
            }
        ))?;
    }
    let cured = dropped.len() == problems.len();
    match problems.into_iter().next() {
        None => Ok(Ending::Done),
        Some(_) if repair && cured => {
            tracing::warn!("run `leadspan precompute` to do the dropped work units again");
            Ok(Ending::Done)
        }
        Some(first) => Err(first.error).with_context(|| format!("`{}` is damaged", cache.dir().display())),
    }
}
