//! Errors of preparing the samples to replay, in the words of the `[replay]` table.

use std::{error::Error, fmt};

use leadspan_diagnosis::Diagnosis;
use leadspan_precompute::PrecomputeError;

use crate::keys::is_key;

/// Why the samples to replay could not be prepared. The libraries know their rows as those of `[data]`; here every key has the
/// name that it has in the pipeline file.
#[derive(Debug)]
pub(crate) struct ReplayError(pub(crate) PrecomputeError);

impl Diagnosis for ReplayError {
    fn is_unexpected(&self) -> bool {
        self.0.is_unexpected()
    }

    fn hint(&self) -> Option<String> {
        Some(with_keys_of_replay(&self.0.hint()?))
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&with_keys_of_replay(&self.0.to_string()))
    }
}

impl Error for ReplayError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// The text with each `data.KEY` that begins a quotation as `replay.KEY`, where there is such a key.
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
    fn keys_are_those_of_the_table_and_files_keep_their_names() {
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
}
