//! Errors of preparing the samples to replay, with the names of the `[replay]` table.

use std::{error::Error, fmt, path::PathBuf};

use leadspan_diagnosis::Diagnosis;
use leadspan_precompute::PrecomputeError;

use crate::keys::is_key;

/// Advice of the libraries that is too much for samples to replay, whose cache is a folder inside the cache.
const NEW_CACHE: &str = "point `cache.dir` at a new folder";

/// Why the samples to replay could not be prepared.
///
/// The libraries name the keys of `[data]`. Here every key has its name in the pipeline file.
#[derive(Debug)]
pub(crate) struct ReplayError {
    pub(crate) error: Box<PrecomputeError>,
    /// The folder of the samples to replay.
    pub(crate) dir: PathBuf,
}

impl Diagnosis for ReplayError {
    fn is_unexpected(&self) -> bool {
        self.error.is_unexpected()
    }

    fn hint(&self) -> Option<String> {
        let again = format!("remove `{}` to prepare these samples again", self.dir.display());
        Some(with_keys_of_replay(&self.error.hint()?).replace(NEW_CACHE, &again))
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&with_keys_of_replay(&self.error.to_string()))
    }
}

impl Error for ReplayError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// The text with each quoted `data.KEY` renamed to `replay.KEY`, if `[replay]` has such a key.
fn with_keys_of_replay(text: &str) -> String {
    const BEGINNING: &str = "`data.";
    let mut parts = text.split(BEGINNING);
    let mut renamed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'));
        let name = &part[..end.unwrap_or(part.len())];
        let is_known = name == "columns" || is_key("replay", name);
        renamed += if is_known { "`replay." } else { BEGINNING };
        renamed += part;
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_get_the_names_of_the_replay_table_and_file_names_stay() {
        for (text, expected) in [
            ("raise `data.max_tokens`", "raise `replay.max_tokens`"),
            (
                "name `data.files` or `data.path`: `data.jsonl` is none",
                "name `replay.files` or `replay.path`: `data.jsonl` is none",
            ),
            (
                "leave them out with `data.on_bad_row = \"skip\"`",
                "leave them out with `replay.on_bad_row = \"skip\"`",
            ),
            (
                "`data.columns.answer` and `data.columns`",
                "`replay.columns.answer` and `replay.columns`",
            ),
            (
                "`data.files.jsonl` in `my.data.files`",
                "`data.files.jsonl` in `my.data.files`",
            ),
            ("`data.", "`data."),
        ] {
            assert_eq!(with_keys_of_replay(text), expected);
        }
    }
    #[test]
    fn a_new_folder_is_not_needed_if_only_the_replayed_samples_changed() {
        let error = ReplayError {
            error: Box::new(PrecomputeError::SettingChanged {
                cache: PathBuf::from("cache/replay"),
                key: "data.max_tokens".to_owned(),
                stored: "4096".to_owned(),
                asked: "100".to_owned(),
            }),
            dir: PathBuf::from("cache/replay"),
        };
        assert_eq!(
            error.hint().unwrap(),
            "set `replay.max_tokens = 4096` to use this cache, or remove `cache/replay` to prepare these samples again"
        );
    }
}
