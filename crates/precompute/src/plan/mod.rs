//! Predicts the cost of a capture before it runs: tokens, positions, bytes, operations, time.
//!
//! Counts are those of the prepared corpus, or of the corpus that preparing would make, without what is captured already.
//! Bytes are predicted from the cache's shards, or from shards of the samples that a [calibration](Calibration) captures with
//! the real teacher. Time is predicted from the calibration alone: the measured time of the layers for an operation and of
//! the head for a position, times what remains. A plan writes only into a scratch folder, which it removes.

mod calibration;
mod contents;
mod lengths;
mod predictor;
mod scratch;
mod size;
mod work;
mod workers;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use leadspan_cache::{Coverage, Layer, PreparedCorpus, WorkUnit};
use leadspan_corpus::PrepareProgress;
use leadspan_model::{ForwardFlops, ModelError};

pub use self::{
    calibration::Calibration,
    contents::{AtProportion, Basis, LayerPlan, Plan, StreamedPasses, Totals},
    lengths::{Bin, Lengths, Quantile},
    size::{Size, SizeSource},
    workers::{Division, Workers},
};
use self::{
    calibration::{Captured, calibrate},
    predictor::Predictor,
    scratch::Scratch,
    size::StoredSizes,
};
use crate::{Pipeline, PrecomputeError, ServerWait, prepare::Preparation, teacher::TeacherSource};

/// Returns the time since some fixed moment.
type Clock<'a> = &'a dyn Fn() -> Duration;

/// The operations of a teacher of unknown architecture, as far as one token's compare with another's.
const ALIKE: ForwardFlops = ForwardFlops {
    token: 1.0,
    pair: 0.0,
    windowed_pair: 0.0,
    window: 0.0,
    row: 0.0,
};

/// How a plan is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSettings {
    /// How many rows are drawn from data that was never prepared; all if there are no more.
    pub sample_rows: usize,
    /// How long the teacher runs once it is loaded; `None` if it does not run at all.
    pub calibration: Option<Duration>,
    /// A folder for temporary files: some hundred bytes for each position of the calibration.
    pub scratch: PathBuf,
}

/// What a plan is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanEvent {
    /// Some more rows were read.
    Preparing(PrepareProgress),
    /// The teacher is loaded, and then runs.
    Calibrating,
    /// The server that runs the teacher does not answer.
    WaitingForServer(ServerWait),
}

/// How planning ended if it did not fail.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanOutcome {
    /// The plan is made.
    Done(Box<Plan>),
    /// It was told to stop.
    Stopped,
}

/// Predicts the cost of [`run`](crate::run()), all workers together. Leaves nothing behind.
///
/// `stop` is checked between batches of the teacher. A server is asked for a calibration alone.
///
/// # Errors
///
/// Those of [`run`](crate::run()) that can be known beforehand, and a scratch folder that cannot be written to.
pub fn plan(
    pipeline: &Pipeline,
    settings: &PlanSettings,
    clock: Clock<'_>,
    stop: &AtomicBool,
    events: &dyn Fn(PlanEvent),
) -> Result<PlanOutcome, PrecomputeError> {
    let source = TeacherSource::open(pipeline)?;
    let waiting = &mut |wait| events(PlanEvent::WaitingForServer(wait));
    if settings.calibration.is_some() {
        source.reach_server(waiting)?;
    }
    let preparation = Preparation::new(pipeline, &source)?;
    let preview = preparation.preview(settings.sample_rows, &|progress| events(PlanEvent::Preparing(progress)))?;
    let asked = Coverage {
        proportion: pipeline.cache.lead_span_proportion,
        sections: pipeline.cache.supervised_sections,
    };
    let left = match &preview.cache {
        Some(cache) => cache.uncaptured(&asked, &preview.corpus)?,
        None => vec![(Layer::from(asked), preview.corpus.units().to_vec())],
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
            run_teacher(pipeline, &source, &preview.corpus, &units, budget, clock, stop, events)?
        }
        _ => None,
    };
    if stop.load(Ordering::Relaxed) {
        return Ok(PlanOutcome::Stopped);
    }
    let (calibration, captured) = calibrated.unzip();
    let scratch = match &captured {
        Some(captured) if !captured.samples.is_empty() => {
            let identity = preparation.identity_with(None)?;
            Some(Scratch::new(&settings.scratch, &identity, &preview.corpus, captured)?)
        }
        _ => None,
    };
    let predictor = Predictor {
        pipeline,
        flops: source.flops().unwrap_or(ALIKE),
        counts_flops: source.flops().is_some(),
        preview: &preview,
        stored: StoredSizes::of(preview.cache.as_ref())?,
        scratch: scratch.as_ref(),
        calibration: calibration.as_ref(),
        streaming: source.streaming()?,
        resident_bytes: source.resident_bytes(),
    };
    let plan = predictor.plan(asked, &left)?;
    Ok(PlanOutcome::Done(Box::new(Plan { calibration, ..plan })))
}

/// Loads the teacher and calibrates with it; `None` if it was told to stop.
#[expect(clippy::too_many_arguments, reason = "each is one thing, used once")]
fn run_teacher(
    pipeline: &Pipeline,
    source: &TeacherSource<'_>,
    corpus: &PreparedCorpus,
    units: &[WorkUnit],
    budget: Duration,
    clock: Clock<'_>,
    stop: &AtomicBool,
    events: &dyn Fn(PlanEvent),
) -> Result<Option<(Calibration, Captured)>, PrecomputeError> {
    let began = clock();
    let teacher = source.start(stop, &mut |_| ())?;
    let load_seconds = clock().saturating_sub(began).as_secs_f64();
    let calibrated = calibrate(
        &*teacher,
        &source.flops().unwrap_or(ALIKE),
        load_seconds,
        corpus,
        units,
        &pipeline.cache,
        budget,
        clock,
        stop,
        &|wait| events(PlanEvent::WaitingForServer(wait)),
    );
    match calibrated {
        Err(PrecomputeError::Model(ModelError::Stopped)) => Ok(None),
        calibrated => calibrated,
    }
}
