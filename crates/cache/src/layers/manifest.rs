//! Manifests: a complete layer described by one small file.
//!
//! The folder and the receipts describe a layer completely, but a layer may have thousands of them. After the last unit
//! is committed, the manifest records the sums of the receipts and one hash of all shards: two caches with the same
//! manifests have the same bytes. A manifest is out of date once units are appended to the corpus. Whoever removes a
//! shard removes the manifest first.

use std::{fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};

use leadspan_files::commit_bytes;

use crate::{CacheError, FORMAT_VERSION, LayerDir, Receipt, json};

/// The file name of a manifest.
pub(crate) const MANIFEST: &str = "manifest.json";

/// The description of a complete layer, computed from its receipts. All writers of one layer write the same manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// Number of work units.
    pub units: usize,
    /// Number of stored positions.
    pub positions: u64,
    /// Number of stored entries of all positions.
    pub entries: u64,
    /// Size of all shards, in bytes.
    pub shard_bytes: u64,
    /// blake3 of one line `HASH NAME` for each shard, in the order of the corpus.
    pub shards_blake3: String,
}

impl LayerDir {
    /// The path of the manifest, whether it exists or not.
    pub fn manifest_path(&self) -> PathBuf {
        self.path().join(MANIFEST)
    }

    /// Reads the manifest; `None` if there is none, or if it is older than the last units of the corpus.
    ///
    /// # Errors
    ///
    /// [`CacheError::BadJson`] or [`CacheError::UnsupportedVersion`] if it is damaged; [`CacheError::Io`] if it cannot
    /// be read.
    pub fn manifest(&self) -> Result<Option<Manifest>, CacheError> {
        let path = self.manifest_path();
        let Some(bytes) = json::read(&path)? else {
            return Ok(None);
        };
        let manifest: Manifest = json::from_bytes(&bytes, &path)?;
        Ok((manifest.units == self.corpus().units().len()).then_some(manifest))
    }

    /// Computes the manifest from the receipts of all units; `None` if a unit is missing.
    ///
    /// # Errors
    ///
    /// The error of the folder or of a receipt that cannot be read; [`CacheError::WrongSize`] if a shard does not have the
    /// size that its receipt states.
    pub fn sum_up(&self) -> Result<Option<Manifest>, CacheError> {
        if !self.missing_units()?.is_empty() {
            return Ok(None);
        }
        let mut manifest = Manifest {
            format: FORMAT_VERSION,
            units: self.corpus().units().len(),
            positions: 0,
            entries: 0,
            shard_bytes: 0,
            shards_blake3: String::new(),
        };
        let mut hasher = blake3::Hasher::new();
        for unit in self.corpus().units() {
            let receipt = Receipt::read(self, unit)?;
            self.check_size(unit, &receipt)?;
            manifest.positions += receipt.positions;
            manifest.entries += receipt.entries;
            manifest.shard_bytes += receipt.shard_bytes();
            hasher.update(format!("{} {unit}.parquet\n", receipt.shard.blake3).as_bytes());
        }
        manifest.shards_blake3 = hasher.finalize().to_hex().to_string();
        Ok(Some(manifest))
    }

    /// Compares the manifest with the receipts. A manifest that is out of date is not a problem, and a receipt that cannot
    /// be read is not one of the manifest.
    ///
    /// # Errors
    ///
    /// [`CacheError::Inconsistent`] if it is not their sum, or the error of a manifest that cannot be read.
    pub(crate) fn check_manifest(&self) -> Result<(), CacheError> {
        match (self.manifest()?, self.sum_up()) {
            (Some(stored), Ok(found)) if found.as_ref() != Some(&stored) => Err(CacheError::Inconsistent {
                path: self.manifest_path(),
                problem: "it is not the sum of the receipts of the layer".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Removes the manifest, if there is one, before a shard is made anew: this device may give it other bytes than those
    /// that the manifest states.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if it cannot be removed, or if the layer's folder is a link.
    pub fn remove_manifest(&self) -> Result<(), CacheError> {
        self.require_own_folder()?;
        let path = self.manifest_path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CacheError::io("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// Computes the manifest and stores it, unless the same is stored already; `None` if a unit is missing.
    ///
    /// # Errors
    ///
    /// Those of [`sum_up`](Self::sum_up), and [`CacheError::Io`] if the manifest cannot be written.
    pub fn write_manifest(&self) -> Result<Option<Manifest>, CacheError> {
        let Some(manifest) = self.sum_up()? else {
            return Ok(None);
        };
        // A damaged manifest is replaced.
        if !self.manifest().is_ok_and(|stored| stored.as_ref() == Some(&manifest)) {
            self.require_own_folder()?;
            commit_bytes(&self.manifest_path(), &json::to_bytes(&manifest))?;
        }
        Ok(Some(manifest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cache, Missing, Reader, repair, tests::synthetic, verify};
    use leadspan_sequence::SectionSet;

    fn layer() -> (synthetic::Prepared, LayerDir) {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let layer = captured.cache.layers().unwrap().remove(0);
        (captured, layer)
    }

    #[test]
    fn a_complete_layer_is_summed_up_once_and_an_incomplete_one_is_not() {
        let (captured, layer) = layer();
        let manifest = layer.write_manifest().unwrap().unwrap();
        let inspection = &captured.cache.inspect().unwrap().layers[0];
        assert_eq!(
            (manifest.units as u64, manifest.positions, manifest.shard_bytes),
            (inspection.units, inspection.positions, inspection.shard_bytes)
        );
        assert_eq!(layer.manifest().unwrap(), Some(manifest.clone()));
        let written = fs::metadata(layer.manifest_path()).unwrap().modified().unwrap();
        assert_eq!(layer.write_manifest().unwrap(), Some(manifest.clone()));
        assert_eq!(
            fs::metadata(layer.manifest_path()).unwrap().modified().unwrap(),
            written
        );
        let same = synthetic::captured("0.5", SectionSet::ALL);
        let same = same.cache.layers().unwrap().remove(0).sum_up().unwrap();
        assert_eq!(same, Some(manifest), "the same shards have the same hash");
        fs::remove_file(layer.receipt_path(&layer.corpus().units()[1])).unwrap();
        assert_eq!(layer.write_manifest().unwrap(), None);
    }

    #[test]
    fn a_manifest_of_fewer_units_than_there_are_now_is_none() {
        let (mut captured, layer) = layer();
        layer.write_manifest().unwrap();
        let more = synthetic::appended(layer.corpus().len(), 4);
        captured
            .cache
            .extend_corpus(&more, &synthetic::row_hashes(&more), serde_json::Value::Null)
            .unwrap();
        let layer = captured.cache.layers().unwrap().remove(0);
        assert_eq!(layer.manifest().unwrap(), None);
        synthetic::capture(&captured.cache, layer.layer());
        assert_eq!(
            layer.write_manifest().unwrap().unwrap().units,
            layer.corpus().units().len()
        );
    }

    #[test]
    fn a_manifest_that_is_wrong_is_a_problem_and_dropping_a_shard_drops_it() {
        let (captured, layer) = layer();
        let sound = layer.write_manifest().unwrap().unwrap();
        let verified = || verify(&captured.cache, &mut |_| {}).unwrap();
        assert!(verified().problems.is_empty());
        let wrong = Manifest {
            positions: sound.positions + 1,
            ..sound
        };
        captured.cache.take_inventory().unwrap();
        commit_bytes(&layer.manifest_path(), &json::to_bytes(&wrong)).unwrap();
        // Also where the inventory lists each shard, as training finds it.
        let opened = Cache::open(captured.cache.dir()).unwrap();
        let refused = Reader::open(&opened, synthetic::coverage("0.5", SectionSet::ALL), Missing::Refused);
        let refused = refused.err().unwrap().to_string();
        assert!(refused.contains("manifest.json"), "{refused}");
        let found = verified();
        assert_eq!(found.problems.len(), 1);
        assert!(found.problems[0].error.to_string().contains("manifest.json"));
        assert_eq!(repair(&found).unwrap(), [layer.manifest_path()]);
        assert!(verified().problems.is_empty());

        layer.write_manifest().unwrap();
        let unit = &layer.corpus().units()[0];
        fs::write(layer.shard_path(unit), b"no shard").unwrap();
        let found = verified();
        repair(&found).unwrap();
        assert!(!layer.manifest_path().exists() && !layer.shard_path(unit).exists());
        assert!(verified().problems.is_empty());
    }
}
