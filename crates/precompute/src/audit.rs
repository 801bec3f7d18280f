//! The audit: runs the teacher again at random positions and compares its distributions with those of the cache.
//!
//! What agrees only up to rounding is right; what disagrees more was captured from other weights, or was changed since. Such
//! positions come in whole work units, so [`Audit::check`] bounds the mean divergence of every sample, not that of all: one
//! work unit in a thousand must not hide in the mean.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use leadspan_cache::{Cache, Missing, Reader, Span};
use leadspan_distribution::{Position, codec::Precision};
use leadspan_model::StoredDtype;
use serde::Serialize;

use crate::{Pipeline, PrecomputeError, prepare::Preparation, teacher::TeacherSource};

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

/// How well the cache agrees with the teacher. Log-probabilities are natural, divergences in nats.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Audit {
    /// The number of samples.
    pub samples: usize,
    /// The number of compared positions.
    pub positions: usize,
    /// The number of compared entries.
    pub entries: u64,
    /// Mean KL(teacher ‖ cache) over the stored tokens, with the tail as one outcome.
    pub mean_kl: f64,
    /// The 99th percentile of this divergence.
    pub p99_kl: f64,
    /// The share of positions at which both have the same most probable token.
    pub top_1_agreement: f64,
    /// Mean probability of the stored tokens according to the teacher.
    pub retained_mass: f64,
    /// 95th percentile of |stored − teacher's| log-probability over all entries.
    pub p95_logprob_error: f64,
    /// The largest of these errors.
    pub largest_logprob_error: f64,
    /// The largest |stored − teacher's| log-probability of a target.
    pub largest_target_error: f64,
    /// The sample that disagrees most, as measured by its bound; `None` if no position was compared.
    pub worst: Option<SampleAudit>,
    /// The kind of device that the audit ran on.
    pub device_class: String,
    /// The kinds of devices that captured the cache.
    pub captured_on: BTreeSet<String>,
}

/// How well the cache agrees with the teacher on one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleAudit {
    /// Its id.
    pub id: String,
    /// Its work unit.
    pub unit: String,
    /// The number of its compared positions.
    pub positions: usize,
    /// Mean KL(teacher ‖ cache) of these positions.
    pub mean_kl: f64,
    /// The mean that rounding explains: that of the stored form, and that of the device's arithmetic.
    pub bound: f64,
}

impl SampleAudit {
    /// The divergence in bounds.
    fn severity(&self) -> f64 {
        self.mean_kl / self.bound
    }
}

impl Audit {
    /// Refuses a cache that disagrees with its teacher by more than rounding explains. `cache` is its folder.
    ///
    /// # Errors
    ///
    /// [`PrecomputeError::Disagrees`] with the worst sample.
    pub fn check(&self, cache: &Path) -> Result<(), PrecomputeError> {
        match &self.worst {
            // A divergence that is not a number is no agreement.
            Some(worst) if worst.mean_kl.is_nan() || worst.mean_kl > worst.bound => Err(PrecomputeError::Disagrees {
                cache: cache.to_owned(),
                sample: worst.id.clone(),
                unit: worst.unit.clone(),
                divergence: worst.mean_kl,
                bound: worst.bound,
            }),
            _ => Ok(()),
        }
    }
}

/// The mean divergence of `positions` positions of a sample that rounding explains: some times what was measured of the stored
/// form and of each number format (`docs/benchmarks.md`), and more for a few positions, which no mean evens out.
///
/// In single precision another device adds in another order, which is nothing beside the stored form. In narrower formats each
/// activation is rounded, and two kinds of devices round most of them differently. The same kind of device rounds alike unless a
/// batch of another size makes it choose another kernel. Other weights differ by tenths of a nat and more.
fn bound(precision: Precision, dtype: StoredDtype, same_device: bool, positions: usize) -> f64 {
    let stored = match precision {
        Precision::Exact => 1e-6,
        Precision::Fine => 3e-4,
        Precision::Standard => 1e-3,
    };
    let arithmetic = match dtype {
        StoredDtype::F32 => 0.0,
        StoredDtype::F16 => 2e-3,
        StoredDtype::Native => 2e-2,
        StoredDtype::Bf16 => 5e-2,
    };
    let long = stored + if same_device { arithmetic / 5.0 } else { arithmetic };
    long * (1.0 + 4.0 / positions.max(1) as f64)
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
/// `progress` receives the numbers of compared and of all chosen positions.
///
/// # Errors
///
/// Fails if the cache has no shards, if it was made with another teacher, tokenizer or template than the pipeline names, and
/// if teacher or cache cannot be read.
pub fn audit(
    pipeline: &Pipeline,
    settings: &AuditSettings,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<AuditOutcome, PrecomputeError> {
    let cache = Cache::open(&pipeline.cache_dir())?;
    let source = TeacherSource::open(pipeline)?;
    let preparation = Preparation::new(pipeline, &source)?;
    preparation.require_identity(&cache)?;
    let reader = Reader::open_largest(&cache, Missing::Allowed)?;
    let chosen = choose(&reader, settings)?;
    let total: usize = chosen.iter().map(|(_, places)| places.len()).sum();
    let teacher = source.start(&source.device()?)?;
    source.require_unchanged()?;
    let device_class = teacher.device_class();
    let layers = cache.inspect()?.layers;
    let captured_on: BTreeSet<String> = layers.into_iter().flat_map(|layer| layer.device_classes).collect();
    let same_device = captured_on.iter().all(|class| *class == device_class) && !captured_on.is_empty();
    let (precision, dtype) = (pipeline.cache.precision, pipeline.teacher.dtype);
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
        teacher.visit(tokens, &at, &mut |number, logits| {
            let target = tokens[at[number] as usize + 1];
            found.add(logits, target, &distributions.get(places[number]));
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
            bound: bound(precision, dtype, same_device, places.len()),
        };
        // What is not a number counts as worst.
        let is_worse = |worst: &SampleAudit| sample.mean_kl.is_nan() || sample.severity() > worst.severity();
        if worst.as_ref().is_none_or(is_worse) {
            worst = Some(sample);
        }
        progress(found.divergences.len(), total);
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

#[derive(Default)]
struct Comparison {
    divergences: Vec<f64>,
    errors: Vec<f64>,
    agreed: usize,
    retained: f64,
    largest_target_error: f64,
}

impl Comparison {
    fn add(&mut self, logits: &[f32], target: u32, stored: &Position<'_>) {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut masses: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - max).exp()).collect();
        let sum: f64 = masses.iter().sum();
        // A stored token beyond the vocabulary makes the divergence no number, which is no agreement.
        let logprob = |token: u32| {
            let logit = logits.get(token as usize).copied();
            logit.map_or(f64::NEG_INFINITY, |logit| f64::from(logit - max) - sum.ln())
        };
        let (mut divergence, mut retained) = (0.0, 0.0);
        for (&token, &stored) in stored.token_ids.iter().zip(stored.logprobs) {
            let exact = logprob(token);
            divergence += exact.exp() * (exact - f64::from(stored));
            retained += exact.exp();
            self.errors.push((exact - f64::from(stored)).abs());
            if let Some(mass) = masses.get_mut(token as usize) {
                *mass = 0.0;
            }
        }
        // Summed over what is left, never as one less the rest.
        let tail = masses.iter().sum::<f64>() / sum;
        if tail > 0.0 {
            divergence += tail * (tail.ln() - f64::from(stored.tail_logprob));
        }
        self.divergences.push(divergence);
        self.retained += retained;
        let best = logits.iter().position(|&logit| logit == max);
        self.agreed += usize::from(stored.token_ids.first().map(|&token| token as usize) == best);
        let target_error = (logprob(target) - f64::from(stored.target_logprob)).abs();
        self.largest_target_error = self.largest_target_error.max(target_error);
    }

    fn figures(mut self, samples: usize) -> Audit {
        let positions = self.divergences.len();
        let share = |amount: f64| amount / positions.max(1) as f64;
        self.divergences.sort_by(f64::total_cmp);
        self.errors.sort_by(f64::total_cmp);
        Audit {
            samples,
            positions,
            entries: self.errors.len() as u64,
            mean_kl: share(self.divergences.iter().sum()),
            p99_kl: quantile(&self.divergences, 0.99),
            top_1_agreement: share(self.agreed as f64),
            retained_mass: share(self.retained),
            p95_logprob_error: quantile(&self.errors, 0.95),
            largest_logprob_error: self.errors.last().copied().unwrap_or(0.0),
            largest_target_error: self.largest_target_error,
            worst: None,
            device_class: String::new(),
            captured_on: BTreeSet::new(),
        }
    }
}

/// The value below which this share of `ascending` lies; 0 of none.
fn quantile(ascending: &[f64], share: f64) -> f64 {
    let place = (share * ascending.len() as f64) as usize;
    ascending
        .get(place.min(ascending.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_worked_out_by_hand() {
        // The teacher: ½, ¼, ⅛, ⅛. The cache: ¼ and ½ for the first two, the tail right.
        let logits = [4f32, 2.0, 1.0, 1.0].map(f32::ln);
        let stored = Position {
            token_ids: &[1, 0],
            logprobs: &[0.5f32.ln(), 0.25f32.ln()],
            tail_logprob: 0.25f32.ln(),
            target_logprob: 0.25f32.ln(),
            ..Position::default()
        };
        let mut found = Comparison::default();
        found.add(&logits, 2, &stored);
        let figures = found.figures(1);
        // ½·log 2 + ¼·log ½ = ¼·log 2.
        assert!((figures.mean_kl - 0.25 * 2f64.ln()).abs() < 1e-6, "{figures:?}");
        assert!((figures.p99_kl - figures.mean_kl).abs() < 1e-12);
        assert!((figures.retained_mass - 0.75).abs() < 1e-6);
        assert!((figures.largest_logprob_error - 2f64.ln()).abs() < 1e-6);
        assert!((figures.largest_target_error - 2f64.ln()).abs() < 1e-6);
        assert_eq!((figures.top_1_agreement, figures.entries), (0.0, 2));
    }

    #[test]
    fn rounding_explains_more_in_narrower_formats_and_on_another_device() {
        let of = |precision, dtype, same_device| bound(precision, dtype, same_device, 64);
        let is =
            |found: f64, expected: f64| assert!((found / expected / (1.0 + 4.0 / 64.0) - 1.0).abs() < 1e-12, "{found}");
        is(of(Precision::Exact, StoredDtype::F32, false), 1e-6);
        is(of(Precision::Standard, StoredDtype::F32, true), 1e-3);
        is(of(Precision::Fine, StoredDtype::Bf16, false), 0.0503);
        is(of(Precision::Standard, StoredDtype::Bf16, true), 0.011);
        // A single position may be off by more.
        assert!((bound(Precision::Standard, StoredDtype::F32, true, 1) - 5e-3).abs() < 1e-12);
    }

    #[test]
    fn a_sample_beyond_the_bound_fails_the_audit_however_small_the_mean() {
        let mut audit = Comparison::default().figures(0);
        audit.check(Path::new("cache")).unwrap();
        for (mean_kl, fails) in [(1e-3, false), (2e-3, true), (f64::NAN, true), (-1e-9, false)] {
            audit.worst = Some(SampleAudit {
                id: "row-7".to_owned(),
                unit: "train-000001".to_owned(),
                positions: 64,
                mean_kl,
                bound: 1e-3,
            });
            assert_eq!(audit.check(Path::new("cache")).is_err(), fails, "{mean_kl}");
        }
    }
}
