//! `leadspan sweep`: many runs from one cache, each a process of its own, and baselines to compare them with.

mod error;
mod folder;
mod job;
mod jobs;
mod listing;
mod side_by_side;
mod table;

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use leadspan_experiment::{Report, read_runs, sweep::share};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use self::{
    error::SweepError,
    folder::RunFolder,
    job::{FailedRun, JobEnd, Running},
    jobs::{Job, Sweep},
    side_by_side::Event,
    table::RunTable,
};
use super::{Ending, Showing};
use crate::{
    amounts::counted,
    arguments::{self, Stopping},
    exit_code,
    failure::{Context as _, Result},
    last_line,
    output::{self, OutputError},
    path_text,
    progress::{Counted, ProgressMeter, standing_aside},
    signals,
    time_span::TimeSpan,
    worker_here,
};

/// A sweep that is stopped waits for its children for this much longer than their own grace period.
const LONGER: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: &arguments::SweepArguments, showing: Showing) -> Result<Ending> {
    let Stopping { stop_after, grace } = arguments.stopping;
    // Children that are asked to stop have a grace period of their own.
    let grace = grace.map_or(signals::GRACE, |grace| grace.0) + LONGER;
    signals::limit(stop_after, Some(TimeSpan(grace)))?;
    let attempt = || format!("could not sweep as `{}` says", arguments.pipeline.config.display());
    let sweep = Sweep::new(arguments).with_context(attempt)?;
    let planned: Vec<_> = sweep.jobs.iter().map(|job| job.planned.clone()).collect();
    let worker = worker_here::here(&arguments.workers)?.worker;
    let mine = share(&planned, worker.index(), worker.count());
    if arguments.dry_run {
        listing::show(&sweep, &mine, arguments, showing)?;
        return Ok(Ending::Done);
    }
    tracing::info!("{} in `{}`", runs_of(mine.len(), sweep.jobs.len()), sweep.dir.display());
    last_line::note(json!({ "dir": path_text::text(&sweep.dir), "worker": worker.to_string(), "runs": mine.len() }));
    let stop = signals::stop_on_signals("asking the current run to stop; the sweep continues it when it is run again");
    let at_once = usize::from(arguments.jobs);
    let running = Running {
        arguments,
        showing,
        evaluate: sweep.evaluate,
        threads: (at_once > 1).then(|| side_by_side::threads_of_each(at_once)),
        stop: &stop,
    };
    let table = RunTable::new(&sweep);
    let mut ends = Ends::default();
    let mut progress = ProgressMeter::new(showing.progress, Counted::Runs, mine.len() as u64);
    // Runs go on even if nobody can be told; the exit code then says that.
    let mut told = Ok(());
    if !showing.json {
        told = standing_aside(|| output::text(table.head()));
    }
    let (mut done, mut going) = (0, BTreeMap::new());
    side_by_side::run_all(&running, &sweep, &mine, at_once, |place, event| {
        let job = &sweep.jobs[place];
        let end = match event {
            Event::Goes(doing) => {
                going.insert(place, doing);
                progress.advance(done, false, || what_goes(&sweep, &going));
                return Ok(());
            }
            Event::Ended(end) => end?,
        };
        going.remove(&place);
        let state = ends.add(&job.planned.name, &end);
        ends.note();
        if !matches!(end, JobEnd::Stopped) {
            done += 1;
            let ended = EndedRun::new(job, state, end.is_good(), &table)?;
            let telling = standing_aside(|| showing.result(&ended));
            if told.is_ok() {
                told = telling;
            }
            progress.advance(done, true, || job.planned.name.clone());
        }
        Ok(())
    })?;
    drop(progress);
    conclude(&sweep, ends, mine.len(), told, arguments.without_table, showing)
}

/// What is being done now, such as `training A, evaluating B`.
fn what_goes(sweep: &Sweep, going: &BTreeMap<usize, &str>) -> String {
    let each = going
        .iter()
        .map(|(&place, doing)| format!("{doing} {}", sweep.jobs[place].planned.name));
    each.collect::<Vec<_>>().join(", ")
}

/// How the runs ended so far.
#[derive(Default)]
struct Ends {
    finished: usize,
    failed: Vec<String>,
    held: Vec<String>,
    left_out: usize,
    unexpected: bool,
    logged: bool,
    stopped: bool,
}

impl Ends {
    /// Notes the counts for the closing line.
    fn note(&self) {
        let Self {
            finished,
            failed,
            held,
            left_out,
            ..
        } = self;
        last_line::note(json!({ "finished": finished, "failed": failed, "held": held, "left_out": left_out }));
    }

    /// Counts a run, logs why it failed, and returns its state.
    fn add(&mut self, name: &str, end: &JobEnd) -> &'static str {
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
                self.failed.push(name.to_owned());
                self.unexpected |= run.exit_code != exit_code::WRONG_INPUT;
                self.logged |= run.log.is_some();
                "failed"
            }
            JobEnd::Held => {
                tracing::warn!("`{name}` is held: another process works in its folder");
                self.held.push(name.to_owned());
                "held"
            }
            JobEnd::LeftOut => {
                tracing::warn!("`{name}` is left out: the run whose operations it should match is not finished");
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

/// Shows the results of the whole sweep, of all workers, and returns how this command ended.
///
/// Runs that failed or are held are left out: their folders may hold the results of another run. `told` says whether the results so far
/// could be written.
fn conclude(
    sweep: &Sweep,
    ends: Ends,
    mine: usize,
    told: Result<(), OutputError>,
    without_table: bool,
    showing: Showing,
) -> Result<Ending> {
    let folders: Vec<_> = sweep
        .jobs
        .iter()
        .filter(|job| {
            !ends
                .failed
                .iter()
                .chain(&ends.held)
                .any(|name| *name == job.planned.name)
        })
        .map(|job| job.folder.clone())
        .filter(|folder| folder.join("run.json").symlink_metadata().is_ok())
        .collect();
    let report = Report::new(&read_runs(&folders)?)?;
    let swept = Swept {
        outcome: match (ends.stopped, ends.failed.is_empty(), ends.held.is_empty()) {
            (true, ..) => "stopped",
            (false, false, _) => "failed",
            (false, true, false) => "held",
            (false, true, true) => "done",
        },
        dir: &sweep.dir,
        runs: mine,
        finished: ends.finished,
        failed: ends.failed,
        held: ends.held,
        left_out: ends.left_out,
        headline: report.headline,
        table: report.text.filter(|_| !without_table),
        runs_of_all: sweep.jobs.len(),
    };
    if ends.stopped {
        showing.result_of_stopped(&swept);
        tracing::warn!("{}: run the same command again", signals::stopped());
        return Ok(Ending::Stopped);
    }
    let told = told.and(showing.result(&swept));
    let error = match (swept.failed, swept.held) {
        (failed, held) if failed.is_empty() && held.is_empty() => {
            told?;
            return Ok(Ending::Done);
        }
        (failed, names) if failed.is_empty() => SweepError::Held { names, of: mine },
        (names, _) => SweepError::Failed {
            names,
            of: mine,
            unexpected: ends.unexpected,
            logged: ends.logged,
        },
    };
    if let Err(error) = told {
        tracing::error!("{error}");
    }
    Err(error.into())
}

/// The result of the command.
#[derive(Serialize)]
struct Swept<'a> {
    outcome: &'static str,
    #[serde(serialize_with = "path_text::as_text")]
    dir: &'a Path,
    /// Runs of this worker.
    runs: usize,
    finished: usize,
    failed: Vec<String>,
    /// Runs in whose folders another process works.
    held: Vec<String>,
    left_out: usize,
    headline: String,
    /// The means over seeds as a table of text, if any run is finished and the table is wanted.
    #[serde(skip)]
    table: Option<String>,
    /// Runs of all workers.
    #[serde(skip)]
    runs_of_all: usize,
}

impl fmt::Display for Swept<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = &self.table {
            write!(formatter, "\n{table}\n\n")?;
        }
        write!(
            formatter,
            "`{}`: {} of {} finished",
            self.dir.display(),
            self.finished,
            runs_of(self.runs, self.runs_of_all)
        )
    }
}

/// The number of a worker's runs, and of all runs if these are more.
fn runs_of(mine: usize, all: usize) -> String {
    if mine == all {
        counted(all as u64, "run")
    } else {
        format!("{mine} of {}", counted(all as u64, "run"))
    }
}

/// A run that ended: what is recorded of it if the record is of this run, how it ended, and its folder.
#[derive(Serialize)]
struct EndedRun<'a> {
    #[serde(flatten)]
    record: Map<String, Value>,
    #[serde(serialize_with = "as_word")]
    state: &'static str,
    #[serde(serialize_with = "path_text::as_text")]
    dir: &'a Path,
    #[serde(skip)]
    row: String,
}

impl<'a> EndedRun<'a> {
    /// `good`: whether the folder holds this very run.
    fn new(job: &'a Job, state: &'static str, good: bool, table: &RunTable) -> Result<Self> {
        let record = RunFolder(&job.folder).json("sweep.json")?.filter(|_| good);
        let record = record.unwrap_or_else(|| json!({ "name": job.planned.name, "baseline": job.planned.baseline }));
        Ok(Self {
            record: record.as_object().cloned().unwrap_or_default(),
            state,
            dir: &job.folder,
            row: table.row(job, state, good),
        })
    }
}

impl fmt::Display for EndedRun<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.row)
    }
}

/// The state as one word: `had_been_finished`.
fn as_word<S: Serializer>(state: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&state.replace(' ', "_").replace(',', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_in_whose_folder_another_process_works_is_held_and_has_not_failed() {
        let mut ends = Ends::default();
        assert_eq!(ends.add("one", &JobEnd::Held), "held");
        assert_eq!(ends.add("two", &JobEnd::Finished), "finished");
        assert_eq!((ends.held, ends.finished), (vec!["one".to_owned()], 1));
        assert!(ends.failed.is_empty() && !ends.unexpected && !ends.stopped);
    }

    #[test]
    fn one_run_is_counted_as_one() {
        assert_eq!(
            [(1, 1), (1, 4), (4, 4)].map(|(mine, all)| runs_of(mine, all)),
            ["1 run", "1 of 4 runs", "4 runs"]
        );
    }
}
