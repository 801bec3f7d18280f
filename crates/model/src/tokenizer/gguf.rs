//! The tokenizer in a GGUF file, and the files that `save_pretrained` would write for it.

use candle_core::quantized::{
    gguf_file::{Content, Value as GgufValue},
    tokenizer::TokenizerFromGguf,
};
use leadspan_files::guarded;
use serde_json::{Value, json};
use tokenizers::{
    PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer,
    normalizers::unicode::NFC,
    pre_tokenizers::{
        byte_level::ByteLevel,
        digits::Digits,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
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
        // Of the two kinds that GGUF files have most, this is SentencePiece.
        if let Some(kind) = file.text("tokenizer.ggml.model").filter(|kind| *kind != "gpt2") {
            return Err(invalid(format!(
                "its tokenizer is of the kind `{kind}` (`tokenizer.ggml.model`), and only `gpt2` is read (`llama` stands for \
                 SentencePiece); {INSTEAD}"
            )));
        }
        // The tensor library's reader knows few pre-tokenizers and falls back to one that prepends a space. So the rules are
        // chosen here, and an unknown name is refused.
        let Some(name) = file.text("tokenizer.ggml.pre") else {
            return Err(invalid(format!(
                "it does not name its pre-tokenizer (`tokenizer.ggml.pre`); {INSTEAD}"
            )));
        };
        let rules = Rules::of(name).map_err(|error| invalid(error.to_string()))?;
        let Some(rules) = rules else {
            return Err(invalid(format!("its pre-tokenizer `{name}` is not known; {INSTEAD}")));
        };
        let content = as_read(file.content(), &rules);
        let mut tokenizer = guarded(|| Tokenizer::from_gguf(&content))
            .map_err(&invalid)?
            .map_err(|error| invalid(error.to_string()))?;
        tokenizer.with_pre_tokenizer(Some(rules.pre_tokenizer));
        tokenizer
            .with_normalizer(rules.composes.then_some(NFC))
            .map_err(|error| invalid(error.to_string()))?;
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

/// What to do about a pre-tokenizer that is not read.
const INSTEAD: &str = "use the model as a directory in the Hugging Face layout, with `tokenizer.json`, or run the teacher on a server \
                       (`teacher.server`)";

/// How text is split into pieces before tokens are found in each, as the `tokenizer.json` of the models says that GGUF calls by
/// one name.
struct Rules {
    pre_tokenizer: PreTokenizerWrapper,
    /// Whether characters are composed (NFC).
    composes: bool,
    /// Whether a piece that is a token is that token, even if the merges do not make it.
    ignores_merges: bool,
}

/// The pieces of Qwen2, with single digits.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The pieces of Llama 3, with up to three digits.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Rules {
    /// The rules of a name in `tokenizer.ggml.pre`; `None` if it is not known.
    fn of(name: &str) -> tokenizers::Result<Option<Self>> {
        let gpt2 = || ByteLevel::new(false, true, true).into();
        let split = |expression: &str, trims: bool| -> tokenizers::Result<PreTokenizerWrapper> {
            let expression = SplitPattern::Regex(expression.to_owned());
            let split = Split::new(expression, SplitDelimiterBehavior::Isolated, false)?;
            Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, trims, false).into()]).into())
        };
        let (pre_tokenizer, composes, ignores_merges) = match name {
            "gpt-2" => (gpt2(), false, false),
            "smollm" | "refact" => (
                Sequence::new(vec![Digits::new(true).into(), gpt2()]).into(),
                false,
                false,
            ),
            // Granite's tokenizers are called `refact`, those of OLMo 2 and Phi-4 `dbrx`: llama.cpp has the same rules for them.
            // DeepSeek's models on Qwen2 have the rules of Qwen2 and other special tokens.
            "qwen2" | "deepseek-r1-qwen" => (split(QWEN2, false)?, true, false),
            "llama-bpe" | "llama3" | "llama-v3" => (split(LLAMA3, true)?, false, true),
            "smaug-bpe" | "dbrx" => (split(LLAMA3, true)?, false, false),
            _ => return Ok(None),
        };
        Ok(Some(Self {
            pre_tokenizer,
            composes,
            ignores_merges,
        }))
    }
}

/// The metadata as the tensor library should read it: with the rule for whole tokens, and without the unused tokens at the end
/// of the vocabulary.
///
/// Converters to GGUF add unused tokens until there are as many as the embedding has rows. They do not belong to the
/// tokenizer, and `tokenizer.json` does not have them.
fn as_read(content: &Content, rules: &Rules) -> Content {
    const UNUSED: u64 = 5;
    let mut metadata = content.metadata.clone();
    let ignores_merges = GgufValue::Bool(rules.ignores_merges);
    metadata.insert("tokenizer.ggml.ignore_merges".to_owned(), ignores_merges);
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use candle_core::quantized::gguf_file;
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    /// The vocabulary and the expected tokens are those that `tests/fixtures/tokenizer/gguf_pre.py` makes with the package
    /// `tokenizers`.
    #[test]
    fn pre_tokenizers_of_gguf_files_give_the_tokens_of_their_tokenizer_json() {
        let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tokenizer/gguf_pre.json");
        let expected: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let list = |key: &str| GgufValue::Array(texts(&expected[key]).into_iter().map(GgufValue::String).collect());
        let types: Vec<u32> = serde_json::from_value(expected["types"].clone()).unwrap();
        let types = GgufValue::Array(types.into_iter().map(GgufValue::U32).collect());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.gguf");
        let bundle_of = |kind: &str, name: Option<&str>| {
            let mut metadata = vec![
                ("tokenizer.ggml.model", GgufValue::String(kind.to_owned())),
                ("tokenizer.ggml.tokens", list("tokens")),
                ("tokenizer.ggml.merges", list("merges")),
                ("tokenizer.ggml.token_type", types.clone()),
            ];
            metadata.extend(name.map(|name| ("tokenizer.ggml.pre", GgufValue::String(name.to_owned()))));
            let metadata: Vec<(&str, &GgufValue)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
            gguf_file::write(&mut fs::File::create(&path).unwrap(), &metadata, &[]).unwrap();
            TokenizerBundle::from_gguf(&GgufFile::open(&path).unwrap())
        };
        let bundle = |name| bundle_of("gpt2", name);
        let all: BTreeMap<String, Vec<Vec<u32>>> = serde_json::from_value(expected["ids"].clone()).unwrap();
        assert_eq!(all.len(), 6);
        for (name, ids) in &all {
            let tokenizer = bundle(Some(name)).unwrap().tokenizer;
            for (text, ids) in texts(&expected["texts"]).iter().zip(ids) {
                assert_eq!(
                    tokenizer.encode(text.as_str(), false).unwrap().get_ids(),
                    ids,
                    "{name}: {text}"
                );
            }
        }
        for (name, same) in [("refact", "smollm"), ("dbrx", "smaug-bpe")] {
            let tokenizer = bundle(Some(name)).unwrap().tokenizer;
            for (text, ids) in texts(&expected["texts"]).iter().zip(&all[same]) {
                assert_eq!(
                    tokenizer.encode(text.as_str(), false).unwrap().get_ids(),
                    ids,
                    "{name}: {text}"
                );
            }
        }
        for (kind, name, expected) in [
            ("gpt2", Some("tekken"), "`tekken` is not known"),
            ("gpt2", None, "does not name its pre-tokenizer"),
            ("llama", Some("default"), "`llama` stands for SentencePiece"),
            ("gemma4", Some("gemma4"), "the kind `gemma4`"),
        ] {
            let error = bundle_of(kind, name).map(drop).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains(expected)
                    && message.contains("`tokenizer.json`")
                    && message.contains("`teacher.server`"),
                "{message}"
            );
            assert!(!error.is_unexpected());
        }
    }
}
