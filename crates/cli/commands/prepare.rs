//! `leadspan prepare`: the prepared corpus in the cache.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use leadspan_cache::{Cache, copies_of_held_out};
use leadspan_corpus::{PrepareProgress, PrepareReport};
use leadspan_diagnosis::Diagnosis;
use leadspan_precompute::{DataCheck, Event, Origin, PreparedCache, ServerWait};
use leadspan_workers::{Awaited, Holder, Purpose};
use serde::Serialize;
use serde_json::json;

use super::{Ending, Showing};
use crate::{
    amounts::{counted, grouped, spelt},
    arguments::PrepareArguments,
    configuration::{Configuration, PreparedFor, TextOfModel},
    failure::{Context as _, Result},
    hub, last_line, path_text,
    progress::{Counted, ProgressMeter},
    replay_error::ReplayError,
};

pub(super) fn run(arguments: &PrepareArguments, showing: Showing) -> Result<Ending> {
    let configuration = Configuration::load(&arguments.pipeline.config, &arguments.pipeline.overrides)?;
    let mut replay = configuration.replayed()?;
    let data_check = if arguments.verify_data {
        DataCheck::Contents
    } else {
        DataCheck::Stamps
    };
    if let Some(replay) = &mut replay {
        replay.pipeline.data_check = data_check;
    }
    let prepared = match configuration.preparing()? {
        PreparedFor::Teacher(mut pipeline) => {
            pipeline.data_check = data_check;
            let pipeline = hub::with_teacher_found(*pipeline)?;
            let dir = pipeline.cache_dir();
            shown(showing, &dir, |show| leadspan_precompute::prepare(&pipeline, show))?
        }
        PreparedFor::Text(mut text) => {
            text.pipeline.data_check = data_check;
            let pipeline = hub::with_tokenizer_found(*text)?;
            let dir = pipeline.base.join(&pipeline.cache.dir);
            shown(showing, &dir, |show| leadspan_precompute::prepare_text(&pipeline, show))?
        }
    };
    let cache = prepared.cache.clone();
    let replay = replay.map(|text| prepare_replay(text, showing)).transpose()?;
    take_inventory(cache.dir())?;
    let mut prepared = Prepared::from(prepared);
    last_line::note(json!(prepared));
    prepared.replay = replay.map(|(replay, copies_of_held_out)| {
        Box::new(Prepared {
            copies_of_held_out,
            ..replay.into()
        })
    });
    showing.result(&prepared)?;
    Ok(Ending::Done)
}

/// The result of the command.
#[derive(Serialize)]
struct Prepared {
    #[serde(serialize_with = "path_text::as_text")]
    cache: PathBuf,
    new: bool,
    added_samples: u64,
    added_work_units: u64,
    work_units: usize,
    report: PrepareReport,
    /// The samples to replay that are copies of held-out samples, so that training leaves them out.
    #[serde(skip_serializing_if = "is_none")]
    copies_of_held_out: usize,
    /// The corpus of the samples to replay, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<Box<Self>>,
    #[serde(skip)]
    origin: Origin,
}

impl From<PreparedCache> for Prepared {
    fn from(prepared: PreparedCache) -> Self {
        let (added_samples, added_work_units) = match prepared.origin {
            Origin::Extended { samples, units } => (samples, units),
            Origin::Found | Origin::Made => (0, 0),
        };
        Self {
            cache: prepared.cache.dir().to_owned(),
            new: prepared.origin == Origin::Made,
            added_samples,
            added_work_units,
            work_units: prepared.corpus.units().len(),
            report: prepared.report,
            copies_of_held_out: 0,
            replay: None,
            origin: prepared.origin,
        }
    }
}

impl fmt::Display for Prepared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.origin {
            Origin::Made => "prepared".to_owned(),
            Origin::Found => "was prepared already".to_owned(),
            Origin::Extended { samples, units } => extended(samples, units),
        };
        write!(
            formatter,
            "`{}` {what}: {}; {}",
            self.cache.display(),
            described(&self.report),
            counted(self.work_units as u64, "work unit")
        )?;
        for line in losses(&self.report) {
            write!(formatter, "\n  {line}")?;
        }
        if self.copies_of_held_out > 0 {
            write!(formatter, "\n  {}", left_out_of_replay(self.copies_of_held_out))?;
        }
        match &self.replay {
            Some(replay) => write!(formatter, "\n{replay}"),
            None => Ok(()),
        }
    }
}

/// Lists what is in the cache now, with hashes.
pub(super) fn take_inventory(dir: &Path) -> Result<()> {
    Cache::open(dir)
        .and_then(|cache| cache.take_inventory_telling(&mut Waited::telling()))
        .with_context(|| format!("could not take the inventory of the cache `{}`", dir.display()))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_none(number: &usize) -> bool {
    *number == 0
}

/// Says how many samples to replay are copies of held-out samples.
pub(super) fn left_out_of_replay(copies: usize) -> String {
    let copies = grouped(copies as u64);
    format!("{copies} samples to replay are copies of held-out samples, and training leaves them out")
}

/// Prepares the samples to replay, over which no teacher will be run. Returns with them how many are copies of held-out samples.
pub(super) fn prepare_replay(text: TextOfModel, showing: Showing) -> Result<(PreparedCache, usize)> {
    let pipeline = hub::with_tokenizer_found(text)?;
    let dir = pipeline.base.join(&pipeline.cache.dir);
    // Samples that were removed may be replaced by others.
    let around = dir.parent().unwrap_or(&dir);
    Cache::open(around)
        .and_then(|cache| cache.unlist_removed_replay(&mut Waited::telling()))
        .with_context(|| format!("could not take the inventory of the cache `{}`", around.display()))?;
    let replay = shown(showing, &dir, |show| {
        leadspan_precompute::prepare_text(&pipeline, show).map_err(|error| ReplayError {
            error: Box::new(error),
            dir: dir.clone(),
        })
    })?;
    let copies = Cache::open(around)
        .and_then(|cache| copies_of_held_out(&cache.require_corpus()?, &replay.corpus))
        .with_context(|| format!("could not read the samples to replay in `{}`", dir.display()))?;
    Ok((replay, copies.len()))
}

/// Prepares the cache in `dir` by calling `prepare`, and shows its progress.
fn shown<E: Diagnosis + Send + Sync + 'static>(
    showing: Showing,
    dir: &Path,
    prepare: impl FnOnce(&mut dyn FnMut(Event)) -> Result<PreparedCache, E>,
) -> Result<PreparedCache> {
    let mut shown = Preparing::new(showing);
    let mut waited = Waited::default();
    let prepared = prepare(&mut |event| match event {
        Event::Preparing(progress) => shown.advance(progress),
        Event::WaitingForLock(awaited) => waited.for_lock(&awaited),
        Event::TokenizerRestored(names) => restored(dir, &names),
        Event::NoEndOfTurn => warn_of_no_end_of_turn(),
        Event::WaitingForServer(wait) => waiting_for_server(&wait),
        _ => {}
    });
    prepared.with_context(|| format!("could not prepare the cache `{}`", dir.display()))
}

/// Says that the server that runs the teacher does not answer.
pub(super) fn waiting_for_server(wait: &ServerWait) {
    tracing::warn!(
        "the server does not answer ({}): trying again for up to {}",
        wait.why,
        spelt(wait.left.as_secs_f64())
    );
}

/// Says what follows if it is not known what ends a turn.
pub(super) fn warn_of_no_end_of_turn() {
    tracing::warn!(
        "the chat template shows no token that ends the model's turn: `generation_config.json` of a student will not name it, \
         and programs that generate with the student may run on after an answer. Add its id to `eos_token_id` there, and set \
         `evaluate.stop` to what ends a turn"
    );
}

/// The progress of preparing. It is shown once the number of bytes to read is known.
pub(super) struct Preparing {
    showing: Showing,
    progress: Option<ProgressMeter>,
}

impl Preparing {
    pub(super) fn new(showing: Showing) -> Self {
        Self {
            showing,
            progress: None,
        }
    }

    pub(super) fn advance(&mut self, at: PrepareProgress) {
        let begin = || ProgressMeter::new(self.showing.progress, Counted::Bytes, at.bytes_total);
        self.progress
            .get_or_insert_with(begin)
            .advance(at.bytes_read, false, || {
                format!("{} rows read, {} kept", grouped(at.rows), grouped(at.kept))
            });
    }
}

/// Says that files of the tokenizer were missing in the cache in `dir`.
pub(super) fn restored(dir: &Path, names: &[String]) {
    tracing::warn!(
        "`{}` had lost {}: written anew",
        dir.join("tokenizer").display(),
        names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ")
    );
}

/// How long a short lock is waited for before that is logged. Workers that end together wait for each other for moments.
const A_FEW_SECONDS: Duration = Duration::from_secs(3);

/// What this process has waited for, so that each wait is logged once.
#[derive(Default)]
pub(super) struct Waited {
    /// The lock, and since when; `None` instead of the time once it is logged.
    lock: Option<(Awaited, Option<Instant>)>,
    units: usize,
}

impl Waited {
    /// Logs the waits of one call.
    pub(super) fn telling() -> impl FnMut(&Awaited) {
        let mut waited = Self::default();
        move |awaited| waited.for_lock(awaited)
    }

    pub(super) fn for_lock(&mut self, awaited: &Awaited) {
        if self.lock.as_ref().is_none_or(|(before, _)| before != awaited) {
            self.lock = Some((awaited.clone(), Some(Instant::now())));
        }
        // Preparing takes long.
        let patience = if awaited.purpose == Purpose::Preparing {
            Duration::ZERO
        } else {
            A_FEW_SECONDS
        };
        if let Some((_, since)) = &mut self.lock
            && since.is_some_and(|since| since.elapsed() >= patience)
        {
            tracing::info!("waiting for {awaited}");
            *since = None;
        }
    }

    pub(super) fn for_units(&mut self, units: usize, holder: &Holder) {
        if self.units != units {
            tracing::info!(
                "waiting for {} that other workers hold ({holder} the first), to take over those of the dead",
                counted(units as u64, "work unit")
            );
            self.units = units;
        }
    }
}

/// Describes the extension of a corpus.
pub(super) fn extended(samples: u64, units: u64) -> String {
    match samples {
        0 => "was prepared already, and the changed files add nothing".to_owned(),
        _ => format!(
            "extended by {} in {}",
            counted(samples, "training sample"),
            counted(units, "work unit")
        ),
    }
}

/// Describes the corpus in one line.
pub(super) fn described(report: &PrepareReport) -> String {
    format!(
        "{} training and {} validation samples of {}, {} tokens",
        grouped(report.kept_train),
        grouped(report.kept_validation),
        counted(report.rows, "row"),
        grouped(report.tokens.total())
    )
}

/// Describes the rows that were left out, with one line for each reason.
pub(super) fn losses(report: &PrepareReport) -> Vec<String> {
    let mut lines: Vec<String> = report
        .dropped
        .iter()
        .map(|(reason, &count)| format!("dropped {}: {}", grouped(count), reason.as_str()))
        .collect();
    if report.duplicates > 0 {
        lines.push(format!(
            "{} samples are copies of others under other ids",
            grouped(report.duplicates)
        ));
    }
    if let Some(asked) = report.validation_asked {
        let because = match report.duplicates {
            0 => "",
            _ => ": copies are held out together or not at all",
        };
        lines.push(format!(
            "held out {} samples, not the {} that `data.validation` asks for{because}",
            grouped(report.kept_validation),
            grouped(asked)
        ));
    }
    if report.bad_rows > 0 {
        lines.push(format!(
            "left out {} bad rows, the first of them:",
            grouped(report.bad_rows)
        ));
        lines.extend(report.bad_row_examples.iter().map(|example| format!("  {example}")));
    }
    lines
}
