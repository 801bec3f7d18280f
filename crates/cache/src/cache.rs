//! A cache's folder: making it, opening it, and finding what lies in it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use leadspan_files::{commit_bytes, create_folder};
use leadspan_sequence::{Sample, Split};
use leadspan_workers::{Holder, Lock, LockGuard, lock, try_lock};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::num::NonZeroU32;

use crate::{
    Band, CacheError, CorpusWriter, Coverage, FORMAT_VERSION, Identity, Layer, LayerDir, PreparedCorpus, WorkUnit,
    corpus::{
        check_samples, plan_units,
        table::{self, NewPart},
    },
    json,
    layers::{choice::incomplete, division, remainder},
};

/// The folder, inside a cache's, of the cache of what is replayed.
pub const REPLAY: &str = "replay";

const IDENTITY: &str = "identity.json";
const TOKENIZER: &str = "tokenizer";
const CORPUS: &str = "corpus";
const LAYERS: &str = "layers";

/// An open cache. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
    identity: Arc<Identity>,
    /// blake3 of each file in `tokenizer/`.
    tokenizer_files: BTreeMap<String, String>,
    corpus: OnceLock<PreparedCorpus>,
}

/// What `identity.json` holds.
#[derive(Serialize, Deserialize)]
struct IdentityFile {
    format: u32,
    identity: Identity,
    tokenizer_files: BTreeMap<String, String>,
}

impl Cache {
    /// Opens a cache that exists.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotACache`] where there is none; [`CacheError::BadJson`] or [`CacheError::UnsupportedVersion`]
    /// where its `identity.json` cannot be understood.
    pub fn open(dir: &Path) -> Result<Self, CacheError> {
        Self::open_if_there(dir)?.ok_or_else(|| CacheError::NotACache { path: dir.to_owned() })
    }

    /// Opens the cache in `dir`, or makes one of this identity there.
    ///
    /// Processes that do so at the same time wait for each other. The cache exists from the moment `identity.json` is
    /// committed, after the tokenizer files.
    ///
    /// # Errors
    ///
    /// [`CacheError::IdentityMismatch`] where a cache of another identity is there; [`CacheError::Io`] where the folder
    /// cannot be written to.
    pub fn create_or_open(
        dir: &Path,
        identity: &Identity,
        tokenizer_files: &[(String, Vec<u8>)],
    ) -> Result<Self, CacheError> {
        Self::create_or_open_telling(dir, identity, tokenizer_files, &mut |_| {})
    }

    /// As [`create_or_open`](Self::create_or_open), calling `waiting` with the process that is waited for now and then.
    ///
    /// # Errors
    ///
    /// As [`create_or_open`](Self::create_or_open).
    pub fn create_or_open_telling(
        dir: &Path,
        identity: &Identity,
        tokenizer_files: &[(String, Vec<u8>)],
        waiting: &mut dyn FnMut(&Holder),
    ) -> Result<Self, CacheError> {
        let cache = match Self::open_if_there(dir)? {
            Some(cache) => cache,
            None => Self::create(dir, identity, tokenizer_files, waiting)?,
        };
        cache.require_identity(identity)?;
        Ok(cache)
    }

    /// Makes sure that the cache's distributions mean what `identity` says.
    ///
    /// # Errors
    ///
    /// [`CacheError::IdentityMismatch`] with the first part that differs.
    pub fn require_identity(&self, identity: &Identity) -> Result<(), CacheError> {
        match self.identity.first_difference(identity) {
            None => Ok(()),
            Some(difference) => Err(CacheError::IdentityMismatch {
                path: self.dir.clone(),
                field: difference.field,
                stored: difference.stored,
                asked: difference.asked,
            }),
        }
    }

    fn open_if_there(dir: &Path) -> Result<Option<Self>, CacheError> {
        let path = dir.join(IDENTITY);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(CacheError::io("read", path)(error)),
        };
        let IdentityFile {
            identity,
            tokenizer_files,
            ..
        } = json::from_bytes(&bytes, &path)?;
        Ok(Some(Self {
            dir: dir.to_owned(),
            identity: Arc::new(identity),
            tokenizer_files,
            corpus: OnceLock::new(),
        }))
    }

    fn create(
        dir: &Path,
        identity: &Identity,
        tokenizer_files: &[(String, Vec<u8>)],
        waiting: &mut dyn FnMut(&Holder),
    ) -> Result<Self, CacheError> {
        if let Some((name, _)) = tokenizer_files.iter().find(|(name, _)| !is_plain_file_name(name)) {
            return Err(CacheError::NotAFileName { name: name.clone() });
        }
        create_folder(dir)?;
        let _lock = lock(dir, waiting)?;
        if let Some(cache) = Self::open_if_there(dir)? {
            return Ok(cache);
        }
        let tokenizer_dir = dir.join(TOKENIZER);
        create_folder(&tokenizer_dir)?;
        let mut hashes = BTreeMap::new();
        for (name, bytes) in tokenizer_files {
            commit_bytes(&tokenizer_dir.join(name), bytes)?;
            hashes.insert(name.clone(), blake3::hash(bytes).to_hex().to_string());
        }
        let file = IdentityFile {
            format: FORMAT_VERSION,
            identity: identity.clone(),
            tokenizer_files: hashes,
        };
        commit_bytes(&dir.join(IDENTITY), &json::to_bytes(&file))?;
        Ok(Self {
            dir: dir.to_owned(),
            identity: Arc::new(file.identity),
            tokenizer_files: file.tokenizer_files,
            corpus: OnceLock::new(),
        })
    }

    /// Keeps others from preparing this cache until the guard is dropped, unless another process does so.
    ///
    /// # Errors
    ///
    /// Where the folder is gone or cannot be written to.
    pub fn lock_for_preparing(&self) -> Result<Lock, CacheError> {
        Ok(try_lock(&self.dir)?)
    }

    /// How many parts of the prepared corpus are there by now, whatever this handle has read.
    ///
    /// # Errors
    ///
    /// Where its folder cannot be read, or a part of it is missing.
    pub fn count_corpus_parts(&self) -> Result<usize, CacheError> {
        table::count_parts(&self.dir.join(CORPUS))
    }

    /// The cache's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The cache inside this one that holds the samples that are replayed while a student learns from this one: a prepared
    /// corpus of their own, without a teacher; none where none was prepared.
    ///
    /// # Errors
    ///
    /// Where it is there and cannot be read.
    pub fn replay(&self) -> Result<Option<Self>, CacheError> {
        Self::open_if_there(&self.dir.join(REPLAY))
    }

    /// What the stored distributions mean.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The folder with the tokenizer's files.
    pub fn tokenizer_dir(&self) -> PathBuf {
        self.dir.join(TOKENIZER)
    }

    /// The tokenizer's files, each with the blake3 of its bytes.
    pub fn tokenizer_files(&self) -> &BTreeMap<String, String> {
        &self.tokenizer_files
    }

    /// Stores the prepared corpus: `samples` in their final order, training samples first, one hash a row.
    ///
    /// `facts` is whatever the caller wants to find again beside it.
    ///
    /// # Errors
    ///
    /// [`CacheError::AlreadyPrepared`] where there is a corpus; [`CacheError::UnstorableCorpus`] where samples and
    /// hashes do not fit each other or the order is wrong; [`CacheError::Io`] where the file system refuses.
    pub fn write_corpus(
        &self,
        samples: &[Sample],
        row_hashes: &[[u8; 32]],
        samples_per_shard: NonZeroU32,
        facts: Value,
    ) -> Result<PreparedCorpus, CacheError> {
        if self.corpus()?.is_some() {
            return Err(CacheError::AlreadyPrepared { path: self.dir.clone() });
        }
        check_samples(0, samples, row_hashes).map_err(|problem| CacheError::UnstorableCorpus { problem })?;
        let units = plan_units(&[], samples.iter().map(|sample| sample.split), samples_per_shard)?;
        let part = NewPart {
            number: 0,
            units: &units,
            samples_per_shard,
            facts,
        };
        create_folder(&self.dir.join(CORPUS))?;
        self.write_part(part, samples, row_hashes)?;
        self.require_corpus()
    }

    /// As [`write_corpus`](Self::write_corpus), of samples that need not be in memory together: `fill` pushes one for each
    /// of `splits`, in this order.
    ///
    /// # Errors
    ///
    /// As [`write_corpus`](Self::write_corpus), and what `fill` returns.
    pub fn write_corpus_with(
        &self,
        splits: &[Split],
        samples_per_shard: NonZeroU32,
        facts: Value,
        fill: &mut dyn FnMut(&mut CorpusWriter) -> Result<(), CacheError>,
    ) -> Result<PreparedCorpus, CacheError> {
        if self.corpus()?.is_some() {
            return Err(CacheError::AlreadyPrepared { path: self.dir.clone() });
        }
        let units = plan_units(&[], splits.iter().copied(), samples_per_shard)?;
        let part = NewPart {
            number: 0,
            units: &units,
            samples_per_shard,
            facts,
        };
        let folder = self.dir.join(CORPUS);
        create_folder(&folder)?;
        table::write_part(&folder, part, fill)?;
        self.require_corpus()
    }

    /// Puts a part behind the prepared corpus: `samples` in their final order, training samples first, one hash a row.
    ///
    /// They form work units of their own, so every stored shard stays what it was. There may be no samples at all: the
    /// part then only says that `facts` hold now. To be called while [preparing is locked](Self::lock_for_preparing), on
    /// a handle that was opened since. Other handles go on seeing the corpus as it was when they read it.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] where there is no corpus; [`CacheError::UnstorableCorpus`] where samples and hashes do
    /// not fit each other, the order is wrong, or another process put a part there meanwhile; [`CacheError::Io`] where
    /// the file system refuses. The corpus is then what it was.
    pub fn extend_corpus(
        &mut self,
        samples: &[Sample],
        row_hashes: &[[u8; 32]],
        facts: Value,
    ) -> Result<PreparedCorpus, CacheError> {
        let known = self.require_corpus()?.len();
        check_samples(known, samples, row_hashes).map_err(|problem| CacheError::UnstorableCorpus { problem })?;
        let splits: Vec<Split> = samples.iter().map(|sample| sample.split).collect();
        self.extend_corpus_with(&splits, facts, &mut |files| {
            let mut rows = samples.iter().zip(row_hashes);
            rows.try_for_each(|(sample, row_hash)| files.push(sample.into(), &sample.tokens, row_hash))
        })
    }

    /// As [`extend_corpus`](Self::extend_corpus), of samples that need not be in memory together: `fill` pushes one for each
    /// of `splits`, in this order.
    ///
    /// # Errors
    ///
    /// As [`extend_corpus`](Self::extend_corpus), and what `fill` returns.
    pub fn extend_corpus_with(
        &mut self,
        splits: &[Split],
        facts: Value,
        fill: &mut dyn FnMut(&mut CorpusWriter) -> Result<(), CacheError>,
    ) -> Result<PreparedCorpus, CacheError> {
        let corpus = self.require_corpus()?;
        // Whatever comes of this, the corpus is opened again.
        self.corpus = OnceLock::new();
        let folder = self.dir.join(CORPUS);
        let (known, there) = (corpus.parts().len(), table::count_parts(&folder)?);
        if known != there {
            let problem = format!("it has {there} parts by now where {known} were read");
            return Err(CacheError::UnstorableCorpus { problem });
        }
        let samples_per_shard = corpus.samples_per_shard();
        let units = plan_units(corpus.units(), splits.iter().copied(), samples_per_shard)?;
        let part = NewPart {
            number: known,
            units: &units,
            samples_per_shard,
            facts,
        };
        table::write_part(&folder, part, fill)?;
        self.require_corpus()
    }

    fn write_part(&self, part: NewPart<'_>, samples: &[Sample], row_hashes: &[[u8; 32]]) -> Result<(), CacheError> {
        let folder = self.dir.join(CORPUS);
        table::write_part(&folder, part, &mut |files| {
            let mut rows = samples.iter().zip(row_hashes);
            rows.try_for_each(|(sample, row_hash)| files.push(sample.into(), &sample.tokens, row_hash))
        })
    }

    /// Compares the tokens of the prepared corpus, which this handle has read, with their checksums.
    pub(crate) fn verify_tokens(&self) -> Result<Vec<CacheError>, CacheError> {
        let corpus = self.require_corpus()?;
        Ok(table::verify_tokens(&self.dir.join(CORPUS), &corpus))
    }

    /// The prepared corpus, or `None` where none was stored yet. It is read once and then kept.
    ///
    /// # Errors
    ///
    /// Where its files are damaged or cannot be read. The tokens are not read yet.
    pub fn corpus(&self) -> Result<Option<PreparedCorpus>, CacheError> {
        if let Some(corpus) = self.corpus.get() {
            return Ok(Some(corpus.clone()));
        }
        let read = table::read(&self.dir.join(CORPUS))?;
        Ok(read.map(|corpus| self.corpus.get_or_init(|| corpus).clone()))
    }

    /// The prepared corpus, which must be there.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] where it is not, beside the errors of [`corpus`](Self::corpus).
    pub fn require_corpus(&self) -> Result<PreparedCorpus, CacheError> {
        self.corpus()?
            .ok_or_else(|| CacheError::NotPrepared { path: self.dir.clone() })
    }

    /// The index of the sample with this id.
    ///
    /// # Errors
    ///
    /// [`CacheError::UnknownSample`] where there is none, beside the errors of [`require_corpus`](Self::require_corpus).
    pub fn find_sample(&self, id: &str) -> Result<u32, CacheError> {
        let corpus = self.require_corpus()?;
        let found = corpus.samples().position(|sample| sample.id == id);
        found
            .map(|index| index as u32)
            .ok_or_else(|| CacheError::UnknownSample {
                path: self.dir.clone(),
                id: id.to_owned(),
                first: corpus.samples().next().map(|sample| sample.id.to_owned()),
            })
    }

    /// What was stored beside the newest part of the corpus, or `None` where there is none yet.
    ///
    /// # Errors
    ///
    /// Those of [`corpus`](Self::corpus).
    pub fn prepared_facts(&self) -> Result<Option<Value>, CacheError> {
        Ok(self.corpus()?.map(|corpus| corpus.facts().clone()))
    }

    /// The folder of a layer, made where there is none yet, to write shards into.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] where there is no corpus; [`CacheError::Io`] where the file system refuses.
    pub fn layer(&self, layer: &Layer) -> Result<LayerDir, CacheError> {
        let corpus = self.require_corpus()?;
        let identity = Arc::clone(&self.identity);
        LayerDir::create_or_open(&self.dir.join(LAYERS), layer.clone(), corpus, identity)
    }

    /// Whether complete layers cover `asked`.
    fn holds(&self, asked: &Coverage) -> Result<bool, CacheError> {
        let mut complete = Vec::new();
        for dir in self.layers()? {
            if dir.missing_units()?.is_empty() {
                complete.push(dir);
            }
        }
        let complete: Vec<&Layer> = complete.iter().map(LayerDir::layer).collect();
        Ok(division(asked, &complete).is_some())
    }

    /// The layers with missing units that have to be captured for the cache to hold `asked`; none where it does already.
    ///
    /// What no layer holds gets a new one, made here; layers that were begun are finished beside it. Processes that ask at
    /// the same time get the same answer.
    ///
    /// # Errors
    ///
    /// [`CacheError::UnfinishedLayer`] where part of it is in a layer that was begun and reaches beyond it, so that finishing
    /// that one would capture more than is asked for; and those of [`layer`](Self::layer).
    pub fn layers_to_capture(&self, asked: &Coverage) -> Result<Vec<LayerDir>, CacheError> {
        // What is committed stays, so nobody needs to wait, or to be able to write, to find that nothing is left to do.
        if self.holds(asked)? {
            return Ok(Vec::new());
        }
        let mut dirs = self.layers()?;
        // Nor to find that there is nothing to be made: of thousands of workers, only the first few wait.
        if lacking(asked, &dirs).is_some() {
            let _lock: LockGuard = lock(&self.dir, &mut |_| {})?;
            dirs = self.layers()?;
            if let Some(layer) = lacking(asked, &dirs) {
                dirs.push(self.layer(&layer)?);
            }
        }
        let uncaptured = uncaptured(asked, &dirs)?;
        Ok(uncaptured.into_iter().map(|(index, _)| dirs[index].clone()).collect())
    }

    /// What [`layers_to_capture`](Self::layers_to_capture) would find if the cache's corpus were `corpus`, each layer with
    /// its missing units. Nothing is made or locked.
    ///
    /// # Errors
    ///
    /// Those of [`layers_to_capture`](Self::layers_to_capture) that do not come of writing.
    pub fn uncaptured(
        &self,
        asked: &Coverage,
        corpus: &PreparedCorpus,
    ) -> Result<Vec<(Layer, Vec<WorkUnit>)>, CacheError> {
        let mut dirs = self.layers_of(corpus)?;
        if let Some(layer) = lacking(asked, &dirs) {
            let identity = Arc::clone(&self.identity);
            dirs.push(LayerDir::planned(
                &self.dir.join(LAYERS),
                layer,
                corpus.clone(),
                identity,
            ));
        }
        let complete: Vec<&Layer> = dirs
            .iter()
            .filter_map(|dir| match dir.missing_units() {
                Ok(missing) => missing.is_empty().then(|| Ok(dir.layer())),
                Err(error) => Some(Err(error)),
            })
            .collect::<Result<_, _>>()?;
        if division(asked, &complete).is_some() {
            return Ok(Vec::new());
        }
        let uncaptured = uncaptured(asked, &dirs)?;
        Ok(uncaptured
            .into_iter()
            .map(|(index, units)| (dirs[index].layer().clone(), units))
            .collect())
    }

    /// The layers that hold `asked` together, or will when they are complete, each with its missing units. One that is not
    /// begun has no folder yet. Nothing is made or locked.
    ///
    /// # Errors
    ///
    /// Those of [`layers`](Self::layers).
    pub fn layers_for(&self, asked: &Coverage) -> Result<Vec<(LayerDir, Vec<WorkUnit>)>, CacheError> {
        let corpus = self.require_corpus()?;
        let mut dirs = self.layers_of(&corpus)?;
        let mut missing: Vec<Vec<WorkUnit>> = dirs.iter().map(LayerDir::missing_units).collect::<Result<_, _>>()?;
        let chosen = |dirs: &[LayerDir], usable: Vec<usize>| {
            let layers: Vec<&Layer> = usable.iter().map(|&index| dirs[index].layer()).collect();
            let parts = division(asked, &layers)?;
            Some(parts.into_iter().map(|(place, _)| usable[place]).collect::<Vec<_>>())
        };
        let complete = (0..dirs.len()).filter(|&index| missing[index].is_empty()).collect();
        let parts = chosen(&dirs, complete).unwrap_or_else(|| {
            if let Some(layer) = lacking(asked, &dirs) {
                let identity = Arc::clone(&self.identity);
                missing.push(corpus.units().to_vec());
                dirs.push(LayerDir::planned(&self.dir.join(LAYERS), layer, corpus, identity));
            }
            let all = (0..dirs.len()).collect();
            chosen(&dirs, all).expect("the layers and what they lack cover it")
        });
        let of = |index: usize| (dirs[index].clone(), missing[index].clone());
        Ok(parts.into_iter().map(of).collect())
    }

    /// The layers that were begun, ordered by the names of their folders.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] where there is no corpus, and where a layer's description is damaged.
    pub fn layers(&self) -> Result<Vec<LayerDir>, CacheError> {
        self.layers_of(&self.require_corpus()?)
    }

    fn layers_of(&self, corpus: &PreparedCorpus) -> Result<Vec<LayerDir>, CacheError> {
        let path = self.dir.join(LAYERS);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(CacheError::io("list", path)(error)),
        };
        let mut folders = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(CacheError::io("list", &path))?;
        folders.retain(|folder| folder.is_dir());
        folders.sort();
        folders
            .iter()
            .filter_map(|folder| LayerDir::open(folder, corpus, &self.identity).transpose())
            .collect()
    }
}

/// The layer that is missing for `dirs` to cover `asked`.
fn lacking(asked: &Coverage, dirs: &[LayerDir]) -> Option<Layer> {
    let begun: Vec<&Layer> = dirs.iter().map(LayerDir::layer).collect();
    remainder(asked, &begun)
}

/// Which of `dirs`, which cover `asked` together, have missing units that belong to it, and those units.
///
/// # Errors
///
/// [`CacheError::UnfinishedLayer`] where one of them reaches beyond it.
fn uncaptured(asked: &Coverage, dirs: &[LayerDir]) -> Result<Vec<(usize, Vec<WorkUnit>)>, CacheError> {
    let layers: Vec<&Layer> = dirs.iter().map(LayerDir::layer).collect();
    let parts = division(asked, &layers).expect("the layers and what they lack cover it");
    let mut unfinished = Vec::new();
    for (index, _) in parts {
        let missing = dirs[index].missing_units()?;
        if !missing.is_empty() {
            unfinished.push((index, missing));
        }
    }
    let is_within = |layer: &Layer| {
        let within = |band: &Band| asked.sections.contains(band.section) && band.up_to <= asked.proportion;
        layer.bands().iter().all(within)
    };
    match unfinished.iter().find(|(index, _)| !is_within(layers[*index])) {
        Some((index, missing)) => Err(CacheError::UnfinishedLayer {
            asked: *asked,
            unfinished: Box::new(incomplete(&dirs[*index], missing)),
        }),
        None => Ok(unfinished),
    }
}

fn is_plain_file_name(name: &str) -> bool {
    !name.starts_with('.') && Path::new(name).file_name().is_some_and(|file_name| file_name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic;
    use leadspan_diagnosis::Diagnosis as _;
    use leadspan_sequence::SectionSet;

    fn tokenizer() -> Vec<(String, Vec<u8>)> {
        vec![("tokenizer.json".to_owned(), b"{}".to_vec())]
    }

    #[test]
    fn a_cache_is_made_once_and_opened_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("deep").join("cache");
        assert!(matches!(Cache::open(&dir), Err(CacheError::NotACache { .. })));
        Cache::create_or_open(&dir, &synthetic::identity(), &tokenizer()).unwrap();
        let before = fs::read(dir.join(IDENTITY)).unwrap();
        let again = Cache::create_or_open(&dir, &synthetic::identity(), &[]).unwrap();
        assert_eq!(fs::read(dir.join(IDENTITY)).unwrap(), before);
        assert_eq!(fs::read(again.tokenizer_dir().join("tokenizer.json")).unwrap(), b"{}");
        assert_eq!(Cache::open(&dir).unwrap().identity(), &synthetic::identity());
        assert_eq!(
            again.tokenizer_files()["tokenizer.json"],
            blake3::hash(b"{}").to_hex().as_str()
        );
    }

    #[test]
    fn another_identity_is_refused_with_both_values_and_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        Cache::create_or_open(folder.path(), &synthetic::identity(), &[]).unwrap();
        let mut other = synthetic::identity();
        other.entries.top_k = 128;
        let error = Cache::create_or_open(folder.path(), &other, &[]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("was made with top_k `512`, but `128` is asked for"),
            "{text}"
        );
        assert!(error.hint().unwrap().contains("cache.top_k = 512") && !error.is_unexpected());
    }

    #[test]
    fn tokenizer_files_cannot_leave_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("cache");
        for name in ["../evil", "a/b", "..", "", "/etc/passwd", ".lock"] {
            let files = [(name.to_owned(), Vec::new())];
            let result = Cache::create_or_open(&dir, &synthetic::identity(), &files);
            assert!(matches!(result, Err(CacheError::NotAFileName { .. })), "{name}");
        }
        assert!(!dir.exists());
    }

    #[test]
    fn tokenizer_files_without_an_identity_are_no_cache() {
        let folder = tempfile::tempdir().unwrap();
        Cache::create_or_open(folder.path(), &synthetic::identity(), &tokenizer()).unwrap();
        fs::remove_file(folder.path().join(IDENTITY)).unwrap();
        assert!(matches!(Cache::open(folder.path()), Err(CacheError::NotACache { .. })));
        Cache::create_or_open(folder.path(), &synthetic::identity(), &tokenizer()).unwrap();
        Cache::open(folder.path()).unwrap();
    }

    #[test]
    fn damaged_and_newer_identities_give_their_errors() {
        let folder = tempfile::tempdir().unwrap();
        Cache::create_or_open(folder.path(), &synthetic::identity(), &[]).unwrap();
        let path = folder.path().join(IDENTITY);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(matches!(Cache::open(folder.path()), Err(CacheError::BadJson { .. })));
        fs::write(&path, text.replace("\"format\": 2", "\"format\": 3")).unwrap();
        assert!(matches!(
            Cache::open(folder.path()),
            Err(CacheError::UnsupportedVersion { found: 3, .. })
        ));
    }

    #[test]
    fn a_second_corpus_and_a_wrong_one_are_refused() {
        let synthetic = synthetic::prepared(4, 2, 2);
        let corpus = synthetic.cache.require_corpus().unwrap();
        let write = |cache: &Cache, samples: &[Sample], hashes: &[[u8; 32]]| {
            cache
                .write_corpus(samples, hashes, NonZeroU32::MIN, Value::Null)
                .unwrap_err()
        };
        let reopened = Cache::open(synthetic.cache.dir()).unwrap();
        let hashes = synthetic::row_hashes_of(&corpus);
        let error = write(&reopened, &synthetic::samples_of(&corpus), &hashes);
        assert!(matches!(error, CacheError::AlreadyPrepared { .. }));

        let folder = tempfile::tempdir().unwrap();
        let empty = Cache::create_or_open(folder.path(), &synthetic::identity(), &[]).unwrap();
        let mut samples = synthetic::samples_of(&corpus);
        assert!(write(&empty, &samples, &hashes[1..]).to_string().contains("row hashes"));
        samples[0].tokens.pop();
        assert!(
            write(&empty, &samples, &hashes)
                .to_string()
                .contains("its sections end at")
        );
        samples.reverse();
        assert!(matches!(
            write(&empty, &samples[1..], &hashes[1..]),
            CacheError::UnstorableCorpus { .. }
        ));
        assert!(empty.corpus().unwrap().is_none());
        assert!(matches!(
            empty.layer(&synthetic::coverage("1", SectionSet::ALL).into()),
            Err(CacheError::NotPrepared { .. })
        ));
    }

    #[test]
    fn an_extended_corpus_needs_only_its_new_units() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let mut cache = captured.cache.clone();
        let before = cache.require_corpus().unwrap();
        let samples = synthetic::appended(before.len(), 6);
        let hashes = synthetic::row_hashes(&samples);
        let extended = cache.extend_corpus(&samples, &hashes, "later".into()).unwrap();
        assert_eq!(cache.prepared_facts().unwrap(), Some("later".into()));
        assert_eq!(captured.cache.require_corpus().unwrap().len(), 14, "an older handle");

        let reopened = Cache::open(cache.dir()).unwrap();
        assert_eq!(
            synthetic::samples_of(&reopened.require_corpus().unwrap()),
            synthetic::samples_of(&extended)
        );
        let names = |cache: &Cache| {
            let missing = cache.layers().unwrap()[0].missing_units().unwrap();
            missing.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(&reopened), ["train-000003", "train-000004"]);
        synthetic::capture(&reopened, &synthetic::coverage("0.5", SectionSet::ALL).into());
        assert!(names(&reopened).is_empty());
        let verification = crate::verify(&reopened, &mut |_| {}).unwrap();
        assert!(verification.problems.is_empty(), "{:?}", verification.problems);
        let reader = crate::Reader::open_largest(&reopened, crate::Missing::Refused).unwrap();
        for index in 0..reader.corpus().len() as u32 {
            reader.span(index).unwrap();
        }
        let corpus = reopened.inspect().unwrap().corpus.unwrap();
        assert_eq!(
            (corpus.train_samples, corpus.validation_samples, corpus.units),
            (17, 3, 6)
        );
    }

    #[test]
    fn an_extension_that_cannot_be_stored_leaves_the_corpus_as_it_was() {
        let synthetic = synthetic::prepared(4, 2, 2);
        let mut cache = synthetic.cache.clone();
        let mut samples = synthetic::appended(6, 2);
        let hashes = synthetic::row_hashes(&samples);
        let mut refused = |samples: &[Sample], hashes: &[[u8; 32]]| {
            let error = cache.extend_corpus(samples, hashes, Value::Null).unwrap_err();
            assert_eq!(cache.require_corpus().unwrap().parts().len(), 1);
            assert_eq!(fs::read_dir(cache.dir().join(CORPUS)).unwrap().count(), 3);
            error.to_string()
        };
        assert!(refused(&samples, &hashes[1..]).contains("row hashes"));
        samples[0].split = leadspan_sequence::Split::Validation;
        assert!(refused(&samples, &hashes).contains("sample 7 is a training sample behind"));

        let folder = tempfile::tempdir().unwrap();
        let mut empty = Cache::create_or_open(folder.path(), &synthetic::identity(), &[]).unwrap();
        let error = empty.extend_corpus(&[], &[], Value::Null).unwrap_err();
        assert!(matches!(error, CacheError::NotPrepared { .. }), "{error}");
    }

    #[test]
    fn a_part_that_another_process_appended_is_never_overwritten() {
        let synthetic = synthetic::prepared(4, 2, 2);
        let (mut one, mut other) = (synthetic.cache.clone(), synthetic.cache.clone());
        one.extend_corpus(&[], &[], "first".into()).unwrap();
        let error = other.extend_corpus(&[], &[], "second".into()).unwrap_err();
        assert!(matches!(error, CacheError::UnstorableCorpus { .. }), "{error}");
        assert_eq!(
            other.prepared_facts().unwrap(),
            Some("first".into()),
            "it is read again"
        );
    }

    #[test]
    fn one_process_at_a_time_prepares_a_cache() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::create_or_open(folder.path(), &synthetic::identity(), &[]).unwrap();
        let guard = cache.lock_for_preparing().unwrap();
        assert!(matches!(guard, Lock::Locked(_)));
        assert!(matches!(cache.lock_for_preparing().unwrap(), Lock::Held(_)));
        drop(guard);
        assert!(matches!(cache.lock_for_preparing().unwrap(), Lock::Locked(_)));
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_cannot_be_made_is_the_users_to_fix() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = Cache::create_or_open(&file.join("cache"), &synthetic::identity(), &[]).unwrap_err();
        assert!(!error.is_unexpected(), "{error}");
    }
}
