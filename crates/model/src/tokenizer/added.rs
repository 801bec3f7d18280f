//! The tokens that `tokenizer.json` need not have: those of the files beside it.
//!
//! They are read as transformers' `PreTrainedTokenizerFast` reads them. `added_tokens_decoder` in `tokenizer_config.json`
//! lists tokens with their ids. Without it, `special_tokens_map.json` replaces what `tokenizer_config.json` says of special
//! tokens, and `added_tokens.json` gives tokens with their ids. `model_specific_special_tokens` names tokens, and counts only
//! if nothing else in `tokenizer_config.json` names tokens of the model. Special tokens that are still unknown become new
//! tokens.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tokenizers::{AddedToken, Tokenizer};

/// The special tokens that every tokenizer may have.
const STANDARD: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// The lists of further special tokens, the newer name first.
const FURTHER: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

const DECODER: &str = "added_tokens_decoder";

/// The special tokens that only this model has, by name.
const SPECIFIC: &str = "model_specific_special_tokens";

/// The files beside `tokenizer.json` that name tokens. A file that is not there is empty.
#[derive(Debug, Default)]
pub(super) struct TokenFiles {
    /// `tokenizer_config.json`.
    pub(super) config: Map<String, Value>,
    /// `special_tokens_map.json`.
    pub(super) special_tokens_map: Map<String, Value>,
    /// `added_tokens.json`: the id of each token.
    pub(super) added_tokens: Map<String, Value>,
}

/// Special tokens by their names in chat templates, such as `eos_token`.
pub(super) type SpecialTokens = Vec<(String, String)>;

/// Adds the tokens that `tokenizer` lacks. Returns the special tokens that have a name.
///
/// # Errors
///
/// The key that is no token, and a token that would get another id than its file says.
pub(super) fn add_tokens(tokenizer: &mut Tokenizer, files: &TokenFiles) -> Result<SpecialTokens, String> {
    let mut tokens = Tokens::default();
    tokens.read_config(&files.config)?;
    let of_file = if let Some(listed) = files.config.get(DECODER) {
        tokens.read_decoder(listed)?;
        "tokenizer_config.json"
    } else {
        tokens.read_map(&files.special_tokens_map)?;
        tokens.read_added(&files.added_tokens)?;
        "added_tokens.json"
    };
    for (name, token) in std::mem::take(&mut tokens.specific) {
        tokens.name(&name, token);
    }
    // New tokens get their ids in this order.
    let place = |name: &str| {
        STANDARD
            .iter()
            .position(|known| *known == name)
            .unwrap_or(STANDARD.len())
    };
    tokens.named.sort_by_key(|(name, _)| place(name));
    let known = tokenizer.get_added_tokens_decoder();
    let is_new = |token: &AddedToken| known.values().all(|known| known.content != token.content);
    let mut new: Vec<AddedToken> = Vec::new();
    for (id, token) in &tokens.listed {
        // `added_tokens.json` does not replace what `tokenizer.json` says of the same token.
        if files.config.contains_key(DECODER) || !known.contains_key(id) {
            new.push(token.clone());
        }
    }
    for token in tokens.named.iter().map(|(_, token)| token).chain(&tokens.further) {
        if is_new(token) && new.iter().all(|other| other.content != token.content) {
            new.push(token.clone());
        }
    }
    for token in &mut new {
        token.special |= tokens.named.iter().any(|(_, named)| named.content == token.content);
    }
    tokenizer.add_tokens(new).map_err(|error| error.to_string())?;
    for (&id, AddedToken { content, .. }) in &tokens.listed {
        let found = tokenizer.token_to_id(content);
        if found != Some(id) {
            let found = found.map_or("none".to_owned(), |found| found.to_string());
            return Err(format!(
                "`{of_file}` gives the token `{content}` the id {id}, but with `tokenizer.json` it gets {found}"
            ));
        }
    }
    let named = tokens.named.into_iter();
    Ok(named.map(|(name, token)| (name, token.content)).collect())
}

/// What the files say.
#[derive(Debug, Default)]
struct Tokens {
    named: Vec<(String, AddedToken)>,
    /// Names that replace those in `named`.
    specific: Vec<(String, AddedToken)>,
    further: Vec<AddedToken>,
    /// Tokens whose id is written down.
    listed: BTreeMap<u32, AddedToken>,
}

impl Tokens {
    fn read_config(&mut self, config: &Map<String, Value>) -> Result<(), String> {
        for (name, value) in config {
            if STANDARD.contains(&name.as_str()) {
                self.name_standard(name, value, false)?;
            } else if name.ends_with("_token")
                && let Ok(Some(token)) = token(name, value, false)
            {
                match value {
                    Value::String(_) => set(&mut self.specific, name, token),
                    _ => self.name(name, token),
                }
            }
        }
        let given = |key: &&&str| config.get(**key).is_some_and(|value| !is_empty(value));
        if let Some(key) = FURTHER.iter().find(given) {
            self.read_further(key, &config[*key], false)?;
        }
        match config.get(SPECIFIC) {
            Some(value) if self.specific.is_empty() => self.read_specific(value),
            _ => Ok(()),
        }
    }

    fn read_specific(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Null => {}
            Value::Object(named) => {
                for (name, value) in named {
                    let token = token(SPECIFIC, value, false)?.ok_or_else(|| not_a_token(SPECIFIC, value))?;
                    set(&mut self.specific, name, token);
                }
            }
            other => return Err(not_a_token(SPECIFIC, other)),
        }
        Ok(())
    }

    fn read_decoder(&mut self, listed: &Value) -> Result<(), String> {
        let not = || format!("`{DECODER}` in `tokenizer_config.json` must give a token for each id");
        for (id, value) in listed.as_object().ok_or_else(not)? {
            let id = id.parse().map_err(|_| not())?;
            let token = token(DECODER, value, false)?.ok_or_else(not)?;
            self.listed.insert(id, token);
        }
        Ok(())
    }

    fn read_map(&mut self, map: &Map<String, Value>) -> Result<(), String> {
        for (name, value) in map {
            if FURTHER.contains(&name.as_str()) {
                self.read_further(name, value, true)?;
            } else if STANDARD.contains(&name.as_str()) {
                self.name_standard(name, value, true)?;
            } else if name == SPECIFIC {
                return Err(format!(
                    "`{SPECIFIC}` belongs in its `tokenizer_config.json`, not in its `special_tokens_map.json`"
                ));
            } else if let Ok(Some(token)) = token(name, value, true) {
                self.name(name, token);
            }
        }
        Ok(())
    }

    fn read_added(&mut self, added: &Map<String, Value>) -> Result<(), String> {
        for (content, id) in added {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| format!("`added_tokens.json` gives `{content}` no id"))?;
            let named = self.named.iter().map(|(_, token)| token);
            let is_special = named.chain(&self.further).any(|token| token.content == *content);
            self.listed.insert(id, AddedToken::from(content.as_str(), is_special));
        }
        Ok(())
    }

    /// Sets or removes one of the standard names.
    fn name_standard(&mut self, name: &str, value: &Value, is_special: bool) -> Result<(), String> {
        match token(name, value, is_special)? {
            Some(token) => self.name(name, token),
            None => self.named.retain(|(other, _)| other != name),
        }
        Ok(())
    }

    fn name(&mut self, name: &str, token: AddedToken) {
        set(&mut self.named, name, token);
    }

    /// A list of further tokens, or a map that also names them. `is_special` is about those given as objects.
    fn read_further(&mut self, key: &str, value: &Value, is_special: bool) -> Result<(), String> {
        match value {
            Value::Null => {}
            Value::Array(values) => {
                for value in values {
                    let token = token(key, value, is_special)?.ok_or_else(|| not_a_token(key, value))?;
                    if self.further.iter().all(|other| other.content != token.content) {
                        self.further.push(token);
                    }
                }
            }
            Value::Object(named) => {
                for (name, value) in named {
                    if let Some(token) = token(key, value, is_special)? {
                        set(&mut self.specific, name, token);
                    }
                }
            }
            other => return Err(not_a_token(key, other)),
        }
        Ok(())
    }
}

/// Gives a token a name, which another token may have had.
fn set(named: &mut Vec<(String, AddedToken)>, name: &str, token: AddedToken) {
    match named.iter_mut().find(|(other, _)| other == name) {
        Some((_, other)) => *other = token,
        None => named.push((name.to_owned(), token)),
    }
}

/// A token given as text or as an object with `content`; `None` for null. A text is a special token, an object is one if
/// it says so or else `is_special`.
fn token(key: &str, value: &Value, is_special: bool) -> Result<Option<AddedToken>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(content) => Ok(Some(AddedToken::from(content.as_str(), true))),
        Value::Object(fields) => {
            let content = fields.get("content").and_then(Value::as_str);
            let content = content.ok_or_else(|| not_a_token(key, value))?;
            let flag = |name: &str| match fields.get(name) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::Bool(flag)) => Ok(Some(*flag)),
                Some(_) => Err(not_a_token(key, value)),
            };
            let special = is_special || flag("special")?.unwrap_or(false);
            let token = AddedToken::from(content, special)
                .lstrip(flag("lstrip")?.unwrap_or(false))
                .rstrip(flag("rstrip")?.unwrap_or(false))
                .single_word(flag("single_word")?.unwrap_or(false))
                .normalized(flag("normalized")?.unwrap_or(!special));
            Ok(Some(token))
        }
        other => Err(not_a_token(key, other)),
    }
}

fn not_a_token(key: &str, value: &Value) -> String {
    format!("its `{key}` has `{value}`, which is not a token")
}

/// Whether Python takes the value for false.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}
