//! Layers: the shards of one proportion and section set, in a folder of their own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use leadspan_sequence::{
    LeadSpanProportion, Sample, SectionSet, Split, supervised_position_count, supervised_positions,
};
use serde::{Deserialize, Serialize};

use crate::{
    CacheError, FORMAT_VERSION, PreparedCorpus, WorkUnit,
    commit::{commit_bytes, create_folder},
    json,
};

const DESCRIPTION: &str = "layer.json";

/// What a layer covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// How much of each training sample; validation samples are whole.
    pub proportion: LeadSpanProportion,
    /// Whose tokens are targets.
    pub sections: SectionSet,
}

impl Layer {
    /// The proportion kept of the samples of a split: all of a validation sample.
    pub fn proportion_of(&self, split: Split) -> LeadSpanProportion {
        match split {
            Split::Train => self.proportion,
            Split::Validation => LeadSpanProportion::WHOLE,
        }
    }

    /// The positions of a sample that this covers, ascending.
    pub fn positions(&self, sample: &Sample) -> impl Iterator<Item = u32> + use<> {
        supervised_positions(sample.bounds, self.proportion_of(sample.split), self.sections)
    }

    /// How many positions of a sample this covers.
    pub fn position_count(&self, sample: &Sample) -> usize {
        supervised_position_count(sample.bounds, self.proportion_of(sample.split), self.sections)
    }

    /// Whether every position of `other` is a position of this.
    pub fn covers(&self, other: &Self) -> bool {
        self.proportion >= other.proportion && self.sections.is_superset(other.sections)
    }

    /// The name of its folder, such as `p0.5-prompt+chain_of_thought+answer`.
    pub fn folder_name(&self) -> String {
        format!("p{}-{}", self.proportion, self.sections)
    }
}

/// What `layer.json` holds.
#[derive(Serialize, Deserialize)]
struct Description {
    format: u32,
    #[serde(flatten)]
    layer: Layer,
}

/// One layer of one cache. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct LayerDir {
    folder: PathBuf,
    layer: Layer,
    corpus: PreparedCorpus,
    identity_fingerprint: String,
}

impl LayerDir {
    /// The layer in `layers`, made there if there is none yet.
    pub(crate) fn create_or_open(
        layers: &Path,
        layer: Layer,
        corpus: PreparedCorpus,
        identity_fingerprint: String,
    ) -> Result<Self, CacheError> {
        let folder = layers.join(layer.folder_name());
        let description = folder.join(DESCRIPTION);
        if !description.is_file() {
            create_folder(&folder)?;
            commit_bytes(
                &description,
                &json::to_bytes(&Description {
                    format: FORMAT_VERSION,
                    layer,
                }),
            )?;
        }
        Ok(Self {
            folder,
            layer,
            corpus,
            identity_fingerprint,
        })
    }

    /// The layer in `folder`, or `None` where the folder does not describe one (yet).
    pub(crate) fn open(
        folder: &Path,
        corpus: &PreparedCorpus,
        identity_fingerprint: &str,
    ) -> Result<Option<Self>, CacheError> {
        let path = folder.join(DESCRIPTION);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CacheError::io("read", path)(error)),
        };
        let Description { layer, .. } = json::from_bytes(&bytes, &path)?;
        if folder.file_name().is_none_or(|name| *name != *layer.folder_name()) {
            let problem = format!("it describes the layer `{}`", layer.folder_name());
            return Err(CacheError::Inconsistent { path, problem });
        }
        Ok(Some(Self {
            folder: folder.to_owned(),
            layer,
            corpus: corpus.clone(),
            identity_fingerprint: identity_fingerprint.to_owned(),
        }))
    }

    /// What it covers.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The corpus whose distributions it holds.
    pub fn corpus(&self) -> &PreparedCorpus {
        &self.corpus
    }

    /// The fingerprint of the cache's identity.
    pub(crate) fn identity_fingerprint(&self) -> &str {
        &self.identity_fingerprint
    }

    /// Where the shard of a work unit is, or will be.
    pub fn shard_path(&self, unit: &WorkUnit) -> PathBuf {
        self.folder.join(format!("{unit}.parquet"))
    }

    /// Whether the shard of a work unit is there. By the commit protocol it is then whole.
    pub fn is_committed(&self, unit: &WorkUnit) -> bool {
        self.shard_path(unit).is_file()
    }

    /// The work units that have no shard yet, in order.
    pub fn missing_units(&self) -> Vec<WorkUnit> {
        self.corpus
            .units()
            .iter()
            .filter(|unit| !self.is_committed(unit))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic;
    use leadspan_sequence::Section;

    #[test]
    fn validation_samples_are_whole_at_every_proportion() {
        let corpus = synthetic::corpus(3, 2, 8);
        let half = synthetic::layer("0.5", SectionSet::ALL);
        for sample in corpus.samples() {
            let tokens = sample.tokens.len();
            let kept = if sample.split == Split::Train {
                (tokens / 2).max(1)
            } else {
                tokens
            };
            assert_eq!(half.position_count(sample), kept - 1);
            assert_eq!(half.positions(sample).count(), kept - 1);
        }
    }

    #[test]
    fn a_layer_covers_what_is_shorter_and_has_fewer_sections() {
        let answers = SectionSet::new([Section::Answer]).unwrap();
        let half = synthetic::layer("0.5", SectionSet::ALL);
        assert!(
            half.covers(&synthetic::layer("0.5", answers)) && half.covers(&synthetic::layer("0.25", SectionSet::ALL))
        );
        assert!(!half.covers(&synthetic::layer("0.75", answers)));
        assert!(!synthetic::layer("1.0", answers).covers(&half));
    }

    #[test]
    fn a_folder_under_a_wrong_name_is_refused_and_one_without_description_is_no_layer() {
        let folder = tempfile::tempdir().unwrap();
        let corpus = synthetic::corpus(1, 1, 1);
        let layer = synthetic::layer("0.5", SectionSet::ALL);
        let made = LayerDir::create_or_open(folder.path(), layer, corpus.clone(), "identity".into()).unwrap();
        assert_eq!(
            LayerDir::open(made.path(), &corpus, "identity")
                .unwrap()
                .unwrap()
                .layer(),
            &layer
        );
        let moved = folder.path().join("p1.0-answer");
        fs::rename(made.path(), &moved).unwrap();
        assert!(matches!(
            LayerDir::open(&moved, &corpus, "identity"),
            Err(CacheError::Inconsistent { .. })
        ));
        fs::remove_file(moved.join(DESCRIPTION)).unwrap();
        assert!(LayerDir::open(&moved, &corpus, "identity").unwrap().is_none());
    }
}
