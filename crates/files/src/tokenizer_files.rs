//! The names of the files that make up a tokenizer.
//!
//! A model's directory, a cache and an exported student hold the same files under the same names. A cache may come from
//! somebody else, and its `identity.json` names the files that an export copies. Nothing beyond this list is copied, so a cache
//! cannot replace the configuration or the weights of a student, and cannot add files to it.

/// The files of a tokenizer, sorted. A directory may lack any of them but `tokenizer.json`.
pub const TOKENIZER_FILES: [&str; 9] = [
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

/// Whether `name` is one of [`TOKENIZER_FILES`]. The case of letters matters.
pub fn is_tokenizer_file(name: &str) -> bool {
    TOKENIZER_FILES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_never_has_the_name_of_another_file_of_a_model() {
        for name in [
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "Tokenizer.json",
            "",
        ] {
            assert!(!is_tokenizer_file(name), "{name}");
        }
        assert!(TOKENIZER_FILES.is_sorted() && TOKENIZER_FILES.into_iter().all(is_tokenizer_file));
    }
}
