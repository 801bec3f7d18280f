//! A run from its start, or its newest checkpoint, to the exported student.

use leadspan_cache::Cache;

use crate::{
    AdamW, Event, Export, RunContext, RunSummary, StudentSettings, TrainError, TrainSettings, TrainingOutcome,
    checkpoints::Checkpoints,
    exported,
    metrics::Metrics,
    read_ahead::{read_ahead, step_queue},
    resumption::{keep_of_finished, restore_best, resume},
    run_dir::RunDir,
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
/// A run that was interrupted resumes from its newest checkpoint. The same inputs, settings, build and kind of processor
/// give the same weights, whatever the number of threads and interruptions.
///
/// # Errors
///
/// If settings, cache and student do not fit each other or are not those of the run in the folder, if files cannot be read
/// or written, or if a loss, a gradient, a weight or a moment is not finite. What is not finite is neither saved nor exported.
pub fn run(
    cache: &Cache,
    student_settings: &StudentSettings,
    settings: &TrainSettings,
    replay_share: f64,
    context: &RunContext,
    events: &mut dyn FnMut(Event),
) -> Result<TrainingOutcome, TrainError> {
    // A damaged file would otherwise be found after the last step.
    cache.tokenizer_contents()?;
    let inputs = RunInputs::open(cache, student_settings, settings, replay_share, context.missing)?;
    let mut optimizer = inputs.optimizer()?;
    if let Some(tensor) = inputs.student.first_constant_not_finite()? {
        return Err(TrainError::StartNotFinite { tensor });
    }
    require_finite(&optimizer, 0, 0.0)?;
    let run_dir = RunDir::open(&settings.dir, &mut |holder| events(Event::Waiting(holder.clone())))?;
    let checkpoints = Checkpoints::new(run_dir.checkpoints_path());
    let identity = inputs.identity(cache);
    if let Some(summary) = run_dir.finished(&identity, cache.tokenizer_files().keys())? {
        if run_dir.is_writable() {
            keep_of_finished(&checkpoints, &summary)?;
        }
        return Ok(TrainingOutcome::AlreadyDone(summary));
    }
    let steps = inputs.steps.count();
    let progress = resume(&run_dir, &checkpoints, &identity, steps, &mut optimizer, events)?;
    run_dir.start(&identity, context.resolved_config)?;
    // What was measured after the last step of the checkpoint is in the file before.
    let first = if progress.step == 0 { 0 } else { progress.step + 1 };
    let events_file = EventFile::create(&run_dir.tensorboard_path(), first, (context.time_of_day)())?;
    let metrics = Metrics::open(run_dir.metrics_path(), progress.metrics_bytes, events_file)?;
    if let Some(distrust) = inputs.student.decoder.distrust() {
        events(Event::StockKernels(distrust.clone()));
    }
    events(inputs.started(progress.step));
    let training = Training {
        inputs: &inputs,
        optimizer: &mut optimizer,
        context,
        identity: &identity,
        run_dir: &run_dir,
        checkpoints: &checkpoints,
        metrics,
        progress,
        events,
    };
    let Some(progress) = train(training)? else {
        return Ok(TrainingOutcome::Stopped);
    };
    let summary = export(&inputs, &run_dir, &checkpoints, &progress, &mut optimizer, context)?;
    events(Event::Exported {
        path: run_dir.model_path(),
    });
    Ok(TrainingOutcome::Done(summary))
}

/// Does the remaining steps while another thread reads samples ahead. `None` if the run was stopped.
fn train(training: Training) -> Result<Option<RunProgress>, TrainError> {
    let (sender, read_steps) = step_queue();
    let (inputs, done) = (training.inputs, training.progress.step);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Moved in, so that the loop notices when this thread is gone.
            let sender = sender;
            read_ahead(inputs, done, &sender);
        });
        // Moved in, so that the reading thread ends when the loop does.
        training.run(read_steps)
    })
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
