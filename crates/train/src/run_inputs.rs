//! The inputs of a run: samples, student and steps. They are opened and checked before anything is written.

use leadspan_cache::{Cache, Missing};
use leadspan_model::open_device;
use leadspan_sequence::Split;

use crate::{
    AdamW, AdamWSettings, Event, Export, Schedule, StudentSettings, TrainError, TrainSettings,
    batches::Batching,
    flops::TrainingFlops,
    objective::{Distillation, runs_in_gpu_kernels},
    readers::Readers,
    replay::Replay,
    run_identity::RunIdentity,
    student::{self, Student},
    training_steps::TrainingSteps,
};

/// The parts of a run that fit each other.
pub(crate) struct RunInputs<'a> {
    pub(crate) settings: &'a TrainSettings,
    pub(crate) readers: Readers,
    pub(crate) replay: Option<Replay>,
    pub(crate) student: Student,
    pub(crate) steps: TrainingSteps,
    pub(crate) batching: Batching,
    pub(crate) flops: TrainingFlops,
}

impl<'a> RunInputs<'a> {
    /// Opens what the settings name.
    ///
    /// # Errors
    ///
    /// If settings, cache and student do not fit each other, or files cannot be read.
    pub(crate) fn open(
        cache: &Cache,
        student_settings: &StudentSettings,
        settings: &'a TrainSettings,
        replay_share: f64,
        missing: Missing,
    ) -> Result<Self, TrainError> {
        let distillation = Distillation::new(settings, &cache.identity().entries)?;
        let readers = Readers::open(cache, settings, missing)?;
        require_held_out(&readers, settings)?;
        let device = open_device(&settings.device)?;
        let student = student::open(
            student_settings,
            cache,
            (settings.dtype, distillation),
            settings.kernels.into(),
            &device,
        )?;
        let config = student.decoder.config();
        student::check_samples(config, readers.training())?;
        let corpus = readers.training().corpus();
        let replay = Replay::open(cache, corpus, replay_share, settings.batch_samples, settings.seed)?;
        if let Some(replay) = &replay {
            student::check_samples(config, &replay.reader)?;
        }
        let parameters = &student.parameters;
        let flops = TrainingFlops::of(config, parameters.lora().map(|_| parameters.count()));
        let steps = TrainingSteps::new(readers.training(), settings, replay.as_ref(), &flops)?;
        let batching = Batching {
            micro_batch_tokens: settings.micro_batch_tokens(runs_in_gpu_kernels(&student.decoder)),
            normalization: Some(settings.normalization),
            distillation,
            supervision: settings.supervision(),
            vocabulary: config.vocab_size,
        };
        Ok(Self {
            settings,
            readers,
            replay,
            student,
            steps,
            batching,
            flops,
        })
    }

    /// The identity of the run: everything that the trained weights depend on.
    pub(crate) fn identity(&self, cache: &Cache) -> RunIdentity {
        let (reader, origin) = (self.readers.training(), &self.student.origin);
        RunIdentity::of(cache, reader, origin, self.settings, self.replay.as_ref())
    }

    /// An optimizer of the student's parameters, before its first update.
    pub(crate) fn optimizer(&self) -> Result<AdamW, TrainError> {
        let settings = AdamWSettings {
            weight_decay: self.settings.weight_decay,
            ..AdamWSettings::default()
        };
        let (parameters, kernels) = (self.student.parameters.iter(), self.student.decoder.kernels());
        Ok(AdamW::with_kernels(parameters, settings, kernels)?)
    }

    /// The learning rate over the steps of the run.
    pub(crate) fn schedule(&self) -> Schedule {
        let settings = self.settings;
        Schedule::new(
            settings.schedule,
            settings.learning_rate,
            settings.warmup_share,
            self.steps.count(),
        )
    }

    /// The event that a run starts with, after `steps_before` steps of earlier processes.
    pub(crate) fn started(&self, steps_before: usize) -> Event {
        let missing_units = self.readers.training().missing_units();
        Event::Started {
            steps: self.steps.count(),
            steps_before,
            samples: self.steps.samples.len(),
            samples_left_out: self.steps.samples_left_out,
            samples_to_replay: self.replay.as_ref().map_or(0, Replay::samples),
            copies_left_out: self.replay.as_ref().map_or(0, |replay| replay.copies_left_out),
            missing_units: missing_units.map(ToString::to_string).collect(),
            positions: self.steps.positions,
            parameters: self.student.parameters.count(),
        }
    }
}

/// Refuses to export the best student, or to stop where it is no longer improved, if no position of a validation sample is there to
/// measure it by.
fn require_held_out(readers: &Readers, settings: &TrainSettings) -> Result<(), TrainError> {
    let held_out = readers.held_out();
    for sample in held_out.corpus().of_split(Split::Validation) {
        if held_out.position_count(sample)? > 0 {
            return Ok(());
        }
    }
    match (settings.export, settings.patience) {
        (Export::Best, _) => Err(TrainError::NothingHeldOut),
        (_, Some(patience)) => Err(TrainError::NothingToWaitFor { patience }),
        _ => Ok(()),
    }
}
