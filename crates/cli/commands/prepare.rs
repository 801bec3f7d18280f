//! `leadspan prepare`: the prepared corpus in the cache.

use anyhow::Context as _;
use leadspan_corpus::{PrepareProgress, PrepareReport};
use leadspan_precompute::{Event, Origin, PreparedCache};
use serde_json::json;

use super::{Ending, Showing};
use crate::{
    amounts::grouped,
    arguments::PipelineArguments,
    configuration::{Configuration, PreparedFor},
    hub, output,
    progress::{Counted, Progress},
    signals,
};

pub(super) fn run(arguments: &PipelineArguments, showing: Showing) -> anyhow::Result<Ending> {
    let configuration = Configuration::load(&arguments.config, &arguments.overrides)?;
    signals::exit_on_signals()?;
    let mut shown = Preparing::new(showing);
    let mut show = |event| {
        if let Event::Preparing(progress) = event {
            shown.advance(progress);
        }
    };
    let (dir, prepared) = match configuration.preparing()? {
        PreparedFor::Teacher(pipeline) => {
            let pipeline = hub::with_teacher_found(pipeline)?;
            (pipeline.cache_dir(), leadspan_precompute::prepare(&pipeline, &mut show))
        }
        PreparedFor::Text { pipeline, revision } => {
            let pipeline = hub::with_tokenizer_found(pipeline, revision.as_deref())?;
            let prepared = leadspan_precompute::prepare_text(&pipeline, &mut show);
            (pipeline.base.join(&pipeline.cache.dir), prepared)
        }
    };
    let PreparedCache {
        cache,
        corpus,
        report,
        origin,
    } = prepared.with_context(|| format!("could not prepare the cache `{}`", dir.display()))?;
    drop(shown);
    let units = corpus.units().len();
    if showing.json {
        let new = origin == Origin::Made;
        let (added_samples, added_units) = match origin {
            Origin::Extended { samples, units } => (samples, units),
            Origin::Found | Origin::Made => (0, 0),
        };
        output::json(&json!({
            "cache": cache.dir(), "new": new, "added_samples": added_samples, "added_work_units": added_units,
            "work_units": units, "report": report,
        }))?;
    } else {
        let what = match origin {
            Origin::Made => "prepared".to_owned(),
            Origin::Found => "was prepared already".to_owned(),
            Origin::Extended { samples, units } => extended(samples, units),
        };
        output::text(format_args!(
            "`{}` {what}: {}; {} work units",
            cache.dir().display(),
            described(&report),
            grouped(units as u64)
        ))?;
        for line in losses(&report) {
            output::text(format_args!("  {line}"))?;
        }
    }
    Ok(Ending::Done)
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
