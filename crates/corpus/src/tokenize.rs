//! Tokenizes rendered text, with the byte at which every token begins.
//!
//! The rendered text already contains every special token, so none is added. Nothing is cut or padded, whatever the
//! tokenizer's file says. The post-processor is removed: without special tokens to add, it would only trim white space
//! from the offsets.

use tokenizers::{PostProcessorWrapper, Tokenizer};

use crate::{CorpusError, token_bytes::TokenBytes};

/// A tokenizer that encodes text as it is.
pub(crate) struct PlainTokenizer {
    inner: Tokenizer,
    /// `None` if no bound is known.
    token_bytes: Option<TokenBytes>,
}

/// The tokens of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenizedText {
    /// Token ids.
    pub(crate) ids: Vec<u32>,
    /// The byte of the text at which each token begins, in ascending order. If a character is split into several
    /// tokens, all of them begin where the character begins.
    pub(crate) starts: Vec<usize>,
}

impl PlainTokenizer {
    pub(crate) fn new(tokenizer: &Tokenizer) -> Result<Self, CorpusError> {
        let mut tokenizer = tokenizer.clone();
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|source| CorpusError::TokenizerSettings { source })?;
        Ok(Self {
            token_bytes: TokenBytes::of(&tokenizer),
            inner: tokenizer,
        })
    }

    /// A number of tokens that the text has at least, found without tokenizing it.
    pub(crate) fn fewest_tokens(&self, text: &str) -> usize {
        let bound = self.token_bytes.as_ref();
        bound.map_or(0, |bytes| bytes.fewest_tokens(text))
    }

    pub(crate) fn tokenize(&self, text: &str) -> Result<TokenizedText, tokenizers::Error> {
        // The library panics when a regular expression takes too many steps.
        let encoding = leadspan_files::guarded(|| self.inner.encode(text, false))??;
        let mut begun = 0;
        let starts = encoding
            .get_offsets()
            .iter()
            .map(|&(start, _)| {
                // A token that the normalizer inserted may point back to the start of the text.
                begun = begun.max(start);
                begun
            })
            .collect();
        Ok(TokenizedText {
            ids: encoding.get_ids().to_vec(),
            starts,
        })
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::{
        PaddingParams, PaddingStrategy, SplitDelimiterBehavior, TruncationParams, pre_tokenizers::split::Split,
    };

    use super::*;
    use crate::test_tokenizers::{byte_level, llama_like};

    #[test]
    fn truncation_and_padding_of_the_tokenizer_file_do_nothing() {
        let plain = byte_level(false);
        let mut cutting = plain.clone();
        cutting
            .with_truncation(Some(TruncationParams {
                max_length: 3,
                ..TruncationParams::default()
            }))
            .unwrap();
        cutting.with_padding(Some(PaddingParams {
            strategy: PaddingStrategy::Fixed(64),
            ..PaddingParams::default()
        }));
        let text = "a rather long text";
        let tokenized = PlainTokenizer::new(&cutting).unwrap().tokenize(text).unwrap();
        assert_eq!(tokenized, PlainTokenizer::new(&plain).unwrap().tokenize(text).unwrap());
        assert_eq!(plain.decode(&tokenized.ids, false).unwrap(), text);
    }

    #[test]
    fn a_regular_expression_that_does_not_end_is_an_error() {
        let mut slow = byte_level(false);
        let pattern = tokenizers::pre_tokenizers::split::SplitPattern::Regex("(a+)+b".into());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap();
        slow.with_pre_tokenizer(Some(split));
        let slow = PlainTokenizer::new(&slow).unwrap();
        slow.tokenize("aaab").unwrap();
        let error = slow.tokenize(&format!("{}!b", "a".repeat(60))).unwrap_err();
        assert!(error.to_string().contains("retry-limit-in-match over"), "{error}");
    }

    #[test]
    fn leading_white_space_belongs_to_its_token() {
        let tokenizer = byte_level(false);
        let text = "a think";
        let trimmed = tokenizer.encode(text, false).unwrap();
        assert_eq!(
            trimmed.get_offsets(),
            [(0, 1), (2, 7)],
            "the post-processor of this test no longer trims"
        );
        assert_eq!(
            PlainTokenizer::new(&tokenizer).unwrap().tokenize(text).unwrap().starts,
            [0, 1]
        );
    }

    #[test]
    fn pieces_of_one_character_begin_where_it_does() {
        for tokenizer in [byte_level(false), llama_like()] {
            let tokenized = PlainTokenizer::new(&tokenizer).unwrap().tokenize("x漢y").unwrap();
            let inside: Vec<usize> = tokenized
                .starts
                .iter()
                .copied()
                .filter(|start| (1..4).contains(start))
                .collect();
            assert_eq!(inside, [1, 1, 1], "{tokenized:?}");
            assert_eq!(tokenized.starts.last(), Some(&4));
        }
    }
}
