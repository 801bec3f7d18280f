//! `leadspan sweep`: many runs from one cache, each a child of its own, with the baselines to compare them with.

mod error;
mod folder;
mod job;
mod jobs;
mod listing;
mod table;

use std::time::Duration;

use leadspan_experiment::{Report, read_runs, sweep::share};
use serde_json::{Value, json};

use self::{
    error::SweepError,
    folder::{RunFolder, State},
    job::{FailedRun, JobEnd, Running},
    jobs::{Job, Sweep},
    table::Table,
};
use super::{Ending, Showing};
use crate::{
    arguments::{self, Stopping},
    exit_code,
    failure::{Context as _, Result},
    last_line, output,
    progress::{Counted, Progress, standing_aside},
    scheduler, signals,
    time_span::TimeSpan,
};

/// How much longer than its children a sweep that is stopped waits for them.
const LONGER: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: &arguments::SweepArguments, showing: Showing) -> Result<Ending> {
    let Stopping { stop_after, grace } = arguments.stopping;
    // Children that are asked to stop have their own grace.
    let grace = grace.map_or(signals::GRACE, |grace| grace.0) + LONGER;
    signals::limit(stop_after, Some(TimeSpan(grace)))?;
    let attempt = || format!("could not sweep as `{}` says", arguments.pipeline.config.display());
    let sweep = Sweep::new(arguments).with_context(attempt)?;
    let planned: Vec<_> = sweep.jobs.iter().map(|job| job.planned.clone()).collect();
    let worker = scheduler::here(&arguments.workers)?.worker;
    let mine = share(&planned, worker.index(), worker.count());
    if arguments.dry_run {
        listing::show(&sweep, &mine, arguments, showing)?;
        return Ok(Ending::Done);
    }
    tracing::info!("{} in `{}`", counted(mine.len(), sweep.jobs.len()), sweep.dir.display());
    last_line::note(json!({ "dir": sweep.dir, "worker": worker.to_string(), "runs": mine.len() }));
    let stop = signals::stop_on_signals("asking the run at hand to stop, which goes on when the sweep does");
    let running = Running {
        arguments,
        showing,
        evaluate: sweep.evaluate,
        stop: &stop,
    };
    let table = Table::new(&sweep);
    let mut ends = Ends::default();
    let mut progress = Progress::new(showing.progress, Counted::Runs, mine.len() as u64);
    if !showing.json {
        standing_aside(|| output::text(table.head()))?;
    }
    for (done, &place) in mine.iter().enumerate() {
        let job = &sweep.jobs[place];
        let end = run_one(&running, &sweep, job, &mut |doing| {
            progress.advance(done as u64, false, || format!("{doing} {}", job.planned.name));
        })?;
        let state = ends.add(job, &end);
        ends.note();
        if matches!(end, JobEnd::Stopped) {
            break;
        }
        let shown = if showing.json {
            as_json(job, state, end.is_good())?.to_string()
        } else {
            table.row(job, state, end.is_good())
        };
        standing_aside(|| output::text(shown))?;
        progress.advance(done as u64 + 1, true, || job.planned.name.clone());
    }
    drop(progress);
    conclude(&sweep, ends, mine.len(), showing)
}

/// Runs one, where it can be run.
fn run_one(running: &Running<'_>, sweep: &Sweep, job: &Job, meanwhile: &mut dyn FnMut(&str)) -> Result<JobEnd> {
    let Some(other) = job.planned.as_long_as else {
        return running.run(job, None, meanwhile);
    };
    let other = RunFolder(&sweep.jobs[other].folder);
    // A run that failed may have a summary of before.
    let finished = other.state(false) == State::Finished;
    match other.training_flops()?.filter(|_| finished) {
        Some(flops) => running.run(job, Some(&flops), meanwhile),
        None => Ok(JobEnd::LeftOut),
    }
}

/// How the runs ended.
#[derive(Default)]
struct Ends {
    finished: usize,
    failed: Vec<String>,
    left_out: usize,
    unexpected: bool,
    stopped: bool,
}

impl Ends {
    /// Notes how far it has come.
    fn note(&self) {
        last_line::note(json!({ "finished": self.finished, "failed": self.failed, "left_out": self.left_out }));
    }

    /// Counts a run, and tells why it failed.
    fn add(&mut self, job: &Job, end: &JobEnd) -> &'static str {
        let name = &job.planned.name;
        match end {
            JobEnd::Finished => {
                self.finished += 1;
                "finished"
            }
            JobEnd::AlreadyFinished => {
                self.finished += 1;
                "had been finished"
            }
            JobEnd::Stopped => {
                self.stopped = true;
                "stopped"
            }
            JobEnd::Failed(run) => {
                tell(name, run);
                self.failed.push(name.clone());
                self.unexpected |= run.exit_code != exit_code::WRONG_INPUT;
                "failed"
            }
            JobEnd::LeftOut => {
                tracing::warn!("`{name}` is left out: the run that it is to be as long as has not come to its end");
                self.left_out += 1;
                "left out"
            }
        }
    }
}

fn tell(name: &str, run: &FailedRun) {
    let because = &run.because;
    if let Some((log, said)) = &run.log {
        let log = log.display();
        tracing::error!(
            "the run `{name}` failed ({because}); its log, `{log}`, ends with:
{said}"
        );
    } else {
        tracing::error!("the run `{name}` failed: {because}");
    }
}

/// Shows what the runs of the whole sweep, of all workers, have come to, and tells how this one ended.
///
/// Runs that failed are left out: what a folder has that was refused is of another run.
fn conclude(sweep: &Sweep, ends: Ends, mine: usize, showing: Showing) -> Result<Ending> {
    let folders: Vec<_> = sweep
        .jobs
        .iter()
        .filter(|job| !ends.failed.contains(&job.planned.name))
        .map(|job| job.folder.clone())
        .filter(|folder| folder.join("run.json").is_file())
        .collect();
    let runs = read_runs(&folders)?;
    let report = Report::new(&runs)?;
    let outcome = match (ends.stopped, ends.failed.is_empty()) {
        (true, _) => "stopped",
        (false, true) => "done",
        (false, false) => "failed",
    };
    if showing.json {
        output::json(&json!({
            "outcome": outcome,
            "dir": sweep.dir,
            "runs": mine,
            "finished": ends.finished,
            "failed": ends.failed,
            "left_out": ends.left_out,
            "headline": report.headline,
        }))?;
    } else {
        if let Some(table) = &report.text {
            output::text(format_args!("\n{table}\n"))?;
        }
        output::text(format_args!(
            "`{}`: {} of {} finished",
            sweep.dir.display(),
            ends.finished,
            counted(mine, sweep.jobs.len())
        ))?;
    }
    if ends.stopped {
        tracing::warn!("{}: run the same command again", signals::stopped());
        return Ok(Ending::Stopped);
    }
    if ends.failed.is_empty() {
        return Ok(Ending::Done);
    }
    Err(SweepError::Failed {
        names: ends.failed,
        of: mine,
        unexpected: ends.unexpected,
    }
    .into())
}

/// How many runs a worker has, of how many.
fn counted(mine: usize, all: usize) -> String {
    if mine == all {
        format!("{all} runs")
    } else {
        format!("{mine} of {all} runs")
    }
}

/// A run that ended, for scripts: what is noted of it where that is of this run, how it ended and where it is.
fn as_json(job: &Job, state: &str, good: bool) -> Result<Value> {
    let record = RunFolder(&job.folder).json("sweep.json")?.filter(|_| good);
    let mut value = record.unwrap_or_else(|| json!({ "name": job.planned.name, "baseline": job.planned.baseline }));
    value["state"] = state.replace(' ', "_").into();
    value["dir"] = json!(job.folder);
    Ok(value)
}
