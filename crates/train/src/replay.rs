//! Replay: complete samples that every step learns from by cross-entropy alone, beside those that it distils.
//!
//! They keep a student that sees only lead spans from forgetting how to finish. They come from a corpus of their own, with
//! epochs of its own, and all of their positions are supervised. Copies of held-out samples are left out, whether they were
//! prepared by this version or an earlier one: held-out losses are of samples that the student has not seen.

use std::collections::HashSet;

use leadspan_cache::{Cache, Coverage, PreparedCorpus, Reader, copies_of_held_out};
use leadspan_sequence::{LeadSpanProportion, SectionSet, Split};

use crate::{TrainError, order::epoch_order};

/// The samples to replay, and how many a step takes.
pub(crate) struct Replay {
    pub(crate) reader: Reader,
    /// The share that was asked for.
    pub(crate) share: f64,
    /// Samples of one step.
    pub(crate) step_samples: usize,
    /// How many samples are left out because they are copies of held-out ones.
    pub(crate) copies_left_out: usize,
    order: Order,
}

/// The order of the samples over all steps.
struct Order {
    samples: Vec<u32>,
    seed: u64,
}

/// Mixed into the seed, so that the order is independent of that of the distilled samples.
const PURPOSE: u64 = u64::from_le_bytes(*b"replayed");

/// How many of `batch_samples` samples are replayed at a share above 0: the nearest number, and at least one.
///
/// # Errors
///
/// [`TrainError::ReplayShare`] if that leaves nothing to distil, or `share` is not between 0 and 1.
pub(crate) fn step_samples(share: f64, batch_samples: usize) -> Result<usize, TrainError> {
    let samples = ((share * batch_samples as f64).round() as usize).max(1);
    if share > 0.0 && share < 1.0 && samples < batch_samples {
        return Ok(samples);
    }
    Err(TrainError::ReplayShare { share, batch_samples })
}

impl Replay {
    /// Opens the samples to replay that `cache` holds; `None` if `share` is 0. `corpus` is that of the cache, whose held-out
    /// samples are not replayed.
    ///
    /// # Errors
    ///
    /// [`TrainError::NoReplay`] if it holds none, [`TrainError::ReplayHeldOut`] if all are held out,
    /// [`TrainError::ReplayOfOtherText`] if their tokenizer or chat template is another, and as [`step_samples`].
    pub(crate) fn open(
        cache: &Cache,
        corpus: &PreparedCorpus,
        share: f64,
        batch_samples: usize,
        seed: u64,
    ) -> Result<Option<Self>, TrainError> {
        if share == 0.0 {
            return Ok(None);
        }
        let step_samples = step_samples(share, batch_samples)?;
        let none = || TrainError::NoReplay {
            share,
            cache: cache.dir().to_owned(),
        };
        let replayed = cache.replay()?.ok_or_else(none)?;
        let text = |cache: &Cache| {
            (
                cache.identity().tokenizer.clone(),
                cache.identity().chat_template.clone(),
            )
        };
        if text(&replayed) != text(cache) {
            let path = replayed.dir().to_owned();
            return Err(TrainError::ReplayOfOtherText { path });
        }
        let whole = Coverage {
            proportion: LeadSpanProportion::WHOLE,
            sections: SectionSet::ALL,
        };
        let reader = Reader::open_corpus(&replayed, whole)?;
        let copies: HashSet<u32> = copies_of_held_out(corpus, reader.corpus())?.into_iter().collect();
        let mut samples = Vec::new();
        for sample in reader.corpus().of_split(Split::Train) {
            if !copies.contains(&sample) && reader.position_count(sample)? > 0 {
                samples.push(sample);
            }
        }
        if samples.is_empty() && !copies.is_empty() {
            return Err(TrainError::ReplayHeldOut {
                path: replayed.dir().to_owned(),
                copies: copies.len(),
            });
        }
        if samples.is_empty() {
            return Err(none());
        }
        let seed = seed ^ PURPOSE;
        Ok(Some(Self {
            reader,
            share,
            step_samples,
            copies_left_out: copies.len(),
            order: Order { samples, seed },
        }))
    }

    /// How many samples there are.
    pub(crate) fn samples(&self) -> usize {
        self.order.samples.len()
    }

    /// The samples of every step after `done` steps, without end.
    pub(crate) fn batches(&self, done: usize) -> impl Iterator<Item = Vec<u32>> + '_ {
        let mut samples = self.order.from(done * self.step_samples);
        std::iter::from_fn(move || Some(samples.by_ref().take(self.step_samples).collect()))
    }
}

impl Order {
    /// One shuffled epoch after the other, without the first `done` samples.
    fn from(&self, done: usize) -> impl Iterator<Item = u32> + '_ {
        let begun = done / self.samples.len();
        let epochs = (begun..).flat_map(|epoch| epoch_order(&self.samples, self.seed, epoch));
        epochs.skip(done % self.samples.len())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use leadspan_cache::{CODEC_VERSION, Identity, REPLAY};
    use leadspan_sequence::{Sample, SectionBounds};
    use serde_json::Value;

    use super::*;

    /// A cache in `folder` of samples that each consist of one token five times.
    fn cache(folder: &std::path::Path, samples: &[(u32, Split)]) -> Cache {
        let identity = Identity {
            teacher: None,
            tokenizer: "tokenizer".into(),
            chat_template: "template".into(),
            sections: Value::Null,
            entries: leadspan_distribution::EntrySettings::top_k(1),
            precision: leadspan_distribution::codec::Precision::Exact,
            codec: CODEC_VERSION,
        };
        let sample = |(number, &(token, split)): (usize, &(u32, Split))| Sample {
            id: format!("{number} in {}", folder.display()),
            split,
            tokens: vec![token; 5],
            bounds: SectionBounds::new(1, 3, 5).unwrap(),
        };
        let samples: Vec<Sample> = samples.iter().enumerate().map(sample).collect();
        let hashes = vec![[0; 32]; samples.len()];
        let cache = Cache::create_or_open(folder, &identity, &[]).unwrap();
        cache
            .write_corpus(&samples, &hashes, NonZeroU32::MIN, Value::Null)
            .unwrap();
        cache
    }

    #[test]
    fn copies_of_held_out_samples_are_left_out_and_counted() {
        let open = |replayed: &[u32]| {
            let folder = tempfile::tempdir().unwrap();
            let held_out = [(1, Split::Train), (2, Split::Validation), (3, Split::Validation)];
            let cache_around = cache(folder.path(), &held_out);
            let replayed: Vec<(u32, Split)> = replayed.iter().map(|&token| (token, Split::Train)).collect();
            cache(&folder.path().join(REPLAY), &replayed);
            let corpus = cache_around.require_corpus().unwrap();
            Replay::open(&cache_around, &corpus, 0.5, 2, 0)
        };
        let replay = open(&[1, 2, 4, 3, 5]).unwrap().unwrap();
        assert_eq!(
            (replay.order.samples.as_slice(), replay.copies_left_out),
            (&[0, 2, 4][..], 2)
        );
        let replay = open(&[1, 4]).unwrap().unwrap();
        assert_eq!((replay.samples(), replay.copies_left_out), (2, 0));
        let none = open(&[2, 3]).err().unwrap();
        assert!(matches!(none, TrainError::ReplayHeldOut { copies: 2, .. }), "{none}");
    }

    #[test]
    fn every_epoch_is_a_permutation_of_its_own_and_the_rest_after_any_step_is_the_same() {
        let order = Order {
            samples: (0..7).map(|sample| sample * 3).collect(),
            seed: 4,
        };
        let whole: Vec<u32> = order.from(0).take(70).collect();
        for epoch in whole.chunks(7) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, order.samples);
        }
        assert_ne!(whole[..7], whole[7..14]);
        for done in 0..70 {
            assert_eq!(order.from(done).take(70 - done).collect::<Vec<_>>(), whole[done..]);
        }
    }

    #[test]
    fn a_share_is_the_nearest_number_of_samples_and_leaves_some_to_distil() {
        for (share, batch_samples, samples) in [(0.25, 8, 2), (0.01, 8, 1), (0.3, 8, 2), (0.32, 8, 3), (0.5, 2, 1)] {
            assert_eq!(
                step_samples(share, batch_samples).unwrap(),
                samples,
                "{share} of {batch_samples}"
            );
        }
        for (share, batch_samples) in [(1.0, 8), (-0.1, 8), (f64::NAN, 8), (0.95, 8), (0.1, 1)] {
            assert!(
                step_samples(share, batch_samples).is_err(),
                "{share} of {batch_samples}"
            );
        }
    }
}
