//! Whether a cache can be pulled into a folder: it is empty, or has the same cache.

use std::collections::{BTreeSet, HashSet};

use leadspan_cache::Inventory;

use crate::{
    StoreError,
    listing::walk,
    names::{IDENTITY, INVENTORY, Kind, ORIGIN},
    overlap::{self, Layers},
    plan::{Plan, Small},
    pulled::Pulled,
    records::{hash, parsed},
    same::contents,
};

impl Pulled<'_> {
    /// Refuses a folder that has something else than this cache, before anything is written.
    pub(crate) fn require_place(&self, plan: &Plan) -> Result<(), StoreError> {
        let identity = plan.small.iter().find(|small| small.name == IDENTITY);
        match (self.found(IDENTITY)?, identity) {
            (Some(found), Some(identity)) if found != identity.bytes => return Err(self.other(IDENTITY, "")),
            (Some(_), _) => {}
            (None, _) => return self.require_empty(plan),
        }
        if let (Some(found), Some(theirs)) = (self.found(INVENTORY)?, &plan.inventory) {
            let ours: Inventory = parsed(&found, &self.dir.join(INVENTORY).display().to_string())?;
            ours.with(theirs).map_err(|how| self.other(INVENTORY, &how))?;
        }
        self.require_layers(plan)?;
        for small in plan.small.iter().filter(|small| small.kind != Kind::Identity) {
            if self.found(&small.name)?.is_some_and(|found| found != small.bytes) {
                return Err(self.other(&small.name, ""));
            }
        }
        Ok(())
    }

    /// Refuses a folder without a cache that has other files. A tokenizer's files may be there: a pull that was killed leaves them.
    /// So may hidden files.
    fn require_empty(&self, plan: &Plan) -> Result<(), StoreError> {
        let mut found: Option<String> = None;
        walk(self.dir, &mut |name, _| {
            let is_own = |(own, blake3): &(String, String)| {
                *own == name && contents(&self.dir.join(&name)).is_ok_and(|bytes| hash(&bytes) == *blake3)
            };
            if !plan.tokenizer.iter().any(is_own) && found.as_ref().is_none_or(|found| name < *found) {
                found = Some(name);
            }
        })?;
        match found {
            None => Ok(()),
            Some(found) => Err(StoreError::Occupied {
                path: self.dir.to_owned(),
                found,
            }),
        }
    }

    /// Whether the store's `origin.json` can become this cache's: one that has layers already comes from elsewhere.
    pub(crate) fn takes_origin(&self) -> Result<bool, StoreError> {
        Ok(self.layers()?.is_empty() || self.found(ORIGIN)?.is_some())
    }

    /// The names of the descriptions of the layers that are here.
    fn layers(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut layers = BTreeSet::new();
        walk(self.dir, &mut |name, _| {
            if Kind::of(&name) == Some(Kind::Layer) {
                layers.insert(name);
            }
        })?;
        Ok(layers)
    }

    /// Refuses a folder with a layer that holds positions of another layer in the store.
    fn require_layers(&self, plan: &Plan) -> Result<(), StoreError> {
        let theirs: Vec<&Small> = plan.small.iter().filter(|small| small.kind == Kind::Layer).collect();
        let names: HashSet<&str> = theirs.iter().map(|small| &*small.name).collect();
        let ours = self.layers()?;
        let (mut here, mut there) = (Layers::new(), Layers::new());
        for name in ours.iter().filter(|name| !names.contains(&***name)) {
            let path = self.dir.join(name);
            here.extend([overlap::described(
                name,
                &contents(&path)?,
                &path.display().to_string(),
            )?]);
        }
        for small in theirs.iter().filter(|small| !ours.contains(&small.name)) {
            there.extend([overlap::described(
                &small.name,
                &small.bytes,
                &self.store.url_of(&small.name),
            )?]);
        }
        match overlap::difference(&here, &there) {
            None => Ok(()),
            Some(how) => Err(self.other("layers", &how)),
        }
    }
}
