//! `leadspan cache inspect`: the contents of a cache in numbers.

use std::fmt::{self, Write as _};

use leadspan_cache::{Cache, Identity, Inspection, LayerInspection, TeacherIdentity};
use serde::Serialize;

use crate::{
    amounts::{bytes, counted, grouped},
    commands::{Ending, Showing},
    failure::{Context as _, Result},
};

pub(super) fn run(cache: &Cache, showing: Showing) -> Result<Ending> {
    let inspection = cache
        .inspect()
        .with_context(|| format!("could not inspect `{}`", cache.dir().display()))?;
    showing.result(&Inspected(inspection))?;
    Ok(Ending::Done)
}

/// The result of the command.
#[derive(Serialize)]
#[serde(transparent)]
struct Inspected(Inspection);

impl fmt::Display for Inspected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(described(&self.0).trim_end())
    }
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
    let _ = match &identity.teacher {
        Some(TeacherIdentity {
            imported: Some(imported),
            ..
        }) => writeln!(
            text,
            "teacher    unknown: imported ({}, {}); tails: {}; targets: {}",
            imported.layout,
            short(&imported.blake3),
            imported.tail,
            imported.targets
        ),
        Some(TeacherIdentity {
            server: Some(server), ..
        }) => {
            let stated = [&server.revision, &server.quantisation].into_iter().flatten();
            let stated = stated.fold(String::new(), |text, value| text + ", " + value);
            let (engine, version, model) = (&server.engine, &server.version, &server.model);
            writeln!(text, "teacher    `{model}` of {engine} {version}{stated}")
        }
        Some(teacher) => writeln!(
            text,
            "teacher    weights {}, configuration {}, {}{}",
            short(&teacher.weights_blake3),
            short(&teacher.config_blake3),
            teacher.dtype,
            teacher
                .lora_blake3
                .as_deref()
                .map_or_else(String::new, |adapter| format!(", adapter {}", short(adapter)))
        ),
        None => writeln!(text, "teacher    none"),
    };
    let _ = writeln!(
        text,
        "text       tokenizer {}, chat template {}",
        short(&identity.tokenizer),
        short(&identity.chat_template)
    );
    let _ = writeln!(text, "entries    {}", entries(identity));
    match &inspection.corpus {
        None => text.push_str("corpus     not prepared yet\n"),
        Some(corpus) => {
            let _ = writeln!(
                text,
                "corpus     {} training and {} validation samples, {} tokens, {} of up to {}",
                grouped(corpus.train_samples),
                grouped(corpus.validation_samples),
                grouped(corpus.tokens),
                counted(corpus.units, "work unit"),
                counted(u64::from(corpus.samples_per_shard), "sample")
            );
        }
    }
    if let Some(replay) = &inspection.replay {
        let _ = writeln!(
            text,
            "replay     {} samples, {} tokens",
            grouped(replay.train_samples),
            grouped(replay.tokens)
        );
    }
    if let Some(origin) = &inspection.origin {
        let _ = writeln!(text, "made by    {origin}");
    }
    if let Some(blake3) = &inspection.inventory_blake3 {
        let _ = writeln!(text, "inventory  blake3 {blake3}");
    }
    if !inspection.serves.is_empty() {
        let served: Vec<String> = inspection
            .serves
            .iter()
            .map(|(section, proportion)| format!("{section} up to {proportion}"))
            .collect();
        let _ = writeln!(text, "serves     {}", served.join(", "));
    }
    for layer in &inspection.layers {
        describe_layer(layer, &mut text);
    }
    text
}

fn describe_layer(layer: &LayerInspection, text: &mut String) {
    let state = if layer.complete { "complete" } else { "incomplete" };
    let _ = writeln!(
        text,
        "layer      {}: {} of {} work units, {state}",
        layer.name, layer.units_committed, layer.units
    );
    let _ = write!(
        text,
        "           {} positions of {} samples in {}",
        grouped(layer.positions),
        grouped(layer.samples),
        bytes(layer.shard_bytes)
    );
    if let (Some(size), Some(entries)) = (layer.bytes_per_position, layer.entries_per_position) {
        let _ = write!(text, ", {size:.1} bytes and {entries:.1} entries each");
    }
    if let Some(mass) = layer.mean_retained_mass {
        let about = if layer.estimated { "about " } else { "" };
        let _ = write!(text, ", which retain {about}{:.2} % of the probability", 100.0 * mass);
    }
    text.push('\n');
    if !layer.device_classes.is_empty() {
        let classes: Vec<&str> = layer.device_classes.iter().map(String::as_str).collect();
        let _ = writeln!(text, "           computed by {}", classes.join(" and "));
    }
    for problem in &layer.unusable {
        let _ = writeln!(text, "           unusable: {problem}");
    }
}

/// The entries that are stored of a position, in words.
fn entries(identity: &Identity) -> String {
    let entries = &identity.entries;
    let mut text = format!("top {} of every position", entries.top_k);
    if let Some(top_p) = entries.top_p {
        let _ = write!(text, ", or what covers {top_p} of the probability");
    }
    if entries.tail_samples > 0 {
        let _ = write!(text, ", and {} draws from the tail", entries.tail_samples);
    }
    if !entries.temperatures.is_empty() {
        let _ = write!(text, ", tails for temperatures {:?}", entries.temperatures);
    }
    let _ = write!(text, ", precision {}", identity.precision.as_str());
    text
}

/// The start of a digest, enough to compare by eye.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
