//! Which samples are held out, and the order of all samples: decided by seed and id, never by place.
//!
//! Samples with the same tokens are copies of each other. They are held out together or not at all, by the smallest of their
//! ids, so that no copy of a held-out sample is learnt from.
//!
//! A sample's key for a purpose is BLAKE3 of the seed (8 bytes, little-endian), the purpose, a zero byte and the
//! sample's id. Under purpose `validation`, a share s holds out the samples whose key, its first 8 bytes read as a
//! big-endian integer, is below s · 2⁶⁴; a count holds out those with the smallest keys, except copies that would exceed the
//! count. Under purpose `training`, a limited number of training samples are those with the smallest keys. Under purpose
//! `order`, training samples and then held-out samples stand by ascending key.
//!
//! So neither depends on the order of files or rows. Samples of rows that are appended later come after all others, by
//! ascending `order` key among themselves.

use std::collections::HashSet;

use leadspan_sequence::{SectionBounds, Split};
use rayon::prelude::*;

use crate::{
    CorpusError, ValidationSize,
    copies::{Content, deciding},
};

type Key = [u8; 32];

fn key(seed: u64, purpose: &str, id: &str) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&seed.to_le_bytes())
        .update(purpose.as_bytes())
        .update(&[0])
        .update(id.as_bytes());
    *hasher.finalize().as_bytes()
}

/// A place in the order of the corpus, and the sample that stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The sample, counted from 0 in the order of the rows.
    pub sample: usize,
    /// Its split.
    pub split: Split,
}

/// The ids, bounds and contents of all samples, in the order of the rows.
#[derive(Debug, Default)]
pub(crate) struct Arranging {
    ids: Vec<Box<str>>,
    bounds: Vec<SectionBounds>,
    contents: Vec<Content>,
}

impl Arranging {
    pub(crate) fn add(&mut self, id: &str, bounds: SectionBounds, content: Content) {
        self.ids.push(id.into());
        self.bounds.push(bounds);
        self.contents.push(content);
    }

    pub(crate) fn content(&self, sample: usize) -> Content {
        self.contents[sample]
    }

    /// The number of samples that are copies of earlier ones.
    pub(crate) fn duplicates(&self) -> u64 {
        let distinct: HashSet<Content> = self.contents.iter().copied().collect();
        (self.contents.len() - distinct.len()) as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn bounds(&self, sample: usize) -> SectionBounds {
        self.bounds[sample]
    }

    /// One place for each sample, with all of them in training, in the order of the rows.
    pub(crate) fn all_for_training(&self) -> Vec<Place> {
        let place = |sample| Place {
            sample,
            split: Split::Train,
        };
        (0..self.ids.len()).map(place).collect()
    }

    /// One place for each sample, in the order of the rows, with the held-out ones marked.
    ///
    /// # Errors
    ///
    /// A count that leaves nothing to learn from, or that is smaller than the number of copies of every sample.
    pub(crate) fn split(&self, size: ValidationSize, seed: u64) -> Result<Vec<Place>, CorpusError> {
        let mut places = self.all_for_training();
        match size {
            ValidationSize::Count(0) => {}
            ValidationSize::Count(asked) if asked >= places.len() => {
                return Err(CorpusError::ValidationTooLarge {
                    asked,
                    samples: places.len(),
                });
            }
            ValidationSize::Count(count) => self.hold_out(count, &mut places, seed)?,
            ValidationSize::Share(share) => {
                // Exact: scaling by a power of two only moves the exponent.
                let threshold = (share * 2f64.powi(64)) as u128;
                let leading = |key: Key| u64::from_be_bytes(key[..8].try_into().expect("a key has 32 bytes"));
                for (place, sample) in places.iter_mut().zip(deciding(&self.ids, &self.contents)) {
                    if u128::from(leading(key(seed, "validation", &self.ids[sample]))) < threshold {
                        place.split = Split::Validation;
                    }
                }
            }
        }
        Ok(places)
    }

    /// Marks `count` samples as held out, or fewer if the copies of no other sample fit.
    fn hold_out(&self, count: usize, places: &mut [Place], seed: u64) -> Result<(), CorpusError> {
        let deciding = deciding(&self.ids, &self.contents);
        let mut copies = vec![0; places.len()];
        for &sample in &deciding {
            copies[sample] += 1;
        }
        let groups: Vec<Place> = places
            .iter()
            .copied()
            .filter(|place| copies[place.sample] > 0)
            .collect();
        let (mut left, mut is_held_out) = (count, vec![false; places.len()]);
        for (_, sample) in self.by_key(&groups, "validation", seed) {
            if copies[sample] <= left {
                left -= copies[sample];
                is_held_out[sample] = true;
            }
        }
        if left == count {
            return Err(CorpusError::CopiesDoNotFit { asked: count });
        }
        for place in places {
            if is_held_out[deciding[place.sample]] {
                place.split = Split::Validation;
            }
        }
        Ok(())
    }

    /// Takes all but `most` of the training samples out of `places` and returns them. Held-out samples stay.
    pub(crate) fn draw_training(&self, places: &mut Vec<Place>, most: usize, seed: u64) -> Vec<usize> {
        let training: Vec<Place> = places
            .iter()
            .copied()
            .filter(|place| place.split == Split::Train)
            .collect();
        let keyed = self.by_key(&training, "training", seed);
        let left_out: Vec<usize> = keyed.into_iter().skip(most).map(|(_, sample)| sample).collect();
        let mut is_left_out = vec![false; self.ids.len()];
        for &sample in &left_out {
            is_left_out[sample] = true;
        }
        places.retain(|place| !is_left_out[place.sample]);
        left_out
    }

    /// Puts places in their final order: training samples before held-out ones.
    pub(crate) fn order(&self, places: Vec<Place>, seed: u64) -> Vec<Place> {
        let (held_out, training): (Vec<Place>, Vec<Place>) =
            places.into_iter().partition(|place| place.split == Split::Validation);
        [training, held_out]
            .iter()
            .flat_map(|places| {
                let keyed = self.by_key(places, "order", seed);
                let split = places.first().map_or(Split::Train, |place| place.split);
                keyed.into_iter().map(move |(_, sample)| Place { sample, split })
            })
            .collect()
    }

    /// The samples of `places` by ascending key. Ids differ, and so do keys.
    fn by_key(&self, places: &[Place], purpose: &str, seed: u64) -> Vec<(Key, usize)> {
        let mut keyed: Vec<(Key, usize)> = places
            .par_iter()
            .map(|place| (key(seed, purpose, &self.ids[place.sample]), place.sample))
            .collect();
        keyed.par_sort_unstable();
        keyed
    }
}

#[cfg(test)]
mod tests {
    use leadspan_sequence::Sample;
    use proptest::prelude::*;

    use super::*;
    use crate::copies::content;

    fn arranging(samples: &[Sample]) -> Arranging {
        let mut arranging = Arranging::default();
        for sample in samples {
            arranging.add(&sample.id, sample.bounds, content(&sample.tokens));
        }
        arranging
    }

    fn placed(samples: &[Sample], places: &[Place]) -> Vec<Sample> {
        let placed = |place: &Place| Sample {
            split: place.split,
            ..samples[place.sample].clone()
        };
        places.iter().map(placed).collect()
    }

    fn split_and_order(samples: &[Sample], size: ValidationSize, seed: u64) -> Result<Vec<Sample>, CorpusError> {
        let arranging = arranging(samples);
        let places = arranging.split(size, seed)?;
        Ok(placed(samples, &arranging.order(places, seed)))
    }

    fn samples(numbers: impl IntoIterator<Item = usize>) -> Vec<Sample> {
        let sample = |number| Sample {
            id: format!("row {number}"),
            split: Split::Train,
            tokens: vec![number as u32, 2],
            bounds: SectionBounds::new(0, 1, 2).unwrap(),
        };
        numbers.into_iter().map(sample).collect()
    }

    fn ids(samples: &[Sample], split: Split) -> Vec<&str> {
        samples
            .iter()
            .filter(|sample| sample.split == split)
            .map(|sample| sample.id.as_str())
            .collect()
    }

    #[test]
    fn the_keys_of_this_version_are_the_keys_of_every_version() {
        // Computed with Python's blake3 package. Changing the key would silently reshuffle every corpus.
        let ordered = split_and_order(&samples(0..6), ValidationSize::Count(2), 7).unwrap();
        assert_eq!(ids(&ordered, Split::Train), ["row 1", "row 3", "row 4", "row 0"]);
        assert_eq!(ids(&ordered, Split::Validation), ["row 5", "row 2"]);
    }

    #[test]
    fn training_samples_stand_before_held_out_ones() {
        let ordered = split_and_order(&samples(0..100), ValidationSize::Count(30), 0).unwrap();
        assert!(ordered.is_sorted_by_key(|sample| sample.split));
        assert_eq!(ids(&ordered, Split::Validation).len(), 30);
    }

    #[test]
    fn a_share_holds_out_about_that_share() {
        // Binomial, n = 4000, p = 0.25: standard deviation 27; a deviation of six of them does not happen by chance.
        let ordered = split_and_order(&samples(0..4000), ValidationSize::Share(0.25), 3).unwrap();
        let held_out = ids(&ordered, Split::Validation).len();
        assert!((1000 - 164..1000 + 164).contains(&held_out), "{held_out}");
        let none = split_and_order(&samples(0..100), ValidationSize::Share(0.0), 3).unwrap();
        assert!(ids(&none, Split::Validation).is_empty());
    }

    #[test]
    fn a_count_that_leaves_nothing_to_learn_from_is_refused() {
        for asked in [5, 6] {
            let error = split_and_order(&samples(0..5), ValidationSize::Count(asked), 0).unwrap_err();
            assert!(
                matches!(error, CorpusError::ValidationTooLarge { samples: 5, .. }),
                "{error}"
            );
        }
        assert!(split_and_order(&samples(0..5), ValidationSize::Count(4), 0).is_ok());
    }

    #[test]
    fn a_limited_number_of_training_samples_is_drawn_by_seed_and_id() {
        let drawn_of = |all: Vec<Sample>, most, seed| {
            let arranging = arranging(&all);
            let before = arranging.split(ValidationSize::Count(10), seed).unwrap();
            let mut places = before.clone();
            let left_out = arranging.draw_training(&mut places, most, seed);
            assert_eq!(places.len() + left_out.len(), before.len());
            assert!(left_out.iter().all(|&sample| before[sample].split == Split::Train));
            placed(&all, &arranging.order(places, seed))
        };
        let ordered = drawn_of(samples(0..50), 25, 1);
        assert_eq!(ids(&ordered, Split::Train).len(), 25);
        // What is held out does not depend on the limit, and fewer are some of more.
        let unlimited = drawn_of(samples(0..50), 40, 1);
        assert_eq!(ids(&ordered, Split::Validation), ids(&unlimited, Split::Validation));
        assert_eq!(unlimited.len(), 50);
        let fewer = drawn_of(samples(0..50), 24, 1);
        assert!(fewer.iter().all(|sample| ordered.contains(sample)));
        assert_eq!(drawn_of(samples((0..50).rev()), 25, 1), ordered);
        assert_ne!(drawn_of(samples(0..50), 25, 2), ordered);
        assert_eq!(drawn_of(samples(0..50), 0, 1).len(), 10);
    }

    /// So many samples, each as often as `copies` says, with ids that do not tell them apart.
    fn with_copies(count: usize, copies: impl Fn(usize) -> usize) -> Vec<Sample> {
        let all = samples(0..count).into_iter().enumerate();
        all.flat_map(|(number, sample)| {
            (0..copies(number)).map(move |copy| Sample {
                id: format!("row {}", number + copy * 7919),
                ..sample.clone()
            })
        })
        .collect()
    }

    fn tokens_of(samples: &[Sample], split: Split) -> Vec<&[u32]> {
        let of_split = samples.iter().filter(|sample| sample.split == split);
        of_split.map(|sample| &sample.tokens[..]).collect()
    }

    #[test]
    fn copies_are_held_out_together_or_not_at_all() {
        let all = with_copies(60, |number| 1 + number % 4);
        for size in [
            ValidationSize::Count(20),
            ValidationSize::Count(7),
            ValidationSize::Share(0.3),
        ] {
            for seed in 0..20 {
                let ordered = split_and_order(&all, size, seed).unwrap();
                let held_out = tokens_of(&ordered, Split::Validation);
                assert!(!held_out.is_empty(), "{size:?}");
                if let ValidationSize::Count(count) = size {
                    assert_eq!(held_out.len(), count, "{seed}");
                }
                let learnt = tokens_of(&ordered, Split::Train);
                assert!(!held_out.iter().any(|tokens| learnt.contains(tokens)), "{size:?}");
                let mut reversed = all.clone();
                reversed.reverse();
                assert_eq!(split_and_order(&reversed, size, seed).unwrap(), ordered);
            }
        }
    }

    #[test]
    fn a_sample_of_which_there_are_no_copies_is_held_out_as_if_there_were_none_of_others() {
        let (single, copied) = (samples(0..60), with_copies(60, |number| if number < 5 { 2 } else { 1 }));
        let of = |samples: &[Sample]| split_and_order(samples, ValidationSize::Share(0.5), 3).unwrap();
        let (single, copied) = (of(&single), of(&copied));
        let alone = |sample: &&Sample| sample.tokens[0] >= 5;
        let places = |samples: &[Sample]| {
            let mut splits: Vec<_> = samples
                .iter()
                .filter(alone)
                .map(|one| (one.id.clone(), one.split))
                .collect();
            splits.sort();
            splits
        };
        assert_eq!(places(&copied), places(&single));
    }

    #[test]
    fn a_count_below_the_copies_of_every_sample_is_refused() {
        let error = split_and_order(&with_copies(5, |_| 3), ValidationSize::Count(2), 0).unwrap_err();
        assert!(matches!(error, CorpusError::CopiesDoNotFit { asked: 2 }), "{error}");
    }

    #[test]
    fn another_seed_gives_another_order_and_another_split() {
        let of = |seed| split_and_order(&samples(0..50), ValidationSize::Count(10), seed).unwrap();
        let (one, two) = (of(1), of(2));
        assert_ne!(ids(&one, Split::Train), ids(&two, Split::Train));
        let sorted = |samples: &[Sample]| {
            let mut ids: Vec<String> = ids(samples, Split::Validation).into_iter().map(str::to_owned).collect();
            ids.sort();
            ids
        };
        assert_ne!(sorted(&one), sorted(&two));
    }

    proptest! {
        #[test]
        fn the_result_is_a_permutation_that_forgets_the_rows_order(
            shuffled in Just((0..40usize).collect::<Vec<_>>()).prop_shuffle(), seed: u64, count in 0usize..40, share in 0.0..1.0f64,
        ) {
            for size in [ValidationSize::Count(count), ValidationSize::Share(share)] {
                let ordered = split_and_order(&samples(shuffled.clone()), size, seed).unwrap();
                prop_assert_eq!(&ordered, &split_and_order(&samples(0..40), size, seed).unwrap());
                let mut all: Vec<&str> = ordered.iter().map(|sample| sample.id.as_str()).collect();
                all.sort_unstable();
                all.dedup();
                prop_assert_eq!(all.len(), 40);
            }
        }

        #[test]
        fn added_rows_move_no_sample_across_a_share(seed: u64, share in 0.0..1.0f64) {
            let few = split_and_order(&samples(0..30), ValidationSize::Share(share), seed).unwrap();
            let many = split_and_order(&samples(0..60), ValidationSize::Share(share), seed).unwrap();
            let still: Vec<&Sample> = many.iter().filter(|sample| few.iter().any(|old| old.id == sample.id)).collect();
            prop_assert_eq!(still, few.iter().collect::<Vec<_>>());
        }
    }
}
