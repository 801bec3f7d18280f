//! The tokens that end a model's turn.

use std::path::Path;

use serde_json::Value;

use crate::{error::ModelError, tokenizer::TokenizerBundle, weights::source::ModelSource};

/// The key whose value is one token id or a list of them.
const KEY: &str = "eos_token_id";

/// The tokens that end a turn of the model `source`.
///
/// They come from `generation_config.json`, else from `config.json`, else from the tokenizer's end-of-sequence token. The
/// result is empty if none of these has any.
///
/// # Errors
///
/// If one of the files is not valid, or a value is not a token id.
pub fn stop_tokens(source: &ModelSource, tokenizer: &TokenizerBundle) -> Result<Vec<u32>, ModelError> {
    const GENERATION: &str = "generation_config.json";
    let path = source.path().join(GENERATION);
    if let Some((_, bytes)) = tokenizer.files.iter().find(|(name, _)| name == GENERATION)
        && let Some(tokens) = tokens_in(bytes, &path)?
    {
        return Ok(tokens);
    }
    let path = source.path().join("config.json");
    if path.is_file() {
        let bytes = std::fs::read(&path).map_err(|source| ModelError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        if let Some(tokens) = tokens_in(&bytes, &path)? {
            return Ok(tokens);
        }
    }
    let eos = tokenizer.eos_token.as_deref();
    Ok(eos
        .and_then(|eos| tokenizer.tokenizer.token_to_id(eos))
        .into_iter()
        .collect())
}

/// The tokens that a configuration file names; `None` if it has no such key.
fn tokens_in(bytes: &[u8], path: &Path) -> Result<Option<Vec<u32>>, ModelError> {
    let config: Value = serde_json::from_slice(bytes).map_err(|error| ModelError::InvalidJson {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let token = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
    let named = &config[KEY];
    let tokens = match named {
        Value::Null => return Ok(None),
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
}
