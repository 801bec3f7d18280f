//! Whether the student of a finished run is there, whole.

use std::{collections::BTreeMap, fs, io, io::Read as _, path::Path};

use leadspan_files::{hash_contents, is_plain_name, open_unlinked, visible};
use serde_json::{Map, Value};

/// The file of the weights.
const WEIGHTS: &str = "model.safetensors";

/// The most bytes of a header of weights that are read.
const MOST_HEADER_BYTES: u64 = 100 << 20;

/// The blake3 of the weights of the exported student in `dir`.
///
/// # Errors
///
/// If they cannot be read.
pub(crate) fn weights_blake3(dir: &Path) -> io::Result<String> {
    file_blake3(&dir.join(WEIGHTS))
}

/// The blake3 of each other file of the exported student in `dir`, by its name.
///
/// # Errors
///
/// If the folder cannot be listed or a file cannot be read.
pub(crate) fn files_blake3(dir: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != WEIGHTS && entry.file_type()?.is_file() {
            let hash = file_blake3(&dir.join(&name))?;
            hashes.insert(name, hash);
        }
    }
    Ok(hashes)
}

fn file_blake3(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hash_contents(&mut hasher, path)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// What is wrong with the exported student in `dir`, which has these files of a tokenizer and, unless an older version exported
/// it, weights of this blake3 and other files of these; `None` if it is whole.
pub(crate) fn problem<'a>(
    dir: &Path,
    tokenizer_files: impl Iterator<Item = &'a String>,
    blake3: Option<&str>,
    files: &BTreeMap<String, String>,
) -> Option<String> {
    let mut names = vec!["config.json"];
    for name in tokenizer_files {
        names.push(name);
    }
    names.extend(files.keys().map(String::as_str));
    names.push(WEIGHTS);
    for name in names {
        if !is_plain_name(name) {
            return Some(format!("its `summary.json` names the file `{}`", visible(name)));
        }
        let path = dir.join(name);
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() > 0) {
            return Some(format!("`{}` is missing or empty", path.display()));
        }
    }
    for (name, stated) in files {
        let path = dir.join(name);
        match file_blake3(&path) {
            Ok(found) if found == *stated => {}
            Ok(_) => return Some(format!("`{}` is not the file that was exported", path.display())),
            Err(error) => return Some(format!("`{}` cannot be read: {error}", path.display())),
        }
    }
    wrong_weights(dir, blake3)
        .unwrap_or_else(|error| Some(format!("`{}` cannot be read: {error}", dir.join(WEIGHTS).display())))
}

/// What is wrong with the weights in `dir`, if they can be read.
fn wrong_weights(dir: &Path, blake3: Option<&str>) -> io::Result<Option<String>> {
    let path = dir.join(WEIGHTS);
    let (found, stated) = sizes(&path)?;
    if found != stated {
        let path = path.display();
        return Ok(Some(format!("`{path}` has {found} bytes instead of {stated}")));
    }
    let is_other = match blake3 {
        Some(stated) => weights_blake3(dir)? != stated,
        None => false,
    };
    Ok(is_other.then(|| format!("`{}` does not have the weights that were exported", path.display())))
}

/// The size of a safetensors file, and the size that its header states.
fn sizes(path: &Path) -> io::Result<(u64, u64)> {
    let mut file = open_unlinked(path)?;
    let found = file.metadata()?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MOST_HEADER_BYTES.min(found) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its header is longer than the file",
        ));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header)?;
    let header: Map<String, Value> = serde_json::from_slice(&header)?;
    let ends = header.values().filter_map(|tensor| tensor["data_offsets"][1].as_u64());
    Ok((found, (8 + length).saturating_add(ends.max().unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_short_file_of_the_student_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = ["tokenizer.json".to_owned()];
        let problem = || problem(folder.path(), tokenizer.iter(), None, &BTreeMap::new());
        let header = br#"{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#;
        let weights = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
        for (name, bytes) in [
            ("config.json", &b"{}"[..]),
            ("tokenizer.json", b"{}"),
            (WEIGHTS, &weights),
        ] {
            assert!(problem().unwrap().contains(name));
            fs::write(folder.path().join(name), b"").unwrap();
            assert!(problem().unwrap().contains(name));
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        assert_eq!(problem(), None);
        for (bytes, said) in [
            (&weights[..weights.len() - 1], "bytes instead of"),
            (&weights[..20], "its header is longer"),
            (&[0xff; 64], "its header is longer"),
        ] {
            fs::write(folder.path().join(WEIGHTS), bytes).unwrap();
            let problem = problem().unwrap();
            assert!(problem.contains(WEIGHTS) && problem.contains(said), "{problem}");
        }
    }

    #[test]
    fn every_exported_file_that_was_shortened_or_changed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let header = br#"{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#;
        let weights = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
        let names = [
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ];
        for name in names {
            fs::write(folder.path().join(name), r#"{"a": 1}"#).unwrap();
        }
        fs::write(folder.path().join(WEIGHTS), weights).unwrap();
        let exported = files_blake3(folder.path()).unwrap();
        assert_eq!(exported.keys().collect::<Vec<_>>(), names);
        // What the user adds is nobody's business.
        fs::write(folder.path().join("README.md"), "mine").unwrap();
        let problem = |files| problem(folder.path(), std::iter::empty(), None, files);
        assert_eq!(problem(&exported), None);
        for name in names {
            for changed in [r#"{"a": 2}"#, "{", ""] {
                fs::write(folder.path().join(name), changed).unwrap();
                let said = problem(&exported).unwrap();
                assert!(said.contains(name), "{said}");
            }
            fs::remove_file(folder.path().join(name)).unwrap();
            assert!(problem(&exported).unwrap().contains(name));
            fs::write(folder.path().join(name), r#"{"a": 1}"#).unwrap();
        }
        let outside = BTreeMap::from([("../outside".to_owned(), String::new())]);
        assert!(problem(&outside).unwrap().contains("names the file"));
        // Runs of older versions do not say what they exported.
        assert_eq!(problem(&BTreeMap::new()), None);
    }

    #[test]
    fn weights_that_were_changed_without_another_size_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let header = br#"{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#;
        let mut weights = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
        fs::write(folder.path().join("config.json"), b"{}").unwrap();
        fs::write(folder.path().join(WEIGHTS), &weights).unwrap();
        let exported = weights_blake3(folder.path()).unwrap();
        assert_eq!(exported, blake3::hash(&weights).to_hex().as_str());
        let problem = |stated| problem(folder.path(), std::iter::empty(), stated, &BTreeMap::new());
        assert_eq!(problem(Some(&exported)), None);
        *weights.last_mut().unwrap() ^= 1;
        fs::write(folder.path().join(WEIGHTS), &weights).unwrap();
        let said = problem(Some(&exported)).unwrap();
        assert!(
            said.contains(WEIGHTS) && said.contains("not have the weights that were exported"),
            "{said}"
        );
        // Runs of older versions do not say what they exported.
        assert_eq!(problem(None), None);
    }
}
