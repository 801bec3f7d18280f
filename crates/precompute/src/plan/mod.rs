//! What a capture would take, before there is one: tokens, positions, bytes, operations, time.
//!
//! Counts are those of the prepared corpus, or of what preparing would make, less what is captured already. Bytes are
//! predicted from shards: those that the cache has, else those that a [calibration](Calibration) makes of what the real
//! teacher says about some of the samples. Time is predicted from the same: how long the layers take for an operation and
//! the head for a position, times what remains. Nothing is written but into a scratch folder that goes again.

mod calibration;
mod lengths;
mod scratch;
mod size;
mod work;
mod workers;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use leadspan_cache::{Cache, Coverage, Layer, WorkUnit};
use leadspan_corpus::{PrepareProgress, PrepareReport, SectionTokens};
use leadspan_model::{Decoder, ForwardFlops, ModelError, ModelSource, open_device};
use leadspan_sequence::{LeadSpanProportion, Split};
use leadspan_workers::UnitCosts;
use serde::Serialize;

pub use self::{
    calibration::Calibration,
    lengths::{Bin, Lengths, Quantile},
    size::{Size, SizeSource},
    workers::{Division, Workers},
};
use self::{calibration::calibrate, scratch::Scratch, work::Work, workers::LeftOfLayer};
use crate::{
    Pipeline, PrecomputeError,
    costs::unit_costs,
    prepare::{Looked, Preparation},
    teacher::Teacher,
};

/// Tells the time since some moment.
type Clock<'a> = &'a dyn Fn() -> Duration;

/// Bytes of the stored corpus for each of its tokens where nothing was measured: ids of four bytes, uncompressed.
const CORPUS_TOKEN_BYTES: f64 = 4.0;

/// How a plan is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSettings {
    /// Rows that are drawn of data that was never prepared; all where there are no more.
    pub sample_rows: usize,
    /// How long the teacher runs, after it is loaded; it does not run at all without.
    pub calibration: Option<Duration>,
    /// A folder for temporary files: some hundred bytes a position of the calibration.
    pub scratch: PathBuf,
}

/// What is being done for a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanEvent {
    /// Some more rows were read.
    Preparing(PrepareProgress),
    /// The teacher is being loaded, and then runs.
    Calibrating,
}

/// How planning ended that did not fail.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanOutcome {
    /// With the plan.
    Done(Box<Plan>),
    /// It was told to stop.
    Stopped,
}

/// What the counts of a plan are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Basis {
    /// The prepared corpus in the cache.
    Prepared,
    /// The prepared corpus in the cache and the rows that were appended since.
    Extended {
        /// Samples of these rows.
        samples: u64,
    },
    /// All rows, as preparing will make them into samples.
    Read,
    /// Some rows, and all counts scaled up from theirs.
    Sampled {
        /// Rows there are.
        rows: u64,
        /// Rows that were drawn.
        drawn: u64,
    },
}

impl Basis {
    /// What a sample stands for.
    fn scale(self) -> f64 {
        match self {
            Self::Sampled { rows, drawn } => rows as f64 / drawn as f64,
            Self::Prepared | Self::Extended { .. } | Self::Read => 1.0,
        }
    }
}

/// What some capture takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Totals {
    /// Work units, counted once for each layer: its shards.
    pub units: u64,
    /// Positions that are stored.
    pub positions: u64,
    /// Tokens that go through the teacher.
    pub teacher_tokens: u64,
    /// Operations of the teacher; see [`ForwardFlops`].
    pub teacher_flops: f64,
    /// Bytes of the shards.
    pub shard_bytes: u64,
    /// Time on this device, without loading; `None` where it was not calibrated.
    pub seconds: Option<f64>,
}

/// What a whole capture at one proportion takes, from nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtProportion {
    /// The proportion of training samples; validation samples are whole.
    pub proportion: LeadSpanProportion,
    /// Tokens in the lead spans, by section, supervised or not.
    pub tokens: SectionTokens,
    /// What it takes.
    #[serde(flatten)]
    pub totals: Totals,
}

/// What is left of one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerPlan {
    /// The name of its folder.
    pub layer: String,
    /// What the bytes of its training shards are predicted from.
    pub size: Size,
    /// What is left.
    #[serde(flatten)]
    pub totals: Totals,
}

/// What a capture would take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// What the cache is to hold in the end.
    pub asked: Coverage,
    /// What the counts are of.
    pub basis: Basis,
    /// What became of the rows, scaled up like all counts.
    pub report: PrepareReport,
    /// How long the samples are.
    pub lengths: Lengths,
    /// Work units of the corpus.
    pub units: u64,
    /// What is left to capture, layer by layer; none where all is there.
    pub layers: Vec<LayerPlan>,
    /// The same, in all.
    pub left: Totals,
    /// Bytes of the prepared corpus that is still to be stored.
    pub corpus_bytes: u64,
    /// A whole capture at each tenth and at the asked proportion, for comparison.
    pub proportions: Vec<AtProportion>,
    /// How fast the teacher is here.
    pub calibration: Option<Calibration>,
    /// What is left, unit by unit.
    #[serde(skip)]
    left_of_layers: Vec<LeftOfLayer>,
}

impl Plan {
    /// Bytes that are still to be written.
    pub fn bytes(&self) -> u64 {
        self.left.shard_bytes + self.corpus_bytes
    }

    /// How many workers are done within this time; `None` where the teacher was not calibrated.
    pub fn divide(&self, wall_time: Duration) -> Option<Division> {
        let load_seconds = self.calibration.as_ref()?.load_seconds;
        Some(workers::divide(
            &self.left_of_layers,
            load_seconds,
            wall_time.as_secs_f64(),
        ))
    }
}

/// Says what [`run`](crate::run()) would take, all workers together. Leaves nothing behind.
///
/// `stop` is looked at between batches of the teacher.
///
/// # Errors
///
/// Those of [`run`](crate::run()) that can be told beforehand, and a scratch folder that cannot be written to.
pub fn plan(
    pipeline: &Pipeline,
    settings: &PlanSettings,
    clock: Clock<'_>,
    stop: &AtomicBool,
    events: &dyn Fn(PlanEvent),
) -> Result<PlanOutcome, PrecomputeError> {
    let source = ModelSource::open(&pipeline.model_path())?;
    let preparation = Preparation::new(pipeline, &source)?;
    let looked = preparation.look(settings.sample_rows, &|progress| events(PlanEvent::Preparing(progress)))?;
    let asked = Coverage {
        proportion: pipeline.cache.lead_span_proportion,
        sections: pipeline.cache.supervised_sections,
    };
    let left = match &looked.cache {
        Some(cache) => cache.uncaptured(&asked, &looked.corpus)?,
        None => vec![(Layer::from(asked), looked.corpus.units().to_vec())],
    };
    let units: BTreeMap<usize, WorkUnit> = left
        .iter()
        .flat_map(|(_, units)| units)
        .map(|unit| (unit.samples.start, unit.clone()))
        .collect();
    let units: Vec<WorkUnit> = units.into_values().collect();
    let calibrated = match settings.calibration {
        Some(budget) if !units.is_empty() && !stop.load(Ordering::Relaxed) => {
            events(PlanEvent::Calibrating);
            let began = clock();
            let device = open_device(&pipeline.teacher.device)?;
            let decoder = Decoder::load(&source, pipeline.teacher.dtype, &device)?;
            let teacher = Teacher::new(
                decoder,
                pipeline.cache.entries(),
                pipeline.cache.head_chunk_mib_on(&device),
            );
            let load_seconds = clock().saturating_sub(began).as_secs_f64();
            let corpus = &looked.corpus;
            let calibrated = calibrate(
                &teacher,
                load_seconds,
                corpus,
                &units,
                &pipeline.cache,
                budget,
                clock,
                stop,
            );
            match calibrated {
                Err(PrecomputeError::Model(ModelError::Stopped)) => None,
                calibrated => calibrated?,
            }
        }
        _ => None,
    };
    if stop.load(Ordering::Relaxed) {
        return Ok(PlanOutcome::Stopped);
    }
    let (calibration, captured) = calibrated.unzip();
    let scratch = match &captured {
        Some(captured) if !captured.samples.is_empty() => {
            let identity = preparation.identity_with(String::new());
            Some(Scratch::new(&settings.scratch, &identity, &looked.corpus, captured)?)
        }
        _ => None,
    };
    let predicting = Predicting {
        pipeline,
        flops: ForwardFlops::of(source.config()),
        looked: &looked,
        stored: stored_sizes(looked.cache.as_ref())?,
        scratch: scratch.as_ref(),
        calibration: calibration.as_ref(),
        scale: looked.basis.scale(),
    };
    let plan = predicting.plan(asked, &left)?;
    Ok(PlanOutcome::Done(Box::new(Plan { calibration, ..plan })))
}

/// What predictions are made from.
struct Predicting<'a> {
    pipeline: &'a Pipeline,
    flops: ForwardFlops,
    looked: &'a Looked,
    stored: StoredSizes,
    scratch: Option<&'a Scratch<'a>>,
    calibration: Option<&'a Calibration>,
    scale: f64,
}

impl Predicting<'_> {
    fn plan(&self, asked: Coverage, left: &[(Layer, Vec<WorkUnit>)]) -> Result<Plan, PrecomputeError> {
        let corpus = &self.looked.corpus;
        let (mut layers, mut left_of_layers) = (Vec::new(), Vec::new());
        for (layer, units) in left {
            let sizes = self.sizes(layer)?;
            let (mut total, mut seconds) = (Work::default(), Vec::new());
            for unit in units {
                let work = Work::of(layer, corpus, unit, &self.flops);
                if let (Some(calibration), Some(number)) = (self.calibration, corpus.unit_of(unit.samples.start as u32))
                {
                    seconds.push((number, calibration.seconds(work.layer_flops, work.positions())));
                }
                total.add(&work);
            }
            let costs = unit_costs(layer, corpus);
            left_of_layers.push(LeftOfLayer { costs, seconds });
            layers.push(LayerPlan {
                layer: layer.folder_name(),
                size: sizes.train,
                totals: self.totals(&total, self.unit_counts(units), sizes),
            });
        }
        let sum = |of: fn(&Totals) -> u64| layers.iter().map(|layer| of(&layer.totals)).sum();
        let lengths = corpus.samples().map(|sample| sample.bounds.tokens());
        let plan = Plan {
            asked,
            basis: self.looked.basis,
            report: scaled(&self.looked.report, self.scale),
            lengths: Lengths::of(lengths.collect(), self.scale),
            units: self.unit_counts(corpus.units()).iter().sum(),
            left: Totals {
                units: sum(|totals| totals.units),
                positions: sum(|totals| totals.positions),
                teacher_tokens: sum(|totals| totals.teacher_tokens),
                teacher_flops: layers.iter().map(|layer| layer.totals.teacher_flops).sum(),
                shard_bytes: sum(|totals| totals.shard_bytes),
                seconds: self
                    .calibration
                    .map(|_| layers.iter().filter_map(|layer| layer.totals.seconds).sum()),
            },
            layers,
            corpus_bytes: self.corpus_bytes(),
            proportions: self.proportions(asked)?,
            calibration: None,
            left_of_layers: Vec::new(),
        };
        Ok(Plan {
            left_of_layers: self.left_of_layers(left_of_layers, &plan.left),
            ..plan
        })
    }

    /// The time of each unit; of a drawn part of the data all are taken to be alike.
    fn left_of_layers(&self, counted: Vec<LeftOfLayer>, left: &Totals) -> Vec<LeftOfLayer> {
        match left.seconds {
            Some(total) if matches!(self.looked.basis, Basis::Sampled { .. }) => {
                let (units, each) = (left.units as usize, total / left.units.max(1) as f64);
                vec![LeftOfLayer {
                    costs: UnitCosts::equal(units),
                    seconds: (0..units).map(|unit| (unit, each)).collect(),
                }]
            }
            _ => counted,
        }
    }

    fn proportions(&self, asked: Coverage) -> Result<Vec<AtProportion>, PrecomputeError> {
        let tenths = (1..=9).map(|tenth| format!("0.{tenth}").parse().expect("a tenth is a proportion"));
        let proportions: BTreeSet<LeadSpanProportion> =
            tenths.chain([LeadSpanProportion::WHOLE, asked.proportion]).collect();
        let corpus = &self.looked.corpus;
        let mut rows = Vec::new();
        for proportion in proportions {
            let coverage = Coverage { proportion, ..asked };
            let layer = Layer::from(coverage);
            let mut total = Work::default();
            for unit in corpus.units() {
                total.add(&Work::of(&layer, corpus, unit, &self.flops));
            }
            let units = self.unit_counts(corpus.units());
            rows.push(AtProportion {
                proportion,
                tokens: work::kept_tokens(corpus, &coverage, self.scale),
                totals: self.totals(&total, units, self.sizes(&layer)?),
            });
        }
        Ok(rows)
    }

    fn totals(&self, work: &Work, units: [u64; 2], sizes: Sizes) -> Totals {
        let scaled = |count: u64| (count as f64 * self.scale).round() as u64;
        let layer_flops = work.layer_flops * self.scale;
        let [train, validation] = work.positions.map(scaled);
        let positions = train + validation;
        Totals {
            units: units[0] + units[1],
            positions,
            teacher_tokens: scaled(work.tokens),
            teacher_flops: layer_flops + self.flops.head(positions),
            shard_bytes: sizes.train.bytes(units[0], train) + sizes.validation.bytes(units[1], validation),
            seconds: self
                .calibration
                .map(|calibration| calibration.seconds(layer_flops, positions)),
        }
    }

    /// How many units of training and of validation samples there are, or will be where only some rows were drawn.
    fn unit_counts(&self, units: &[WorkUnit]) -> [u64; 2] {
        let samples_per_shard = f64::from(self.looked.corpus.samples_per_shard().get());
        [Split::Train, Split::Validation].map(|split| {
            let of_split = units.iter().filter(|unit| unit.split == split);
            if let Basis::Sampled { .. } = self.looked.basis {
                let samples: usize = of_split.map(|unit| unit.samples.len()).sum();
                (samples as f64 * self.scale / samples_per_shard).ceil() as u64
            } else {
                of_split.count() as u64
            }
        })
    }

    /// What is known of the bytes of a layer's shards: from its own shards, else from the calibration, else from other
    /// shards of the cache.
    fn sizes(&self, layer: &Layer) -> Result<Sizes, PrecomputeError> {
        if let Some((_, size)) = self.stored.layers.iter().find(|(stored, _)| stored == layer) {
            return Ok(Sizes::alike(*size));
        }
        if let Some(scratch) = self.scratch {
            let whole = Layer::from(Coverage {
                proportion: LeadSpanProportion::WHOLE,
                sections: layer.sections(),
            });
            let validation = scratch.size(&whole, None)?;
            let train = scratch.size(layer, Some(validation))?;
            return Ok(Sizes { train, validation });
        }
        let cache = &self.pipeline.cache;
        let published = || Size::published(cache.top_k, cache.precision);
        Ok(Sizes::alike(self.stored.all.unwrap_or_else(published)))
    }

    /// What storing the corpus will take, where it is not stored.
    fn corpus_bytes(&self) -> u64 {
        let stored = self
            .looked
            .cache
            .as_ref()
            .and_then(|cache| cache.corpus().ok().flatten());
        let stored = stored.map_or(0, |corpus| corpus.total_tokens());
        let tokens = (self.looked.corpus.total_tokens() - stored) as f64 * self.scale;
        let token_bytes = self
            .scratch
            .map_or(CORPUS_TOKEN_BYTES, |scratch| scratch.corpus_token_bytes);
        (tokens * token_bytes).round() as u64
    }
}

/// What the shards of a cache take.
struct StoredSizes {
    /// Those of each layer that has some.
    layers: Vec<(Layer, Size)>,
    /// Those of all layers.
    all: Option<Size>,
}

fn stored_sizes(cache: Option<&Cache>) -> Result<StoredSizes, PrecomputeError> {
    let dirs = match cache {
        Some(cache) if cache.corpus()?.is_some() => cache.layers()?,
        _ => Vec::new(),
    };
    let mut layers = Vec::new();
    for dir in &dirs {
        if let Some(size) = Size::of_shards([dir].into_iter())? {
            layers.push((dir.layer().clone(), size));
        }
    }
    let all = Size::of_shards(dirs.iter())?;
    Ok(StoredSizes { layers, all })
}

/// What shards of training samples take, and those of validation samples, which are whole.
#[derive(Clone, Copy)]
struct Sizes {
    train: Size,
    validation: Size,
}

impl Sizes {
    fn alike(size: Size) -> Self {
        Self {
            train: size,
            validation: size,
        }
    }
}

/// A report of rows each of which stands for `scale` rows.
fn scaled(report: &PrepareReport, scale: f64) -> PrepareReport {
    let scaled = |count: u64| (count as f64 * scale).round() as u64;
    PrepareReport {
        rows: scaled(report.rows),
        kept_train: scaled(report.kept_train),
        kept_validation: scaled(report.kept_validation),
        dropped: report
            .dropped
            .iter()
            .map(|(&reason, &count)| (reason, scaled(count)))
            .collect(),
        bad_rows: scaled(report.bad_rows),
        bad_row_examples: report.bad_row_examples.clone(),
        without_markers: scaled(report.without_markers),
        tokens: SectionTokens {
            prompt: scaled(report.tokens.prompt),
            chain_of_thought: scaled(report.tokens.chain_of_thought),
            answer: scaled(report.tokens.answer),
        },
    }
}
