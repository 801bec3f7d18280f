//! Samples with the same tokens under other ids: copies of each other.

use std::collections::HashMap;

/// What tells whether two samples are copies: half of a hash of their tokens, which no two texts share by chance.
pub(crate) type Content = u128;

/// The content of a sample with these tokens.
pub(crate) fn content(tokens: &[u32]) -> Content {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = [0; 4096];
    for tokens in tokens.chunks(bytes.len() / 4) {
        let bytes = &mut bytes[..4 * tokens.len()];
        for (token, place) in tokens.iter().zip(bytes.chunks_exact_mut(4)) {
            place.copy_from_slice(&token.to_le_bytes());
        }
        hasher.update(bytes);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Content::from_le_bytes(half)
}

/// For each sample, that of its copies which decides about all of them: the one with the smallest id.
pub(crate) fn deciding(ids: &[Box<str>], contents: &[Content]) -> Vec<usize> {
    let mut smallest: HashMap<Content, usize> = HashMap::with_capacity(ids.len());
    for (sample, &content) in contents.iter().enumerate() {
        let known = smallest.entry(content).or_insert(sample);
        if ids[sample] < ids[*known] {
            *known = sample;
        }
    }
    contents.iter().map(|content| smallest[content]).collect()
}
