//! What is learnt from the teacher: a loss, a tail policy and a temperature for which the cache has what they need.

use leadspan_distribution::{EntrySettings, Position};

use super::{LossSums, losses::Divergence};
use crate::{TailPolicy, TrainError, TrainSettings};

/// A divergence, a tail policy and a temperature that go together.
///
/// The default is forward KL with a bucket at temperature 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distillation {
    target: Target,
    temperature: f64,
}

/// The teacher's outcomes, and where a choice is left, the divergence from them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// Entries and one outcome for all the rest.
    Bucket { divergence: Divergence, tail: TailTerm },
    /// Entries, scaled to sum to one; the student is over its whole vocabulary. Always forward KL.
    RenormalizeTeacher,
    /// Entries, scaled to sum to one on both sides.
    RenormalizeBoth { divergence: Divergence },
    /// Entries and drawn tokens; the student is over its whole vocabulary. Always forward KL at temperature 1, of which
    /// the part that depends on the student is known.
    Sampled,
}

/// Where a bucket's share at the temperature is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TailTerm {
    /// The tail mass, at temperature 1.
    Mass,
    /// The term of the declared temperature of this index.
    Declared(usize),
}

impl TailTerm {
    pub(super) fn of(self, position: &Position<'_>) -> f64 {
        f64::from(match self {
            Self::Mass => position.tail_logprob,
            Self::Declared(index) => position.temperature_tails[index],
        })
    }
}

impl Default for Distillation {
    fn default() -> Self {
        Self {
            target: Target::Bucket {
                divergence: Divergence::FORWARD_KL,
                tail: TailTerm::Mass,
            },
            temperature: 1.0,
        }
    }
}

impl Distillation {
    /// What `settings` ask for, from a cache that stores `entries`.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] for a number out of range, [`TrainError::LossOfPolicy`] for a loss that the tail policy
    /// has no meaning for, [`TrainError::UndeclaredTemperature`], [`TrainError::NoTailSamples`] and
    /// [`TrainError::SampledTemperature`] for what the cache does not hold.
    pub fn new(settings: &TrainSettings, entries: &EntrySettings) -> Result<Self, TrainError> {
        settings.check()?;
        let divergence = settings.loss.divergence(settings.loss_parameters());
        let forward_kl_because = |because| {
            if divergence == Divergence::FORWARD_KL {
                Ok(())
            } else {
                Err(TrainError::LossOfPolicy {
                    loss: settings.loss,
                    policy: settings.tail_policy,
                    because,
                })
            }
        };
        let mut temperature = settings.temperature;
        let target = match settings.tail_policy {
            TailPolicy::Bucket if temperature == 1.0 => Target::Bucket {
                divergence,
                tail: TailTerm::Mass,
            },
            TailPolicy::Bucket => {
                let declared = &entries.temperatures;
                let index = declared.iter().position(|&declared| declared == temperature as f32);
                let index = index.ok_or_else(|| TrainError::UndeclaredTemperature {
                    temperature,
                    declared: declared.clone(),
                })?;
                // The stored terms are those of the number that was stored.
                temperature = f64::from(declared[index]);
                let tail = TailTerm::Declared(index);
                Target::Bucket { divergence, tail }
            }
            TailPolicy::RenormalizeTeacher => {
                forward_kl_because(
                    "its teacher gives nothing to tokens for which the student must keep some probability",
                )?;
                Target::RenormalizeTeacher
            }
            TailPolicy::RenormalizeBoth => Target::RenormalizeBoth { divergence },
            TailPolicy::Sampled => {
                forward_kl_because("a drawn target is right on average only for what is linear in the teacher")?;
                if entries.tail_samples == 0 {
                    return Err(TrainError::NoTailSamples);
                }
                if temperature != 1.0 {
                    return Err(TrainError::SampledTemperature { temperature });
                }
                Target::Sampled
            }
        };
        Ok(Self { target, temperature })
    }

    pub(super) fn target(&self) -> Target {
        self.target
    }

    /// τ.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    pub(super) fn divergence(&self) -> Divergence {
        match self.target {
            Target::Bucket { divergence, .. } | Target::RenormalizeBoth { divergence } => divergence,
            Target::RenormalizeTeacher => Divergence::FORWARD_KL,
            Target::Sampled => Divergence::SOFT_CROSS_ENTROPY,
        }
    }

    /// Whether the student, too, is conditioned on the entries.
    pub(super) fn is_on_entries_alone(&self) -> bool {
        matches!(self.target, Target::RenormalizeBoth { .. })
    }

    /// Whether it is what [`LossSums::forward_kl`] measures anyway.
    pub fn is_measured(&self) -> bool {
        *self == Self::default()
    }

    /// Its name in logs: the divergence, the tail policy unless it is `bucket`, the temperature unless it is 1.
    ///
    /// With drawn tokens it is `sampled_soft_cross_entropy`. The divergence itself lacks the entropy of the tail, and
    /// subtracting that of what was drawn would give a number that grows with the draws at the same student.
    pub fn name(&self) -> String {
        let divergence = self.divergence().name();
        let policy = match self.target {
            Target::RenormalizeTeacher => "_renormalize_teacher",
            Target::RenormalizeBoth { .. } => "_renormalize_both",
            Target::Bucket { .. } => "",
            Target::Sampled => return format!("sampled_{divergence}"),
        };
        let temperature = if self.temperature == 1.0 {
            String::new()
        } else {
            format!("_at_{}", self.temperature as f32)
        };
        format!("{divergence}{policy}{temperature}")
    }

    /// (1 − α)·CE + α·τ²·D. A part that does not count may be anything, infinite too.
    pub fn loss(&self, distillation_weight: f64, sums: &LossSums) -> f64 {
        let part = |weight: f64, loss: f64| if weight == 0.0 { 0.0 } else { weight * loss };
        let squared = self.temperature * self.temperature;
        part(1.0 - distillation_weight, sums.cross_entropy) + part(distillation_weight * squared, sums.distillation)
    }
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;
    use crate::Loss;

    fn settings(loss: Loss, tail_policy: TailPolicy, temperature: f64) -> TrainSettings {
        TrainSettings {
            loss,
            tail_policy,
            temperature,
            ..TrainSettings::default()
        }
    }

    fn declaring(temperatures: &[f32], tail_samples: u32) -> EntrySettings {
        EntrySettings {
            tail_samples,
            temperatures: temperatures.to_vec(),
            ..EntrySettings::top_k(4)
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused_with_the_reason_and_a_way_out() {
        let refused = |loss, policy, temperature, entries: &EntrySettings| {
            let error = Distillation::new(&settings(loss, policy, temperature), entries).unwrap_err();
            (error.to_string(), error.hint().unwrap())
        };
        let plain = declaring(&[], 0);
        let (message, hint) = refused(Loss::ReverseKl, TailPolicy::RenormalizeTeacher, 1.0, &plain);
        assert_eq!(
            message,
            "`train.tail_policy` is `renormalize_teacher`, which does not go with `train.loss = \"reverse_kl\"`: its \
             teacher gives nothing to tokens for which the student must keep some probability"
        );
        assert!(hint.contains("`bucket` or `renormalize_both`"), "{hint}");
        let (message, _) = refused(Loss::TotalVariation, TailPolicy::Sampled, 1.0, &declaring(&[], 8));
        assert!(message.contains("linear in the teacher"), "{message}");
        let (message, hint) = refused(Loss::ForwardKl, TailPolicy::Sampled, 1.0, &plain);
        assert!(message.contains("holds no draws"), "{message}");
        assert!(hint.contains("cache.tail_samples"), "{hint}");
        let (message, _) = refused(Loss::ForwardKl, TailPolicy::Sampled, 2.0, &declaring(&[2.0], 8));
        assert!(message.contains("drawn from at temperature 1"), "{message}");
        let (message, hint) = refused(Loss::ForwardKl, TailPolicy::Bucket, 2.0, &plain);
        assert_eq!(
            message,
            "`train.temperature` is `2`, but the cache holds the tail at temperature 1 only"
        );
        assert!(hint.contains("`cache.temperatures = [2.0]`"), "{hint}");
        let (message, _) = refused(Loss::ForwardKl, TailPolicy::Bucket, 2.0, &declaring(&[0.5, 4.0], 0));
        assert!(message.ends_with("at temperatures 1, 0.5, 4 only"), "{message}");
    }

    #[test]
    fn a_declared_temperature_is_found_whatever_its_place_and_rounding() {
        let asked = settings(Loss::SkewKl, TailPolicy::Bucket, 0.7);
        let found = Distillation::new(&asked, &declaring(&[2.0, 0.7], 0)).unwrap();
        assert_eq!(found.temperature(), f64::from(0.7f32));
        assert_eq!(found.name(), "skew_kl_at_0.7");
        let position = Position {
            temperature_tails: &[-1.0, -3.0],
            ..Position::default()
        };
        assert!(matches!(found.target(), Target::Bucket { tail, .. } if tail.of(&position) == -3.0));
    }

    #[test]
    fn temperatures_without_a_tail_need_no_declaration() {
        for policy in [TailPolicy::RenormalizeTeacher, TailPolicy::RenormalizeBoth] {
            let found = Distillation::new(&settings(Loss::ForwardKl, policy, 3.0), &declaring(&[], 0)).unwrap();
            assert_eq!(found.name(), format!("forward_kl_{policy}_at_3"));
        }
    }

    #[test]
    fn a_skew_of_nothing_is_kl() {
        for (loss, plain) in [(Loss::SkewKl, Loss::ForwardKl), (Loss::SkewReverseKl, Loss::ReverseKl)] {
            let of = |loss| {
                let settings = TrainSettings {
                    skew: 0.0,
                    ..settings(loss, TailPolicy::Bucket, 1.0)
                };
                Distillation::new(&settings, &declaring(&[], 0)).unwrap()
            };
            assert_eq!(of(loss), of(plain));
        }
    }

    #[test]
    fn the_loss_weighs_the_divergence_by_the_temperature_squared() {
        let found = Distillation::new(
            &settings(Loss::ForwardKl, TailPolicy::RenormalizeBoth, 2.0),
            &declaring(&[], 0),
        );
        let sums = LossSums {
            cross_entropy: 3.0,
            distillation: 5.0,
            ..LossSums::default()
        };
        assert_eq!(found.unwrap().loss(0.25, &sums), 0.75 * 3.0 + 0.25 * 4.0 * 5.0);
        let infinite = LossSums {
            distillation: f64::INFINITY,
            ..sums
        };
        assert_eq!(Distillation::default().loss(0.0, &infinite), 3.0);
    }
}
