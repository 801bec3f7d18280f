//! A run from its start, or its newest checkpoint, to the exported student.

use leadspan_cache::Cache;

use crate::{
    AdamW, Event, Export, RunContext, RunSummary, StudentSettings, TrainError, TrainSettings, TrainingOutcome,
    checkpoints::Checkpoints,
    exported,
    metrics::Metrics,
    parallel::{
        Gpus,
        share::Share,
        start::{Start, follow, require_same, require_work},
        team::{Place, Team},
    },
    read_ahead::{read_ahead, step_queue},
    resumption::{keep_of_finished, restore_best, resume},
    run_dir::RunDir,
    run_identity::RunIdentity,
    run_inputs::RunInputs,
    run_progress::RunProgress,
    tensorboard::EventFile,
    training::{Training, require_finite},
};

/// Trains the student that the settings describe on what the cache holds, and writes it to `settings.dir`/model.
///
/// `replay_share` is the share of each step's samples that are replayed: complete samples from a corpus of their own inside
/// the cache, learnt from by cross-entropy alone.
///
/// A run that was interrupted resumes from its newest checkpoint. The same inputs, settings, build, number of processes and
/// kind of processor give the same weights, whatever the number of threads and interruptions.
///
/// Of several processes each calls this function with the same arguments. The first one writes, and has the summary.
///
/// # Errors
///
/// If settings, cache and student do not fit each other or are not those of the run in the folder, if files cannot be read
/// or written, or if a loss, a gradient, a weight or a moment is not finite. What is not finite is neither saved nor exported.
/// If one process fails, all do.
pub fn run(
    cache: &Cache,
    student_settings: &StudentSettings,
    settings: &TrainSettings,
    replay_share: f64,
    context: &RunContext,
    events: &mut dyn FnMut(Event),
) -> Result<TrainingOutcome, TrainError> {
    let team = Team::new(context.processes);
    team.conclude(run_in(
        &team,
        cache,
        student_settings,
        settings,
        replay_share,
        context,
        events,
    ))
}

fn run_in(
    team: &Team<'_>,
    cache: &Cache,
    student_settings: &StudentSettings,
    settings: &TrainSettings,
    replay_share: f64,
    context: &RunContext,
    events: &mut dyn FnMut(Event),
) -> Result<TrainingOutcome, TrainError> {
    // A damaged file would otherwise be found after the last step.
    cache.tokenizer_contents()?;
    require_work(team, settings.batch_samples)?;
    let inputs = RunInputs::open(cache, student_settings, settings, replay_share, context.missing)?;
    let mut optimizer = inputs.optimizer()?;
    if let Some(tensor) = inputs.student.first_constant_not_finite()? {
        return Err(TrainError::StartNotFinite { tensor });
    }
    require_finite(&optimizer, 0, 0.0)?;
    let identity = inputs.identity(cache);
    require_same(team, &identity)?;
    let run = Run {
        inputs: &inputs,
        identity: &identity,
        context,
        team,
    };
    let outcome = if team.is_first() {
        run.lead(cache, &mut optimizer, events)?
    } else {
        run.follow(&mut optimizer, events)?
    };
    // Nobody leaves before everything is written.
    team.exchange(Place::End, &[])?;
    Ok(outcome)
}

/// What the processes of a run have in common.
struct Run<'a> {
    inputs: &'a RunInputs<'a>,
    identity: &'a RunIdentity,
    context: &'a RunContext<'a>,
    team: &'a Team<'a>,
}

impl Run<'_> {
    /// Trains in the process that has the run's folder.
    fn lead(
        &self,
        cache: &Cache,
        optimizer: &mut AdamW,
        events: &mut dyn FnMut(Event),
    ) -> Result<TrainingOutcome, TrainError> {
        let (inputs, context) = (self.inputs, self.context);
        let run_dir = RunDir::open(&inputs.settings.dir, &mut |holder| {
            events(Event::Waiting(holder.clone()));
        })?;
        let checkpoints = Checkpoints::new(run_dir.checkpoints_path());
        if let Some(summary) = run_dir.finished(self.identity, cache.tokenizer_files().keys())? {
            if run_dir.is_writable() {
                keep_of_finished(&checkpoints, &summary)?;
            }
            Start::Finished.tell(self.team)?;
            return Ok(TrainingOutcome::AlreadyDone(summary));
        }
        let steps = inputs.steps.count();
        let progress = resume(&run_dir, &checkpoints, self.identity, steps, optimizer, events)?;
        run_dir.start(self.identity, context.resolved_config)?;
        // What was measured after the last step of the checkpoint is in the file before.
        let first = if progress.step == 0 { 0 } else { progress.step + 1 };
        let events_file = EventFile::create(&run_dir.tensorboard_path(), first, (context.time_of_day)())?;
        let metrics = Metrics::open(run_dir.metrics_path(), progress.metrics_bytes, events_file)?;
        Start::of(self.team, &checkpoints, &progress)?.tell(self.team)?;
        let folder = Some((&run_dir, metrics));
        let Some(progress) = self.train(folder, &checkpoints, progress, optimizer, events)? else {
            return Ok(TrainingOutcome::Stopped);
        };
        let summary = export(inputs, &run_dir, &checkpoints, &progress, optimizer, context)?;
        events(Event::Exported {
            path: run_dir.model_path(),
        });
        Ok(TrainingOutcome::Done(summary))
    }

    /// Trains in a process that does not have it.
    fn follow(&self, optimizer: &mut AdamW, events: &mut dyn FnMut(Event)) -> Result<TrainingOutcome, TrainError> {
        let checkpoints = Checkpoints::new(RunDir::checkpoints_in(&self.inputs.settings.dir));
        let Some(progress) = follow(self.team, &checkpoints, optimizer)? else {
            return Ok(TrainingOutcome::Followed);
        };
        Ok(match self.train(None, &checkpoints, progress, optimizer, events)? {
            Some(_) => TrainingOutcome::Followed,
            None => TrainingOutcome::Stopped,
        })
    }

    /// Does the remaining steps while another thread reads samples ahead. `None` if the run was stopped.
    fn train(
        &self,
        folder: Option<(&RunDir, Metrics)>,
        checkpoints: &Checkpoints,
        progress: RunProgress,
        optimizer: &mut AdamW,
        events: &mut dyn FnMut(Event),
    ) -> Result<Option<RunProgress>, TrainError> {
        if let Some(distrust) = self.inputs.student.decoder.distrust() {
            events(Event::StockKernels(distrust.clone()));
        }
        events(self.inputs.started(progress.step));
        let gpus = Gpus::connect(self.team, self.inputs.student.decoder.device())?;
        let (run_dir, metrics) = folder.unzip();
        let training = Training {
            inputs: self.inputs,
            optimizer,
            context: self.context,
            team: self.team,
            gpus: gpus.as_ref(),
            identity: self.identity,
            run_dir,
            metrics,
            checkpoints,
            progress,
            events,
        };
        let (sender, read_steps) = step_queue();
        let (inputs, done) = (training.inputs, training.progress.step);
        let share = Share {
            rank: self.team.rank(),
            count: self.team.count(),
        };
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Moved in, so that the loop notices when this thread is gone.
                let sender = sender;
                read_ahead(inputs, share, done, &sender);
            });
            // Moved in, so that the reading thread ends when the loop does.
            training.run(read_steps)
        })
    }
}

/// Writes the student that the settings ask for, and then marks the run as finished.
fn export(
    inputs: &RunInputs,
    run_dir: &RunDir,
    checkpoints: &Checkpoints,
    progress: &RunProgress,
    optimizer: &mut AdamW,
    context: &RunContext,
) -> Result<RunSummary, TrainError> {
    let exported_student = match inputs.settings.export {
        Export::Last => None,
        Export::Best => restore_best(checkpoints, progress, optimizer)?,
    };
    let step = exported_student.map_or(progress.step, |exported| exported.step);
    let learning_rate = inputs.schedule().learning_rate(step);
    require_finite(optimizer, step, learning_rate)?;
    let weights = optimizer.weights()?;
    run_dir.require_held()?;
    let dir = run_dir.model_path();
    inputs.student.export(&dir, &weights, context.tokenizer_files)?;
    let (parameters, peak_memory_bytes) = (inputs.student.parameters.count(), (context.peak_memory_bytes)());
    let hashes = exported::weights_blake3(&dir).and_then(|weights| Ok((weights, exported::files_blake3(&dir)?)));
    let hashes = hashes.map_err(|source| TrainError::Io {
        action: "read the files in",
        path: dir,
        source,
    })?;
    let summary = RunSummary::new(progress, exported_student, parameters, peak_memory_bytes, hashes);
    run_dir.finish(&summary)?;
    keep_of_finished(checkpoints, &summary)?;
    Ok(summary)
}
