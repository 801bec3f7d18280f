//! The tokens that end a model's turn.

use std::{io::ErrorKind, path::Path};

use leadspan_files::read_regular;
use serde_json::{Map, Value};

use crate::{config::json::parsed, error::ModelError, tokenizer::TokenizerBundle, weights::source::ModelSource};

/// The key whose value is one token id or a list of them.
const KEY: &str = "eos_token_id";

const GENERATION: &str = "generation_config.json";

/// The most bytes of `config.json`.
const CONFIG_BYTES: u64 = 64 << 20;

/// The tokens that end a turn of the model `source`.
///
/// They come from `generation_config.json`, else from `config.json`, else from the tokenizer's end-of-sequence token. The
/// result is empty if none of these has any.
///
/// # Errors
///
/// If one of the files is not valid, or a value is not a token id.
pub fn stop_tokens(source: &ModelSource, tokenizer: &TokenizerBundle) -> Result<Vec<u32>, ModelError> {
    if let Some(tokens) = generation_tokens(source.path(), tokenizer)? {
        return Ok(tokens);
    }
    let path = source.path().join("config.json");
    match read_regular(&path, CONFIG_BYTES) {
        Ok(bytes) => {
            if let Some(tokens) = tokens_in(&bytes, &path)? {
                return Ok(tokens);
            }
        }
        // A GGUF file has none.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
        Err(source) => {
            return Err(ModelError::Io {
                action: "read",
                path,
                source,
            });
        }
    }
    Ok(eos_token(tokenizer).into_iter().collect())
}

/// The files of a tokenizer with `tokens` among those that end a turn: in `generation_config.json`, which is made if there is
/// none or names none. Programs that generate text with an exported model read that file.
///
/// `source` is the model that the tokenizer belongs to, if there is one; errors name `path`.
///
/// # Errors
///
/// Those of [`stop_tokens`].
pub fn files_with_stop_tokens(
    path: &Path,
    source: Option<&ModelSource>,
    tokenizer: &TokenizerBundle,
    tokens: &[u32],
) -> Result<Vec<(String, Vec<u8>)>, ModelError> {
    let mut files = tokenizer.files.clone();
    let place = files.binary_search_by(|(name, _)| name.as_str().cmp(GENERATION));
    let named = generation_tokens(path, tokenizer)?;
    let mut all = match source {
        Some(source) => stop_tokens(source, tokenizer)?,
        None => (named.clone()).unwrap_or_else(|| eos_token(tokenizer).into_iter().collect()),
    };
    let before = all.len();
    all.extend(
        tokens
            .iter()
            .filter(|token| !all[..before].contains(token))
            .copied()
            .collect::<Vec<_>>(),
    );
    if all.is_empty() || named.as_ref() == Some(&all) {
        return Ok(files);
    }
    let mut config = match place {
        Ok(place) => object_in(&files[place].1, &path.join(GENERATION))?,
        Err(_) => Map::new(),
    };
    config.insert(KEY.to_owned(), Value::from(all));
    let mut bytes = serde_json::to_vec_pretty(&config).expect("JSON values serialize");
    bytes.push(b'\n');
    match place {
        Ok(place) => files[place].1 = bytes,
        Err(place) => files.insert(place, (GENERATION.to_owned(), bytes)),
    }
    Ok(files)
}

/// The tokens that `generation_config.json` names, if it names any.
fn generation_tokens(path: &Path, tokenizer: &TokenizerBundle) -> Result<Option<Vec<u32>>, ModelError> {
    match tokenizer.files.iter().find(|(name, _)| name == GENERATION) {
        Some((_, bytes)) => tokens_in(bytes, &path.join(GENERATION)),
        None => Ok(None),
    }
}

fn eos_token(tokenizer: &TokenizerBundle) -> Option<u32> {
    tokenizer.tokenizer.token_to_id(tokenizer.special_token("eos_token")?)
}

/// The tokens that a configuration file names; `None` if it has no such key.
fn tokens_in(bytes: &[u8], path: &Path) -> Result<Option<Vec<u32>>, ModelError> {
    let config = object_in(bytes, path)?;
    let token = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
    let Some(named) = config.get(KEY).filter(|named| !named.is_null()) else {
        return Ok(None);
    };
    let tokens = match named {
        Value::Array(several) => several.iter().map(token).collect(),
        one => token(one).map(|token| vec![token]),
    };
    tokens.map(Some).ok_or_else(|| ModelError::Config {
        path: path.to_owned(),
        key: KEY.to_owned(),
        found: named.to_string(),
        expected: "it must be a token id or a list of token ids".to_owned(),
    })
}

fn object_in(bytes: &[u8], path: &Path) -> Result<Map<String, Value>, ModelError> {
    parsed(bytes).map_err(|reason| ModelError::InvalidJson {
        path: path.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_that_names_tokens_decides() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-teacher");
        let dir = tempfile::tempdir().unwrap();
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(fixture.join(file), dir.path().join(file)).unwrap();
        }
        let config: Value = serde_json::from_slice(&std::fs::read(fixture.join("config.json")).unwrap()).unwrap();
        let found = |generation: Option<Value>, of_config: Value| {
            let mut config = config.clone();
            config[KEY] = of_config;
            std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
            let path = dir.path().join("generation_config.json");
            let _ = std::fs::remove_file(&path);
            if let Some(named) = generation {
                std::fs::write(&path, serde_json::json!({ "do_sample": false, KEY: named }).to_string()).unwrap();
            }
            let source = ModelSource::open(dir.path()).unwrap();
            stop_tokens(&source, &source.tokenizer().unwrap()).map_err(|error| error.to_string())
        };
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(found(Some(json("[2, 0]")), json("7")), Ok(vec![2, 0]));
        assert_eq!(found(Some(json("5")), json("7")), Ok(vec![5]));
        assert_eq!(found(Some(json("null")), json("7")), Ok(vec![7]));
        assert_eq!(found(None, json("[7, 8]")), Ok(vec![7, 8]));
        // The tokenizer's `<|im_end|>`.
        assert_eq!(found(None, json("null")), Ok(vec![2]));
        let problem = found(Some(json("\"two\"")), json("7")).unwrap_err();
        assert!(
            problem.contains("generation_config.json`: `eos_token_id` is `\"two\"`"),
            "{problem}"
        );
        assert!(found(Some(json("[1, -1]")), json("7")).is_err());
    }

    #[test]
    fn tokens_that_end_a_turn_join_those_of_the_files() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-teacher");
        let source = ModelSource::open(&fixture).unwrap();
        let tokenizer = source.tokenizer().unwrap();
        let of = |tokenizer: &TokenizerBundle, source: Option<&ModelSource>, tokens: &[u32]| {
            let files = files_with_stop_tokens(&fixture, source, tokenizer, tokens).unwrap();
            assert!(files.is_sorted());
            let (_, bytes) = files.iter().find(|(name, _)| name == GENERATION).unwrap().clone();
            (files, serde_json::from_slice::<Value>(&bytes).unwrap())
        };
        // Nothing new: the file stays as it is, byte for byte.
        assert_eq!(of(&tokenizer, Some(&source), &[2]).0, tokenizer.files);
        let (_, config) = of(&tokenizer, Some(&source), &[0, 2]);
        assert_eq!(config[KEY], serde_json::json!([2, 0]));
        assert_eq!(config["pad_token_id"], 0);
        // A file that names none is given those of `config.json` or the tokenizer, whether the template shows another or not.
        for text in [r#"{"top_k": 20}"#, r#"{"eos_token_id": null, "top_k": 20}"#] {
            let mut silent = source.tokenizer().unwrap();
            let (_, bytes) = (silent.files.iter_mut().find(|(name, _)| name == GENERATION)).unwrap();
            *bytes = text.into();
            for (source, tokens, named) in [
                (Some(&source), &[][..], &[2][..]),
                (Some(&source), &[2], &[2]),
                (None, &[], &[2]),
                (None, &[2], &[2]),
                (None, &[1], &[2, 1]),
            ] {
                let (_, config) = of(&silent, source, tokens);
                assert_eq!(
                    (&config[KEY], &config["top_k"]),
                    (&serde_json::json!(named), &20.into()),
                    "{text}"
                );
            }
        }
        // Without the file, the tokens of `config.json` or the tokenizer come first.
        let mut bare = source.tokenizer().unwrap();
        bare.files.retain(|(name, _)| name != GENERATION);
        assert_eq!(of(&bare, Some(&source), &[1]).1, serde_json::json!({ KEY: [2, 1] }));
        assert_eq!(of(&bare, None, &[]).1, serde_json::json!({ KEY: [2] }));
    }
}
