//! A model's tokenizer, its chat template, and the files that an exported model needs beside its weights.

mod directory;
mod gguf;

use tokenizers::Tokenizer;

/// A tokenizer and everything else about text that belongs to a model.
pub struct TokenizerBundle {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The Jinja source of the chat template, if the model has one.
    pub chat_template: Option<String>,
    /// The text of the beginning-of-sequence token.
    pub bos_token: Option<String>,
    /// The text of the end-of-sequence token.
    pub eos_token: Option<String>,
    /// A digest that is equal for tokenizers that give the same tokens; see [`tokenizer_fingerprint`].
    pub fingerprint: String,
    /// Files for an exported model, as (name, bytes), ordered by name.
    pub files: Vec<(String, Vec<u8>)>,
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
    let probe = tokenizer.encode(PROBE, false).map_err(|error| error.to_string())?;
    for id in probe.get_ids() {
        hasher.update(&id.to_le_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}
