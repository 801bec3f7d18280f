//! Removes from a text what only marks an answer: tags, the calculations of GSM8K, Markdown within a phrase.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

use super::remark::without_remark;

/// Tags that say nothing about the number in them, and calculations such as `<<9*2=18>>`.
static TAGS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"<<[^<>\n]*>>|</?(?i:answer|final|final_answer|b|strong|em|u)>|<\|[a-z_]*\|>$|</s>$")
        .expect("it is a valid expression")
});

/// What follows `18` in `18, not 17`.
static CONTRAST: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i),\s+(?:and\s+)?not\s+(?:\\?[$€£¥])?-?\d[\d.,]*(?:\s+[a-z]+)?[.!]?\s*$")
        .expect("it is a valid expression")
});

/// The text without tags and calculations. A tag becomes a space, a calculation nothing.
pub(super) fn without_tags(text: &str) -> Cow<'_, str> {
    // `a <b> c` has no closing tag.
    if !text.contains("</") && !text.contains("<<") && !text.contains("<|") {
        return Cow::Borrowed(text);
    }
    TAGS.replace_all(
        text.trim_end(),
        |found: &regex::Captures<'_>| {
            if found[0].starts_with("<<") { "" } else { " " }
        },
    )
}

/// A phrase without Markdown marks, quotation marks, remarks in brackets and exclamation marks.
pub(super) fn plain(phrase: &str) -> String {
    let mut text = without_marks(phrase);
    loop {
        let length = text.len();
        let trimmed = text
            .trim()
            .trim_matches(['*', '_'])
            .trim_end_matches(|c: char| matches!(c, '✓' | '✅' | '✔' | '.' | ':') || c >= '\u{1f000}')
            .trim_end();
        let trimmed = without_exclamation(trimmed).trim_end();
        let quoted = [('"', '"'), ('“', '”'), ('‘', '’'), ('\'', '\''), ('_', '_'), ('*', '*')];
        let inner = quoted
            .into_iter()
            .find_map(|(open, close)| trimmed.strip_prefix(open)?.strip_suffix(close));
        text = without_remark(inner.unwrap_or(trimmed));
        if text.len() == length {
            return text;
        }
    }
}

/// The text without `**`, `__` and backquotes. `2**7` is a power.
fn without_marks(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mark = ["**", "__", "`"].into_iter().find(|mark| rest.starts_with(mark));
        let Some(mark) = mark else {
            kept.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let next = &rest[mark.len()..];
        let is_open = kept.is_empty() || kept.ends_with(|c: char| c.is_whitespace() || "(\"“*_".contains(c));
        let is_close = next.is_empty() || next.starts_with(|c: char| c.is_whitespace() || ".,;:!?)\"”*_".contains(c));
        if is_open == is_close && !(kept.is_empty() || next.is_empty()) {
            kept += mark;
        }
        rest = next;
    }
    kept
}

/// The text without exclamation marks at its end. One behind a single digit or a letter may be a factorial.
fn without_exclamation(text: &str) -> &str {
    let stem = text.trim_end_matches('!');
    let digits = stem
        .chars()
        .rev()
        .take_while(|c| c.is_ascii_digit() || matches!(c, ',' | '.'))
        .count();
    let is_word = stem.chars().rev().take_while(|c| c.is_alphabetic()).count() > 2;
    let is_end = stem.ends_with(|c: char| c.is_ascii_punctuation() && !matches!(c, ')' | ']' | '}' | '$' | '|'));
    if digits > 1 || is_word || is_end { stem } else { text }
}

/// The text without the number at its end that the one before it is not: `18, not 17`.
pub(super) fn without_contrast(text: &str) -> &str {
    CONTRAST.find(text).map_or(text, |found| &text[..found.start()])
}
