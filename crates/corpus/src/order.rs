//! Which samples are held out, and the order of all samples: decided by seed and id, never by place.
//!
//! A sample's key for a purpose is BLAKE3 of the seed (8 bytes, little-endian), the purpose, a zero byte and the
//! sample's id. Under purpose `validation`, a share s holds out the samples whose key, its first 8 bytes read as a
//! big-endian integer, is below s · 2⁶⁴; a count holds out those with the smallest keys. Under purpose `training`,
//! a limited number of training samples are those with the smallest keys. Under purpose `order`, training samples and
//! then held-out samples stand by ascending key.
//!
//! So neither depends on the order of files or rows. Samples of rows that are appended later come after all others, by
//! ascending `order` key among themselves.

use leadspan_sequence::{SectionBounds, Split};
use rayon::prelude::*;

use crate::{CorpusError, ValidationSize};

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

/// The ids and bounds of all samples, in the order of the rows.
#[derive(Debug, Default)]
pub(crate) struct Arranging {
    ids: Vec<Box<str>>,
    bounds: Vec<SectionBounds>,
}

impl Arranging {
    pub(crate) fn add(&mut self, id: &str, bounds: SectionBounds) {
        self.ids.push(id.into());
        self.bounds.push(bounds);
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
    /// A count that leaves nothing to learn from.
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
            ValidationSize::Count(count) => {
                for (_, sample) in self.by_key(&places, "validation", seed).into_iter().take(count) {
                    places[sample].split = Split::Validation;
                }
            }
            ValidationSize::Share(share) => {
                // Exact: scaling by a power of two only moves the exponent.
                let threshold = (share * 2f64.powi(64)) as u128;
                let leading = |key: Key| u64::from_be_bytes(key[..8].try_into().expect("a key has 32 bytes"));
                for place in &mut places {
                    if u128::from(leading(key(seed, "validation", &self.ids[place.sample]))) < threshold {
                        place.split = Split::Validation;
                    }
                }
            }
        }
        Ok(places)
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

    fn arranging(samples: &[Sample]) -> Arranging {
        let mut arranging = Arranging::default();
        for sample in samples {
            arranging.add(&sample.id, sample.bounds);
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
            tokens: vec![1, 2],
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
