//! The hash of the teacher's weights, remembered in the cache beside the stamp of each file.
//!
//! Every worker of an array job needs the hash to know that it runs the teacher that the cache was made with, and a large
//! teacher takes minutes to read. [`stamp`](crate::stamp) says when `.weights.json` is trusted.

use std::path::Path;

use leadspan_model::{ModelError, ModelSource};
use serde::{Deserialize, Serialize};

use crate::{
    PrecomputeError,
    stamp::{self, Made, Maker, Stamp},
};

const FILE: &str = ".weights.json";

/// The contents of `.weights.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    #[serde(flatten)]
    made: Made,
    files: Vec<Stamp>,
    blake3: String,
}

/// The hash of a teacher's weights.
#[derive(Clone, Debug)]
pub(crate) struct WeightsHash {
    pub(crate) blake3: String,
    /// The digest of the adapter, if the teacher has one. It is not remembered: adapters are small.
    pub(crate) adapter_blake3: Option<String>,
    /// The files as they were when the hash was computed; `None` if they changed meanwhile or cannot be stamped.
    files: Option<Vec<Stamp>>,
    /// Who made it, if the cache remembered it.
    made: Option<Made>,
}

/// The hash of the weights of `source`: the one that the cache in `cache_dir` remembers if it can be trusted and the files have
/// not changed since, or else computed from the files.
///
/// # Errors
///
/// Fails if the weights cannot be read, or the adapter says that it was learnt on others.
pub(crate) fn fingerprint(source: &ModelSource, cache_dir: &Path) -> Result<WeightsHash, ModelError> {
    let files = stamps(source);
    let adapter_blake3 = source.adapter_fingerprint()?;
    let remembered = stamp::remembered::<Remembered>(&cache_dir.join(FILE)).filter(|remembered| {
        let is_same = |files: &Vec<Stamp>| {
            let pairs = files.iter().zip(&remembered.files);
            files.len() == remembered.files.len()
                && pairs.into_iter().all(|(now, then)| now.is_as(then, &remembered.made))
        };
        remembered.made.is_trusted() && files.as_ref().is_some_and(is_same)
    });
    if let Some(Remembered { made, blake3, .. }) = remembered {
        source.require_base_of_adapter_as(&blake3)?;
        return Ok(WeightsHash {
            blake3,
            adapter_blake3,
            files,
            made: Some(made),
        });
    }
    let blake3 = source.weights_fingerprint()?;
    source.require_base_of_adapter_as(&blake3)?;
    Ok(WeightsHash {
        blake3,
        adapter_blake3,
        // Files that changed while they were read must be read again.
        files: files.filter(|before| stamps(source).as_ref() == Some(before)),
        made: None,
    })
}

impl WeightsHash {
    /// Stores the hash in the cache for commands that come later, unless it is there already. `maker` is this command.
    ///
    /// If the cache cannot be written to, the next process computes the hash again.
    pub(crate) fn remember(&self, cache_dir: &Path, maker: Maker) {
        let Some(files) = self.files.clone() else { return };
        let made = match &self.made {
            // A worker leaves it as it is.
            Some(_) if maker == Maker::Worker => return,
            Some(made) => made.kept_by(maker),
            None => Made::here(maker),
        };
        let blake3 = self.blake3.clone();
        stamp::remember(&cache_dir.join(FILE), &Remembered { made, files, blake3 });
    }
}

/// The stamps of all weight files and of the adapter's, or `None` if they cannot be read.
pub(crate) fn stamps(source: &ModelSource) -> Option<Vec<Stamp>> {
    let files = source.weight_files().ok()?.into_iter().chain(source.adapter_files());
    files.map(|path| Stamp::of(&path)).collect()
}

/// Refuses a teacher whose files changed since their stamps were `before`: it was hashed or loaded in between.
///
/// # Errors
///
/// [`PrecomputeError::TeacherChanged`].
pub(crate) fn require_unchanged(source: &ModelSource, before: Option<&[Stamp]>) -> Result<(), PrecomputeError> {
    if before.is_some() && before != stamps(source).as_deref() {
        return Err(PrecomputeError::TeacherChanged {
            model: source.path().to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::stamp::{forge, set_time};

    #[test]
    fn the_hash_is_remembered_until_a_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-teacher.gguf");
        let model = folder.path().join("teacher.gguf");
        fs::copy(fixture, &model).unwrap();
        let source = ModelSource::open(&model).unwrap();
        let record = folder.path().join(FILE);
        set_time(&model, 1_000_000);
        let hash = || fingerprint(&source, folder.path()).unwrap();
        let computed = hash();
        assert_eq!(computed.blake3, source.weights_fingerprint().unwrap());
        // A remembered hash is trusted: this one shows that it is used.
        let wrong = || {
            let wrong = WeightsHash {
                blake3: "remembered".to_owned(),
                adapter_blake3: None,
                files: stamps(&source),
                made: None,
            };
            wrong.remember(folder.path(), Maker::Worker);
            assert_eq!(hash().blake3, "remembered");
        };
        wrong();
        set_time(&model, 1_000_001);
        assert_eq!(hash().blake3, computed.blake3);
        // Another machine, or this one before it started, is not trusted; `prepare` is, if the sample of the file agrees.
        wrong();
        forge(&record, &[&model], |record| record["boot_id"] = json!("another"));
        assert_eq!(hash().blake3, computed.blake3);
        let prepared_elsewhere = |record: &mut serde_json::Value| {
            record["boot_id"] = json!("another");
            record["made_by"] = json!("prepare");
            record["files"][0]["device"] = json!(1);
        };
        forge(&record, &[&model], prepared_elsewhere);
        assert_eq!(hash().blake3, "remembered");
        hash().remember(folder.path(), Maker::Worker);
        assert_eq!(
            hash().made.unwrap(),
            serde_json::from_value(json!({"made_by": "prepare", "boot_id": "another"})).unwrap()
        );
        forge(&record, &[&model], |record| {
            prepared_elsewhere(record);
            record["files"][0]["sample_blake3"] = json!("00");
        });
        assert_eq!(hash().blake3, computed.blake3);
        // A record of an earlier version has less, and damage costs only time.
        for text in [r#"{"files": [], "blake3": "remembered"}"#, "not JSON"] {
            fs::write(&record, text).unwrap();
            assert_eq!(hash().blake3, computed.blake3);
        }
        // A missing folder, or one that cannot be written to, costs only time.
        let nowhere = folder.path().join("nowhere");
        computed.remember(&nowhere, Maker::Prepare);
        assert_eq!(fingerprint(&source, &nowhere).unwrap().blake3, computed.blake3);
    }

    #[test]
    fn an_adapter_is_refused_on_other_weights_than_those_that_it_names() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        let folder = tempfile::tempdir().unwrap();
        let model = || ModelSource::open(&fixtures.join("tiny-teacher")).unwrap();
        let right = model().weights_fingerprint().unwrap();
        let with_base = |base: Option<&str>| {
            let adapter = fixtures.join("adapters/tiny");
            let settings = "adapter_config.json";
            fs::copy(adapter.join(settings), folder.path().join(settings)).unwrap();
            let bytes = fs::read(adapter.join("adapter_model.safetensors")).unwrap();
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
            if let Some(base) = base {
                header["__metadata__"] = json!({"leadspan_base_weights": base});
            }
            let header = header.to_string();
            let stored = [
                &(header.len() as u64).to_le_bytes()[..],
                header.as_bytes(),
                &bytes[8 + length..],
            ]
            .concat();
            fs::write(folder.path().join("adapter_model.safetensors"), stored).unwrap();
            fingerprint(&model().with_adapter(folder.path()).unwrap(), folder.path())
        };
        // An adapter of PEFT does not say what it was learnt on.
        for base in [None, Some(&*right)] {
            assert_eq!(with_base(base).unwrap().blake3, right);
        }
        // Also if the cache remembers the hash of the weights.
        for remembers in [false, true] {
            if remembers {
                with_base(None).unwrap().remember(folder.path(), Maker::Prepare);
            }
            let error = with_base(Some("another")).unwrap_err();
            assert!(
                matches!(error, ModelError::Adapter { .. }) && error.to_string().contains("learnt on other weights"),
                "{error}"
            );
        }
    }
}
