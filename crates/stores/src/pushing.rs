//! A push that goes on while the cache grows: it knows what the store has, and copies what is new.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use leadspan_cache::Inventory;

use crate::{
    Event, Opened, Outcome, StoreError, Summary,
    listing::{self, LocalFile, receipt_of},
    names::{self, INVENTORY, Kind},
    parallel,
    records::{Receipt, Region, parsed},
    same::{contents, is_same},
    source::Source,
    store::{Object, PIECE, Replacing, Store},
    there::There,
    told::Copied,
};

/// A push of the cache in one folder to one place.
pub struct Pushing<'a> {
    opened: &'a Opened,
    dir: PathBuf,
    /// What the store had when it was listed.
    there: BTreeMap<String, Object>,
    /// The files that are known to be the same on both sides, and what became of them.
    same: HashMap<String, Copied>,
    /// Whether the two sides were compared.
    is_compared: bool,
    /// Whether a copy failed, so that the store has more than what was listed.
    is_stale: bool,
    summary: Summary,
}

impl<'a> Pushing<'a> {
    /// Lists the store. The cache in `dir` need not be there yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::ReadOnly`] if nothing can be written there; [`StoreError::Inside`] if it is a folder in `dir`; the error of a store that refuses or does not answer.
    pub fn begin(opened: &'a Opened, dir: &Path) -> Result<Self, StoreError> {
        opened.store.require_target(dir)?;
        Ok(Self {
            opened,
            dir: dir.to_owned(),
            there: opened.store.list()?.unwrap_or_default(),
            same: HashMap::new(),
            is_compared: false,
            is_stale: false,
            summary: Summary::default(),
        })
    }

    /// Whether the store had a cache when it was listed.
    pub fn has_cache(&self) -> bool {
        self.there.contains_key(names::IDENTITY)
    }

    /// Copies what is committed now, without the manifests and the inventory: the cache is still being captured. Returns how
    /// many files were copied, or `None` if it was told to stop.
    ///
    /// # Errors
    ///
    /// Those of [`push`](crate::push()). The next call copies what is left.
    pub fn committed(&mut self, stop: &AtomicBool, events: &mut dyn FnMut(Event)) -> Result<Option<u64>, StoreError> {
        let before = self.summary.files_copied;
        let (files, _) = listing::files(&self.dir)?;
        match self.copy(&files, Kind::Receipt, stop, events) {
            Ok(()) => Ok(Some(self.summary.files_copied - before)),
            Err(StoreError::Stopped) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Copies everything, and lists the store again to see that it is there.
    ///
    /// # Errors
    ///
    /// Those of [`push`](crate::push()).
    pub fn all(mut self, stop: &AtomicBool, events: &mut dyn FnMut(Event)) -> Result<Outcome, StoreError> {
        match self.copy_all(stop, events) {
            Ok(()) => Ok(Outcome::Done(self.summary)),
            Err(StoreError::Stopped) => Ok(Outcome::Stopped),
            Err(error) => Err(error),
        }
    }

    fn copy_all(&mut self, stop: &AtomicBool, events: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        // What an inventory lists was there before it was written, so it is read before the folder is listed.
        let path = self.dir.join(INVENTORY);
        let inventory = match contents(&path) {
            Ok(bytes) => Some(parsed::<Inventory>(&bytes, &path.display().to_string())?),
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let (files, others) = listing::files(&self.dir)?;
        if let Some(inventory) = &inventory {
            self.require_listed(inventory, &files)?;
        }
        self.summary.passed_over = others;
        self.copy(&files, Kind::Manifest, stop, events)?;
        if self.summary.files_copied > 0 {
            let mut lost = self.lost(&files)?;
            if !lost.is_empty() {
                // A shard is sent with its receipt.
                self.same
                    .retain(|name, _| !lost.contains(name) && !lost.contains(&receipt_of(name)));
                self.copy(&files, Kind::Manifest, stop, events)?;
                lost = self.lost(&files)?;
            }
            if let Some(name) = lost.first() {
                let place = self.store().url_of(name);
                return Err(StoreError::Lost { place });
            }
        }
        self.summary.complete = inventory.as_ref().is_some_and(|inventory| lists_all(inventory, &files));
        match inventory {
            Some(inventory) => self.put_inventory(&inventory),
            None => Ok(()),
        }
    }

    /// Refuses a cache that lacks a work unit that its inventory lists.
    fn require_listed(&self, inventory: &Inventory, files: &[LocalFile]) -> Result<(), StoreError> {
        let shards: HashSet<&str> = files.iter().map(|file| &*file.name).collect();
        let listed = inventory.layers.iter().flat_map(|(layer, units)| {
            let name = move |unit: &String| format!("layers/{layer}/{unit}.parquet");
            units.keys().map(name)
        });
        match listed.into_iter().find(|name| !shards.contains(&**name)) {
            None => Ok(()),
            Some(name) => Err(StoreError::Missing {
                place: self.dir.join(name).display().to_string(),
                why: ", and the inventory lists it",
            }),
        }
    }

    fn store(&self) -> &'a dyn Store {
        &*self.opened.store
    }

    /// Copies the files up to those of a kind.
    fn copy(
        &mut self,
        files: &[LocalFile],
        up_to: Kind,
        stop: &AtomicBool,
        events: &mut dyn FnMut(Event),
    ) -> Result<(), StoreError> {
        if !self.is_compared {
            self.there().require_same(files)?;
            self.is_compared = true;
        }
        if self.is_stale {
            self.there = self.store().list()?.unwrap_or_default();
            self.is_stale = false;
        }
        let takes_origin = self.there().takes_origin();
        let left: Vec<&LocalFile> = files
            .iter()
            .filter(|file| file.kind <= up_to && file.kind != Kind::Inventory && !self.same.contains_key(&file.name))
            .filter(|file| file.kind != Kind::Origin || takes_origin)
            .collect();
        events(Event::Begun {
            files: left.len() as u64,
            bytes: left.iter().map(|file| file.bytes).sum(),
        });
        let stages = [
            (Kind::Tokenizer, self.opened.parallel),
            (Kind::Identity, 1),
            (Kind::Origin, 1),
            (Kind::Data, self.opened.parallel),
            // One after the other: a part is only one if those before it are there.
            (Kind::Description, 1),
            (Kind::Layer, self.opened.parallel),
            // Each with its receipt.
            (Kind::Shard, self.opened.parallel),
            (Kind::Manifest, self.opened.parallel),
        ];
        for (kind, threads) in stages {
            let jobs: Vec<&LocalFile> = left.iter().copied().filter(|file| file.kind == kind).collect();
            let this = &*self;
            let work = |file: &&LocalFile, tell: &dyn Fn(Event)| {
                let carrier = Carrier { push: this, tell, stop };
                if file.kind == Kind::Shard {
                    carrier.unit(file)
                } else {
                    Ok(vec![(file.name.clone(), carrier.file(file, None)?)])
                }
            };
            let copied = parallel::each(&jobs, threads, stop, &mut |event| events(event), &work);
            self.is_stale = copied.is_err();
            for (name, copied) in copied?.into_iter().flatten() {
                self.summary.count(copied);
                self.same.insert(name, copied);
            }
        }
        Ok(())
    }

    fn there(&self) -> There<'_> {
        There {
            store: self.store(),
            dir: &self.dir,
            objects: &self.there,
        }
    }

    /// Lists the store again: the copied files that it does not have as they are here.
    fn lost(&mut self, files: &[LocalFile]) -> Result<Vec<String>, StoreError> {
        self.there = self.store().list()?.unwrap_or_default();
        let is_lost = |file: &&LocalFile| {
            let expected = match self.same.get(&file.name) {
                // Another receipt of the same shard may be there, or a manifest of more work units.
                Some(Copied::There(_)) if matches!(file.kind, Kind::Receipt | Kind::Manifest) => None,
                Some(Copied::Moved(bytes) | Copied::There(bytes)) => Some(*bytes),
                None => return false,
            };
            let found = self.there.get(&file.name).map(|object| object.bytes);
            found.is_none() || expected.is_some_and(|bytes| Some(bytes) != found)
        };
        Ok(files.iter().filter(is_lost).map(|file| file.name.clone()).collect())
    }

    fn put_inventory(&mut self, ours: &Inventory) -> Result<(), StoreError> {
        let theirs = self.there().inventory()?;
        let united = match &theirs {
            None => ours.clone(),
            Some(theirs) => ours.with(theirs).map_err(|how| self.there().other(INVENTORY, &how))?,
        };
        let bytes = united.to_bytes();
        let size = bytes.len() as u64;
        if theirs.as_ref() == Some(&united) {
            self.summary.count(Copied::There(size));
            return Ok(());
        }
        self.store().put(INVENTORY, bytes, Replacing::Yes)?;
        self.summary.count(Copied::Moved(size));
        Ok(())
    }
}

/// Whether an inventory lists every work unit. One that was taken while others were captured does not.
fn lists_all(inventory: &Inventory, files: &[LocalFile]) -> bool {
    let mut shards = files.iter().filter(|file| file.kind == Kind::Shard);
    shards.all(|shard| {
        names::unit_of(&shard.name).is_some_and(|(layer, unit)| {
            inventory
                .layers
                .get(&layer)
                .is_some_and(|units| units.contains_key(&unit))
        })
    })
}

/// What carries one file into the store.
struct Carrier<'a> {
    push: &'a Pushing<'a>,
    tell: &'a dyn Fn(Event),
    stop: &'a AtomicBool,
}

impl Carrier<'_> {
    /// Copies a shard and its receipt.
    fn unit(&self, shard: &LocalFile) -> Result<Vec<(String, Copied)>, StoreError> {
        let name = receipt_of(&shard.name);
        let receipt_path = self.push.dir.join(&name);
        let bytes = contents(&receipt_path)?;
        let region = parsed::<Receipt>(&bytes, &receipt_path.display().to_string())?.shard;
        let receipt = LocalFile {
            kind: Kind::Receipt,
            name,
            bytes: bytes.len() as u64,
        };
        let there = self.push.there();
        let has_receipt = there.has_receipt(&receipt.name, &receipt_path, &region)?;
        let copied = match self.push.there.get(&shard.name) {
            // With its receipt, it was whole.
            Some(object) if has_receipt && object.md5.is_none() && object.bytes == region.bytes => self.passed(shard),
            Some(&object) if is_same(self.push.store(), &shard.name, object, &shard.path(&self.push.dir))? => {
                self.passed(shard)
            }
            Some(_) => self.upload(shard, Some(&region), Replacing::Yes)?,
            None => self.upload(shard, Some(&region), Replacing::No)?,
        };
        let receipt_copied = if has_receipt {
            self.passed(&receipt)
        } else {
            // One that is there is damaged.
            let replacing = if self.push.there.contains_key(&receipt.name) {
                Replacing::Yes
            } else {
                Replacing::No
            };
            self.upload(&receipt, None, replacing)?
        };
        Ok(vec![(shard.name.clone(), copied), (receipt.name, receipt_copied)])
    }

    /// Copies a file that is neither a shard nor a receipt.
    fn file(&self, file: &LocalFile, expected: Option<&Region>) -> Result<Copied, StoreError> {
        let Some(&object) = self.push.there.get(&file.name) else {
            return self.upload(file, expected, Replacing::No);
        };
        let path = file.path(&self.push.dir);
        if is_same(self.push.store(), &file.name, object, &path)? {
            return Ok(self.passed(file));
        }
        let there = self.push.there();
        let is_ours = match file.kind {
            // What the description does not state is of a push that was interrupted.
            Kind::Data => true,
            Kind::Manifest => there.has_older_manifest(&file.name, &path)?,
            _ => there.has_beginning(&file.name, &path)?,
        };
        match file.kind {
            _ if is_ours => self.upload(file, expected, Replacing::Yes),
            Kind::Manifest => Ok(self.passed(file)),
            _ => Err(there.other(&file.name, "")),
        }
    }

    fn passed(&self, file: &LocalFile) -> Copied {
        (self.tell)(Event::Passed(file.bytes));
        Copied::There(file.bytes)
    }

    fn upload(&self, file: &LocalFile, expected: Option<&Region>, replacing: Replacing) -> Result<Copied, StoreError> {
        let path = file.path(&self.push.dir);
        let mut source = Source::open(&path, expected, self.tell, self.stop)?;
        let bytes = source.bytes();
        if bytes > PIECE {
            self.push.store().put_large(&file.name, &mut source)?;
            return Ok(Copied::Moved(bytes));
        }
        let piece = source.piece(PIECE)?;
        if self.push.store().put(&file.name, piece, replacing)? {
            source.moved(bytes);
            return Ok(Copied::Moved(bytes));
        }
        // Somebody else has just created it.
        if self.push.there().was_created(file, &path)? {
            Ok(self.passed(file))
        } else {
            Err(self.push.there().other(&file.name, ""))
        }
    }
}
