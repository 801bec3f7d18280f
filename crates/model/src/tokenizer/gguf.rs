//! The tokenizer in a GGUF file, and the files that `save_pretrained` would write for it.

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

use super::{TokenizerBundle, tokenizer_fingerprint};
use crate::{error::ModelError, weights::gguf::file::GgufFile};

impl TokenizerBundle {
    /// The tokenizer in a GGUF file.
    ///
    /// # Errors
    ///
    /// If it is missing, damaged, or of an unsupported kind.
    pub(crate) fn from_gguf(file: &GgufFile) -> Result<Self, ModelError> {
        let invalid = |reason: String| ModelError::Tokenizer {
            path: file.path().to_owned(),
            reason,
        };
        let mut tokenizer = guarded(|| Tokenizer::from_gguf(&without_padding(file.content())))
            .map_err(&invalid)?
            .map_err(|error| invalid(error.to_string()))?;
        // The tensor library's reader knows few pre-tokenizers and falls back to one that prepends a space. So the
        // pre-tokenizer is chosen here, and an unknown one is refused.
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
        let unk_token = special("tokenizer.ggml.unknown_token_id");
        let chat_template = file.text("tokenizer.chat_template").map(str::to_owned);
        let fingerprint = tokenizer_fingerprint(&tokenizer).map_err(invalid)?;

        let json = tokenizer.to_string(false).map_err(|error| invalid(error.to_string()))?;
        let mut tokenizer_config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": bos_token,
            "eos_token": eos_token,
            "pad_token": pad_token,
            "clean_up_tokenization_spaces": false,
            "add_prefix_space": false,
            "model_max_length": file.number(&format!("{}.context_length", file.text("general.architecture").unwrap_or("llama"))),
        });
        if let Some(token) = &unk_token {
            tokenizer_config["unk_token"] = json!(token);
        }
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
        let named = [
            ("bos_token", bos_token),
            ("eos_token", eos_token),
            ("pad_token", pad_token),
            ("unk_token", unk_token),
        ];
        let mut bundle = Self {
            tokenizer,
            chat_template,
            has_tool_use_template: file.text("tokenizer.chat_template.tool_use").is_some(),
            special_tokens: named
                .into_iter()
                .filter_map(|(name, token)| Some((name.to_owned(), token?)))
                .collect(),
            fingerprint,
            files,
        };
        bundle.cut_nothing().map_err(invalid)?;
        Ok(bundle)
    }
}

/// The metadata without the unused tokens at the end of the vocabulary.
///
/// Converters to GGUF add unused tokens until there are as many as the embedding has rows. They do not belong to the
/// tokenizer, and `tokenizer.json` does not have them.
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
