//! The training loop.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    sync::mpsc::Receiver,
    time::Duration,
};

use leadspan_cache::{Cache, Missing, Reader};
use leadspan_model::{open_device, write_model_dir};
use leadspan_sequence::Split;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    AdamW, AdamWSettings, HeldOut, Schedule, StudentSettings, TrainError, TrainSettings,
    batches::{Batching, MicroBatch, ReadStep, Step, step_queue},
    gradients::{self, accumulate},
    held_out,
    metrics::{Metrics, Record, StepMetrics},
    objective::{Distillation, HeadPass, LossSums},
    order::epoch_order,
    run_dir::RunDir,
    student::{self, Student},
};

/// What a run needs of the program around it.
pub struct Surroundings<'a> {
    /// Set when the run should end; looked at between forward passes.
    pub stop: &'a AtomicBool,
    /// Time since some fixed moment.
    pub clock: &'a dyn Fn() -> Duration,
    /// The process's peak resident memory.
    pub peak_memory_bytes: &'a dyn Fn() -> u64,
    /// The whole configuration, stored beside the results.
    pub resolved_config: &'a Value,
    /// Whether to train on a cache from which work units are missing.
    pub missing: Missing,
}

/// What happens during a run, for whoever shows it.
#[derive(Clone, Debug)]
pub enum Event {
    /// The run begins.
    Started {
        /// Optimizer steps.
        steps: usize,
        /// Training samples with a supervised position.
        samples: usize,
        /// Training samples without one, which are left out.
        samples_left_out: usize,
        /// Work units that the cache lacks, by name; their samples are among those left out.
        missing_units: Vec<String>,
        /// Supervised positions of one epoch.
        positions: u64,
        /// Numbers to learn.
        parameters: usize,
    },
    /// An optimizer step is done.
    Step(StepMetrics),
    /// Held-out losses after `step` steps.
    Validation {
        /// Steps done.
        step: usize,
        /// The losses.
        held_out: HeldOut,
    },
    /// The student is written.
    Exported {
        /// Where.
        path: PathBuf,
    },
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It ran to its end.
    Done(Summary),
    /// It had been run to its end before.
    AlreadyDone(Summary),
    /// It was asked to stop; nothing partial remains.
    Stopped,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Optimizer steps.
    pub steps: usize,
    /// Tokens through the student, padding left out.
    pub tokens: u64,
    /// Supervised positions learnt from.
    pub positions: u64,
    /// Seconds of the steps, validation left out.
    pub seconds: f64,
    /// Tokens over those seconds.
    pub tokens_per_second: f64,
    /// The share of those seconds spent waiting for batches.
    pub waiting_share: f64,
    /// Numbers learnt.
    pub parameters: usize,
    /// The process's peak resident memory.
    pub peak_memory_bytes: u64,
    /// Held-out losses before the first step.
    pub held_out_before: Option<HeldOut>,
    /// Held-out losses after the last step.
    pub held_out_after: Option<HeldOut>,
}

/// Bytes that the logits of one chunk may take.
const HEAD_CHUNK_BYTES: usize = 128 << 20;

/// Trains the student that the settings describe on what the cache holds, and writes it to `settings.dir`/model.
///
/// The same inputs, settings, build and kind of processor give the same weights, whatever the number of threads.
///
/// # Errors
///
/// Where settings, cache and student do not fit each other, files cannot be read or written, or the loss or a gradient
/// is not finite.
pub fn run(
    cache: &Cache,
    student_settings: &StudentSettings,
    settings: &TrainSettings,
    around: &Surroundings,
    events: &mut dyn FnMut(Event),
) -> Result<Outcome, TrainError> {
    let distillation = Distillation::new(settings, &cache.identity().entries)?;
    let reader = Reader::open(cache, settings.coverage(), around.missing)?;
    let device = open_device(&settings.device)?;
    let student = student::open(student_settings, cache, settings.dtype, &device)?;
    student::check_samples(student.decoder.config(), &reader)?;
    let plan = Plan::new(&reader, settings)?;

    let run_dir = RunDir::open(&settings.dir)?;
    let ingredients = ingredients(cache, &reader, &student.origin, settings);
    if let Some(summary) = run_dir.finished(&ingredients)? {
        return Ok(Outcome::AlreadyDone(summary));
    }
    run_dir.start(&ingredients, around.resolved_config)?;
    let metrics = Metrics::create(run_dir.metrics_path())?;
    events(Event::Started {
        steps: plan.steps(),
        samples: plan.samples.len(),
        samples_left_out: plan.samples_left_out,
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
    let decay = AdamWSettings {
        weight_decay: settings.weight_decay,
        ..AdamWSettings::default()
    };
    let mut optimizer = AdamW::new(student.parameters.iter(), decay)?;
    let (sender, steps) = step_queue();
    let trained = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Moved in, so that the loop notices when this thread is gone.
            let sender = sender;
            batching.read_ahead(&reader, plan.batches(), &sender);
        });
        let mut training = Training {
            student: &student,
            optimizer: &mut optimizer,
            settings,
            plan: &plan,
            reader: &reader,
            batching,
            around,
            metrics,
            events,
        };
        // Moved in, so that the reading thread ends when the loop does.
        training.run(steps)
    })?;
    let Some(summary) = trained else {
        return Ok(Outcome::Stopped);
    };

    let files = tokenizer_files(cache)?;
    let model_path = run_dir.model_path();
    write_model_dir(&model_path, student.decoder.config(), optimizer.weights(), &files)?;
    run_dir.finish(&summary)?;
    events(Event::Exported { path: model_path });
    Ok(Outcome::Done(summary))
}

/// Which samples are learnt from, in which steps.
struct Plan {
    samples: Vec<u32>,
    samples_left_out: usize,
    positions: u64,
    batch_samples: usize,
    epochs: usize,
    seed: u64,
}

impl Plan {
    fn new(reader: &Reader, settings: &TrainSettings) -> Result<Self, TrainError> {
        let mut plan = Self {
            samples: Vec::new(),
            samples_left_out: 0,
            positions: 0,
            batch_samples: settings.batch_samples,
            epochs: settings.epochs,
            seed: settings.seed,
        };
        for sample in reader.corpus().of_split(Split::Train) {
            match reader.position_count(sample)? {
                0 => plan.samples_left_out += 1,
                positions => {
                    plan.samples.push(sample);
                    plan.positions += positions as u64;
                }
            }
        }
        if plan.samples.is_empty() {
            return Err(TrainError::NothingToLearn {
                proportion: settings.lead_span_proportion.to_string(),
                sections: settings.supervised_sections.to_string(),
            });
        }
        Ok(plan)
    }

    fn steps_an_epoch(&self) -> usize {
        self.samples.len().div_ceil(self.batch_samples)
    }

    fn steps(&self) -> usize {
        self.epochs * self.steps_an_epoch()
    }

    /// The samples of every step of the run.
    fn batches(&self) -> impl Iterator<Item = Vec<u32>> + '_ {
        (0..self.epochs).flat_map(|epoch| {
            let order = epoch_order(&self.samples, self.seed, epoch);
            order
                .chunks(self.batch_samples)
                .map(<[u32]>::to_vec)
                .collect::<Vec<_>>()
        })
    }
}

/// What the loop works with.
struct Training<'a> {
    student: &'a Student,
    optimizer: &'a mut AdamW,
    settings: &'a TrainSettings,
    plan: &'a Plan,
    reader: &'a Reader,
    batching: Batching,
    around: &'a Surroundings<'a>,
    metrics: Metrics,
    events: &'a mut dyn FnMut(Event),
}

impl Training<'_> {
    /// All steps; `None` where the run was asked to stop.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the reading thread ends when the receiver is dropped here"
    )]
    fn run(&mut self, batches: Receiver<ReadStep>) -> Result<Option<Summary>, TrainError> {
        let settings = self.settings;
        let schedule = Schedule::new(settings.learning_rate, settings.warmup_share, self.plan.steps());
        let (mut tokens, mut positions) = (0u64, 0u64);
        let (mut seconds, mut waited) = (0.0, 0.0);
        let held_out_before = self.validate(0)?;
        let mut held_out_after = held_out_before;
        for step in 1..=self.plan.steps() {
            let began = (self.around.clock)();
            let batch = batches.recv().map_err(|_| TrainError::ReaderGone)??;
            let arrived = (self.around.clock)();

            let Some(sums) = self.accumulate(&batch)? else {
                return Ok(None);
            };
            let gradients = gradients::all(&self.student.parameters)?;
            let norm = gradients::norm(&gradients)?;
            let loss = self.loss(&sums);
            self.check_finite(step, &batch, loss, norm)?;
            let scale = (settings.gradient_clipping / norm).min(1.0);
            let learning_rate = schedule.learning_rate(step);
            self.optimizer.update(gradients.into_iter(), scale, learning_rate)?;

            let elapsed = (self.around.clock)().saturating_sub(began).as_secs_f64();
            let fed = |of: fn(&MicroBatch) -> usize| batch.micro_batches.iter().map(of).sum::<usize>();
            let record = StepMetrics {
                step,
                steps: self.plan.steps(),
                epoch: (step - 1) / self.plan.steps_an_epoch() + 1,
                loss,
                loss_cross_entropy: sums.cross_entropy,
                loss_forward_kl: self.distils().then_some(sums.forward_kl),
                loss_soft_cross_entropy: self.distils().then_some(sums.soft_cross_entropy),
                loss_distillation: self.loss_distillation(&sums),
                learning_rate,
                gradient_norm: norm,
                positions: fed(|batch| batch.rows.len()),
                tokens: fed(MicroBatch::token_count),
                tokens_per_second: fed(MicroBatch::token_count) as f64 / elapsed.max(1e-9),
                waited_seconds: arrived.saturating_sub(began).as_secs_f64(),
                peak_memory_bytes: (self.around.peak_memory_bytes)(),
            };
            tokens += record.tokens as u64;
            positions += record.positions as u64;
            seconds += elapsed;
            waited += record.waited_seconds;
            self.metrics.write(&Record::Step(record.clone()))?;
            (self.events)(Event::Step(record));
            if step % self.plan.steps_an_epoch() == 0 {
                held_out_after = self.validate(step)?;
            }
        }
        if self.stopped() {
            return Ok(None);
        }
        Ok(Some(Summary {
            steps: self.plan.steps(),
            tokens,
            positions,
            seconds,
            tokens_per_second: tokens as f64 / seconds.max(1e-9),
            waiting_share: waited / seconds.max(1e-9),
            parameters: self.student.parameters.count(),
            peak_memory_bytes: (self.around.peak_memory_bytes)(),
            held_out_before,
            held_out_after,
        }))
    }

    /// Adds up the gradients of a step's micro-batches; `None` where the run was asked to stop.
    fn accumulate(&self, batch: &Step) -> Result<Option<LossSums>, TrainError> {
        gradients::clear(&self.student.parameters);
        let mut sums = LossSums::default();
        for micro_batch in &batch.micro_batches {
            if self.stopped() {
                return Ok(None);
            }
            let checkpointing = self.settings.activation_checkpointing;
            sums.add(&accumulate(
                &self.student.decoder,
                micro_batch,
                self.head_pass(),
                checkpointing,
            )?);
        }
        Ok(Some(sums))
    }

    fn validate(&mut self, step: usize) -> Result<Option<HeldOut>, TrainError> {
        let stop = self.around.stop;
        let held_out = held_out::measure(&self.student.frozen, self.reader, self.batching, self.head_pass(), stop)?;
        if let Some(held_out) = held_out {
            self.metrics.write(&Record::Validation { step, held_out })?;
            (self.events)(Event::Validation { step, held_out });
        }
        Ok(held_out)
    }

    fn head_pass(&self) -> HeadPass {
        HeadPass {
            distillation_weight: self.settings.distillation_weight as f32,
            chunk_bytes: HEAD_CHUNK_BYTES,
            fused: true,
        }
    }

    fn loss(&self, sums: &LossSums) -> f64 {
        self.batching.distillation.loss(self.settings.distillation_weight, sums)
    }

    fn distils(&self) -> bool {
        self.settings.distillation_weight > 0.0
    }

    /// The divergence under its own name, unless it is among what is measured of every step.
    fn loss_distillation(&self, sums: &LossSums) -> BTreeMap<String, f64> {
        let distillation = self.batching.distillation;
        let named = (self.distils() && !distillation.is_measured())
            .then(|| (format!("loss_{}", distillation.name()), sums.distillation));
        named.into_iter().collect()
    }

    fn check_finite(&self, step: usize, batch: &Step, loss: f64, norm: f64) -> Result<(), TrainError> {
        let what = match (loss.is_finite(), norm.is_finite()) {
            (true, true) => return Ok(()),
            (false, _) => "loss",
            (true, false) => "gradient",
        };
        let id = |&sample: &u32| self.reader.corpus().samples()[sample as usize].id.clone();
        Err(TrainError::NotFinite {
            what,
            step,
            samples: batch.samples.iter().map(id).collect(),
        })
    }

    fn stopped(&self) -> bool {
        self.around.stop.load(Ordering::Relaxed)
    }
}

/// What the trained weights depend on; where it is written, on which device and in how much memory is left out.
fn ingredients(cache: &Cache, reader: &Reader, student: &Value, settings: &TrainSettings) -> Value {
    let mut train = serde_json::to_value(settings).expect("settings serialize");
    if let Some(table) = train.as_object_mut() {
        table.remove("dir");
        table.remove("device");
        table.remove("activation_checkpointing");
    }
    let mut rows = blake3::Hasher::new();
    for row in reader.corpus().row_hashes() {
        rows.update(row);
    }
    let rows = rows.finalize().to_hex().to_string();
    let missing: Vec<String> = reader.missing_units().map(ToString::to_string).collect();
    json!({
        "student": student,
        "train": train,
        "cache": { "identity": cache.identity().fingerprint(), "rows": rows, "missing": missing },
    })
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
