//! Finds the folders of runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::{Run, read::read_run};
use crate::ExperimentError;

/// Reads every run in `paths`, each of which is the folder of a run or a folder of such folders. The runs are sorted by
/// proportion, seed and name.
///
/// # Errors
///
/// If a path does not exist or has no run, or a file cannot be read or parsed.
pub fn read_runs(paths: &[PathBuf]) -> Result<Vec<Run>, ExperimentError> {
    let mut folders = BTreeSet::new();
    let mut known = BTreeSet::new();
    for path in paths {
        for folder in runs_at(path)? {
            // One folder has several paths, and is one run.
            let real = folder.canonicalize().map_err(|source| ExperimentError::Io {
                action: "find",
                path: folder.clone(),
                source,
            })?;
            if known.insert(real) {
                folders.insert(folder);
            }
        }
    }
    let mut runs = folders
        .iter()
        .map(|folder| read_run(folder))
        .collect::<Result<Vec<_>, _>>()?;
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for run in &runs {
        *names.entry(run.name.clone()).or_default() += 1;
    }
    for run in runs.iter_mut().filter(|run| names[&run.name] > 1) {
        run.name = run.path.display().to_string();
    }
    let seed = |run: &Run| run.seed().and_then(|seed| seed.parse::<u64>().ok());
    runs.sort_by_key(|run| (run.proportion(), seed(run), run.name.clone()));
    Ok(runs)
}

/// Whether a training has started in the folder. Whatever `run.json` is: reading it refuses what is no file.
fn is_run(path: &Path) -> bool {
    path.join("run.json").symlink_metadata().is_ok()
}

fn runs_at(path: &Path) -> Result<Vec<PathBuf>, ExperimentError> {
    if !path.is_dir() {
        return Err(ExperimentError::NotFound { path: path.to_owned() });
    }
    if is_run(path) {
        return Ok(vec![path.to_owned()]);
    }
    let io = |source: io::Error| ExperimentError::Io {
        action: "list",
        path: path.to_owned(),
        source,
    };
    let entries = fs::read_dir(path)
        .map_err(io)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(io)?;
    let mut runs: Vec<_> = entries
        .iter()
        .map(fs::DirEntry::path)
        .filter(|entry| is_run(entry))
        .collect();
    // Of several paths of one run, its own comes first.
    runs.sort_by_cached_key(|run| (run.is_symlink(), run.clone()));
    if runs.is_empty() {
        return Err(ExperimentError::NotARun { path: path.to_owned() });
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_counts_once_however_often_and_by_whichever_path_it_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        fs::create_dir_all(at("runs/a")).unwrap();
        fs::write(at("runs/a/run.json"), r#"{ "config": {} }"#).unwrap();
        std::os::unix::fs::symlink("runs", at("link")).unwrap();
        std::os::unix::fs::symlink("a", at("runs/again")).unwrap();
        let paths = ["runs", "runs/../runs", "link", "link/a", "runs/a/"].map(at);
        let runs = read_runs(&paths).unwrap();
        let found: Vec<_> = runs.iter().map(|run| (run.name.as_str(), run.path.clone())).collect();
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
