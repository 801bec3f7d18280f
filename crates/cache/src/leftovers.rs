//! Clearing up after writers that were killed.

use std::fs;

use crate::{
    Cache, CacheError, LayerDir,
    commit::{remove_if_dead, temporary_of},
};

impl Cache {
    /// Removes what killed writers left of files that others have committed since, and nothing that is of any use.
    ///
    /// A shard that is still missing is cleared up by its next writer. What cannot be removed is harmless and stays.
    ///
    /// # Errors
    ///
    /// Where the folders cannot be listed.
    pub fn remove_leftovers(&self) -> Result<(), CacheError> {
        self.layers()?.iter().try_for_each(LayerDir::remove_leftovers)?;
        // And of what stands beside the layers, such as the memory of the teacher's hash.
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

impl LayerDir {
    fn remove_leftovers(&self) -> Result<(), CacheError> {
        let names = self.names()?;
        for name in &names {
            // Only of committed units: where locks do not reach other machines, a living writer's would look dead.
            let is_committed = temporary_of(name)
                .and_then(|target| target.strip_suffix(".parquet").or_else(|| target.strip_suffix(".json")))
                .is_some_and(|unit| {
                    ["parquet", "json"]
                        .iter()
                        .all(|end| names.contains(&format!("{unit}.{end}")))
                });
            if is_committed {
                remove_if_dead(&self.path().join(name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic;
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
        let living = crate::ShardWriter::create(&layer, &units[2]).unwrap();
        synthetic::write_shard(&layer, &units[2]);
        let beside = prepared.cache.dir().join(".identity.json.kill00.tmp");
        fs::write(&beside, b"{").unwrap();
        prepared.cache.remove_leftovers().unwrap();
        assert!(!committed.exists() && !receipt.exists() && missing.exists() && !beside.exists());
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
