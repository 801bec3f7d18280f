//! The settings that say what is stored of a distribution.

use serde::{Deserialize, Serialize};

/// What is stored of each position, in addition to the tail mass and the target's log-probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntrySettings {
    /// The maximum number of entries per position, most probable first.
    pub top_k: u32,
    /// If set, entries stop as soon as they cover this much probability.
    pub top_p: Option<f32>,
    /// Draws from the tail, with replacement, each token in proportion to its probability.
    pub tail_samples: u32,
    /// The temperatures other than 1 for which a tail term is stored.
    pub temperatures: Vec<f32>,
}

/// Invalid entry settings.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidEntrySettings {
    /// `top_k` is 0 or above the maximum.
    #[error("`cache.top_k` is {given}, but it must be from 1 to {}", EntrySettings::MAX_TOP_K)]
    TopK {
        /// The value given.
        given: u32,
    },
    /// Not a probability.
    #[error("`cache.top_p` is {given}, but it must be above 0 and below 1")]
    TopP {
        /// The value given.
        given: f32,
    },
    /// More draws than the maximum.
    #[error(
        "`cache.tail_samples` is {given}, but it must be at most {}",
        EntrySettings::MAX_TAIL_SAMPLES
    )]
    TailSamples {
        /// The value given.
        given: u32,
    },
    /// A value that is not a temperature, is 1, or is repeated.
    #[error(
        "`cache.temperatures` has {given}, but each value must be a number above 0, must not be 1, and must not be repeated"
    )]
    Temperature {
        /// The first invalid value.
        given: f32,
    },
    /// More temperatures than the maximum.
    #[error(
        "`cache.temperatures` has {given} values, but it must have at most {}",
        EntrySettings::MAX_TEMPERATURES
    )]
    Temperatures {
        /// The number of values given.
        given: usize,
    },
}

impl EntrySettings {
    /// The maximum number of entries per position.
    pub const MAX_TOP_K: u32 = 1 << 20;
    /// The maximum number of draws from a tail.
    pub const MAX_TAIL_SAMPLES: u32 = 4096;
    /// The maximum number of temperatures.
    pub const MAX_TEMPERATURES: usize = 8;

    /// Settings with this many entries and nothing else.
    pub fn top_k(top_k: u32) -> Self {
        Self {
            top_k,
            top_p: None,
            tail_samples: 0,
            temperatures: Vec::new(),
        }
    }

    /// Whether only entries and tail mass are stored, so that the other logits are not needed individually.
    pub fn needs_entries_alone(&self) -> bool {
        self.tail_samples == 0 && self.temperatures.is_empty()
    }

    /// Validates the settings.
    ///
    /// # Errors
    ///
    /// The first invalid setting.
    pub fn check(&self) -> Result<(), InvalidEntrySettings> {
        if !(1..=Self::MAX_TOP_K).contains(&self.top_k) {
            return Err(InvalidEntrySettings::TopK { given: self.top_k });
        }
        if let Some(given) = self.top_p.filter(|p| !(*p > 0.0 && *p < 1.0)) {
            return Err(InvalidEntrySettings::TopP { given });
        }
        if self.tail_samples > Self::MAX_TAIL_SAMPLES {
            let given = self.tail_samples;
            return Err(InvalidEntrySettings::TailSamples { given });
        }
        if self.temperatures.len() > Self::MAX_TEMPERATURES {
            let given = self.temperatures.len();
            return Err(InvalidEntrySettings::Temperatures { given });
        }
        let wrong = |(index, &given): (usize, &f32)| {
            let usable = given.is_finite() && given > 0.0 && given != 1.0;
            (!usable || self.temperatures[..index].contains(&given)).then_some(given)
        };
        match self.temperatures.iter().enumerate().find_map(wrong) {
            Some(given) => Err(InvalidEntrySettings::Temperature { given }),
            None => Ok(()),
        }
    }

    /// The number of entries to store, given the probabilities in descending order: at least one.
    pub fn entries_of(&self, probabilities: impl ExactSizeIterator<Item = f64>) -> usize {
        let all = probabilities.len();
        let Some(top_p) = self.top_p else { return all };
        let mut covered = 0.0;
        let needed = probabilities.take_while(|probability| {
            let more = covered < f64::from(top_p);
            covered += probability;
            more
        });
        needed.count().min(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_where_the_asked_mass_is_covered() {
        let mut settings = EntrySettings::top_k(4);
        let masses = [0.5, 0.25, 0.125, 0.0625];
        let entries = |settings: &EntrySettings| settings.entries_of(masses.into_iter());
        assert_eq!(entries(&settings), 4);
        for (top_p, expected) in [(0.4, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.8, 3), (0.99, 4)] {
            settings.top_p = Some(top_p);
            assert_eq!(entries(&settings), expected, "{top_p}");
        }
    }

    #[test]
    fn settings_that_cannot_be_met_are_named() {
        let refused = |change: fn(&mut EntrySettings)| {
            let mut settings = EntrySettings::top_k(64);
            settings.check().unwrap();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        assert!(refused(|s| s.top_k = 0).contains("`cache.top_k` is 0"));
        assert!(refused(|s| s.top_k = u32::MAX).contains("from 1 to 1048576"));
        assert!(refused(|s| s.top_p = Some(1.0)).contains("`cache.top_p` is 1"));
        assert!(refused(|s| s.top_p = Some(f32::NAN)).contains("`cache.top_p` is NaN"));
        assert!(refused(|s| s.tail_samples = 5000).contains("at most 4096"));
        assert!(refused(|s| s.temperatures = vec![2.0, 1.0]).contains("has 1,"));
        assert!(refused(|s| s.temperatures = vec![2.0, 0.5, 2.0]).contains("has 2,"));
        assert!(refused(|s| s.temperatures = vec![-1.0]).contains("has -1,"));
        assert!(refused(|s| s.temperatures = (2..11).map(|t| t as f32).collect()).contains("9 values"));
    }
}
