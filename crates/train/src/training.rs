//! The training loop.

use std::{collections::BTreeMap, sync::mpsc::Receiver};

use leadspan_cache::Reader;
use leadspan_model::{ModelError, Stop};

use crate::{
    AdamW, Event, Export, MicroBatch, ReplayMetrics, RunContext, StepMetrics, TrainError,
    batches::{Kind, Step},
    checkpoint::RunSoFar,
    checkpoints::Checkpoints,
    gradients, held_out,
    metrics::{Metrics, Record},
    objective::{HeadPass, LossSums, Losses},
    read_ahead::ReadStep,
    run_dir::RunDir,
    run_identity::RunIdentity,
    run_inputs::RunInputs,
    run_progress::RunProgress,
};

/// The losses of a step, separate for distilled and replayed samples. The weights of both kinds together sum to one.
#[derive(Default)]
struct StepSums {
    distilled: LossSums,
    replayed: LossSums,
}

/// The same while a device may still be adding up.
#[derive(Default)]
struct StepLosses {
    distilled: Losses,
    replayed: Losses,
}

impl StepLosses {
    fn wait(&self) -> Result<StepSums, TrainError> {
        Ok(StepSums {
            distilled: self.distilled.wait()?,
            replayed: self.replayed.wait()?,
        })
    }
}

/// Refuses weights and moments that are not finite after `step` steps, the last of which had this learning rate: neither a
/// checkpoint nor an export may hold them.
///
/// # Errors
///
/// [`TrainError::WeightsNotFinite`] with the first such tensor; before the first step, [`TrainError::StartNotFinite`].
pub(crate) fn require_finite(optimizer: &AdamW, step: usize, learning_rate: f64) -> Result<(), TrainError> {
    match (optimizer.first_not_finite()?, step) {
        (None, _) => Ok(()),
        (Some(tensor), 0) => Err(TrainError::StartNotFinite { tensor }),
        (Some(tensor), step) => Err(TrainError::WeightsNotFinite {
            tensor,
            step,
            learning_rate,
        }),
    }
}

/// What the loop works with.
pub(crate) struct Training<'a> {
    pub(crate) inputs: &'a RunInputs<'a>,
    pub(crate) optimizer: &'a mut AdamW,
    pub(crate) context: &'a RunContext<'a>,
    pub(crate) identity: &'a RunIdentity,
    pub(crate) run_dir: &'a RunDir,
    pub(crate) checkpoints: &'a Checkpoints,
    pub(crate) metrics: Metrics,
    pub(crate) progress: RunProgress,
    pub(crate) events: &'a mut dyn FnMut(Event),
}

impl Training<'_> {
    /// Does all remaining steps. `None` if the run was asked to stop; a checkpoint has then been written.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the reading thread ends when the receiver is dropped here"
    )]
    pub(crate) fn run(mut self, batches: Receiver<ReadStep>) -> Result<Option<RunProgress>, TrainError> {
        let schedule = self.inputs.schedule();
        // The checkpoint from which the run resumes.
        let mut saved = self.progress.step;
        loop {
            self.run_dir.require_not_lost_so_far()?;
            let step = self.progress.step;
            if self.inputs.steps.is_between_epochs(step) && !self.progress.is_measured() {
                require_finite(self.optimizer, step, schedule.learning_rate(step))?;
                self.validate()?;
            }
            let stopped = self.stop().is_requested();
            if step > saved && (stopped || self.is_checkpoint()) {
                require_finite(self.optimizer, step, schedule.learning_rate(step))?;
                self.save()?;
                saved = step;
            }
            if stopped {
                return Ok(None);
            }
            if step == self.inputs.steps.count() {
                return Ok(Some(self.progress));
            }
            if self.progress.has_exhausted(self.inputs.settings.patience) {
                let best_step = self.progress.best_step();
                (self.events)(Event::Exhausted { step, best_step });
                return Ok(Some(self.progress));
            }
            let rate = schedule.learning_rate(step + 1);
            self.step(&batches, rate)?;
        }
    }

    /// Does one optimizer step, or none if the run is asked to stop meanwhile.
    fn step(&mut self, batches: &Receiver<ReadStep>, learning_rate: f64) -> Result<(), TrainError> {
        let began = (self.context.clock)();
        let batch = batches.recv().map_err(|_| TrainError::ReaderGone)??;
        let arrived = (self.context.clock)();

        let Some(losses) = self.accumulate(&batch)? else {
            return Ok(());
        };
        let gradients = gradients::all(&self.inputs.student.parameters)?;
        let limit = self.inputs.settings.gradient_clipping;
        // A GPU clips and updates on its own, so that it is waited for once a step. A norm that is not finite changes nothing.
        let updated = (self.optimizer).update_on_device(gradients.iter().copied(), limit, learning_rate)?;
        let sums = losses.wait()?;
        let loss = self.loss(&sums);
        let norm = match &updated {
            Some(norm) => norm.wait()?,
            None => gradients::norm(&gradients)?,
        };
        self.check_finite(&batch, loss, norm)?;
        if updated.is_none() {
            let scale = (limit / norm).min(1.0);
            self.optimizer.update(gradients.into_iter(), scale, learning_rate)?;
        }

        let seconds = (self.context.clock)().saturating_sub(began).as_secs_f64();
        let fed = |of: fn(&MicroBatch) -> usize| batch.passes().map(|(pass, _)| of(pass)).sum::<usize>();
        let flops: u64 = batch.passes().map(|(pass, _)| self.inputs.flops.pass(pass)).sum();
        let step = self.progress.step + 1;
        let distils = self.inputs.settings.distils();
        let share = 1.0 - batch.replayed.as_ref().map_or(0.0, |replayed| replayed.share);
        let metrics = StepMetrics {
            step,
            steps: self.inputs.steps.count(),
            epoch: self.inputs.steps.epoch_of(step),
            loss,
            loss_cross_entropy: sums.distilled.cross_entropy / share,
            loss_forward_kl: distils.then_some(sums.distilled.forward_kl / share),
            loss_soft_cross_entropy: distils.then_some(sums.distilled.soft_cross_entropy / share),
            loss_distillation: self.loss_distillation(sums.distilled.distillation / share),
            replay: batch.replayed.as_ref().map(|replayed| ReplayMetrics {
                loss_replay: sums.replayed.cross_entropy / replayed.share,
                replay_positions: replayed.micro_batches.iter().map(|pass| pass.rows.len()).sum(),
                replay_tokens: replayed.micro_batches.iter().map(MicroBatch::token_count).sum(),
            }),
            learning_rate,
            gradient_norm: norm,
            positions: fed(MicroBatch::learnt_positions),
            tokens: fed(MicroBatch::token_count),
            tokens_per_second: fed(MicroBatch::token_count) as f64 / seconds.max(1e-9),
            training_flops: self.progress.training_flops.saturating_add(flops),
            cache_bytes_read: self.progress.cache_bytes_read + batch.cache_bytes_read,
            waited_seconds: arrived.saturating_sub(began).as_secs_f64(),
            peak_memory_bytes: (self.context.peak_memory_bytes)(),
        };
        self.progress.add_step(&metrics, seconds);
        let now = (self.context.time_of_day)();
        self.metrics.write(&Record::Step(metrics.clone()), now)?;
        (self.events)(Event::Step(metrics));
        Ok(())
    }

    /// Adds up the gradients of a step's micro-batches. `None` if the run was asked to stop.
    fn accumulate(&self, batch: &Step) -> Result<Option<StepLosses>, TrainError> {
        gradients::clear(&self.inputs.student.parameters);
        let mut losses = StepLosses::default();
        for (pass, kind) in batch.passes() {
            if self.stop().is_requested() {
                return Ok(None);
            }
            let (weight, losses) = match kind {
                Kind::Distilled => (self.inputs.settings.distillation_weight, &mut losses.distilled),
                Kind::Replayed => (0.0, &mut losses.replayed),
            };
            let activations = self.inputs.settings.activations();
            let (student, stop) = (&self.inputs.student.decoder, self.stop());
            match gradients::accumulate(student, pass, HeadPass::of(student, weight), activations, stop) {
                Err(TrainError::Model(ModelError::Stopped)) => return Ok(None),
                found => losses.add(found?),
            }
        }
        Ok(Some(losses))
    }

    /// Measures the student on the validation samples, unless the run is asked to stop meanwhile.
    fn validate(&mut self) -> Result<(), TrainError> {
        let stop = self.stop();
        let pass = HeadPass::of(&self.inputs.student.frozen, self.inputs.settings.distillation_weight);
        let reader = self.inputs.readers.held_out();
        let held_out = held_out::measure(&self.inputs.student.frozen, reader, self.inputs.batching, pass, stop)?;
        if let Some(held_out) = held_out {
            let step = self.progress.step;
            if !held_out.is_finite(self.inputs.settings.distillation_weight) {
                return Err(TrainError::HeldOutNotFinite { step });
            }
            self.progress
                .add_held_out(held_out, self.inputs.settings.distillation_weight);
            let now = (self.context.time_of_day)();
            self.metrics.write(&Record::Validation { step, held_out }, now)?;
            (self.events)(Event::Validation { step, held_out });
        }
        Ok(())
    }

    /// Whether a checkpoint is due. None is due after the last step, because no step is left.
    fn is_checkpoint(&self) -> bool {
        let (step, every) = (self.progress.step, self.inputs.settings.checkpoint_steps);
        let is_best = self.progress.best_step() == Some(step);
        let keeps_best = every > 0 || self.inputs.settings.export == Export::Best;
        step < self.inputs.steps.count() && (every > 0 && step.is_multiple_of(every) || is_best && keeps_best)
    }

    /// Writes a checkpoint, and then removes those that it makes superfluous.
    fn save(&mut self) -> Result<(), TrainError> {
        self.run_dir.require_held()?;
        self.progress.metrics_bytes = self.metrics.synced_bytes()?;
        let run = RunSoFar {
            identity: self.identity.clone(),
            progress: self.progress.clone(),
        };
        let path = self.checkpoints.save(&run, &self.optimizer.state()?.1)?;
        let mut kept = self.checkpoints.steps()?;
        kept.drain(..kept.len().saturating_sub(self.inputs.settings.keep_checkpoints));
        kept.extend(self.progress.best_step());
        self.checkpoints.keep(&kept)?;
        let step = self.progress.step;
        (self.events)(Event::Checkpoint { step, path });
        Ok(())
    }

    fn loss(&self, sums: &StepSums) -> f64 {
        let weight = self.inputs.settings.distillation_weight;
        self.inputs.batching.distillation.loss(weight, &sums.distilled) + sums.replayed.cross_entropy
    }

    /// The divergence under its own name, unless every step reports it already.
    fn loss_distillation(&self, loss: f64) -> BTreeMap<String, f64> {
        let distillation = self.inputs.batching.distillation;
        let named = (self.inputs.settings.distils() && !distillation.is_measured())
            .then(|| (format!("loss_{}", distillation.name()), loss));
        named.into_iter().collect()
    }

    /// Stops a run before a step that would spoil the weights. Checkpoints stay.
    fn check_finite(&self, batch: &Step, loss: f64, norm: f64) -> Result<(), TrainError> {
        let what = match (loss.is_finite(), norm.is_finite()) {
            (true, true) => return Ok(()),
            (false, _) => "loss",
            (true, false) => "gradient",
        };
        let id = |reader: &Reader, sample: u32| reader.corpus().sample(sample as usize).id.to_owned();
        let distilled = batch
            .samples
            .iter()
            .map(|&sample| id(self.inputs.readers.training(), sample));
        let replayed = batch.replayed.iter().flat_map(|replayed| &replayed.samples);
        let replayed = replayed.zip(self.inputs.replay.iter().cycle());
        let replayed = replayed.map(|(&sample, replay)| id(&replay.reader, sample));
        Err(TrainError::NotFinite {
            what,
            step: self.progress.step + 1,
            samples: distilled.chain(replayed).collect(),
        })
    }

    fn stop(&self) -> Stop<'_> {
        Stop::when(self.context.stop)
    }
}
