//! Writing the inventory: after a capture, after preparing, and before something listed is made anew.

use std::{collections::BTreeMap, io};

use leadspan_files::commit_bytes;
use leadspan_workers::{Awaited, LockGuard, Purpose, lock};

use super::contents::{Inventory, ListedReplay, ListedShard};
use crate::{Cache, CacheError, LayerDir, Receipt, json, shard::check_committed};

impl Cache {
    /// Lists what the cache holds now: the identity, the parts of the corpus, the samples to replay and the shards of
    /// complete layers. What was listed before must still be as it was listed. Writes nothing if nothing is new, or if the
    /// file system is read-only.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unlisted`] if the identity or a part of a corpus is not the listed one; [`CacheError::WrongSize`] if a
    /// shard is shorter than its receipt says; the error of a file that cannot be read or written.
    pub fn take_inventory(&self) -> Result<(), CacheError> {
        self.take_inventory_telling(&mut |_| {})
    }

    /// Like [`take_inventory`](Self::take_inventory). While it waits, it calls `waiting` regularly with the process that it
    /// waits for.
    ///
    /// # Errors
    ///
    /// Those of [`take_inventory`](Self::take_inventory).
    pub fn take_inventory_telling(&self, waiting: &mut dyn FnMut(&Awaited)) -> Result<(), CacheError> {
        let listed = Self::open(self.dir())?.renew_inventory(waiting);
        match listed {
            Err(CacheError::Io { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(())
            }
            listed => listed,
        }
    }

    fn renew_inventory(&self, waiting: &mut dyn FnMut(&Awaited)) -> Result<(), CacheError> {
        if self.stock()?.as_ref() == self.inventory() {
            return Ok(());
        }
        let _lock: LockGuard = lock(self.dir(), Purpose::TakingInventory, waiting)?;
        // Another process may have changed it meanwhile.
        let now = Self::open(self.dir())?;
        match now.stock()? {
            Some(stock) if Some(&stock) != now.inventory() => {
                now.check_unlisted()?;
                Ok(commit_bytes(&Inventory::path(self.dir()), &json::to_bytes(&stock))?)
            }
            _ => Ok(()),
        }
    }

    /// Checks that the shards that are about to be listed are those that their receipts describe, and of this cache.
    fn check_unlisted(&self) -> Result<(), CacheError> {
        for layer in self.layers()? {
            if !layer.missing_units()?.is_empty() {
                continue;
            }
            let units = layer.corpus().units().iter();
            let mut unlisted = units.filter(|unit| layer.listed(unit).is_none());
            unlisted.try_for_each(|unit| check_committed(&layer, unit))?;
        }
        Ok(())
    }

    /// What there is to list; `None` if the cache has no corpus yet.
    fn stock(&self) -> Result<Option<Inventory>, CacheError> {
        if self.corpus()?.is_none() {
            return Ok(None);
        }
        let mut stock = Inventory::of(self.identity_blake3().to_owned());
        stock.corpus = self.part_hashes()?;
        stock.replay = match self.replay_listed_or_not()? {
            Some(replay) if replay.corpus()?.is_some() => Some(ListedReplay {
                identity: replay.identity_blake3().to_owned(),
                corpus: replay.part_hashes()?,
            }),
            _ => None,
        };
        for layer in self.layers()? {
            let shards = shards(&layer)?;
            if !shards.is_empty() {
                stock.layers.insert(layer.layer().folder_name(), shards);
            }
        }
        Ok(Some(stock))
    }

    /// blake3 of the inventory as it would be taken now: what stands for the contents of the cache. An inventory that is up to
    /// date has this hash itself.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] if there is no corpus, or the error of a file that cannot be read.
    pub(crate) fn contents_blake3(&self) -> Result<String, CacheError> {
        let stock = self.stock()?.ok_or_else(|| CacheError::NotPrepared {
            path: self.dir().to_owned(),
        })?;
        Ok(blake3::hash(&json::to_bytes(&stock)).to_hex().to_string())
    }

    /// Removes shards from the inventory before they are made anew: those for which `is_gone` says so, given the name of
    /// the layer's folder and the name of the work unit. On another kind of device they may get other bytes. While it waits,
    /// it calls `waiting` regularly with the process that it waits for.
    ///
    /// # Errors
    ///
    /// The error of an inventory that cannot be read or written.
    pub fn unlist(
        &self,
        is_gone: &dyn Fn(&str, &str) -> bool,
        waiting: &mut dyn FnMut(&Awaited),
    ) -> Result<(), CacheError> {
        let change = |inventory: &mut Inventory| {
            for (layer, shards) in &mut inventory.layers {
                shards.retain(|unit, _| !is_gone(layer, unit));
            }
            inventory.layers.retain(|_, shards| !shards.is_empty());
        };
        self.change_inventory(&change, waiting)
    }

    /// Removes the samples to replay from the inventory if there are none any more, so that others can be prepared. While it
    /// waits, it calls `waiting` regularly with the process that it waits for.
    ///
    /// # Errors
    ///
    /// The error of an inventory that cannot be read or written.
    pub fn unlist_removed_replay(&self, waiting: &mut dyn FnMut(&Awaited)) -> Result<(), CacheError> {
        if self.has_replay() {
            return Ok(());
        }
        self.change_inventory(&|inventory| inventory.replay = None, waiting)
    }

    fn change_inventory(
        &self,
        change: &dyn Fn(&mut Inventory),
        waiting: &mut dyn FnMut(&Awaited),
    ) -> Result<(), CacheError> {
        let changed = || -> Result<Option<Inventory>, CacheError> {
            let Some(before) = Inventory::read(self.dir())? else {
                return Ok(None);
            };
            let mut after = before.clone();
            change(&mut after);
            Ok((after != before).then_some(after))
        };
        if changed()?.is_none() {
            return Ok(());
        }
        let _lock: LockGuard = lock(self.dir(), Purpose::TakingInventory, waiting)?;
        match changed()? {
            Some(inventory) => Ok(commit_bytes(&Inventory::path(self.dir()), &json::to_bytes(&inventory))?),
            None => Ok(()),
        }
    }
}

/// The shards of a layer to list: all if it is complete, otherwise those that are listed already and still there.
fn shards(layer: &LayerDir) -> Result<BTreeMap<String, ListedShard>, CacheError> {
    let missing = layer.missing_units()?;
    let mut shards = BTreeMap::new();
    for unit in layer.corpus().units().iter().filter(|unit| !missing.contains(unit)) {
        let shard = match layer.listed(unit) {
            Some(listed) => listed.clone(),
            None if missing.is_empty() => {
                let receipt = Receipt::read(layer, unit)?;
                layer.check_size(unit, &receipt)?;
                ListedShard {
                    bytes: receipt.shard.bytes,
                    blake3: receipt.shard.blake3,
                    tail_blake3: receipt.tail_blake3,
                }
            }
            None => continue,
        };
        shards.insert(unit.to_string(), shard);
    }
    Ok(shards)
}
