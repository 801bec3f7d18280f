//! Recovering the work units of a part from its rows, each of which states the number of its unit.

use leadspan_sequence::Split;

use super::work_unit::{WorkUnit, next_number};

/// Collects the work units of the samples that are read, part by part.
#[derive(Default)]
pub(super) struct UnitPlacement {
    /// The number of samples so far.
    pub(super) samples: usize,
    pub(super) units: Vec<WorkUnit>,
    /// The number of units that belong to earlier parts.
    earlier_units: usize,
}

impl UnitPlacement {
    /// Starts the next part.
    pub(super) fn begin_part(&mut self) {
        self.earlier_units = self.units.len();
    }

    /// Adds the next sample to the unit that its row states: the last unit of the part, or the next unit of the
    /// sample's split.
    ///
    /// # Errors
    ///
    /// A message if the unit is any other one, or if the sample comes too late or is one too many.
    pub(super) fn place(&mut self, split: Split, number: u32) -> Result<(), String> {
        let index = self.samples;
        if u32::try_from(index).is_err() {
            return Err(format!("it has more than {index} samples"));
        }
        self.samples += 1;
        if let Some(last) = self.units[self.earlier_units..].last()
            && last.split > split
        {
            return Err(format!("sample {index} is a training sample after a validation sample"));
        }
        if let Some(unit) = self.units[self.earlier_units..].last_mut()
            && (unit.split, unit.number) == (split, number)
        {
            unit.samples.end = index + 1;
            return Ok(());
        }
        let expected = next_number(self.units.iter(), split);
        if number != expected {
            return Err(format!(
                "sample {index} is in work unit `{split}-{number:06}`, but number {expected} is next"
            ));
        }
        self.units.push(WorkUnit {
            split,
            number,
            samples: index..index + 1,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_units_that_skip_or_return_are_refused() {
        let mut units = UnitPlacement::default();
        units.place(Split::Train, 0).unwrap();
        let skipped = UnitPlacement {
            samples: 1,
            units: units.units.clone(),
            earlier_units: 0,
        }
        .place(Split::Train, 2);
        assert!(skipped.unwrap_err().contains("train-000002"));
        units.place(Split::Train, 1).unwrap();
        let mut other = UnitPlacement {
            units: units.units.clone(),
            ..UnitPlacement::default()
        };
        assert!(other.place(Split::Train, 0).is_err());
        units.place(Split::Validation, 0).unwrap();
        assert_eq!(units.units.len(), 3);
        let mut other = UnitPlacement {
            units: units.units.clone(),
            ..UnitPlacement::default()
        };
        assert!(
            other
                .place(Split::Train, 2)
                .unwrap_err()
                .contains("after a validation sample")
        );
        // A later part has units of its own and continues their numbers.
        units.begin_part();
        let mut other = UnitPlacement {
            units: units.units.clone(),
            earlier_units: 3,
            ..UnitPlacement::default()
        };
        assert!(other.place(Split::Validation, 0).is_err());
        units.place(Split::Train, 2).unwrap();
        units.place(Split::Train, 2).unwrap();
        assert_eq!(units.units[3].samples, 3..5);
    }
}
