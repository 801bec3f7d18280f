//! `leadspan cache`: look into a cache, check it, export it.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use leadspan_cache::{Cache, Inspection, Verification};
use serde_json::json;

use super::{Ending, Showing};
use crate::{
    amounts::{bytes, grouped},
    arguments::{CacheCommand, CacheFolder, Export},
    configuration::Configuration,
    output,
    progress::{Counted, Progress},
    signals,
};

pub(super) fn run(command: &CacheCommand, showing: Showing) -> anyhow::Result<Ending> {
    signals::exit_on_signals()?;
    match command {
        CacheCommand::Inspect(folder) => inspect(&open(folder)?, showing),
        CacheCommand::Verify(folder) => verify(&open(folder)?, showing),
        CacheCommand::Export(export) => self::export(export, showing),
    }
}

fn open(folder: &CacheFolder) -> anyhow::Result<Cache> {
    let dir = match (&folder.dir, &folder.config) {
        (Some(dir), _) => dir.clone(),
        (None, Some(config)) => Configuration::load(config, &[])?.cache_dir()?,
        (None, None) => unreachable!("the command line requires a folder or a pipeline file"),
    };
    Ok(Cache::open(&dir)?)
}

fn inspect(cache: &Cache, showing: Showing) -> anyhow::Result<Ending> {
    let inspection = cache
        .inspect()
        .with_context(|| format!("could not inspect `{}`", cache.dir().display()))?;
    if showing.json {
        output::json(&inspection)?;
    } else {
        output::text(described(&inspection).trim_end())?;
    }
    Ok(Ending::Done)
}

fn described(inspection: &Inspection) -> String {
    let mut text = String::new();
    let identity = &inspection.identity;
    let _ = writeln!(
        text,
        "cache      {} (format {})",
        inspection.dir.display(),
        inspection.format
    );
    let _ = writeln!(
        text,
        "teacher    weights {}, configuration {}, {}",
        short(&identity.teacher.weights_blake3),
        short(&identity.teacher.config_blake3),
        identity.teacher.dtype
    );
    let _ = writeln!(
        text,
        "text       tokenizer {}, chat template {}",
        short(&identity.tokenizer),
        short(&identity.chat_template)
    );
    let _ = writeln!(text, "entries    top {} of every position", identity.top_k);
    match &inspection.corpus {
        None => text.push_str("corpus     not prepared yet\n"),
        Some(corpus) => {
            let _ = writeln!(
                text,
                "corpus     {} training and {} validation samples, {} tokens, {} work units of up to {} samples",
                grouped(corpus.train_samples),
                grouped(corpus.validation_samples),
                grouped(corpus.tokens),
                grouped(corpus.units),
                grouped(u64::from(corpus.samples_per_shard))
            );
        }
    }
    for layer in &inspection.layers {
        let state = if layer.complete { "complete" } else { "incomplete" };
        let _ = writeln!(
            text,
            "layer      proportion {} of {}: {} of {} work units, {state}",
            layer.proportion, layer.sections, layer.units_committed, layer.units
        );
        let _ = write!(
            text,
            "           {} positions in {}",
            grouped(layer.positions),
            bytes(layer.shard_bytes)
        );
        if let (Some(size), Some(entries)) = (layer.bytes_per_position, layer.entries_per_position) {
            let _ = write!(text, ", {size:.1} bytes and {entries:.1} entries each");
        }
        text.push('\n');
        for problem in &layer.unusable {
            let _ = writeln!(text, "           unusable: {problem}");
        }
    }
    text
}

/// Enough of a digest to compare by eye.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn verify(cache: &Cache, showing: Showing) -> anyhow::Result<Ending> {
    let mut bar = None;
    let found = leadspan_cache::verify(cache, &mut |progress| {
        let bar = bar.get_or_insert_with(|| Progress::new(showing.progress, Counted::Shards, progress.total));
        bar.advance(progress.done, true, || "checking".to_owned());
    })
    .with_context(|| format!("could not verify `{}`", cache.dir().display()))?;
    drop(bar);
    let Verification {
        files,
        bytes: size,
        positions,
        problems,
    } = found;
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    if showing.json {
        output::json(&json!({
            "dir": cache.dir(), "files": files, "bytes": size, "positions": positions, "problems": texts
        }))?;
    } else {
        for problem in &texts {
            output::text(format_args!("problem: {problem}"))?;
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
    match problems.into_iter().next() {
        None => Ok(Ending::Done),
        Some(first) => Err(anyhow::Error::from(first).context(format!("`{}` is damaged", cache.dir().display()))),
    }
}

fn export(export: &Export, showing: Showing) -> anyhow::Result<Ending> {
    let cache = open(&export.folder)?;
    let out = &export.out;
    if out.is_dir() {
        bail!(output::OutputError::IsAFolder { path: out.clone() });
    }
    let mut bar = None;
    let facts = leadspan_cache::export(&cache, out, export.proportion, &mut |progress| {
        let bar = bar.get_or_insert_with(|| Progress::new(showing.progress, Counted::Samples, progress.total));
        bar.advance(progress.done, true, || "exporting".to_owned());
    })
    .with_context(|| format!("could not export `{}` to `{}`", cache.dir().display(), out.display()))?;
    drop(bar);
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
