//! A run: what it needs is opened and made sure of, it begins or goes on, and its student is exported.

use leadspan_cache::Cache;
use leadspan_model::{open_device, write_model_dir};
use leadspan_sequence::Split;
use serde_json::Value;

use crate::{
    AdamW, AdamWSettings, Event, Export, Outcome, StudentSettings, Summary, Surroundings, TrainError, TrainSettings,
    batches::{Batching, step_queue},
    checkpoint::{Checkpoint, RunSoFar},
    checkpoints::{Checkpoints, Damaged},
    flops::TrainingFlops,
    ingredients::ingredients,
    metrics::Metrics,
    objective::Distillation,
    plan::Plan,
    progress::{Measured, Progress},
    readers::Readers,
    replay::Replay,
    run_dir::RunDir,
    student,
    training::Training,
};

/// Trains the student that the settings describe on what the cache holds, and writes it to `settings.dir`/model.
///
/// `replay_share` is the share of each step's samples that are replayed: complete samples of a corpus of their own inside the
/// cache, learnt from by cross-entropy alone.
///
/// A run that was interrupted goes on from its newest checkpoint. The same inputs, settings, build and kind of processor
/// give the same weights, whatever the number of threads and interruptions.
///
/// # Errors
///
/// Where settings, cache and student do not fit each other or are not those of the run that is in the folder, files cannot
/// be read or written, or the loss or a gradient is not finite.
pub fn run(
    cache: &Cache,
    student_settings: &StudentSettings,
    settings: &TrainSettings,
    replay_share: f64,
    around: &Surroundings,
    events: &mut dyn FnMut(Event),
) -> Result<Outcome, TrainError> {
    let distillation = Distillation::new(settings, &cache.identity().entries)?;
    let readers = Readers::open(cache, settings, around.missing)?;
    let reader = readers.training();
    if settings.export == Export::Best && reader.corpus().of_split(Split::Validation).next().is_none() {
        return Err(TrainError::NothingHeldOut);
    }
    let device = open_device(&settings.device)?;
    let student = student::open(student_settings, cache, settings.dtype, &device)?;
    student::check_samples(student.decoder.config(), reader)?;
    let replay = Replay::open(cache, replay_share, settings.batch_samples, settings.seed)?;
    if let Some(replay) = &replay {
        student::check_samples(student.decoder.config(), &replay.reader)?;
    }
    let flops = TrainingFlops::of(student.decoder.config());
    let plan = Plan::new(reader, settings, replay.as_ref(), &flops)?;
    let decay = AdamWSettings {
        weight_decay: settings.weight_decay,
        ..AdamWSettings::default()
    };
    let mut optimizer = AdamW::new(student.parameters.iter(), decay)?;

    let run_dir = RunDir::open(&settings.dir)?;
    let ingredients = ingredients(cache, reader, &student.origin, settings, replay.as_ref());
    let checkpoints = Checkpoints::new(run_dir.checkpoints_path());
    if let Some(summary) = run_dir.finished(&ingredients)? {
        keep_of_finished(&checkpoints, &summary)?;
        return Ok(Outcome::AlreadyDone(summary));
    }
    let progress = go_on(&run_dir, &checkpoints, &ingredients, &mut optimizer, events)?;
    run_dir.start(&ingredients, around.resolved_config)?;
    let metrics = Metrics::open(run_dir.metrics_path(), progress.metrics_bytes)?;
    events(Event::Started {
        steps: plan.steps(),
        steps_before: progress.step,
        samples: plan.samples.len(),
        samples_left_out: plan.samples_left_out,
        samples_to_replay: replay.as_ref().map_or(0, Replay::samples),
        missing_units: reader.missing_units().map(ToString::to_string).collect(),
        positions: plan.positions,
        parameters: student.parameters.count(),
    });

    let batching = Batching {
        micro_batch_tokens: settings.micro_batch_tokens,
        normalization: Some(settings.normalization),
        distillation,
        vocabulary: student.decoder.config().vocab_size,
    };
    let (sender, steps) = step_queue();
    let trained = std::thread::scope(|scope| {
        let (plan, replay, done) = (&plan, replay.as_ref(), progress.step);
        scope.spawn(move || {
            // Moved in, so that the loop notices when this thread is gone.
            let sender = sender;
            batching.read_ahead(reader, plan, replay, done, &sender);
        });
        let training = Training {
            student: &student,
            optimizer: &mut optimizer,
            settings,
            plan,
            replay,
            flops,
            readers: &readers,
            batching,
            around,
            ingredients: &ingredients,
            checkpoints: &checkpoints,
            metrics,
            progress,
            events,
        };
        // Moved in, so that the reading thread ends when the loop does.
        training.run(steps)
    })?;
    let Some(progress) = trained else {
        return Ok(Outcome::Stopped);
    };

    let exported = match settings.export {
        Export::Last => None,
        Export::Best => bring_back_best(&checkpoints, &progress, &mut optimizer)?,
    };
    let files = tokenizer_files(cache)?;
    let path = run_dir.model_path();
    write_model_dir(&path, student.decoder.config(), optimizer.weights(), &files)?;
    let peak_memory_bytes = (around.peak_memory_bytes)();
    let summary = Summary::new(&progress, exported, student.parameters.count(), peak_memory_bytes);
    run_dir.finish(&summary)?;
    keep_of_finished(&checkpoints, &summary)?;
    events(Event::Exported { path });
    Ok(Outcome::Done(summary))
}

/// Puts student and optimizer where the newest usable checkpoint has them, and tells how far that is; from the beginning
/// where there is none.
fn go_on(
    run_dir: &RunDir,
    checkpoints: &Checkpoints,
    ingredients: &Value,
    optimizer: &mut AdamW,
    events: &mut dyn FnMut(Event),
) -> Result<Progress, TrainError> {
    let metrics_bytes = std::fs::metadata(run_dir.metrics_path()).map_or(0, |metadata| metadata.len());
    let usable = |run: &RunSoFar| {
        // A run of other ingredients is refused below, whatever became of its metrics.
        if metrics_bytes < run.progress.metrics_bytes && run.ingredients == *ingredients {
            return Err("`metrics.jsonl` has lost lines that were written before it".to_owned());
        }
        Ok(())
    };
    let mut tell = |Damaged { path, because }| events(Event::CheckpointDamaged { path, because });
    let Some(mut checkpoint) = checkpoints.newest(&usable, &mut tell)? else {
        checkpoints.keep(&[])?;
        return Ok(Progress::default());
    };
    run_dir.require_same(&checkpoint.run.ingredients, ingredients)?;
    restore(optimizer, &mut checkpoint)?;
    let progress = checkpoint.run.progress;
    // Newer ones are damaged, and would count among the last when more are written.
    let older = checkpoints.steps()?.into_iter().filter(|&step| step <= progress.step);
    checkpoints.keep(&older.collect::<Vec<_>>())?;
    Ok(progress)
}

/// Gives the optimizer the weights that are exported, where the best ones are not the last, and tells what is known of them.
fn bring_back_best(
    checkpoints: &Checkpoints,
    progress: &Progress,
    optimizer: &mut AdamW,
) -> Result<Option<Measured>, TrainError> {
    let Some(best) = progress.best.filter(|best| best.step != progress.step) else {
        return Ok(None);
    };
    let path = checkpoints.path(best.step);
    let mut checkpoint = Checkpoint::open(&path).map_err(|because| TrainError::BestLost { path, because })?;
    restore(optimizer, &mut checkpoint)?;
    Ok(Some(best))
}

/// Removes the checkpoints of a finished run, but for that of the best student where another is exported.
fn keep_of_finished(checkpoints: &Checkpoints, summary: &Summary) -> Result<(), TrainError> {
    let best = summary.best_step.filter(|&best| best != summary.exported_step);
    checkpoints.keep(best.as_slice())
}

fn restore(optimizer: &mut AdamW, checkpoint: &mut Checkpoint) -> Result<(), TrainError> {
    let step = checkpoint.run.progress.step as u32;
    Ok(optimizer.restore(step, &mut |name| checkpoint.tensor(name))?)
}

/// The tokenizer files of the cache, for the exported model.
fn tokenizer_files(cache: &Cache) -> Result<Vec<(String, Vec<u8>)>, TrainError> {
    let read = |name: &String| {
        let path = cache.tokenizer_dir().join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok((name.clone(), bytes)),
            Err(source) => Err(TrainError::Io {
                action: "read",
                path,
                source,
            }),
        }
    };
    cache.tokenizer_files().keys().map(read).collect()
}
