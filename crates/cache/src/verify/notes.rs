//! What a complete cache has and this one lacks, though nothing is wrong with it.

use std::{collections::HashSet, path::Path};

use crate::{Cache, LayerDir, inventory::Inventory, layers::manifest::MANIFEST};

/// A note for each manifest and for the inventory that are not there although all work units are committed. `names` are those of
/// the files of each layer. While a cache is being filled, this is so for a moment.
pub(super) fn of(cache: &Cache, layers: &[LayerDir], names: &[HashSet<String>]) -> Vec<String> {
    let is_complete = |(layer, names): &(&LayerDir, &HashSet<String>)| {
        let mut units = layer.corpus().units().iter();
        units.all(|unit| names.contains(&format!("{unit}.json")) && names.contains(&format!("{unit}.parquet")))
    };
    let complete: Vec<_> = layers.iter().zip(names).filter(is_complete).collect();
    let without = complete.iter().filter(|(_, names)| !names.contains(MANIFEST));
    let mut missing: Vec<String> = without.map(|(layer, _)| note(cache, &layer.manifest_path())).collect();
    if cache.inventory().is_none() && !layers.is_empty() && complete.len() == layers.len() {
        missing.push(note(cache, &Inventory::path(cache.dir())));
    }
    missing
}

fn note(cache: &Cache, path: &Path) -> String {
    let teacher = cache.identity().teacher.as_ref();
    let command = if teacher.is_some_and(|teacher| teacher.imported.is_some()) {
        "the same `leadspan cache import` again"
    } else {
        "`leadspan precompute --finalize`"
    };
    format!(
        "`{}` is missing, though all work units are committed: {command} makes it",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use leadspan_sequence::SectionSet;

    use crate::{Cache, tests::synthetic, verify};

    #[test]
    fn a_complete_cache_without_its_manifest_or_its_inventory_is_sound_but_says_so() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let dir = captured.cache.dir();
        let noted = || {
            let found = verify(&Cache::open(dir).unwrap(), &mut |_| {}).unwrap();
            assert!(found.problems.is_empty(), "{:?}", found.problems);
            found.notes
        };
        let layer = captured.cache.layers().unwrap().remove(0);
        layer.write_manifest().unwrap();
        captured.cache.take_inventory().unwrap();
        assert!(noted().is_empty());
        fs::remove_file(layer.manifest_path()).unwrap();
        fs::remove_file(dir.join("inventory.json")).unwrap();
        let notes = noted();
        let [manifest, inventory] = &notes[..] else {
            panic!("{notes:?}")
        };
        assert!(manifest.contains("manifest.json` is missing") && manifest.contains("--finalize"));
        assert!(inventory.contains("inventory.json` is missing"));
        // A cache that is still being filled has neither.
        let unit = &layer.corpus().units()[0];
        fs::remove_file(layer.receipt_path(unit)).unwrap();
        fs::remove_file(layer.shard_path(unit)).unwrap();
        assert!(noted().is_empty());
    }
}
