//! `leadspan prepare`: the prepared corpus in the cache.

use std::path::Path;

use leadspan_corpus::{PrepareProgress, PrepareReport};
use leadspan_diagnosis::Diagnosis;
use leadspan_precompute::{Event, Origin, PreparedCache};
use leadspan_workers::Holder;
use serde_json::{Value, json};

use super::{Ending, Showing};
use crate::{
    amounts::grouped,
    arguments::PipelineArguments,
    configuration::{Configuration, PreparedFor, TextOfModel},
    failure::{Context as _, Result},
    hub, last_line, output,
    progress::{Counted, Progress},
    replay_error::ReplayError,
};

pub(super) fn run(arguments: &PipelineArguments, showing: Showing) -> Result<Ending> {
    let configuration = Configuration::load(&arguments.config, &arguments.overrides)?;
    let replay = configuration.replayed()?;
    let prepared = match configuration.preparing()? {
        PreparedFor::Teacher(pipeline) => {
            let pipeline = hub::with_teacher_found(pipeline)?;
            let dir = pipeline.cache_dir();
            shown(showing, &dir, |show| leadspan_precompute::prepare(&pipeline, show))?
        }
        PreparedFor::Text(text) => {
            let pipeline = hub::with_tokenizer_found(text)?;
            let dir = pipeline.base.join(&pipeline.cache.dir);
            shown(showing, &dir, |show| leadspan_precompute::prepare_text(&pipeline, show))?
        }
    };
    let replay = replay.map(|text| prepare_replay(text, showing)).transpose()?;
    last_line::note(as_json(&prepared));
    if showing.json {
        let mut result = as_json(&prepared);
        if let Some(replay) = &replay {
            result["replay"] = as_json(replay);
        }
        output::json(&result)?;
    } else {
        for prepared in [Some(&prepared), replay.as_ref()].into_iter().flatten() {
            as_text(prepared)?;
        }
    }
    Ok(Ending::Done)
}

/// Prepares the samples to replay, over which no teacher will be run.
pub(super) fn prepare_replay(text: TextOfModel, showing: Showing) -> Result<PreparedCache> {
    let pipeline = hub::with_tokenizer_found(text)?;
    let dir = pipeline.base.join(&pipeline.cache.dir);
    shown(showing, &dir, |show| {
        leadspan_precompute::prepare_text(&pipeline, show).map_err(ReplayError)
    })
}

/// Prepares the cache in `dir` by `prepare`, and shows how it goes on.
fn shown<E: Diagnosis + Send + Sync + 'static>(
    showing: Showing,
    dir: &Path,
    prepare: impl FnOnce(&mut dyn FnMut(Event)) -> Result<PreparedCache, E>,
) -> Result<PreparedCache> {
    let mut shown = Preparing::new(showing);
    let mut waited = Waited::default();
    let prepared = prepare(&mut |event| match event {
        Event::Preparing(progress) => shown.advance(progress),
        Event::WaitingForPreparation(holder) => waited.for_preparation(&holder),
        _ => {}
    });
    prepared.with_context(|| format!("could not prepare the cache `{}`", dir.display()))
}

fn as_json(prepared: &PreparedCache) -> Value {
    let PreparedCache {
        cache,
        corpus,
        report,
        origin,
    } = prepared;
    let (added_samples, added_units) = match *origin {
        Origin::Extended { samples, units } => (samples, units),
        Origin::Found | Origin::Made => (0, 0),
    };
    json!({
        "cache": cache.dir(), "new": *origin == Origin::Made, "added_samples": added_samples,
        "added_work_units": added_units, "work_units": corpus.units().len(), "report": report,
    })
}

fn as_text(prepared: &PreparedCache) -> Result<()> {
    let what = match prepared.origin {
        Origin::Made => "prepared".to_owned(),
        Origin::Found => "was prepared already".to_owned(),
        Origin::Extended { samples, units } => extended(samples, units),
    };
    output::text(format_args!(
        "`{}` {what}: {}; {} work units",
        prepared.cache.dir().display(),
        described(&prepared.report),
        grouped(prepared.corpus.units().len() as u64)
    ))?;
    for line in losses(&prepared.report) {
        output::text(format_args!("  {line}"))?;
    }
    Ok(())
}

/// The progress of preparing, which only shows once it is known how much there is to read.
pub(super) struct Preparing {
    showing: Showing,
    progress: Option<Progress>,
}

impl Preparing {
    pub(super) fn new(showing: Showing) -> Self {
        Self {
            showing,
            progress: None,
        }
    }

    pub(super) fn advance(&mut self, at: PrepareProgress) {
        let begin = || Progress::new(self.showing.progress, Counted::Bytes, at.bytes_total);
        self.progress
            .get_or_insert_with(begin)
            .advance(at.bytes_read, false, || {
                format!("{} rows read, {} kept", grouped(at.rows), grouped(at.kept))
            });
    }
}

/// What was waited for, so that it is said once.
#[derive(Default)]
pub(super) struct Waited {
    holder: Option<Holder>,
    units: usize,
}

impl Waited {
    pub(super) fn for_preparation(&mut self, holder: &Holder) {
        if self.holder.as_ref() != Some(holder) {
            tracing::info!("waiting for {holder}, which prepares this cache");
            self.holder = Some(holder.clone());
        }
    }

    pub(super) fn for_units(&mut self, units: usize) {
        if self.units != units {
            tracing::info!(
                "waiting for {} work units that other workers hold, to take over those of the dead",
                grouped(units as u64)
            );
            self.units = units;
        }
    }
}

/// What was put behind a corpus that was there.
pub(super) fn extended(samples: u64, units: u64) -> String {
    match samples {
        0 => "was prepared already, and the changed files add nothing".to_owned(),
        _ => format!(
            "extended by {} training samples in {} work units",
            grouped(samples),
            grouped(units)
        ),
    }
}

/// What there is, in a line.
pub(super) fn described(report: &PrepareReport) -> String {
    format!(
        "{} training and {} validation samples of {} rows, {} tokens",
        grouped(report.kept_train),
        grouped(report.kept_validation),
        grouped(report.rows),
        grouped(report.tokens.total())
    )
}

/// What became of the other rows, a line for each reason.
pub(super) fn losses(report: &PrepareReport) -> Vec<String> {
    let mut lines: Vec<String> = report
        .dropped
        .iter()
        .map(|(reason, &count)| format!("dropped {}: {}", grouped(count), reason.as_str()))
        .collect();
    if report.bad_rows > 0 {
        lines.push(format!(
            "left out {} bad rows, the first of them:",
            grouped(report.bad_rows)
        ));
        lines.extend(report.bad_row_examples.iter().map(|example| format!("  {example}")));
    }
    lines
}
