//! A model's tokenizer, its chat template, and the files that an exported model needs beside its weights.

mod added;
mod directory;
mod expressions;
mod gguf;
mod randomness;

use std::cmp::Reverse;

use leadspan_files::guarded;
use tokenizers::Tokenizer;

/// A tokenizer and everything else about text that belongs to a model.
pub struct TokenizerBundle {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The Jinja source of the chat template, if the model has one.
    pub chat_template: Option<String>,
    /// Whether the model has another chat template for conversations with tools, `tool_use`, which is not read.
    pub has_tool_use_template: bool,
    /// The special tokens by the names that chat templates have for them, such as `eos_token`.
    pub special_tokens: Vec<(String, String)>,
    /// A digest that is equal for tokenizers that give the same tokens; see [`tokenizer_fingerprint`].
    pub fingerprint: String,
    /// Files for an exported model, as (name, bytes), ordered by name.
    pub files: Vec<(String, Vec<u8>)>,
}

impl TokenizerBundle {
    /// The text of a special token, such as `eos_token`.
    pub fn special_token(&self, name: &str) -> Option<&str> {
        let token = self.special_tokens.iter().find(|(found, _)| found == name);
        token.map(|(_, text)| text.as_str())
    }

    /// The special tokens as (name, text).
    pub fn named_tokens(&self) -> impl Iterator<Item = (&str, &str)> {
        self.special_tokens
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The id of the added token `text`, if it is one.
    pub fn added_token(&self, text: &str) -> Option<u32> {
        let added = self.tokenizer.get_added_tokens_decoder();
        let found = added.iter().find(|(_, token)| token.content == text);
        found.map(|(&id, _)| id)
    }

    /// The ids of the added tokens in `text`, in their order; of two that begin at one place, of the longer one. Those of white
    /// space alone, which some tokenizers have, are left out: they mark nothing.
    pub fn added_tokens_in(&self, text: &str) -> Vec<u32> {
        let added = self.tokenizer.get_added_tokens_decoder();
        let (mut rest, mut found) = (text, Vec::new());
        let next = |rest: &str| {
            let places = added
                .iter()
                .filter(|(_, token)| !token.content.trim().is_empty())
                .filter_map(|(&id, token)| Some((rest.find(&token.content)?, Reverse(token.content.len()), id)));
            places.min()
        };
        while let Some((start, Reverse(length), id)) = next(rest) {
            found.push(id);
            rest = &rest[start + length..];
        }
        found
    }

    /// The id of the token with which texts begin; `None` if they end with it, too.
    pub fn starting_token(&self) -> Option<u32> {
        let text = self.special_token("bos_token")?;
        let ends = self.special_token("eos_token") == Some(text);
        self.added_token(text).filter(|_| !ends)
    }

    /// Switches off truncation and padding, which `tokenizer.json` may ask for.
    fn cut_nothing(&mut self) -> Result<(), String> {
        self.tokenizer.with_padding(None);
        let uncut = self.tokenizer.with_truncation(None);
        uncut.map(drop).map_err(|error| error.to_string())
    }
}

/// Text whose tokens reveal differences in merges, digits, white space, case, scripts and normalisation.
const PROBE: &str = "Hello, world!  12345 + 678.9 = 13,023.9\n\n\tdef f(x):\r\n    return x**2 # don't\n\
    Größe naïve Å e\u{301} 東京 мир 😀 <think>\nso\n</think> <|im_start|>assistant\n<|im_end|>\n\\boxed{\\frac{1}{2}} HTTPServer";

/// A digest of a tokenizer's behaviour: of its whole vocabulary, and of the tokens of a fixed text that exercises its
/// rules.
///
/// The digest does not depend on the file format: a GGUF file and a `tokenizer.json` of the same tokenizer give the same.
///
/// # Errors
///
/// If the tokenizer cannot encode the fixed text.
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
    // The library panics when a regular expression takes too many steps.
    let probe = guarded(|| tokenizer.encode(PROBE, false))?.map_err(|error| error.to_string())?;
    for id in probe.get_ids() {
        hasher.update(&id.to_le_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests;
