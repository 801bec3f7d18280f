//! What a store has, compared with the cache here.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use leadspan_cache::Inventory;

use crate::{
    StoreError,
    listing::LocalFile,
    names::{IDENTITY, INVENTORY, Kind, ORIGIN},
    overlap::{self, Layers},
    records::{Manifest, Receipt, Region, parsed},
    same::{contents, is_same},
    store::{Object, Store},
};

/// The two sides.
#[derive(Clone, Copy)]
pub(crate) struct There<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) dir: &'a Path,
    pub(crate) objects: &'a BTreeMap<String, Object>,
}

impl There<'_> {
    /// The refusal of another cache, whose file `name` differs.
    pub(crate) fn other(&self, name: &str, how: &str) -> StoreError {
        StoreError::OtherCache {
            path: self.dir.to_owned(),
            url: self.store.url().to_owned(),
            name: name.to_owned(),
            how: how.to_owned(),
        }
    }

    /// Refuses a store that has something else than this cache, before anything is written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Foreign`] or [`StoreError::OtherCache`].
    pub(crate) fn require_same(&self, files: &[LocalFile]) -> Result<(), StoreError> {
        if !self.objects.contains_key(IDENTITY) {
            let ours: HashSet<&str> = files.iter().map(|file| &*file.name).collect();
            let is_hidden = |name: &str| name.split('/').any(|part| part.starts_with('.'));
            let mut names = self.objects.keys();
            if let Some(found) = names.find(|name| !ours.contains(&***name) && !is_hidden(name)) {
                return Err(StoreError::Foreign {
                    url: self.store.url().to_owned(),
                    found: found.clone(),
                });
            }
        }
        for file in files {
            let is_claim = matches!(
                file.kind,
                Kind::Identity | Kind::Origin | Kind::Description | Kind::Layer
            );
            if let Some(&object) = self.objects.get(&file.name).filter(|_| is_claim) {
                let path = file.path(self.dir);
                if !is_same(self.store, &file.name, object, &path)? && !self.has_beginning(&file.name, &path)? {
                    return Err(self.other(&file.name, ""));
                }
            }
        }
        self.require_layers(files)?;
        let path = self.dir.join(INVENTORY);
        if files.iter().any(|file| file.name == INVENTORY)
            && let Some(theirs) = self.inventory()?
        {
            let ours: Inventory = parsed(&contents(&path)?, &path.display().to_string())?;
            ours.with(&theirs).map_err(|how| self.other(INVENTORY, &how))?;
        }
        Ok(())
    }

    /// Whether the `origin.json` here can become that of the cache in the store: one that has layers already comes from elsewhere.
    pub(crate) fn takes_origin(&self) -> bool {
        let has_layers = self.objects.keys().any(|name| Kind::of(name) == Some(Kind::Layer));
        !has_layers || self.objects.contains_key(ORIGIN)
    }

    /// Refuses a store with a layer that holds positions of another layer here.
    fn require_layers(&self, files: &[LocalFile]) -> Result<(), StoreError> {
        let ours: Vec<&LocalFile> = files.iter().filter(|file| file.kind == Kind::Layer).collect();
        let names: HashSet<&str> = ours.iter().map(|file| &*file.name).collect();
        let (mut here, mut there) = (Layers::new(), Layers::new());
        for file in ours.iter().filter(|file| !self.objects.contains_key(&file.name)) {
            let path = file.path(self.dir);
            here.extend([overlap::described(
                &file.name,
                &contents(&path)?,
                &path.display().to_string(),
            )?]);
        }
        let is_layer = |name: &&String| Kind::of(name) == Some(Kind::Layer) && !names.contains(&***name);
        for name in self.objects.keys().filter(is_layer) {
            if let Some(bytes) = self.store.read(name)? {
                there.extend([overlap::described(name, &bytes, &self.store.url_of(name))?]);
            }
        }
        match overlap::difference(&here, &there) {
            None => Ok(()),
            Some(how) => Err(self.other("layers", &how)),
        }
    }

    /// The inventory in the store, if there is one.
    pub(crate) fn inventory(&self) -> Result<Option<Inventory>, StoreError> {
        match self.store.read(INVENTORY)? {
            Some(bytes) => parsed(&bytes, &self.store.url_of(INVENTORY)).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the store has a receipt of this shard. One that is broken off counts as none.
    ///
    /// # Errors
    ///
    /// [`StoreError::OtherCache`] if it is that of another shard.
    pub(crate) fn has_receipt(&self, name: &str, path: &Path, shard: &Region) -> Result<bool, StoreError> {
        let Some(&object) = self.objects.get(name) else {
            return Ok(false);
        };
        if object.md5.is_some() && is_same(self.store, name, object, path)? {
            return Ok(true);
        }
        self.is_receipt_of(name, shard)
    }

    fn is_receipt_of(&self, name: &str, shard: &Region) -> Result<bool, StoreError> {
        let Some(bytes) = self.store.read(name)? else {
            return Ok(false);
        };
        match parsed::<Receipt>(&bytes, name) {
            Err(_) => Ok(false),
            Ok(receipt) if receipt.shard == *shard => Ok(true),
            Ok(_) => Err(self.other(name, ", which are of two captures of one work unit")),
        }
    }

    /// Whether a manifest in the store is of no more work units than the one here.
    pub(crate) fn has_older_manifest(&self, name: &str, path: &Path) -> Result<bool, StoreError> {
        let Some(theirs) = self.store.read(name)? else {
            return Ok(true);
        };
        let ours: Manifest = parsed(&contents(path)?, &path.display().to_string())?;
        Ok(!parsed::<Manifest>(&theirs, name).is_ok_and(|theirs| theirs.units > ours.units))
    }

    /// Whether a file in the store is the beginning of the file here: it was truncated.
    pub(crate) fn has_beginning(&self, name: &str, path: &Path) -> Result<bool, StoreError> {
        let theirs = self.store.read(name)?.unwrap_or_default();
        let ours = contents(path)?;
        Ok(theirs.len() < ours.len() && ours.starts_with(&theirs))
    }

    /// Whether a file that somebody else has just created is the one here.
    pub(crate) fn was_created(&self, file: &LocalFile, path: &Path) -> Result<bool, StoreError> {
        if file.kind == Kind::Manifest {
            return Ok(true);
        }
        let ours = contents(path)?;
        if file.kind == Kind::Receipt {
            let receipt: Receipt = parsed(&ours, &path.display().to_string())?;
            return self.is_receipt_of(&file.name, &receipt.shard);
        }
        Ok(self.store.read(&file.name)? == Some(ours))
    }
}
