//! The tokenizer of a directory in the Hugging Face layout.

use std::path::Path;

use leadspan_files::{TOKENIZER_FILES, guarded};
use serde_json::Value;
use tokenizers::Tokenizer;

use super::{TokenizerBundle, tokenizer_fingerprint};
use crate::error::ModelError;

impl TokenizerBundle {
    /// The tokenizer of a directory in the Hugging Face layout.
    ///
    /// # Errors
    ///
    /// If `tokenizer.json` is missing, or a file is damaged or of an unsupported kind.
    pub fn from_dir(dir: &Path) -> Result<Self, ModelError> {
        let path = dir.join("tokenizer.json");
        if !path.is_file() {
            return Err(ModelError::MissingFile {
                dir: dir.to_owned(),
                file: "tokenizer.json",
            });
        }
        let invalid = |reason: String| ModelError::Tokenizer {
            path: dir.to_owned(),
            reason,
        };
        // Some damaged files make the library panic.
        let tokenizer = guarded(|| Tokenizer::from_file(&path))
            .map_err(&invalid)?
            .map_err(|error| invalid(error.to_string()))?;
        let mut files = Vec::new();
        for name in TOKENIZER_FILES {
            let path = dir.join(name);
            if path.is_file() {
                let bytes = std::fs::read(&path).map_err(|source| ModelError::Io {
                    action: "read",
                    path,
                    source,
                })?;
                files.push((name.to_owned(), bytes));
            }
        }
        let file = |name: &str| {
            files
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, bytes)| bytes.as_slice())
        };
        let config: Value = match file("tokenizer_config.json") {
            Some(bytes) => serde_json::from_slice(bytes).map_err(|error| ModelError::InvalidJson {
                path: dir.join("tokenizer_config.json"),
                reason: error.to_string(),
            })?,
            None => Value::Null,
        };
        let chat_template = match file("chat_template.jinja") {
            Some(bytes) => Some(
                String::from_utf8(bytes.to_vec()).map_err(|_| invalid("`chat_template.jinja` is not UTF-8".into()))?,
            ),
            None => named_template(&config["chat_template"]),
        };
        let (bos_token, eos_token) = (token_text(&config["bos_token"]), token_text(&config["eos_token"]));
        let fingerprint = tokenizer_fingerprint(&tokenizer).map_err(invalid)?;
        Ok(Self {
            tokenizer,
            chat_template,
            bos_token,
            eos_token,
            fingerprint,
            files,
        })
    }
}

/// A template given as text, or the template named `default` in a list.
fn named_template(value: &Value) -> Option<String> {
    match value {
        Value::String(template) => Some(template.clone()),
        Value::Array(templates) => templates
            .iter()
            .find(|entry| entry["name"] == "default")
            .and_then(|entry| entry["template"].as_str())
            .map(str::to_owned),
        _ => None,
    }
}

/// A token given as text, or as an object with `content`.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}
