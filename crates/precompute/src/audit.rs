//! The audit: runs the teacher again at random positions and compares its distributions with those of the cache.
//!
//! What agrees only up to rounding is right; what disagrees more was captured from other weights, or was changed since. Such
//! positions come in whole work units, so [`Audit::check`] bounds the mean divergence of every sample, not that of all: one
//! work unit in a thousand must not hide in the mean.

mod comparison;
mod report;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use leadspan_cache::{Cache, Missing, Reader, Span};

pub use self::report::{Audit, SampleAudit};
use self::{
    comparison::Comparison,
    report::{Arithmetic, bound},
};
use crate::{
    Pipeline, PrecomputeError, ServerWait,
    prepare::Preparation,
    teacher::{Heard, TeacherSource},
};

/// What to audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// The number of positions, or all positions if the cache has fewer.
    pub positions: usize,
    /// The seed of the choice of positions.
    pub seed: u64,
}

/// The most positions of one sample. The teacher runs once for each sample, however many positions are audited.
const POSITIONS_A_SAMPLE: usize = 64;

/// What an audit is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditEvent {
    /// Some more positions were compared.
    Compared {
        /// The positions that were compared.
        done: usize,
        /// All that were chosen.
        total: usize,
    },
    /// The server that runs the teacher does not answer.
    WaitingForServer(ServerWait),
}

/// How an audit ended if it did not fail.
#[derive(Clone, Debug, PartialEq)]
pub enum AuditOutcome {
    /// It is complete.
    Done(Audit),
    /// It was told to stop.
    Stopped,
}

/// Compares the cache of `pipeline` with the teacher at random positions.
///
///
/// # Errors
///
/// Fails if the cache has no shards, if it was made with another teacher, tokenizer or template than the pipeline names, and
/// if teacher or cache cannot be read.
pub fn audit(
    pipeline: &Pipeline,
    settings: &AuditSettings,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(AuditEvent),
) -> Result<AuditOutcome, PrecomputeError> {
    let cache = Cache::open(&pipeline.cache_dir())?;
    let source = TeacherSource::open(pipeline)?;
    let waiting = &mut |wait| progress(AuditEvent::WaitingForServer(wait));
    source.reach_server(waiting)?;
    let preparation = Preparation::new(pipeline, &source)?;
    preparation.require_identity(&cache)?;
    let reader = Reader::open_largest(&cache, Missing::Allowed)?;
    let chosen = choose(&reader, settings)?;
    let total: usize = chosen.iter().map(|(_, places)| places.len()).sum();
    let teacher = source.start(stop, &mut |_| ())?;
    source.require_unchanged()?;
    let device_class = teacher.device_class();
    let layers = cache.inspect()?.layers;
    let captured_on: BTreeSet<String> = layers.into_iter().flat_map(|layer| layer.device_classes).collect();
    let same_device = captured_on.iter().all(|class| *class == device_class) && !captured_on.is_empty();
    let teacher_identity = cache.identity().teacher.as_ref();
    let arithmetic = match teacher_identity.and_then(|teacher| teacher.server.as_ref()) {
        Some(server) => Arithmetic::Served {
            spread: f64::from(server.answers.spread),
        },
        None => Arithmetic::Format {
            dtype: pipeline.teacher.dtype,
            same_device,
        },
    };
    let precision = pipeline.cache.precision;
    let mut found = Comparison::default();
    let mut worst: Option<SampleAudit> = None;
    for (sample_index, places) in &chosen {
        if stop.load(Ordering::Relaxed) {
            return Ok(AuditOutcome::Stopped);
        }
        // The corpus refuses tokens beyond the largest that it states.
        let (sample, largest) = (
            *sample_index as usize,
            reader.corpus().largest_token(*sample_index as usize),
        );
        preparation.check_tokens(reader.corpus().sample(sample).id, &[largest])?;
        let Span {
            positions,
            distributions,
            ..
        } = reader.span(*sample_index)?;
        let tokens = reader.corpus().tokens(*sample_index as usize)?;
        let at: Vec<u32> = places.iter().map(|&place| positions[place]).collect();
        let id = reader.corpus().sample(sample).id;
        let heard = &mut |heard| {
            if let Heard::Waiting(wait) = heard {
                progress(AuditEvent::WaitingForServer(wait));
            }
        };
        teacher.visit(id, tokens, &at, heard, &mut |number, said| {
            let target = tokens[at[number] as usize + 1];
            found.add(said, target, &distributions.get(places[number]));
        })?;
        let divergences = &found.divergences[found.divergences.len() - places.len()..];
        let mean_kl = divergences.iter().sum::<f64>() / places.len() as f64;
        let corpus = reader.corpus();
        let unit = corpus
            .unit_of(*sample_index)
            .map(|unit| corpus.units()[unit].to_string());
        let sample = SampleAudit {
            id: corpus.sample(*sample_index as usize).id.to_owned(),
            unit: unit.unwrap_or_default(),
            positions: places.len(),
            mean_kl,
            bound: bound(precision, arithmetic, places.len()),
        };
        // What is not a number counts as worst.
        let is_worse = |worst: &SampleAudit| sample.mean_kl.is_nan() || sample.severity() > worst.severity();
        if worst.as_ref().is_none_or(is_worse) {
            worst = Some(sample);
        }
        progress(AuditEvent::Compared {
            done: found.divergences.len(),
            total,
        });
    }
    Ok(AuditOutcome::Done(Audit {
        worst,
        device_class,
        captured_on,
        ..found.figures(chosen.len())
    }))
}

/// Samples in a random order, each with the chosen places among its positions, ascending.
fn choose(reader: &Reader, settings: &AuditSettings) -> Result<Vec<(u32, Vec<usize>)>, PrecomputeError> {
    let mut samples: Vec<u32> = (0..reader.corpus().len() as u32).collect();
    samples.sort_by_key(|&sample| number(settings.seed, sample, u32::MAX));
    let (mut chosen, mut positions) = (Vec::new(), 0);
    for sample in samples {
        if positions >= settings.positions {
            break;
        }
        let mut places: Vec<usize> = (0..reader.position_count(sample)?).collect();
        places.sort_by_key(|&place| number(settings.seed, sample, place as u32));
        places.truncate(POSITIONS_A_SAMPLE.min(settings.positions - positions));
        places.sort_unstable();
        positions += places.len();
        if !places.is_empty() {
            chosen.push((sample, places));
        }
    }
    Ok(chosen)
}

/// A number that looks random, the same whenever it is asked for.
fn number(seed: u64, sample: u32, place: u32) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&seed.to_le_bytes())
        .update(&sample.to_le_bytes())
        .update(&place.to_le_bytes());
    *hasher.finalize().as_bytes()
}
