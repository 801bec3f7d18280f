//! Tiny tokenizers of the kinds that models have, built by the tests and not downloaded.

use tokenizers::{
    AddedToken, Tokenizer,
    decoders::{DecoderWrapper, byte_fallback::ByteFallback, fuse::Fuse, sequence::Sequence as Decoders},
    models::bpe::{BPE, Vocab},
    normalizers::{NFC, Prepend, Replace, Sequence as Normalizers},
    pre_tokenizers::byte_level::ByteLevel,
};

fn vocabulary(tokens: &[String]) -> Vocab {
    tokens
        .iter()
        .enumerate()
        .map(|(id, token)| (token.clone(), id as u32))
        .collect()
}

/// Adds each merge's product to the tokens and returns the merges as pairs.
fn merged(tokens: &mut Vec<String>, merges: &[(&str, &str)]) -> Vec<(String, String)> {
    for (left, right) in merges {
        tokens.push(format!("{left}{right}"));
    }
    merges
        .iter()
        .map(|&(left, right)| (left.to_owned(), right.to_owned()))
        .collect()
}

/// Like GPT-2's: bytes and merges. The thinking markers are single tokens or several, with a merge across the edge of
/// one.
pub(crate) fn byte_level(special_markers: bool) -> Tokenizer {
    let mut tokens: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
    tokens.sort();
    let merges = [
        ("<", "t"),
        ("h", "i"),
        ("n", "k"),
        ("hi", "nk"),
        ("<t", "hink"),
        ("<", "/"),
        ("t", "hink"),
        ("Ġ", "think"),
        ("Ċ", "Ċ"),
        (">", "Ċ"),
        (">", "ĊĊ"),
        ("Ġ", "b"),
        ("a", "b"),
    ];
    let merges = merged(&mut tokens, &merges);
    let model = BPE::builder()
        .vocab_and_merges(vocabulary(&tokens), merges)
        .build()
        .unwrap();
    let mut tokenizer = Tokenizer::new(model);
    // No word pattern, so that merges cross the edges of the markers.
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, special_markers)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.with_post_processor(Some(ByteLevel::default().trim_offsets(true)));
    if special_markers {
        let token = |text: &str| AddedToken::from(text, false).normalized(false);
        tokenizer.add_tokens([token("<think>"), token("</think>")]).unwrap();
    }
    tokenizer
}

/// The same with a normalizer that composes characters, as Qwen's tokenizers have.
pub(crate) fn composing() -> Tokenizer {
    let mut tokenizer = byte_level(false);
    tokenizer.with_normalizer(Some(NFC)).unwrap();
    tokenizer
}

/// Like Llama 2's: spaces become `▁`, one is put in front, and unknown characters fall back to bytes.
pub(crate) fn llama_like() -> Tokenizer {
    let mut tokens: Vec<String> = vec!["<unk>".into()];
    tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend("▁abcdefghiklmnoprstuvxy<>/.:'".chars().map(String::from));
    let merges = merged(
        &mut tokens,
        &[
            ("<", "t"),
            ("h", "i"),
            ("n", "k"),
            ("hi", "nk"),
            ("<t", "hink"),
            ("▁", "a"),
        ],
    );
    let model = BPE::builder()
        .vocab_and_merges(vocabulary(&tokens), merges)
        .unk_token("<unk>".into())
        .byte_fallback(true)
        .fuse_unk(true)
        .build()
        .unwrap();
    let mut tokenizer = Tokenizer::new(model);
    let normalizers = vec![Prepend::new("▁".into()).into(), Replace::new(" ", "▁").unwrap().into()];
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers))).unwrap();
    let decoders: Vec<DecoderWrapper> = vec![
        Replace::new("▁", " ").unwrap().into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    tokenizer
}

/// One tokenizer of each kind.
pub(crate) fn all() -> [Tokenizer; 4] {
    [byte_level(false), byte_level(true), composing(), llama_like()]
}
