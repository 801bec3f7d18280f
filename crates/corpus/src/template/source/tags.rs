//! The tags of a template and the tokens between their delimiters.

/// A tag: its delimiters, and what lies between them.
pub(super) struct Tag<'a> {
    pub(super) open: &'a str,
    pub(super) inner: &'a str,
    pub(super) close: &'a str,
    pub(super) tokens: Vec<Token<'a>>,
}

/// A piece of an expression, and the byte of the tag's inside at which it begins.
#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) start: usize,
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    /// A number or a text.
    Literal,
    Operator,
}

/// The text before the next tag that has an inside to change, the tag, and the text after it. Comments and raw blocks are text.
pub(super) fn next_tag(source: &str) -> Option<(&str, Tag<'_>, &str)> {
    let mut from = 0;
    loop {
        let start = from + source[from..].find('{')?;
        let (open, close) = match source.as_bytes().get(start + 1)? {
            b'%' => ("{%", "%}"),
            b'{' => ("{{", "}}"),
            b'#' => {
                from = start + 2 + source[start + 2..].find("#}")? + 2;
                continue;
            }
            _ => {
                from = start + 1;
                continue;
            }
        };
        let (tokens, length) = tokens_before(&source[start + 2..], close)?;
        let end = start + 2 + length;
        if open == "{%" && is_word(&tokens, "raw") {
            from = end_of_raw(source, end + 2)?;
            continue;
        }
        let tag = Tag {
            open,
            inner: &source[start + 2..end],
            close,
            tokens,
        };
        return Some((&source[..start], tag, &source[end + 2..]));
    }
}

/// The byte after the tag that ends a raw block.
fn end_of_raw(source: &str, mut from: usize) -> Option<usize> {
    loop {
        let start = from + source[from..].find("{%")?;
        let end = start + 2 + source[start + 2..].find("%}")?;
        let word = source[start + 2..end].trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        if word == "endraw" {
            return Some(end + 2);
        }
        from = start + 2;
    }
}

/// Whether the tag is one word, beside the marks for white space.
pub(super) fn is_word(tokens: &[Token<'_>], word: &str) -> bool {
    let mut words = tokens.iter().filter(|token| !["-", "+"].contains(&token.text));
    words.next().is_some_and(|token| token.text == word) && words.next().is_none()
}

/// The tokens of `source` before the delimiter `close`, and the byte at which the delimiter begins.
fn tokens_before<'a>(source: &'a str, close: &str) -> Option<(Vec<Token<'a>>, usize)> {
    let mut tokens = Vec::new();
    let (mut at, mut depth) = (0, 0usize);
    loop {
        let rest = &source[at..];
        let first = rest.chars().next()?;
        if depth == 0 && rest.starts_with(close) {
            return Some((tokens, at));
        }
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, length) = match first {
            '"' | '\'' => (Kind::Literal, length_of_text(rest, first)?),
            '0'..='9' => (Kind::Literal, length_of_number(rest)),
            _ if first.is_alphabetic() || first == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                (Kind::Name, end.unwrap_or(rest.len()))
            }
            _ => {
                match first {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                let double = ["**", "//", "==", "!=", "<=", ">="]
                    .iter()
                    .any(|two| rest.starts_with(two));
                (Kind::Operator, if double { 2 } else { first.len_utf8() })
            }
        };
        let text = &rest[..length];
        tokens.push(Token { start: at, kind, text });
        at += length;
    }
}

fn length_of_text(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|&(_, character)| {
        let ends = character == quote && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    });
    Some(end?.0 + 1)
}

fn length_of_number(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let is_part = byte.is_ascii_alphanumeric()
            || byte == b'_'
            || (byte == b'.' && is_digit(at + 1))
            || (matches!(byte, b'+' | b'-') && matches!(bytes[at - 1], b'e' | b'E') && is_digit(at + 1));
        if !is_part {
            break;
        }
        at += 1;
    }
    at
}
