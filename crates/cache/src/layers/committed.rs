//! Which work units are done, judged by the sizes of their files and not only by their names.

use std::fs;

use super::folder::LayerDir;
use crate::{CacheError, Receipt, WorkUnit, shard::check_committed};

impl LayerDir {
    /// Whether a work unit is committed: its receipt can be read, and its shard is a file of the size that the receipt
    /// states. The commit protocol guarantees this for every unit that leadspan wrote. A unit that is committed
    /// [elsewhere](crate::Cache::beside) counts as committed.
    pub fn is_committed(&self, unit: &WorkUnit) -> bool {
        self.is_elsewhere(unit)
            || Receipt::read(self, unit).is_ok_and(|receipt| self.check_size(unit, &receipt).is_ok())
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

    /// Checks that the work units with a shard and a receipt have those that belong there: the shards that the inventory lists,
    /// of this cache, and receipts that describe them. Reads receipts and footers, not whole shards.
    ///
    /// # Errors
    ///
    /// The error that names the first file that does not belong there.
    pub fn check_committed(&self) -> Result<(), CacheError> {
        let missing = self.missing_units()?;
        let mut units = self.corpus().units().iter().filter(|unit| !missing.contains(unit));
        units.try_for_each(|unit| check_committed(self, unit))
    }

    /// Compares the size of a unit's shard with its receipt.
    ///
    /// # Errors
    ///
    /// [`CacheError::WrongSize`] if they differ; [`CacheError::Io`] if there is no shard.
    pub(crate) fn check_size(&self, unit: &WorkUnit, receipt: &Receipt) -> Result<(), CacheError> {
        if self.is_frame() {
            // The size is compared when the shard is read, wherever it lies.
            return Ok(());
        }
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
    use leadspan_diagnosis::Diagnosis as _;
    use leadspan_sequence::SectionSet;

    use super::*;
    use crate::{Cache, tests::synthetic};

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

    /// Puts the files of the first unit of another cache in the place of those of `layer`.
    fn exchange(layer: &LayerDir, other: &LayerDir) {
        let unit = &layer.corpus().units()[0];
        fs::copy(other.shard_path(unit), layer.shard_path(unit)).unwrap();
        fs::copy(other.receipt_path(unit), layer.receipt_path(unit)).unwrap();
    }

    /// The problem of the complete layer of a cache, opened anew.
    fn problem(dir: &std::path::Path) -> Option<CacheError> {
        let layer = Cache::open(dir).unwrap().layers().unwrap().remove(0);
        layer.check_committed().err()
    }

    #[test]
    fn a_shard_of_another_teacher_with_its_receipt_is_neither_complete_nor_listed() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let dir = captured.cache.dir();
        let layer = captured.cache.layers().unwrap().remove(0);
        let mut identity = synthetic::identity();
        identity.teacher.as_mut().unwrap().weights_blake3 = "of another teacher".into();
        let folder = tempfile::tempdir().unwrap();
        let files = [("tokenizer.json".to_owned(), b"{}".to_vec())];
        let other = Cache::create_or_open(&folder.path().join("cache"), &identity, &files).unwrap();
        let corpus = layer.corpus();
        other
            .write_corpus(
                &synthetic::samples_of(corpus),
                &synthetic::row_hashes_of(corpus),
                corpus.samples_per_shard(),
                corpus.provenance().clone(),
            )
            .unwrap();
        let other = other.layer(layer.layer()).unwrap();
        synthetic::write_shard(&other, &corpus.units()[0].clone());
        assert!(problem(dir).is_none());
        exchange(&layer, &other);
        let found = problem(dir).unwrap();
        assert!(
            matches!(
                &found,
                CacheError::ForeignShard {
                    field: "cache identity",
                    ..
                }
            ),
            "{found}"
        );
        assert!(!found.is_unexpected() && found.hint().is_some());
        assert!(matches!(
            captured.cache.take_inventory(),
            Err(CacheError::ForeignShard { .. })
        ));
        assert!(!dir.join("inventory.json").exists());
    }

    #[test]
    fn a_receipt_that_was_edited_and_a_shard_that_is_not_the_listed_one_are_named() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let dir = captured.cache.dir();
        let layer = captured.cache.layers().unwrap().remove(0);
        let path = layer.receipt_path(&layer.corpus().units()[0]);
        let sound = fs::read_to_string(&path).unwrap();
        let edited = sound.replace("\"retained_mass\": ", "\"retained_mass\": 1");
        assert_ne!(edited, sound);
        for listed in [false, true] {
            fs::write(&path, &edited).unwrap();
            let found = problem(dir).unwrap();
            assert!(
                matches!(&found, CacheError::Inconsistent { path: named, .. } if *named == path),
                "{found}"
            );
            if !listed {
                assert!(
                    captured.cache.take_inventory().is_err(),
                    "an edited receipt is not listed"
                );
                fs::write(&path, &sound).unwrap();
                captured.cache.take_inventory().unwrap();
            }
        }
        let other = synthetic::prepared(11, 3, 4);
        let other = other.cache.layer(layer.layer()).unwrap();
        synthetic::try_write_shard(&other, &layer.corpus().units()[0].clone(), Some("elsewhere")).unwrap();
        exchange(&layer, &other);
        let found = problem(dir).unwrap();
        assert!(matches!(&found, CacheError::Unlisted { .. }), "{found}");
    }
}
