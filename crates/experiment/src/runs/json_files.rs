//! Reads JSON files of a run's folder. A missing file is not an error, because a run may be unfinished.

use std::{
    io,
    path::{Path, PathBuf},
};

use leadspan_files::read_unlinked;
use serde::de::DeserializeOwned;

use crate::ExperimentError;

/// The most bytes of a file with one object.
const MOST_BYTES: u64 = 16 << 20;
/// The most bytes of a file with one object on each line: a million steps or long answers.
const MOST_BYTES_OF_LINES: u64 = 1 << 30;

/// The text of a file of at most `limit` bytes; `None` if there is no file. The run may be a stranger's, so a link is refused.
fn text(path: &Path, limit: u64) -> Result<Option<String>, ExperimentError> {
    let text = |bytes| String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
    match read_unlinked(path, limit).and_then(text) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ExperimentError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// The object in a file; `None` if there is no file.
pub(super) fn json<T: DeserializeOwned>(path: PathBuf) -> Result<Option<T>, ExperimentError> {
    let Some(text) = text(&path, MOST_BYTES)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| ExperimentError::Damaged {
            path,
            line: None,
            source,
        })
}

/// The objects of a file with one object on each line; none if there is no file. A last line without a line break is left out:
/// its writer was stopped or is still writing it.
pub(super) fn json_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ExperimentError> {
    let text = text(path, MOST_BYTES_OF_LINES)?.unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let object = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|source| ExperimentError::Damaged {
            path: path.to_owned(),
            line: Some(index + 1),
            source,
        })
    };
    lines.map(object).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use leadspan_diagnosis::Diagnosis as _;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_is_no_file_of_the_run_itself_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("secret"), "{\"key\": 1}\n").unwrap();
        symlink("secret", at("link")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(at("pipe"))
                .status()
                .unwrap()
                .success()
        );
        let huge = fs::File::create(at("huge")).unwrap();
        huge.set_len(MOST_BYTES_OF_LINES + 1).unwrap();
        for name in ["link", "device", "folder", "pipe"] {
            let [one, lines] = [
                json::<Value>(at(name)).unwrap_err(),
                json_lines::<Value>(&at(name)).unwrap_err(),
            ];
            for error in [one, lines] {
                let ExperimentError::Io { path, .. } = &error else {
                    panic!("{name}: {error}")
                };
                assert!(path.ends_with(name) && !error.is_unexpected() && error.hint().is_some());
            }
        }
        assert!(json::<Value>(at("huge")).is_err());
        assert_eq!(json::<Value>(at("none")).unwrap(), None);
        assert_eq!(json_lines::<Value>(&at("secret")).unwrap().len(), 1);
    }
}
