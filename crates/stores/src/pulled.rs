//! One file of a store on its way here: compared with what describes it, then committed.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use leadspan_cache::Inventory;
use leadspan_files::{
    FileError, PendingFile, commit_bytes, create_folder, open_unlinked, read_unlinked, require_own_folder,
};

use crate::{
    Event, StoreError,
    names::{IDENTITY, INVENTORY},
    plan::{Plan, Small, Stated, Unit, required},
    records::{Manifest, Receipt, Region, hash, parsed},
    same::contents,
    store::{MOST_BYTES, Store, pieces_of},
    told::Copied,
};

/// How two receipts of one work unit differ.
const TWO_CAPTURES: &str = ", which are of two captures of one work unit";

/// What a receipt says.
struct Described {
    shard: Region,
    /// The receipt's bytes.
    receipt: Vec<u8>,
    /// Whether a receipt of the same shard is here.
    is_here: bool,
}

impl Described {
    fn there(&self) -> Copied {
        Copied::There(self.receipt.len() as u64)
    }
}

/// A store, and the folder into which its cache is pulled.
pub(crate) struct Pulled<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) dir: &'a Path,
    /// A folder that may have files of the same cache already.
    pub(crate) beside: Option<&'a Path>,
}

impl Pulled<'_> {
    pub(crate) fn other(&self, name: &str, how: &str) -> StoreError {
        StoreError::OtherCache {
            path: self.dir.to_owned(),
            url: self.store.url().to_owned(),
            name: name.to_owned(),
            how: how.to_owned(),
        }
    }

    fn damaged(&self, name: &str, by: &str, problem: String) -> StoreError {
        StoreError::Damaged {
            place: self.store.url_of(name),
            by: by.to_owned(),
            problem,
        }
    }

    /// A file that is here, of at most [`MOST_BYTES`].
    pub(crate) fn found(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.dir.join(name);
        match read_unlinked(&path, MOST_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::io("read", path)(error).into()),
        }
    }

    /// The path of a file that is to be written. Its folder is made.
    fn target(&self, name: &str) -> Result<PathBuf, FileError> {
        let path = self.dir.join(name);
        let folder = path.parent().unwrap_or(self.dir);
        for own in folder.ancestors().take_while(|folder| *folder != self.dir) {
            require_own_folder(own).map_err(FileError::io("use", own))?;
        }
        create_folder(folder)?;
        Ok(path)
    }

    /// Writes a file whose contents cannot change.
    pub(crate) fn small(&self, small: &Small) -> Result<Copied, StoreError> {
        let bytes = small.bytes.len() as u64;
        match self.found(&small.name)? {
            Some(found) if found == small.bytes => return Ok(Copied::There(bytes)),
            Some(_) => return Err(self.other(&small.name, "")),
            None => {}
        }
        commit_bytes(&self.target(&small.name)?, &small.bytes)?;
        Ok(Copied::Moved(bytes))
    }

    /// Copies a file of the tokenizer.
    pub(crate) fn tokenizer(&self, (name, blake3): &(String, String)) -> Result<Copied, StoreError> {
        if let Some(found) = self.found(name)?
            && hash(&found) == *blake3
        {
            return Ok(Copied::There(found.len() as u64));
        }
        let beside = self.beside.and_then(|beside| contents(&beside.join(name)).ok());
        if let Some(beside) = beside.filter(|bytes| hash(bytes) == *blake3) {
            commit_bytes(&self.target(name)?, &beside)?;
            return Ok(Copied::There(beside.len() as u64));
        }
        let bytes = required(
            self.store,
            name,
            ", and the identity names it; if the cache is being pushed, pull it later",
        )?;
        if hash(&bytes) != *blake3 {
            return Err(self.damaged(name, IDENTITY, "its contents have another hash".to_owned()));
        }
        commit_bytes(&self.target(name)?, &bytes)?;
        Ok(Copied::Moved(bytes.len() as u64))
    }

    /// Copies a data file of the corpus.
    pub(crate) fn data(&self, data: &Stated, stop: &AtomicBool, tell: &dyn Fn(Event)) -> Result<Copied, StoreError> {
        if self.has(&data.name, &data.region)? || self.links(&data.name, &data.region)? {
            tell(Event::Passed(data.region.bytes));
            return Ok(Copied::There(data.region.bytes));
        }
        self.fetch(&data.name, &data.region, &data.by, stop, tell)
    }

    /// Whether a file is here with these contents.
    fn has(&self, name: &str, region: &Region) -> Result<bool, StoreError> {
        let path = self.dir.join(name);
        match open_unlinked(&path).and_then(|file| file.metadata()) {
            Ok(found) if found.len() == region.bytes => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(FileError::io("open", path)(error).into()),
        }
        let mut hasher = blake3::Hasher::new();
        leadspan_files::hash_contents(&mut hasher, &path).map_err(FileError::io("read", &path))?;
        Ok(hasher.finalize().to_hex().as_str() == region.blake3)
    }

    /// Gives the file of the folder beside a name here, if there is one with these contents. A file of a cache is never modified, so
    /// both may be one. Some file systems have no such links: then it is fetched.
    fn links(&self, name: &str, region: &Region) -> Result<bool, StoreError> {
        let Some(dir) = self.beside else {
            return Ok(false);
        };
        let there = Pulled {
            dir,
            beside: None,
            ..*self
        };
        if !there.has(name, region).unwrap_or(false) {
            return Ok(false);
        }
        Ok(fs::hard_link(dir.join(name), self.target(name)?).is_ok())
    }

    /// Copies a shard and then its receipt, unless both are here.
    pub(crate) fn unit(
        &self,
        unit: &Unit,
        plan: &Plan,
        stop: &AtomicBool,
        tell: &dyn Fn(Event),
    ) -> Result<Vec<Copied>, StoreError> {
        let described = self.described(unit, plan)?;
        if described.is_here && self.has_size(&unit.shard, described.shard.bytes)? {
            tell(Event::Passed(described.shard.bytes));
            return Ok(vec![Copied::There(described.shard.bytes), described.there()]);
        }
        self.require_shard(unit, plan, &described.shard)?;
        let copied = self.fetch(&unit.shard, &described.shard, &unit.receipt, stop, tell)?;
        Ok(vec![copied, self.write_receipt(unit, &described)?])
    }

    /// Copies the receipt of a work unit, without its shard.
    pub(crate) fn receipt(&self, unit: &Unit, plan: &Plan) -> Result<Vec<Copied>, StoreError> {
        let described = self.described(unit, plan)?;
        Ok(vec![self.write_receipt(unit, &described)?])
    }

    /// Checks that the store has a work unit, as its list and the receipt say. Copies nothing.
    pub(crate) fn require_stored(&self, unit: &Unit, plan: &Plan) -> Result<(), StoreError> {
        let described = self.described(unit, plan)?;
        self.require_shard(unit, plan, &described.shard)
    }

    /// What the receipt in the store says. It is not read if the one that is here is the same.
    fn described(&self, unit: &Unit, plan: &Plan) -> Result<Described, StoreError> {
        let here = self.receipt_here(unit)?;
        if let Some((receipt, bytes)) = &here {
            // The inventory or the receipt's size says that the store has the same shard.
            let is_same = match (&unit.listed, plan.object(&unit.receipt)) {
                (Some(listed), _) => *listed == receipt.shard,
                (None, Some(object)) => {
                    object.bytes == bytes.len() as u64 && object.md5.is_some_and(|md5| md5 == crate::same::md5(bytes))
                }
                (None, None) => false,
            };
            if is_same {
                return Ok(Described {
                    shard: receipt.shard.clone(),
                    receipt: bytes.clone(),
                    is_here: true,
                });
            }
        }
        let (receipt, shard) = self.read_receipt(unit)?;
        let is_here = match here {
            Some((here, _)) if here.shard != shard => return Err(self.other(&unit.receipt, TWO_CAPTURES)),
            here => here.is_some(),
        };
        Ok(Described {
            shard,
            receipt,
            is_here,
        })
    }

    /// Refuses a work unit whose shard the store lacks, or has with another size.
    fn require_shard(&self, unit: &Unit, plan: &Plan, shard: &Region) -> Result<(), StoreError> {
        match plan.object(&unit.shard) {
            None if plan.objects.is_some() => Err(StoreError::Missing {
                place: self.store.url_of(&unit.shard),
                why: ", and its receipt is there",
            }),
            Some(object) if object.bytes != shard.bytes => {
                let problem = format!("it has {} bytes, not {}", object.bytes, shard.bytes);
                Err(self.damaged(&unit.shard, &unit.receipt, problem))
            }
            _ => Ok(()),
        }
    }

    fn write_receipt(&self, unit: &Unit, described: &Described) -> Result<Copied, StoreError> {
        if described.is_here {
            return Ok(described.there());
        }
        commit_bytes(&self.target(&unit.receipt)?, &described.receipt)?;
        Ok(Copied::Moved(described.receipt.len() as u64))
    }

    /// The receipt in the store, and the shard that it describes.
    fn read_receipt(&self, unit: &Unit) -> Result<(Vec<u8>, Region), StoreError> {
        let bytes = required(self.store, &unit.receipt, ", and the inventory lists its shard")?;
        let Receipt { shard } = parsed(&bytes, &self.store.url_of(&unit.receipt))?;
        if unit.listed.as_ref().is_some_and(|listed| *listed != shard) {
            return Err(self.damaged(&unit.receipt, INVENTORY, "it describes another shard".to_owned()));
        }
        Ok((bytes, shard))
    }

    /// The receipt that is here, with its bytes.
    fn receipt_here(&self, unit: &Unit) -> Result<Option<(Receipt, Vec<u8>)>, StoreError> {
        let Some(bytes) = self.found(&unit.receipt)? else {
            return Ok(None);
        };
        let place = self.dir.join(&unit.receipt).display().to_string();
        let receipt = parsed(&bytes, &place)?;
        Ok(Some((receipt, bytes)))
    }

    /// Whether a file is here with this size.
    fn has_size(&self, name: &str, bytes: u64) -> Result<bool, StoreError> {
        let path = self.dir.join(name);
        match open_unlinked(&path).and_then(|file| file.metadata()) {
            Ok(found) => Ok(found.len() == bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(FileError::io("open", path)(error).into()),
        }
    }

    /// Copies a file in pieces. It becomes visible once its hash is the one that the file `by` states.
    fn fetch(
        &self,
        name: &str,
        region: &Region,
        by: &str,
        stop: &AtomicBool,
        tell: &dyn Fn(Event),
    ) -> Result<Copied, StoreError> {
        let path = self.target(name)?;
        let mut pending = PendingFile::create(&path)?;
        let mut hasher = blake3::Hasher::new();
        for range in pieces_of(&(0..region.bytes)) {
            if stop.load(Ordering::Relaxed) {
                return Err(StoreError::Stopped);
            }
            let wanted = range.end - range.start;
            let piece = self.store.read_range(name, range)?;
            if piece.len() as u64 != wanted {
                return Err(self.damaged(name, by, format!("it has less than {} bytes", region.bytes)));
            }
            hasher.update(&piece);
            pending.write_all(&piece).map_err(FileError::io("write", &path))?;
            tell(Event::Moved(wanted));
        }
        if hasher.finalize().to_hex().as_str() != region.blake3 {
            return Err(self.damaged(name, by, "its contents have another hash".to_owned()));
        }
        pending.commit()?;
        Ok(Copied::Moved(region.bytes))
    }

    /// Copies a manifest, unless the one here is of more work units. A manifest need not be there.
    pub(crate) fn manifest(&self, name: &str) -> Result<Option<Copied>, StoreError> {
        let Some(theirs) = self.store.read(name)? else {
            return Ok(None);
        };
        let bytes = theirs.len() as u64;
        let stated: Manifest = parsed(&theirs, &self.store.url_of(name))?;
        let ours = self.found(name)?;
        let is_newer = |ours: &Vec<u8>| {
            *ours == theirs || serde_json::from_slice(ours).is_ok_and(|ours: Manifest| ours.units > stated.units)
        };
        if ours.as_ref().is_some_and(is_newer) {
            return Ok(Some(Copied::There(bytes)));
        }
        commit_bytes(&self.target(name)?, &theirs)?;
        Ok(Some(Copied::Moved(bytes)))
    }

    /// Writes the inventory, with what the one here lists.
    pub(crate) fn inventory(&self, name: &str, theirs: &Inventory) -> Result<Copied, StoreError> {
        let ours: Option<Inventory> = match self.found(name)? {
            Some(bytes) => Some(parsed(&bytes, &self.dir.join(name).display().to_string())?),
            None => None,
        };
        let united = match &ours {
            None => theirs.clone(),
            Some(ours) => ours.with(theirs).map_err(|how| self.other(name, &how))?,
        };
        let bytes = united.to_bytes();
        let size = bytes.len() as u64;
        if ours.as_ref() == Some(&united) {
            return Ok(Copied::There(size));
        }
        commit_bytes(&self.target(name)?, &bytes)?;
        Ok(Copied::Moved(size))
    }
}
