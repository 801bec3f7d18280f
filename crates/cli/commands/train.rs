//! `leadspan train`: stage two.

use std::{
    fmt,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant, SystemTime},
};

use leadspan_cache::{Cache, Missing};
use leadspan_precompute::StudentFiles;
use leadspan_train::{
    Event, RunContext, RunSummary, StepMetrics, TrainError, TrainingOutcome,
    parallel::{ParallelError, Processes, Refusal, agree_to_begin},
};
use leadspan_workers::scheduler::Assigned;
use serde::Serialize;
use serde_json::json;

use super::{Ending, Showing, Waited, losses, missing, prepare::warn_of_no_end_of_turn, stopped};
use crate::{
    amounts::{bytes, counted, duration, grouped, rounded},
    arguments::TrainArguments,
    configuration::{Configuration, StageTwo},
    ending, exit_code,
    failure::{Context as _, Result},
    hub, last_line, launch, parting, path_text,
    progress::{Counted, ProgressMeter},
    signals,
};

/// The stack of the training thread. The tensor library's backward pass recurses through the whole graph.
const STACK_BYTES: usize = 256 << 20;

pub(super) fn run(arguments: &TrainArguments, showing: Showing) -> Result<Ending> {
    signals::limit(arguments.stopping.stop_after, arguments.stopping.grace)?;
    let launched = launch::here(arguments)?;
    thread::scope(|scope| {
        let training = thread::Builder::new()
            .name("train".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || together(arguments, (showing, &launched)))
            .with_context(|| "could not start the training thread".to_owned())?;
        training.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Trains in one of the processes of a launch, which end together, or in one that is alone.
fn together(arguments: &TrainArguments, (showing, launched): (Showing, &Assigned)) -> Result<Ending> {
    // Before all else that may fail: from here on, the processes tell each other what fails.
    let processes = launch::processes(launched)?;
    parting::end_together(
        &*processes,
        || agreed(arguments, &*processes, (showing, launched)),
        |ended| {
            let code = ending::conclude(ended);
            parting::end_soon(code);
            code
        },
    )
}

/// Trains if all processes can begin.
fn agreed(
    arguments: &TrainArguments,
    processes: &dyn Processes,
    (showing, launched): (Showing, &Assigned),
) -> Result<Ending> {
    let inputs = Inputs::of(arguments);
    let agreed = match &inputs {
        Ok(inputs) => agree_to_begin(processes, Ok(&inputs.stage.train.dir)),
        Err(failure) => {
            let (text, unexpected) = (&failure.in_a_line(), failure.exit_code() == exit_code::UNEXPECTED);
            agree_to_begin(processes, Err(Refusal { text, unexpected }))
        }
    };
    if let Err(error) = agreed {
        return failed(error, launched);
    }
    let inputs = inputs?;
    let dir = inputs.stage.train.dir.clone();
    match train(
        &inputs,
        missing(arguments.allow_incomplete),
        processes,
        (showing, launched),
    ) {
        Ok(outcome) => show_outcome(outcome, dir, (showing, launched)),
        Err(error) => failed(error, launched).with_context(|| could_not_train(&dir)),
    }
}

/// What a run is given.
struct Inputs {
    stage: StageTwo,
    cache: Cache,
    student: StudentFiles,
}

impl Inputs {
    fn of(arguments: &TrainArguments) -> Result<Self> {
        let stage = Configuration::load(&arguments.pipeline.config, &arguments.pipeline.overrides)?.stage_two()?;
        let stage = hub::with_student_found(stage)?;
        let dir = &stage.train.dir;
        last_line::note(json!({ "dir": path_text::text(dir) }));
        let cache = Cache::open(&stage.cache_dir).with_context(|| could_not_train(dir))?;
        let student = leadspan_precompute::student_files(&cache).with_context(|| could_not_train(dir))?;
        Ok(Self { stage, cache, student })
    }
}

fn could_not_train(dir: &Path) -> String {
    format!("could not train `{}`", dir.display())
}

/// The end of a run that failed: its error, or the exit code of a process that ends because another one, which says why, has failed.
fn failed(error: TrainError, launched: &Assigned) -> Result<Ending> {
    match error {
        TrainError::Parallel(ParallelError::Failed { unexpected, .. }) if follows(launched) => {
            Ok(Ending::FailedElsewhere(if unexpected {
                exit_code::UNEXPECTED
            } else {
                exit_code::WRONG_INPUT
            }))
        }
        error => Err(error.into()),
    }
}

fn show_outcome(outcome: TrainingOutcome, dir: PathBuf, (showing, launched): (Showing, &Assigned)) -> Result<Ending> {
    let (outcome, summary) = match outcome {
        TrainingOutcome::Done(summary) => ("done", summary),
        TrainingOutcome::AlreadyDone(summary) => ("already_done", summary),
        TrainingOutcome::Followed => return Ok(Ending::Done),
        TrainingOutcome::Stopped if follows(launched) => return Ok(Ending::Stopped),
        TrainingOutcome::Stopped => return Ok(stopped(&dir, showing)),
    };
    last_line::note(json!({ "already_done": outcome == "already_done", "summary": summary }));
    showing.result(&Trained {
        outcome,
        model: dir.join("model"),
        dir,
        summary,
    })?;
    Ok(Ending::Done)
}

/// The result of the command.
#[derive(Serialize)]
struct Trained {
    outcome: &'static str,
    #[serde(serialize_with = "path_text::as_text")]
    dir: PathBuf,
    #[serde(serialize_with = "path_text::as_text")]
    model: PathBuf,
    summary: RunSummary,
}

impl fmt::Display for Trained {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.outcome {
            "done" => "trained",
            _ => "had been trained already",
        };
        let summary = &self.summary;
        write!(
            formatter,
            "`{}` {what}: {} steps in {}, {} tokens at {} tokens/s, peak memory {}",
            self.model.display(),
            grouped(summary.steps as u64),
            duration(Duration::try_from_secs_f64(summary.seconds).unwrap_or_default()),
            grouped(summary.tokens),
            rounded(summary.tokens_per_second),
            bytes(summary.peak_memory_bytes)
        )?;
        for (when, held_out) in [("before", &summary.held_out_before), ("after", &summary.held_out_after)] {
            if let Some(held_out) = held_out {
                write!(formatter, "\n  held out {when:<6}  {}", losses(held_out))?;
            }
        }
        Ok(())
    }
}

/// Whether another process shows what becomes of the run.
fn follows(launched: &Assigned) -> bool {
    launched.worker.index() > 0
}

/// Trains.
fn train(
    inputs: &Inputs,
    missing: Missing,
    processes: &dyn Processes,
    (showing, launched): (Showing, &Assigned),
) -> Result<TrainingOutcome, TrainError> {
    let stage = &inputs.stage;
    let stop = &Arc::new(AtomicBool::new(false));
    // Only the process that made the corpus said so.
    if inputs.student.lacks_end_of_turn && !follows(launched) {
        warn_of_no_end_of_turn();
    }
    let started = Instant::now();
    let context = RunContext {
        stop,
        clock: &|| started.elapsed(),
        time_of_day: &|| {
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
        },
        peak_memory_bytes: &leadspan_memory::peak_memory_bytes,
        resolved_config: &stage.resolved,
        tokenizer_files: &inputs.student.files,
        missing,
        processes,
    };
    let (mut progress, mut waited) = (None, Waited::default());
    leadspan_train::run(
        &inputs.cache,
        &stage.student,
        &stage.train,
        stage.replay_share,
        &context,
        &mut |event| {
            if matches!(event, Event::Started { .. }) {
                // Until now there was nothing to save.
                signals::ask_first(stop, "dropping the step at hand and writing a checkpoint");
            }
            if follows(launched) && !matches!(event, Event::StockKernels(_)) {
                return;
            }
            show(event, &mut progress, &mut waited, showing);
        },
    )
}

fn show(event: Event, progress: &mut Option<ProgressMeter>, waited: &mut Waited, showing: Showing) {
    match event {
        Event::Waiting(holder) => waited.show(&holder),
        Event::CheckpointDamaged { path, because } => {
            tracing::warn!("the checkpoint `{}` cannot be used: {because}", path.display());
        }
        Event::StockKernels(distrust) => {
            tracing::warn!("training runs in stock operations, which are slower: {distrust}");
        }
        Event::Started {
            steps,
            steps_before,
            samples,
            samples_left_out,
            samples_to_replay,
            copies_left_out,
            missing_units,
            positions,
            parameters,
        } => {
            tracing::info!(
                "training {} parameters for {} steps on {} samples with {} positions",
                grouped(parameters as u64),
                grouped(steps as u64),
                grouped(samples as u64),
                grouped(positions)
            );
            if !missing_units.is_empty() {
                tracing::warn!(
                    "the cache is incomplete: it lacks {} ({}), whose samples are left out",
                    counted(missing_units.len() as u64, "work unit"),
                    listed(&missing_units)
                );
            }
            if samples_left_out > 0 {
                tracing::warn!(
                    "left out {} samples without a supervised position",
                    grouped(samples_left_out as u64)
                );
            }
            if copies_left_out > 0 {
                tracing::warn!(
                    "left out {} samples to replay that are copies of held-out samples",
                    grouped(copies_left_out as u64)
                );
            }
            if samples_to_replay > 0 {
                tracing::info!("replaying {} samples beside them", grouped(samples_to_replay as u64));
            }
            last_line::note(json!({ "steps": steps, "steps_before": steps_before, "step": steps_before }));
            if steps_before > 0 {
                tracing::info!("going on after step {}", grouped(steps_before as u64));
            }
            let mut shown = ProgressMeter::new(showing.progress, Counted::Steps, steps as u64);
            shown.begin_at(steps_before as u64);
            *progress = Some(shown);
        }
        Event::Step(step) => {
            last_line::note(json!({
                "step": step.step,
                "loss": step.loss,
                "tokens_per_second": step.tokens_per_second,
                "training_flops": step.training_flops,
            }));
            if let Some(progress) = progress {
                progress.advance(step.step as u64, true, || of_step(&step));
            }
        }
        Event::Validation { step, held_out } => {
            tracing::info!("held out after {} steps: {}", grouped(step as u64), losses(&held_out));
        }
        Event::Exhausted { step, best_step } => {
            tracing::info!(
                "ending after {} steps: the held-out loss was the lowest after {}",
                grouped(step as u64),
                grouped(best_step.unwrap_or_default() as u64)
            );
        }
        Event::Checkpoint { step, path } => {
            last_line::note(json!({ "checkpoint_step": step }));
            tracing::debug!("checkpoint after {} steps: `{}`", grouped(step as u64), path.display());
        }
        Event::Exported { path } => {
            *progress = None;
            tracing::info!("wrote the student to `{}`", path.display());
        }
    }
}

/// What the progress says of a step.
fn of_step(step: &StepMetrics) -> String {
    let forward_kl = step.loss_forward_kl.map(|loss| format!(", KL {loss:.4}"));
    let replay = step.replay.as_ref().map(|of| format!(", replay {:.4}", of.loss_replay));
    let named =
        |(name, loss): (&String, &f64)| format!(", {} {loss:.4}", name.trim_start_matches("loss_").replace('_', " "));
    format!(
        "{} tokens/s, loss {:.4} (CE {:.4}{}{}{}), epoch {}",
        rounded(step.tokens_per_second),
        step.loss,
        step.loss_cross_entropy,
        forward_kl.unwrap_or_default(),
        step.loss_distillation.iter().map(named).collect::<String>(),
        replay.unwrap_or_default(),
        step.epoch
    )
}

/// The first few names of a list.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
