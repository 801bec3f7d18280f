//! Whether the student of a finished run, or its adapter, is there, whole.

use std::{collections::BTreeMap, fs, io, io::Read as _, path::Path};

use leadspan_files::{hash_contents, is_plain_name, open_unlinked, visible};
use serde_json::{Map, Value};

/// The files of a whole student: what describes it, and its weights.
const STUDENT: [&str; 2] = ["config.json", "model.safetensors"];
/// The same of an adapter.
const ADAPTER: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// The most bytes of a header of weights that are read.
const MOST_HEADER_BYTES: u64 = 100 << 20;

/// The blake3 of the weights of the exported student in `dir`.
///
/// # Errors
///
/// If they cannot be read.
pub(crate) fn weights_blake3(dir: &Path) -> io::Result<String> {
    file_blake3(&dir.join(weights_in(dir)))
}

/// The file of the weights of what was exported to `dir`.
fn weights_in(dir: &Path) -> &'static str {
    let [settings, weights] = ADAPTER;
    if dir.join(settings).exists() {
        weights
    } else {
        STUDENT[1]
    }
}

/// The blake3 of each other file of the exported student in `dir`, by its name.
///
/// # Errors
///
/// If the folder cannot be listed or a file cannot be read.
pub(crate) fn files_blake3(dir: &Path) -> io::Result<BTreeMap<String, String>> {
    let (mut hashes, weights) = (BTreeMap::new(), weights_in(dir));
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != weights && entry.file_type()?.is_file() {
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
    let [settings, weights] = if files.contains_key(ADAPTER[0]) {
        ADAPTER
    } else {
        STUDENT
    };
    let mut names = vec![settings];
    for name in tokenizer_files {
        names.push(name);
    }
    names.extend(files.keys().map(String::as_str));
    names.push(weights);
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
    let path = dir.join(weights);
    wrong_weights(&path, blake3).unwrap_or_else(|error| Some(format!("`{}` cannot be read: {error}", path.display())))
}

/// What is wrong with the weights at `path`, if they can be read.
fn wrong_weights(path: &Path, blake3: Option<&str>) -> io::Result<Option<String>> {
    let (found, stated) = sizes(path)?;
    if found != stated {
        let path = path.display();
        return Ok(Some(format!("`{path}` has {found} bytes instead of {stated}")));
    }
    let is_other = match blake3 {
        Some(stated) => file_blake3(path)? != stated,
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

    const WEIGHTS: &str = STUDENT[1];

    #[test]
    fn an_adapter_that_is_missing_shortened_or_changed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let header = br#"{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#;
        let weights = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write(ADAPTER[0], b"{}");
        write("tokenizer.json", b"{}");
        write(ADAPTER[1], &weights);
        let (blake3, files) = (
            weights_blake3(folder.path()).unwrap(),
            files_blake3(folder.path()).unwrap(),
        );
        assert_eq!(files.keys().collect::<Vec<_>>(), [ADAPTER[0], "tokenizer.json"]);
        let problem = || problem(folder.path(), std::iter::empty(), Some(&blake3), &files);
        assert_eq!(problem(), None);
        let mut other = weights.clone();
        *other.last_mut().unwrap() ^= 1;
        for (name, bytes) in [
            (ADAPTER[1], &other[..]),
            (ADAPTER[1], &weights[..weights.len() - 1]),
            (ADAPTER[1], b""),
            (ADAPTER[0], b"[]"),
        ] {
            let whole = fs::read(folder.path().join(name)).unwrap();
            write(name, bytes);
            assert!(problem().unwrap().contains(name), "{name}");
            write(name, &whole);
        }
        fs::remove_file(folder.path().join(ADAPTER[0])).unwrap();
        assert!(problem().unwrap().contains(ADAPTER[0]));
    }

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
