//! A store in memory, with the faults that stores have.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    StoreError,
    same::md5,
    source::Source,
    store::{Object, PIECE, Replacing, Store},
};

/// What happens to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    /// It is acknowledged, and nothing is stored.
    Lost,
    /// It is acknowledged, and only its first half is stored.
    Truncated,
    /// The store, or the process, is gone from here on.
    Gone,
}

type Fates = Box<dyn FnMut(usize, &str) -> Fate + Send>;

/// Contents that several stores share: different processes at one place.
#[derive(Clone, Default)]
pub(super) struct Contents {
    pub(super) files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// The names in the order in which they were written.
    pub(super) written: Arc<Mutex<Vec<String>>>,
}

impl Contents {
    pub(super) fn now(&self) -> BTreeMap<String, Vec<u8>> {
        self.files.lock().unwrap().clone()
    }

    pub(super) fn change(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.files.lock().unwrap()
    }
}

pub(super) struct Fake {
    contents: Contents,
    fates: Mutex<Fates>,
    writes: AtomicUsize,
    gone: Mutex<bool>,
    states_md5: bool,
}

impl Fake {
    pub(super) fn new(contents: &Contents) -> Self {
        Self::with(contents, |_, _| Fate::Kept)
    }

    /// A store in which the write with a number and a name has a fate.
    pub(super) fn with(contents: &Contents, fates: impl FnMut(usize, &str) -> Fate + Send + 'static) -> Self {
        Self {
            contents: contents.clone(),
            fates: Mutex::new(Box::new(fates)),
            writes: AtomicUsize::new(0),
            gone: Mutex::new(false),
            states_md5: true,
        }
    }

    pub(super) fn without_md5(mut self) -> Self {
        self.states_md5 = false;
        self
    }

    fn require_there(&self) -> Result<(), StoreError> {
        if *self.gone.lock().unwrap() {
            return Err(StoreError::Failed {
                url: self.url().to_owned(),
                problem: "gone".to_owned(),
            });
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let fate = (self.fates.lock().unwrap())(number, name);
        let bytes = match fate {
            Fate::Kept => bytes,
            Fate::Lost => return Ok(()),
            Fate::Truncated => bytes[..bytes.len() / 2].to_vec(),
            Fate::Gone => {
                *self.gone.lock().unwrap() = true;
                return self.require_there();
            }
        };
        self.contents.change().insert(name.to_owned(), bytes);
        self.contents.written.lock().unwrap().push(name.to_owned());
        Ok(())
    }
}

impl Store for Fake {
    fn url(&self) -> &'static str {
        "s3://bucket/cache"
    }

    fn list(&self) -> Result<Option<BTreeMap<String, Object>>, StoreError> {
        self.require_there()?;
        let object = |bytes: &Vec<u8>| Object {
            bytes: bytes.len() as u64,
            md5: self.states_md5.then(|| md5(bytes)),
        };
        let files = self.contents.now();
        Ok(Some(
            files
                .iter()
                .map(|(name, bytes)| (name.clone(), object(bytes)))
                .collect(),
        ))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.require_there()?;
        Ok(self.contents.change().get(name).cloned())
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.require_there()?;
        let files = self.contents.change();
        let bytes = files.get(name).ok_or_else(|| StoreError::Missing {
            place: self.url_of(name),
            why: "",
        })?;
        let end = (range.end as usize).min(bytes.len());
        Ok(bytes[(range.start as usize).min(end)..end].to_vec())
    }

    fn put(&self, name: &str, bytes: Vec<u8>, replacing: Replacing) -> Result<bool, StoreError> {
        self.require_there()?;
        if replacing == Replacing::No && self.contents.change().contains_key(name) {
            return Ok(false);
        }
        self.write(name, bytes)?;
        Ok(true)
    }

    fn put_large(&self, name: &str, source: &mut Source<'_>) -> Result<(), StoreError> {
        self.require_there()?;
        let mut bytes = Vec::new();
        loop {
            let piece = source.piece(PIECE)?;
            if piece.is_empty() {
                return self.write(name, bytes);
            }
            source.moved(piece.len() as u64);
            bytes.extend(piece);
        }
    }

    fn require_target(&self, _dir: &std::path::Path) -> Result<(), StoreError> {
        Ok(())
    }
}
