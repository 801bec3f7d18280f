//! The tokenizer of a directory in the Hugging Face layout.

use std::{io::ErrorKind, path::Path};

use leadspan_files::{TOKENIZER_FILES, guarded, read_regular, read_unlinked};
use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use super::{
    TokenizerBundle,
    added::{TokenFiles, add_tokens},
    expressions, randomness, tokenizer_fingerprint,
};
use crate::{
    config::json::{parsed, refuse_mark},
    error::ModelError,
};

/// The most bytes of each file. The largest that is known has 33 million.
const MOST_BYTES: u64 = 256 << 20;

const TOKENIZER: &str = "tokenizer.json";

/// The template for conversations with tools, beside `chat_template.jinja`.
const ADDITIONAL_TOOL_USE: &str = "additional_chat_templates/tool_use.jinja";

impl TokenizerBundle {
    /// The tokenizer of a directory in the Hugging Face layout. Links in it are followed.
    ///
    /// # Errors
    ///
    /// If `tokenizer.json` is missing, or a file is damaged, too large, no regular file or of an unsupported kind.
    pub fn from_dir(dir: &Path) -> Result<Self, ModelError> {
        let mut bundle = Self::from_files(dir, read_files(dir, |path| read_regular(path, MOST_BYTES))?)?;
        // It is not opened, so whatever is there counts.
        bundle.has_tool_use_template |= dir.join(ADDITIONAL_TOOL_USE).symlink_metadata().is_ok();
        Ok(bundle)
    }

    /// The tokenizer of a directory that somebody else may have written, such as a cache's. Links in it are refused.
    ///
    /// # Errors
    ///
    /// Those of [`from_dir`](Self::from_dir), and if a file is a link.
    pub fn from_unlinked_dir(dir: &Path) -> Result<Self, ModelError> {
        Self::from_files(dir, read_files(dir, |path| read_unlinked(path, MOST_BYTES))?)
    }

    /// The tokenizer of files, given as (name, bytes) and ordered by name. Errors name `dir`.
    ///
    /// # Errors
    ///
    /// If `tokenizer.json` is missing, or a file is damaged or of an unsupported kind.
    pub fn from_files(dir: &Path, files: Vec<(String, Vec<u8>)>) -> Result<Self, ModelError> {
        let invalid = |reason: String| ModelError::Tokenizer {
            path: dir.to_owned(),
            reason,
        };
        let file = |name: &str| {
            let found = files.iter().find(|(found, _)| found == name);
            found.map(|(_, bytes)| bytes.as_slice())
        };
        let json = file(TOKENIZER).ok_or_else(|| ModelError::MissingFile {
            dir: dir.to_owned(),
            file: TOKENIZER,
        })?;
        refuse_mark(json).map_err(|reason| ModelError::InvalidJson {
            path: dir.join(TOKENIZER),
            reason,
        })?;
        // Some damaged files make the library panic.
        let mut tokenizer = guarded(|| Tokenizer::from_bytes(json))
            .map_err(&invalid)?
            .map_err(|error| invalid(error.to_string()))?;
        randomness::refuse(&tokenizer).map_err(&invalid)?;
        guarded(|| expressions::refuse_slow(&tokenizer))
            .map_err(&invalid)?
            .map_err(&invalid)?;
        let object = |name: &str| object_in(file(name), &dir.join(name));
        let token_files = TokenFiles {
            config: object("tokenizer_config.json")?,
            special_tokens_map: object("special_tokens_map.json")?,
            added_tokens: object("added_tokens.json")?,
        };
        refuse_splitting(&token_files.config).map_err(&invalid)?;
        let special_tokens = guarded(|| add_tokens(&mut tokenizer, &token_files))
            .map_err(&invalid)?
            .map_err(&invalid)?;
        let named = |name| (token_files.config.get("chat_template")).and_then(|value| named_template(value, name));
        let jinja = file("chat_template.jinja");
        let chat_template = match jinja {
            Some(bytes) => Some(
                String::from_utf8(bytes.to_vec()).map_err(|_| invalid("`chat_template.jinja` is not UTF-8".into()))?,
            ),
            None => named("default"),
        };
        // A file replaces all templates of the configuration.
        let has_tool_use_template = jinja.is_none() && named("tool_use").is_some();
        let fingerprint = tokenizer_fingerprint(&tokenizer).map_err(&invalid)?;
        let mut bundle = Self {
            tokenizer,
            chat_template,
            has_tool_use_template,
            special_tokens,
            fingerprint,
            files,
        };
        bundle.cut_nothing().map_err(invalid)?;
        Ok(bundle)
    }
}

/// The files of the tokenizer in `dir`.
fn read_files(
    dir: &Path,
    read: impl Fn(&Path) -> std::io::Result<Vec<u8>>,
) -> Result<Vec<(String, Vec<u8>)>, ModelError> {
    let mut files = Vec::new();
    for name in TOKENIZER_FILES {
        let path = dir.join(name);
        match read(&path) {
            Ok(bytes) => files.push((name.to_owned(), bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ModelError::Io {
                    action: "read",
                    path,
                    source,
                });
            }
        }
    }
    Ok(files)
}

/// The object in a JSON file, which is empty if there is no file.
fn object_in(bytes: Option<&[u8]>, path: &Path) -> Result<Map<String, Value>, ModelError> {
    let Some(bytes) = bytes else { return Ok(Map::new()) };
    let object = parsed(bytes).and_then(|value: Value| match value {
        Value::Object(object) => Ok(object),
        other => Err(format!("it holds `{other}`, not an object")),
    });
    object.map_err(|reason| ModelError::InvalidJson {
        path: path.to_owned(),
        reason,
    })
}

/// Refuses a configuration by which special tokens in a text are plain text.
///
/// # Errors
///
/// What is wrong, if it asks for that.
fn refuse_splitting(config: &Map<String, Value>) -> Result<(), String> {
    match config.get("split_special_tokens") {
        None | Some(Value::Null | Value::Bool(false)) => Ok(()),
        Some(value) => Err(format!(
            "`split_special_tokens` in its `tokenizer_config.json` is `{value}`: the markers that the chat template writes would \
             be plain text, not tokens; set it to `false` if the model learnt them as tokens"
        )),
    }
}

/// A template given as text, which is the one named `default`, or the template of that name in a list.
fn named_template(value: &Value, name: &str) -> Option<String> {
    match value {
        Value::String(template) => Some(template.clone()).filter(|_| name == "default"),
        Value::Array(templates) => templates
            .iter()
            .find(|entry| entry["name"] == name)
            .and_then(|entry| entry["template"].as_str())
            .map(str::to_owned),
        _ => None,
    }
}
