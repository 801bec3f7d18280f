//! The training loop.

use std::{collections::BTreeMap, sync::mpsc::Receiver};

use leadspan_cache::Reader;
use leadspan_model::{ModelError, Stop};

use crate::{
    AdamW, Event, Export, HeldOut, MicroBatch, ReplayMetrics, RunContext, StepMetrics, TrainError,
    batches::{Kind, Step},
    checkpoint::RunSoFar,
    checkpoints::Checkpoints,
    gradients, held_out,
    metrics::{Metrics, Record},
    objective::{HeadPass, LossSums, Losses},
    parallel::{
        Gpus, digest,
        share::Share,
        step_totals::{StepCounts, StepTotals, factor, held_out_over_all},
        sum::sum_gradients,
        team::{Place, Team},
    },
    read_ahead::ReadStep,
    run_dir::RunDir,
    run_identity::RunIdentity,
    run_inputs::RunInputs,
    run_progress::RunProgress,
};

/// The losses of a step, separate for distilled and replayed samples, which a device may still be adding up. The weights of both
/// kinds together sum to one.
#[derive(Default)]
struct StepLosses {
    distilled: Losses,
    replayed: Losses,
}

impl StepLosses {
    fn wait(&self) -> Result<[LossSums; 2], TrainError> {
        Ok([self.distilled.wait()?, self.replayed.wait()?])
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
    pub(crate) team: &'a Team<'a>,
    /// The connected GPUs, if gradients go from one to the other.
    pub(crate) gpus: Option<&'a Gpus>,
    pub(crate) identity: &'a RunIdentity,
    /// The folder and its metrics; `None` in every process but the first.
    pub(crate) run_dir: Option<&'a RunDir>,
    pub(crate) metrics: Option<Metrics>,
    pub(crate) checkpoints: &'a Checkpoints,
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
            self.run_dir.map_or(Ok(()), RunDir::require_not_lost_so_far)?;
            let step = self.progress.step;
            if self.inputs.steps.is_between_epochs(step) && !self.progress.is_measured() {
                require_finite(self.optimizer, step, schedule.learning_rate(step))?;
                self.validate()?;
            }
            let stopped = self.team.any(Place::Step, self.stop().is_requested())?;
            if step > saved && (stopped || self.is_checkpoint()) {
                require_finite(self.optimizer, step, schedule.learning_rate(step))?;
                self.save()?;
                saved = step;
            }
            if stopped {
                return Ok(None);
            }
            if step == self.inputs.steps.count() {
                return self.ended();
            }
            if self.progress.has_exhausted(self.inputs.settings.patience) {
                let best_step = self.progress.best_step();
                (self.events)(Event::Exhausted { step, best_step });
                return self.ended();
            }
            let rate = schedule.learning_rate(step + 1);
            self.step(&batches, rate)?;
        }
    }

    /// The progress after the last step. The metrics are on the disk: the summary, which says that the run is finished, is written
    /// after them.
    fn ended(mut self) -> Result<Option<RunProgress>, TrainError> {
        if let Some(metrics) = &self.metrics {
            self.progress.metrics_bytes = metrics.synced_bytes()?;
        }
        Ok(Some(self.progress))
    }

    /// Does one optimizer step, or none if the run is asked to stop meanwhile.
    fn step(&mut self, batches: &Receiver<ReadStep>, learning_rate: f64) -> Result<(), TrainError> {
        let began = (self.context.clock)();
        let batch = batches.recv().map_err(|_| TrainError::ReaderGone)??;
        let arrived = (self.context.clock)();

        let parameters = &self.inputs.student.parameters;
        let losses = self.accumulate(&batch)?;
        // A process without samples adds zeros, and nobody else does.
        if losses.is_some() && batch.passes().next().is_some() {
            gradients::all(parameters)?;
        }
        let Some(factor) = factor(self.team, losses.is_none(), batch.parts)? else {
            return Ok(());
        };
        if !self.team.is_alone() {
            sum_gradients(self.team.processes(), self.gpus, parameters, factor)?;
        }
        let gradients = gradients::all(parameters)?;
        let limit = self.inputs.settings.gradient_clipping;
        // A GPU clips and updates on its own, so that it is waited for once a step. A norm that is not finite changes nothing.
        let updated = (self.optimizer).update_on_device(gradients.iter().copied(), limit, learning_rate)?;
        let totals = self.totals(&batch, &losses.unwrap_or_default(), factor)?;
        let loss = self.loss(&totals);
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
        let step = self.progress.step + 1;
        let distils = self.inputs.settings.distils();
        let (sums, counts, share) = (&totals, totals.counts, 1.0 - totals.replayed_share);
        let metrics = StepMetrics {
            step,
            steps: self.inputs.steps.count(),
            epoch: self.inputs.steps.epoch_of(step),
            loss,
            loss_cross_entropy: sums.distilled.cross_entropy / share,
            loss_forward_kl: distils.then_some(sums.distilled.forward_kl / share),
            loss_soft_cross_entropy: distils.then_some(sums.distilled.soft_cross_entropy / share),
            loss_distillation: self.loss_distillation(sums.distilled.distillation / share),
            replay: batch.replayed.is_some().then(|| ReplayMetrics {
                loss_replay: sums.replayed.cross_entropy / sums.replayed_share,
                replay_positions: counts.replay_positions as usize,
                replay_tokens: counts.replay_tokens as usize,
            }),
            learning_rate,
            gradient_norm: norm,
            positions: counts.positions as usize,
            tokens: counts.tokens as usize,
            tokens_per_second: counts.tokens as f64 / seconds.max(1e-9),
            training_flops: self.progress.training_flops.saturating_add(counts.flops),
            cache_bytes_read: self.progress.cache_bytes_read + counts.cache_bytes_read,
            waited_seconds: arrived.saturating_sub(began).as_secs_f64(),
            peak_memory_bytes: totals.peak_memory_bytes,
        };
        self.progress.add_step(&metrics, seconds);
        self.record(&Record::Step(metrics.clone()))?;
        (self.events)(Event::Step(metrics));
        Ok(())
    }

    /// The losses and counts of a step, of which this process has `batch` with the part `factor` of the weight.
    fn totals(&self, batch: &Step, losses: &StepLosses, factor: f64) -> Result<StepTotals, TrainError> {
        let [distilled, replayed] = losses.wait()?;
        let fed = |of: fn(&MicroBatch) -> usize| batch.passes().map(|(pass, _)| of(pass) as u64).sum::<u64>();
        let again = |of: fn(&MicroBatch) -> usize| {
            let passes = batch.replayed.iter().flat_map(|replayed| &replayed.micro_batches);
            passes.map(|pass| of(pass) as u64).sum::<u64>()
        };
        let mine = StepTotals {
            distilled,
            replayed,
            replayed_share: batch.replayed.as_ref().map_or(0.0, |replayed| replayed.share),
            counts: StepCounts {
                positions: fed(MicroBatch::learnt_positions),
                tokens: fed(MicroBatch::token_count),
                replay_positions: again(|pass| pass.rows.len()),
                replay_tokens: again(MicroBatch::token_count),
                flops: batch.passes().map(|(pass, _)| self.inputs.flops.pass(pass)).sum(),
                cache_bytes_read: batch.cache_bytes_read,
            },
            peak_memory_bytes: (self.context.peak_memory_bytes)(),
        };
        mine.over_all(self.team, factor)
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
        let (reader, student) = (self.inputs.readers.held_out(), &self.inputs.student);
        let share = Share {
            rank: self.team.rank(),
            count: self.team.count(),
        };
        let mine = held_out::sums((&student.frozen, reader), self.inputs.batching, pass, share, stop)?;
        let digest = if self.team.is_alone() {
            0
        } else {
            digest(&student.parameters)?
        };
        let all = held_out_over_all(self.team, mine, digest)?;
        if let Some(held_out) = all.and_then(|sums| HeldOut::of(&sums, reader)) {
            let step = self.progress.step;
            if !held_out.is_finite(self.inputs.settings.distillation_weight) {
                return Err(TrainError::HeldOutNotFinite { step });
            }
            self.progress
                .add_held_out(held_out, self.inputs.settings.distillation_weight);
            self.record(&Record::Validation { step, held_out })?;
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

    /// Writes a line of metrics, in the process that has the folder.
    fn record(&mut self, record: &Record) -> Result<(), TrainError> {
        let now = (self.context.time_of_day)();
        let metrics = self.metrics.as_mut();
        metrics.map_or(Ok(()), |metrics| metrics.write(record, now))
    }

    /// Writes a checkpoint, and then removes those that it makes superfluous. Does nothing in a process without the folder.
    fn save(&mut self) -> Result<(), TrainError> {
        let (Some(run_dir), Some(metrics)) = (self.run_dir, &self.metrics) else {
            return Ok(());
        };
        run_dir.require_held()?;
        self.progress.metrics_bytes = metrics.synced_bytes()?;
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

    fn loss(&self, sums: &StepTotals) -> f64 {
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
