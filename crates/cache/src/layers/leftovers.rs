//! Removing what killed writers left.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use leadspan_files::{remove_if_dead, temporary_of};
use leadspan_workers::{remove_dead_claims, remove_dead_heartbeats, remove_dead_locks};

use super::{folder::DESCRIPTION, manifest::MANIFEST};
use crate::{Cache, CacheError, LayerDir};

impl Cache {
    /// Removes temporary files and claims of dead writers whose files have been committed since.
    ///
    /// The temporary files of a shard that is still missing are removed by its next writer. Files that cannot be
    /// removed stay; they do no harm.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if a folder cannot be listed.
    pub fn remove_leftovers(&self) -> Result<(), CacheError> {
        let layers = self.layers()?;
        let mut of_committed = HashMap::new();
        for layer in &layers {
            let names = layer.names()?;
            layer.remove_leftovers(&names);
            of_committed.insert(layer.layer().folder_name(), names);
        }
        remove_dead_claims(self.dir(), &|layer, unit| {
            of_committed.get(layer).is_some_and(|names| is_committed(names, unit))
        });
        remove_dead_locks(self.dir());
        remove_dead_heartbeats(self.dir());
        // Files beside the layers, such as the record of the teacher's hash.
        for entry in fs::read_dir(self.dir())
            .map_err(CacheError::io("list", self.dir()))?
            .flatten()
        {
            let name = entry.file_name();
            if let Some(target) = name.to_str().and_then(temporary_of)
                && self.dir().join(target).is_file()
            {
                remove_if_dead(&entry.path());
            }
        }
        Ok(())
    }
}

fn is_committed(names: &HashSet<String>, unit: &str) -> bool {
    ["parquet", "json"]
        .iter()
        .all(|end| names.contains(&format!("{unit}.{end}")))
}

impl LayerDir {
    fn remove_leftovers(&self, names: &HashSet<String>) {
        if self.require_own_folder().is_err() {
            return;
        }
        for name in names {
            // Only those of committed files: if locks do not reach other machines, a living writer looks dead.
            let is_committed = |target: &str| match target {
                MANIFEST | DESCRIPTION => names.contains(target),
                _ => target
                    .strip_suffix(".parquet")
                    .or_else(|| target.strip_suffix(".json"))
                    .is_some_and(|unit| is_committed(names, unit)),
            };
            if temporary_of(name).is_some_and(is_committed) {
                remove_if_dead(&self.path().join(name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic;
    use leadspan_sequence::SectionSet;

    #[test]
    fn leftovers_of_committed_units_go_and_those_of_missing_ones_or_living_writers_stay() {
        let prepared = synthetic::prepared(11, 3, 4);
        let asked = synthetic::coverage("1", SectionSet::ALL);
        let layer = prepared.cache.layer(&asked.into()).unwrap();
        let units = layer.corpus().units();
        synthetic::write_shard(&layer, &units[0]);
        let committed = layer.path().join(".train-000000.parquet.kill00.tmp");
        let missing = layer.path().join(".train-000001.parquet.kill00.tmp");
        let receipt = layer.path().join(".train-000000.json.kill00.tmp");
        fs::write(&committed, b"PAR1").unwrap();
        fs::write(&receipt, b"{").unwrap();
        fs::write(&missing, b"PAR1").unwrap();
        // Of the files that describe the layer, one is there.
        let description = layer.path().join(".layer.json.kill00.tmp");
        let manifest = layer.path().join(".manifest.json.kill00.tmp");
        fs::write(&description, b"{").unwrap();
        fs::write(&manifest, b"{").unwrap();
        let living = crate::ShardWriter::create(&layer, &units[2]).unwrap();
        synthetic::write_shard(&layer, &units[2]);
        let beside = prepared.cache.dir().join(".identity.json.kill00.tmp");
        fs::write(&beside, b"{").unwrap();
        // Claims of committed units go if their holders are dead, and so do the temporary files of claims.
        let claims = prepared.cache.dir().join(".claims");
        fs::create_dir(&claims).unwrap();
        let claim = |unit: &str| claims.join(format!("{}.{unit}", layer.layer().folder_name()));
        for path in [
            claim("train-000000"),
            claim("train-000001"),
            claims.join(".prepare.0123"),
        ] {
            fs::write(path, b"{}").unwrap();
        }
        prepared.cache.remove_leftovers().unwrap();
        let left: Vec<_> = fs::read_dir(&claims)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(left, [claim("train-000001")]);
        assert!(!committed.exists() && !receipt.exists() && missing.exists() && !beside.exists());
        assert!(!description.exists() && manifest.exists());
        fs::write(layer.manifest_path(), b"{}").unwrap();
        prepared.cache.remove_leftovers().unwrap();
        assert!(!manifest.exists());
        let temporaries = || {
            layer
                .names()
                .unwrap()
                .iter()
                .filter(|name| name.ends_with(".tmp"))
                .count()
        };
        assert_eq!(temporaries(), 2, "the missing unit's and the living writer's");
        drop(living);
        assert_eq!(temporaries(), 1);
        prepared.cache.remove_leftovers().unwrap();
        assert!(missing.exists());
    }
}
