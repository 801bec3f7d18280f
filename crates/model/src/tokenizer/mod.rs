//! A model's tokenizer, chat template and the files an exported model needs beside its weights.

use std::path::Path;

use candle_core::quantized::{
    gguf_file::{Content, Value as GgufValue},
    tokenizer::TokenizerFromGguf,
};
use leadspan_files::guarded;
use serde_json::{Value, json};
use tokenizers::{
    PreTokenizerWrapper, Tokenizer,
    pre_tokenizers::{byte_level::ByteLevel, digits::Digits, sequence::Sequence},
};

use crate::{ModelError, weights::gguf::GgufFile};

/// Everything about text that belongs to a model.
pub struct TokenizerBundle {
    /// The tokenizer itself.
    pub tokenizer: Tokenizer,
    /// The chat template's Jinja source, where the model has one.
    pub chat_template: Option<String>,
    /// The text of the beginning-of-sequence token.
    pub bos_token: Option<String>,
    /// The text of the end-of-sequence token.
    pub eos_token: Option<String>,
    /// What two tokenizers must share to give the same tokens; see [`tokenizer_fingerprint`].
    pub fingerprint: String,
    /// Files for an exported model, as (name, bytes) in the order of their names.
    pub files: Vec<(String, Vec<u8>)>,
}

/// Files that are handed on to an exported model where a directory has them.
const CARRIED: [&str; 9] = [
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];

/// Text whose tokens betray a difference in merges, digits, white space, case, scripts or normalisation.
const PROBE: &str = "Hello, world!  12345 + 678.9 = 13,023.9\n\n\tdef f(x):\r\n    return x**2 # don't\n\
    Größe naïve Å e\u{301} 東京 мир 😀 <think>\nso\n</think> <|im_start|>assistant\n<|im_end|>\n\\boxed{\\frac{1}{2}} HTTPServer";

/// A digest of what a tokenizer does: its whole vocabulary, and the tokens of a fixed text that exercises its rules.
///
/// It does not depend on how the tokenizer is written down, so a GGUF file and a `tokenizer.json` of the same tokenizer
/// agree.
///
/// # Errors
///
/// Where the tokenizer cannot encode the fixed text.
pub fn tokenizer_fingerprint(tokenizer: &Tokenizer) -> Result<String, String> {
    let mut vocabulary: Vec<(u32, String)> = tokenizer
        .get_vocab(true)
        .into_iter()
        .map(|(token, id)| (id, token))
        .collect();
    vocabulary.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for (id, token) in vocabulary {
        hasher
            .update(&id.to_le_bytes())
            .update(&(token.len() as u64).to_le_bytes())
            .update(token.as_bytes());
    }
    let probe = tokenizer.encode(PROBE, false).map_err(|error| error.to_string())?;
    for id in probe.get_ids() {
        hasher.update(&id.to_le_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

impl TokenizerBundle {
    /// The tokenizer of a directory in the Hugging Face layout, which need not hold a model, or of a GGUF file.
    ///
    /// # Errors
    ///
    /// Where there is none, or it cannot be understood.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        if path.is_dir() {
            Self::from_dir(path)
        } else {
            crate::ModelSource::open(path)?.tokenizer()
        }
    }

    /// The tokenizer of a directory in the Hugging Face layout.
    ///
    /// # Errors
    ///
    /// Where a file is missing or cannot be understood.
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
        // Some of what a file may hold makes the library panic.
        let tokenizer = guarded(|| Tokenizer::from_file(&path))
            .map_err(&invalid)?
            .map_err(|error| invalid(error.to_string()))?;
        let mut files = Vec::new();
        for name in CARRIED {
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

    pub(crate) fn from_gguf(file: &GgufFile) -> Result<Self, ModelError> {
        let invalid = |reason: String| ModelError::Tokenizer {
            path: file.path().to_owned(),
            reason,
        };
        let mut tokenizer = guarded(|| Tokenizer::from_gguf(&without_padding(file.content())))
            .map_err(&invalid)?
            .map_err(|error| invalid(error.to_string()))?;
        // The reader of the tensor library knows few rules for splitting text before merging, and falls back to one
        // that puts a space in front; so the rule is chosen here, and an unknown one is refused.
        match file.text("tokenizer.ggml.pre").unwrap_or("gpt-2") {
            "smollm" => {
                let rules: Vec<PreTokenizerWrapper> =
                    vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()];
                tokenizer.with_pre_tokenizer(Some(Sequence::new(rules)));
            }
            "gpt-2" => drop(tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))),
            "qwen2" => {}
            other => {
                return Err(invalid(format!(
                    "its pre-tokenizer `{other}` is not known; use a directory with tokenizer.json"
                )));
            }
        }
        let special = |key: &str| file.number(key).and_then(|id| tokenizer.id_to_token(id as u32));
        let bos_token = special("tokenizer.ggml.bos_token_id");
        let eos_token = special("tokenizer.ggml.eos_token_id");
        let pad_token = special("tokenizer.ggml.padding_token_id");
        let chat_template = file.text("tokenizer.chat_template").map(str::to_owned);
        let fingerprint = tokenizer_fingerprint(&tokenizer).map_err(invalid)?;

        let json = tokenizer.to_string(false).map_err(|error| invalid(error.to_string()))?;
        let tokenizer_config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": bos_token,
            "eos_token": eos_token,
            "pad_token": pad_token,
            "clean_up_tokenization_spaces": false,
            "add_prefix_space": false,
            "model_max_length": file.number(&format!("{}.context_length", file.text("general.architecture").unwrap_or("llama"))),
        });
        let mut generation = serde_json::Map::new();
        for (name, key) in [
            ("bos_token_id", "tokenizer.ggml.bos_token_id"),
            ("eos_token_id", "tokenizer.ggml.eos_token_id"),
            ("pad_token_id", "tokenizer.ggml.padding_token_id"),
        ] {
            if let Some(id) = file.number(key) {
                generation.insert(name.into(), json!(id));
            }
        }
        let pretty = |value: &Value| serde_json::to_vec_pretty(value).expect("names and numbers serialize");
        let mut files = vec![
            ("generation_config.json".to_owned(), pretty(&Value::Object(generation))),
            ("tokenizer.json".to_owned(), json.into_bytes()),
            ("tokenizer_config.json".to_owned(), pretty(&tokenizer_config)),
        ];
        if let Some(template) = &chat_template {
            files.insert(0, ("chat_template.jinja".to_owned(), template.clone().into_bytes()));
        }
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

/// The metadata without the unused tokens at the end of the vocabulary, with which converters to GGUF fill it up to the
/// rows of the embedding. They are no tokens of the tokenizer, and its other forms do not have them.
fn without_padding(content: &Content) -> Content {
    const UNUSED: u64 = 5;
    let mut metadata = content.metadata.clone();
    let is_unused = |value: &GgufValue| match value {
        GgufValue::I32(kind) => u64::try_from(*kind).is_ok_and(|kind| kind == UNUSED),
        value => value.to_u64().is_ok_and(|kind| kind == UNUSED),
    };
    let used = match metadata.get("tokenizer.ggml.token_type") {
        Some(GgufValue::Array(kinds)) => kinds.len() - kinds.iter().rev().take_while(|kind| is_unused(kind)).count(),
        _ => usize::MAX,
    };
    for key in [
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.token_type",
        "tokenizer.ggml.scores",
    ] {
        if let Some(GgufValue::Array(values)) = metadata.get_mut(key) {
            values.truncate(used);
        }
    }
    Content {
        magic: content.magic,
        metadata,
        tensor_infos: std::collections::HashMap::new(),
        tensor_data_offset: content.tensor_data_offset,
    }
}

/// A template given as text, or the one named `default` in a list of them.
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

/// A token given as text or as an object with `content`.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}
