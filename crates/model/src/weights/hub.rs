//! Models downloaded from the Hugging Face Hub, found in the Hub's local cache by id and revision.
//!
//! The cache has a folder `models--OWNER--NAME` for every model. In it, `refs/REVISION` holds the commit of a branch or tag
//! at the time of the download, and `snapshots/COMMIT` the files. This module never downloads anything.

use std::{
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
};

use leadspan_files::read_regular;

use crate::error::ModelError;

/// The most bytes of a file in `refs`, which holds the name of a commit.
const MOST_REFERENCE_BYTES: u64 = 4096;

/// The local cache of the Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubCache {
    dir: PathBuf,
}

/// The revision of an id that names none.
const MAIN: &str = "main";

impl HubCache {
    /// The cache in the folder `dir`, which need not exist.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The folder that the Hub's own tools use: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `huggingface/hub` in
    /// `XDG_CACHE_HOME` or `~/.cache`.
    ///
    /// `variable` looks up an environment variable.
    pub fn of_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let home = variable("HOME").map_or_else(|| PathBuf::from("~"), PathBuf::from);
        let set = |name: &str| {
            let path = PathBuf::from(variable(name).filter(|value| !value.is_empty())?);
            Some(match path.strip_prefix("~") {
                Ok(below) => home.join(below),
                Err(_) => path,
            })
        };
        let dir = set("HF_HUB_CACHE").unwrap_or_else(|| {
            let hugging_face = set("HF_HOME").unwrap_or_else(|| {
                let caches = set("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
                caches.join("huggingface")
            });
            hugging_face.join("hub")
        });
        Self { dir }
    }

    /// The folder of the cache.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of the model that a pipeline file in the folder `base` calls `written`.
    ///
    /// This is `written` itself if that path exists relative to `base`, or if it cannot be an id. Otherwise it is the
    /// snapshot of the Hub model with that id. An id is `OWNER/NAME` for a whole model, or `OWNER/NAME/FILE.gguf` for one
    /// of its files. `revision` is a branch, a tag or a commit; the default is `main`.
    ///
    /// # Errors
    ///
    /// If the cache has no snapshot of that revision, or a revision is given for a model that is not from the Hub.
    pub fn resolve(&self, written: &Path, base: &Path, revision: Option<&str>) -> Result<PathBuf, ModelError> {
        let local = base.join(written);
        let id = if local.exists() { None } else { HubId::parse(written) };
        match (id, revision) {
            (None, None) => Ok(written.to_owned()),
            (None, Some(revision)) => Err(ModelError::RevisionOfNoHubModel {
                path: local,
                revision: revision.to_owned(),
            }),
            (Some(id), revision) => {
                let repository = self.dir.join(id.folder_name());
                match snapshot(&repository, revision.unwrap_or(MAIN)) {
                    Some(snapshot) => Ok(snapshot.join(id.file)),
                    None => Err(ModelError::NotInHubCache {
                        path: local,
                        id: id.name().into(),
                        revision: revision.map(Into::into),
                        available: snapshots(&repository).into(),
                        repository,
                    }),
                }
            }
        }
    }

    /// Like [`resolve`](Self::resolve), for a model that runs elsewhere, of which `revision` only states what runs there.
    ///
    /// A path is itself, whatever the revision. Of an id it is the snapshot of that revision if the cache has it, or else that of
    /// `main`.
    ///
    /// # Errors
    ///
    /// If the cache has neither.
    pub fn resolve_served(&self, written: &Path, base: &Path, revision: Option<&str>) -> Result<PathBuf, ModelError> {
        match self.resolve(written, base, revision) {
            Err(ModelError::RevisionOfNoHubModel { .. } | ModelError::NotInHubCache { .. }) if revision.is_some() => {
                self.resolve(written, base, None)
            }
            resolved => resolved,
        }
    }
}

/// The id of a model on the Hub, or of one file of it.
struct HubId<'a> {
    owner: &'a str,
    name: &'a str,
    /// The path of the file; empty for the whole model.
    file: PathBuf,
}

impl<'a> HubId<'a> {
    fn parse(written: &'a Path) -> Option<Self> {
        let parts: Vec<&str> = written
            .components()
            .map(|component| match component {
                Component::Normal(part) => part.to_str(),
                _ => None,
            })
            .collect::<Option<_>>()?;
        let is_gguf = |part: &str| part.to_ascii_lowercase().ends_with(".gguf");
        let plain = |part: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            part.bytes().all(allowed) && !part.contains("--") && !part.contains("..")
        };
        match parts.as_slice() {
            [owner, name, file @ ..] if plain(owner) && plain(name) && !is_gguf(name) => {
                let one_file = file.last().is_none_or(|last| is_gguf(last));
                one_file.then(|| Self {
                    owner,
                    name,
                    file: file.iter().collect(),
                })
            }
            _ => None,
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    fn folder_name(&self) -> String {
        format!("models--{}--{}", self.owner, self.name)
    }
}

/// The folder with the files of a revision; `None` if it was not downloaded.
fn snapshot(repository: &Path, revision: &str) -> Option<PathBuf> {
    let mut components = Path::new(revision).components();
    if revision.is_empty() || !components.all(|component| matches!(component, Component::Normal(_))) {
        return None;
    }
    let reference = read_regular(&repository.join("refs").join(revision), MOST_REFERENCE_BYTES);
    let commit = match reference.map(String::from_utf8) {
        Ok(Ok(commit)) => commit.trim().to_owned(),
        Ok(Err(_)) | Err(_) => revision.to_owned(),
    };
    let is_name = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let snapshot = repository.join("snapshots").join(&commit);
    (is_name && snapshot.is_dir()).then_some(snapshot)
}

/// The commits that were downloaded, ordered by name.
fn snapshots(repository: &Path) -> Vec<String> {
    let entries = fs::read_dir(repository.join("snapshots")).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    const COMMIT: &str = "9216db5781bf21249d130ec9da846c4624c16137";
    const OTHER: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A folder whose subfolder `hub` is a Hub cache with `main` and `refs/pr/1` of `Qwen/Qwen3-8B`.
    fn downloaded() -> (tempfile::TempDir, HubCache) {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("hub/models--Qwen--Qwen3-8B");
        for commit in [COMMIT, OTHER] {
            fs::create_dir_all(repository.join("snapshots").join(commit)).unwrap();
        }
        fs::create_dir_all(repository.join("refs/refs/pr")).unwrap();
        fs::write(repository.join("refs/main"), COMMIT).unwrap();
        fs::write(repository.join("refs/refs/pr/1"), format!("{OTHER}\n")).unwrap();
        fs::write(repository.join("refs/outside"), "../../elsewhere").unwrap();
        let hub = HubCache::new(folder.path().join("hub"));
        (folder, hub)
    }

    #[test]
    fn a_revision_is_a_branch_or_a_commit_and_main_unless_named() {
        let (folder, hub) = downloaded();
        let snapshots = folder.path().join("hub/models--Qwen--Qwen3-8B/snapshots");
        let found = |written: &str, revision| hub.resolve(Path::new(written), folder.path(), revision).unwrap();
        assert_eq!(found("Qwen/Qwen3-8B", None), snapshots.join(COMMIT));
        assert_eq!(found("Qwen/Qwen3-8B", Some("main")), snapshots.join(COMMIT));
        assert_eq!(found("Qwen/Qwen3-8B", Some("refs/pr/1")), snapshots.join(OTHER));
        assert_eq!(found("Qwen/Qwen3-8B", Some(OTHER)), snapshots.join(OTHER));
        let file = found("Qwen/Qwen3-8B/deep/q4_k_m.gguf", None);
        assert_eq!(file, snapshots.join(COMMIT).join("deep/q4_k_m.gguf"));
    }

    #[test]
    fn what_is_there_or_is_no_id_is_left_as_it_was_written() {
        let (folder, hub) = downloaded();
        fs::create_dir_all(folder.path().join("Qwen/Qwen3-8B")).unwrap();
        for written in [
            "Qwen/Qwen3-8B",
            "teacher",
            "../models/teacher",
            "/models/teacher",
            "models/teacher.gguf",
            "a/b/c",
            "a b/c",
        ] {
            let found = hub.resolve(Path::new(written), folder.path(), None).unwrap();
            assert_eq!(found, Path::new(written));
            let error = hub
                .resolve(Path::new(written), folder.path(), Some("main"))
                .unwrap_err();
            assert!(matches!(error, ModelError::RevisionOfNoHubModel { .. }), "{error}");
        }
    }

    #[test]
    fn the_revision_of_a_served_model_is_a_statement() {
        let (folder, hub) = downloaded();
        let snapshots = folder.path().join("hub/models--Qwen--Qwen3-8B/snapshots");
        let found = |written: &str, revision| hub.resolve_served(Path::new(written), folder.path(), revision);
        // The files are those of the revision if they are there, or else those of `main`.
        assert_eq!(found("Qwen/Qwen3-8B", Some(OTHER)).unwrap(), snapshots.join(OTHER));
        for revision in [None, Some("main"), Some("2f9c0d1-served"), Some("../..")] {
            assert_eq!(found("Qwen/Qwen3-8B", revision).unwrap(), snapshots.join(COMMIT));
        }
        for path in ["models/teacher.gguf", "/models/teacher"] {
            assert_eq!(found(path, Some("v2")).unwrap(), Path::new(path));
        }
        let error = found("Qwen/Qwen3-4B", Some("v2")).unwrap_err();
        assert!(error.hint().unwrap().contains("`hf download Qwen/Qwen3-4B`"), "{error}");
    }

    #[test]
    fn what_was_not_downloaded_says_where_it_was_looked_for_and_how_to_get_it() {
        let (folder, hub) = downloaded();
        let refused = |written: &str, revision| {
            let error = hub.resolve(Path::new(written), folder.path(), revision).unwrap_err();
            assert!(!error.is_unexpected());
            (error.to_string(), error.hint().unwrap())
        };
        let (text, hint) = refused("Qwen/Qwen3-4B", None);
        let repository = folder.path().join("hub/models--Qwen--Qwen3-4B");
        assert!(
            text.contains(&format!("`{}`", folder.path().join("Qwen/Qwen3-4B").display())),
            "{text}"
        );
        assert!(text.contains(&format!("`{}`", repository.display())), "{text}");
        assert!(hint.contains("`hf download Qwen/Qwen3-4B`"), "{hint}");
        let (text, hint) = refused("Qwen/Qwen3-8B", Some("v2"));
        assert!(text.contains("revision `v2`"), "{text}");
        assert!(hint.contains("`hf download Qwen/Qwen3-8B --revision v2`"), "{hint}");
        assert!(hint.contains(COMMIT) && hint.contains(OTHER), "{hint}");
        for outside in ["outside", "../..", "/", "", "../main"] {
            refused("Qwen/Qwen3-8B", Some(outside));
        }
    }

    #[test]
    fn the_cache_is_where_the_environment_says() {
        let of = |variables: &[(&str, &str)]| {
            let found = |name: &str| variables.iter().find(|(known, _)| *known == name);
            HubCache::of_environment(|name| found(name).map(|(_, value)| value.into())).dir
        };
        let home = ("HOME", "/home/ada");
        assert_eq!(of(&[home]), Path::new("/home/ada/.cache/huggingface/hub"));
        let caches = ("XDG_CACHE_HOME", "/var/caches");
        assert_eq!(of(&[home, caches]), Path::new("/var/caches/huggingface/hub"));
        let hugging_face = ("HF_HOME", "~/hf");
        assert_eq!(of(&[home, caches, hugging_face]), Path::new("/home/ada/hf/hub"));
        let hub = ("HF_HUB_CACHE", "/data/hub");
        assert_eq!(of(&[home, caches, hugging_face, hub]), Path::new("/data/hub"));
        assert_eq!(
            of(&[home, ("HF_HUB_CACHE", "")]),
            Path::new("/home/ada/.cache/huggingface/hub")
        );
    }
}
