//! The most bytes of a text that one token can stand for, so that a text that is certainly too long is not tokenized.
//!
//! The tokenizer's library holds some 160 bytes for each byte of a text, and more. The bound is known of tokenizers whose vocabulary
//! is made of bytes (byte-level BPE) and that leave out nothing but bytes without a token; of others none is known.

use tokenizers::{
    AddedToken, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer,
    models::bpe::BPE,
};

/// The most bytes that NFC makes of one byte.
const BYTES_OF_ONE: usize = 3;

/// The most bytes of which NFC makes one byte: undone (NFD) it has three bytes at most, and each of these may have stood for one
/// character, which has four bytes at most.
const BYTES_INTO_ONE: usize = 12;

/// The most bytes that a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBytes {
    /// Of a text once it is normalised.
    most: usize,
    /// Whether texts are normalised, by NFC.
    is_normalised: bool,
    /// The bytes that have a token. Others are left out of a text.
    known: [bool; 256],
}

impl TokenBytes {
    /// Those of a tokenizer; `None` if they have no bound, or none is known.
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let ModelWrapper::BPE(model) = tokenizer.get_model() else {
            return None;
        };
        let is_normalised = is_normalised(tokenizer.get_normalizer())?;
        if !is_byte_level(tokenizer.get_pre_tokenizer()?)? {
            return None;
        }
        let added = tokenizer.get_added_tokens_decoder();
        // Such a token stands for all white space beside it as well.
        if added.values().any(|token| token.lstrip || token.rstrip) {
            return None;
        }
        let bytes = |token: &AddedToken| token.content.len() * if token.content.is_ascii() { 1 } else { BYTES_OF_ONE };
        let longest_added = added.values().map(bytes).max();
        let (longest, known) = longest_and_known(model)?;
        // What is left out of a text that is normalised is not known before.
        if is_normalised && known.contains(&false) {
            return None;
        }
        Some(Self {
            most: longest.max(longest_added.unwrap_or(0)),
            is_normalised,
            known,
        })
    }

    /// The fewest tokens that a text can have.
    pub fn fewest_tokens(&self, text: &str) -> usize {
        let bytes = if self.is_normalised {
            // Characters of ASCII are composed with others, but never with each other.
            let ascii = text.bytes().filter(u8::is_ascii).count();
            ascii.max(text.len().div_ceil(BYTES_INTO_ONE))
        } else {
            text.bytes().filter(|&byte| self.known[usize::from(byte)]).count()
        };
        bytes.div_ceil(self.most.max(1))
    }
}

/// Whether texts are normalised; `None` if it is not by NFC alone.
fn is_normalised(normalizer: Option<&NormalizerWrapper>) -> Option<bool> {
    match normalizer {
        None => Some(false),
        Some(NormalizerWrapper::NFC(_)) => Some(true),
        Some(NormalizerWrapper::Sequence(all)) => {
            let all: &[NormalizerWrapper] = all.as_ref();
            all.iter()
                .try_fold(false, |any, one| Some(any | is_normalised(Some(one))?))
        }
        Some(_) => None,
    }
}

/// Whether every byte becomes a character of its own; `None` if something may be left out.
fn is_byte_level(pre_tokenizer: &PreTokenizerWrapper) -> Option<bool> {
    match pre_tokenizer {
        PreTokenizerWrapper::ByteLevel(_) => Some(true),
        PreTokenizerWrapper::Digits(_) => Some(false),
        PreTokenizerWrapper::Split(split) => (split.behavior != SplitDelimiterBehavior::Removed).then_some(false),
        PreTokenizerWrapper::Sequence(all) => {
            let all: &[PreTokenizerWrapper] = all.as_ref();
            all.iter().try_fold(false, |any, one| Some(any | is_byte_level(one)?))
        }
        _ => None,
    }
}

/// The bytes of the longest token, each of which is a character, and which bytes have a token; `None` if that depends on the word
/// around them.
fn longest_and_known(model: &BPE) -> Option<(usize, [bool; 256])> {
    let affixes = [&model.continuing_subword_prefix, &model.end_of_word_suffix];
    if affixes.into_iter().flatten().any(|affix| !affix.is_empty()) {
        return None;
    }
    let vocabulary = model.get_vocab();
    let known = characters().map(|character| vocabulary.contains_key(&character.to_string()));
    let longest = vocabulary.keys().map(|token| token.chars().count()).max()?;
    Some((longest, known))
}

/// The character that stands for each byte: itself if it can be seen, else the next one from 256 on.
fn characters() -> [char; 256] {
    let mut hidden = 0x100..;
    std::array::from_fn(|byte| {
        let is_seen = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if is_seen {
            byte as u32
        } else {
            hidden.next().unwrap_or(0)
        };
        char::from_u32(code).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::{
        models::bpe::Vocab,
        normalizers::{NFC, Sequence, utils::Lowercase},
        pre_tokenizers::{byte_level::ByteLevel, split::Split},
    };

    use super::*;
    use crate::test_tokenizers::{byte_level, composing, llama_like};

    #[test]
    fn a_bound_is_known_only_where_nothing_of_a_text_is_left_out() {
        assert!(TokenBytes::of(&byte_level(false)).is_some());
        assert!(TokenBytes::of(&composing()).is_some());
        let mut empty = byte_level(false);
        empty.with_normalizer(Some(Sequence::new(Vec::new()))).unwrap();
        assert_eq!(TokenBytes::of(&empty), TokenBytes::of(&byte_level(false)));
        assert_eq!(TokenBytes::of(&llama_like()), None);
        let mut removing = byte_level(false);
        removing.with_pre_tokenizer(Some(Split::new(" ", SplitDelimiterBehavior::Removed, false).unwrap()));
        assert_eq!(TokenBytes::of(&removing), None);
        let mut stripping = byte_level(false);
        stripping
            .add_special_tokens([AddedToken::from("<s>", true).rstrip(true)])
            .unwrap();
        assert_eq!(TokenBytes::of(&stripping), None);
        let mut lower = byte_level(false);
        lower.with_normalizer(Some(Lowercase)).unwrap();
        assert_eq!(TokenBytes::of(&lower), None);
    }

    #[test]
    fn bytes_without_a_token_do_not_count() {
        let mut all: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        let mut ours = characters().to_vec();
        all.sort_unstable();
        ours.sort_unstable();
        assert_eq!(all, ours);
        // As SmolLM2's, without a token for some bytes; and as Qwen3's, whose file has an empty prefix.
        let vocabulary = [("a", 0), ("b", 1), ("ab", 2)].map(|(token, id)| (token.to_owned(), id));
        let model = BPE::builder()
            .vocab_and_merges(Vocab::from_iter(vocabulary), vec![("a".to_owned(), "b".to_owned())])
            .continuing_subword_prefix(String::new())
            .build()
            .unwrap();
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, false)));
        let bytes = TokenBytes::of(&tokenizer).unwrap();
        for (text, fewest) in [("abab", 2), ("cccc", 0), ("ac", 1), ("é", 0)] {
            assert_eq!(bytes.fewest_tokens(text), fewest, "{text}");
            assert!(tokenizer.encode(text, false).unwrap().len() >= fewest);
        }
        tokenizer.with_normalizer(Some(NFC)).unwrap();
        assert_eq!(TokenBytes::of(&tokenizer), None);
    }

    #[test]
    fn the_longest_token_gives_the_fewest() {
        let tokenizer = byte_level(false);
        let longest = TokenBytes::of(&tokenizer).unwrap();
        let text = "x".repeat(10 * longest.most + 1);
        assert_eq!(longest.fewest_tokens(&text), 11);
        assert_eq!(longest.fewest_tokens(""), 0);
        // NFC may make one byte of twelve, but not of ASCII.
        let (composed, text) = (TokenBytes::of(&composing()).unwrap(), "é".repeat(60 * longest.most));
        assert_eq!(composed.fewest_tokens(&text), 10);
        assert_eq!(composed.fewest_tokens(&"x".repeat(10 * longest.most)), 10);
        let long = "y".repeat(longest.most + 7);
        let mut with_long = tokenizer;
        with_long.add_tokens([AddedToken::from(long.clone(), false)]).unwrap();
        assert_eq!(TokenBytes::of(&with_long).unwrap().most, long.len());
        assert_eq!(TokenBytes::of(&with_long).unwrap().fewest_tokens(&long), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
        #[test]
        fn no_text_has_fewer_tokens(text in "([a-c <>/\n.é漢🙂\u{37e}\u{1fef}\u{212b}\u{2f800}\u{0}]|e\u{301}|\u{3b9}\u{308}\u{301}|think|</think>){0,40}") {
            for tokenizer in [byte_level(false), byte_level(true), composing()] {
                let fewest = TokenBytes::of(&tokenizer).unwrap().fewest_tokens(&text);
                prop_assert!(tokenizer.encode(text.as_str(), false).unwrap().len() >= fewest);
            }
        }
    }
}
