//! Which work units are done, judged by the sizes of their files and not only by their names.

use std::fs;

use super::folder::LayerDir;
use crate::{CacheError, Receipt, WorkUnit};

impl LayerDir {
    /// Whether a work unit is committed: its receipt can be read, and its shard is a file of the size that the receipt
    /// states. The commit protocol guarantees this for every unit that leadspan wrote.
    pub fn is_committed(&self, unit: &WorkUnit) -> bool {
        Receipt::read(self, unit).is_ok_and(|receipt| self.check_size(unit, &receipt).is_ok())
    }

    /// The work units that are not [committed](Self::is_committed), in order. Reads all receipts.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if the folder cannot be listed.
    pub fn uncommitted_units(&self) -> Result<Vec<WorkUnit>, CacheError> {
        let missing = self.missing_units()?;
        let units = self.corpus().units().iter();
        Ok(units
            .filter(|unit| missing.contains(unit) || !self.is_committed(unit))
            .cloned()
            .collect())
    }

    /// Compares the size of a unit's shard with its receipt.
    ///
    /// # Errors
    ///
    /// [`CacheError::WrongSize`] if they differ; [`CacheError::Io`] if there is no shard.
    pub(crate) fn check_size(&self, unit: &WorkUnit, receipt: &Receipt) -> Result<(), CacheError> {
        let path = self.shard_path(unit);
        // The size of anything else than a file, such as a link, is not that of the shard.
        let metadata = fs::symlink_metadata(&path).map_err(CacheError::io("open", &path))?;
        let (found, expected) = (
            if metadata.is_file() { metadata.len() } else { 0 },
            receipt.shard_bytes(),
        );
        if found == expected {
            Ok(())
        } else {
            Err(CacheError::WrongSize { path, found, expected })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic;
    use leadspan_sequence::SectionSet;

    type Damage = fn(&std::path::Path, &[u8]);

    #[test]
    fn a_receipt_beside_no_whole_shard_is_not_a_committed_unit_and_the_unit_is_written_again() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let layer = captured.cache.layers().unwrap().remove(0);
        assert!(layer.uncommitted_units().unwrap().is_empty());
        let unit = layer.corpus().units()[1].clone();
        let (shard, receipt) = (layer.shard_path(&unit), layer.receipt_path(&unit));
        let sound = (fs::read(&shard).unwrap(), fs::read(&receipt).unwrap());
        let damages: [(&str, Damage); 4] = [
            ("empty", |shard, _| fs::write(shard, b"").unwrap()),
            ("short", |shard, sound| {
                fs::write(shard, &sound[..sound.len() - 1]).unwrap();
            }),
            ("missing", |shard, _| fs::remove_file(shard).unwrap()),
            ("link", |shard, sound| {
                let other = shard.with_extension("elsewhere");
                fs::write(&other, sound).unwrap();
                fs::remove_file(shard).unwrap();
                std::os::unix::fs::symlink(other, shard).unwrap();
            }),
        ];
        for (name, damage) in damages {
            damage(&shard, &sound.0);
            assert!(!layer.is_committed(&unit), "{name}");
            assert_eq!(
                layer.uncommitted_units().unwrap(),
                std::slice::from_ref(&unit),
                "{name}"
            );
            assert!(crate::adopt(&layer, &unit).unwrap().is_none(), "{name}");
            synthetic::write_shard(&layer, &unit);
            assert_eq!(
                (fs::read(&shard).unwrap(), fs::read(&receipt).unwrap()),
                sound,
                "{name}"
            );
        }
        // A damaged receipt beside a sound shard is written again from the shard.
        fs::write(&receipt, b"{").unwrap();
        assert!(!layer.is_committed(&unit));
        assert!(crate::adopt(&layer, &unit).unwrap().is_some());
        assert_eq!(fs::read(&receipt).unwrap(), sound.1);
    }
}
