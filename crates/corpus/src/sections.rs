//! Finds the chain of thought in the rendered text, and its tokens.

use leadspan_sequence::SectionBounds;

use crate::{SectionSettings, tokenize::TokenizedText};

/// The bytes of the chain of thought in the rendered text, including its markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainOfThoughtBytes {
    start: usize,
    end: usize,
}

/// The chain of thought of the content that begins at `content_start`; `None` if none is closed.
///
/// It ends with the first end marker. A start marker counts only before that marker; without one, the chain of thought
/// starts where the content starts.
pub(crate) fn find_chain_of_thought(
    text: &str,
    content_start: usize,
    sections: &SectionSettings,
) -> Option<ChainOfThoughtBytes> {
    let content = &text[content_start..];
    let marker = content.find(&sections.thinking_end)?;
    let start = content[..marker].find(&sections.thinking_start).unwrap_or(0);
    Some(ChainOfThoughtBytes {
        start: content_start + start,
        end: content_start + marker + sections.thinking_end.len(),
    })
}

impl ChainOfThoughtBytes {
    /// No chain of thought: everything from `content_start` is answer.
    pub(crate) fn none(content_start: usize) -> Self {
        Self {
            start: content_start,
            end: content_start,
        }
    }

    /// The section bounds in tokens. A token that straddles a bound belongs to the section of its first byte.
    pub(crate) fn bounds(self, tokens: &TokenizedText) -> SectionBounds {
        let tokens_before = |byte: usize| tokens.starts.partition_point(|&start| start < byte) as u32;
        SectionBounds::new(
            tokens_before(self.start),
            tokens_before(self.end),
            tokens.starts.len() as u32,
        )
        .expect("the edges ascend, so the numbers of tokens before them do")
    }
}

#[cfg(test)]
mod tests {
    use leadspan_sequence::Section;
    use proptest::prelude::*;
    use tokenizers::Tokenizer;

    use super::*;
    use crate::{test_tokenizers, tokenize::PlainTokenizer};

    fn chain_of_thought(text: &str, content_start: usize) -> Option<&str> {
        find_chain_of_thought(text, content_start, &SectionSettings::default())
            .map(|bytes| &text[bytes.start..bytes.end])
    }

    #[test]
    fn the_first_end_marker_closes_and_only_an_earlier_start_marker_opens() {
        for (content, expected) in [
            ("<think>r</think>a", Some("<think>r</think>")),
            ("\n <think>r</think>a", Some("<think>r</think>")),
            ("r</think>a", Some("r</think>")),
            ("r</think>a<think>b</think>", Some("r</think>")),
            ("<think>r</think>a</think>", Some("<think>r</think>")),
            ("<think>r<think>s</think>a", Some("<think>r<think>s</think>")),
            ("</think>a", Some("</think>")),
            ("<think>r", None),
            ("a", None),
            ("", None),
        ] {
            let text = format!("<think>user's</think>{content}");
            assert_eq!(
                chain_of_thought(&text, text.len() - content.len()),
                expected,
                "{content}"
            );
        }
    }

    #[test]
    fn a_token_that_straddles_an_edge_belongs_to_the_section_of_its_first_byte() {
        // Chain of thought at bytes 4..10; tokens at 0..3, 3..5, 5..9, 9..12, 12..13.
        let tokens = TokenizedText {
            ids: vec![0; 5],
            starts: vec![0, 3, 5, 9, 12],
        };
        let bounds = ChainOfThoughtBytes { start: 4, end: 10 }.bounds(&tokens);
        assert_eq!(bounds, SectionBounds::new(2, 4, 5).unwrap());
        let bounds = ChainOfThoughtBytes::none(5).bounds(&tokens);
        assert_eq!(bounds, SectionBounds::new(2, 2, 5).unwrap());
    }

    /// Checks one sample: the sections partition its tokens, and each token is in the section of its first byte.
    fn check(tokenizer: &Tokenizer, prompt: &str, thinking: &str, answer: &str) {
        let text = format!("{prompt}<think>{thinking}</think>{answer}");
        let bytes = find_chain_of_thought(&text, prompt.len(), &SectionSettings::default()).unwrap();
        let tokens = PlainTokenizer::new(tokenizer).unwrap().tokenize(&text).unwrap();
        let bounds = bytes.bounds(&tokens);
        assert_eq!(tokens.starts.len(), tokens.ids.len());
        assert!(tokens.starts.is_sorted());

        let mut covered = Vec::new();
        for section in Section::ALL {
            covered.extend(bounds.range(section));
        }
        assert_eq!(covered, (0..tokens.ids.len() as u32).collect::<Vec<_>>());
        for (index, &start) in tokens.starts.iter().enumerate() {
            let expected = match start {
                start if start < bytes.start => Section::Prompt,
                start if start < bytes.end => Section::ChainOfThought,
                _ => Section::Answer,
            };
            assert_eq!(bounds.section_of(index as u32), expected);
        }
        let range = bounds.range(Section::ChainOfThought);
        let ids = &tokens.ids[range.start as usize..range.end as usize];
        let decoded = tokenizer.decode(ids, false).unwrap();
        assert!(decoded.trim_start().starts_with("<think>"), "{decoded:?} of {text:?}");
        assert!(decoded.contains("</think>"), "{decoded:?} of {text:?}");
    }

    #[test]
    fn multi_byte_text_around_the_markers_keeps_its_side() {
        for tokenizer in test_tokenizers::all() {
            check(&tokenizer, "漢字 é🙂", "🙂漢", "\n\né🙂");
            check(&tokenizer, "user:\n<think>no</think>\n", "", "");
            check(&tokenizer, "", "\n x \n", "\n\n");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
        #[test]
        fn sections_partition_the_tokens_and_the_markers_are_in_the_chain_of_thought(
            prompt in "[a-c<>/ \n.é漢🙂]{0,12}", thinking in "[a-cthink ./\n>é漢🙂]{0,20}", answer in "[a-c<>/ \n.é漢🙂]{0,12}",
        ) {
            for tokenizer in test_tokenizers::all() {
                check(&tokenizer, &prompt, &thinking, &answer);
            }
        }
    }
}
