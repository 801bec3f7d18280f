//! Escapes in the texts of a template that the engine reads in another way than Python.

use super::tags::next_tag;

/// What follows the backslash of such an escape: a character by its name or its eight digits, a bell, a vertical tab, and a slash
/// and a line end, of which Python keeps the backslash or neither.
const OTHERS: [char; 6] = ['N', 'U', 'a', 'v', '/', '\n'];

/// The first of these escapes.
pub(in super::super) fn unknown_escape(source: &str) -> Option<char> {
    let mut rest = source;
    while let Some((_, tag, after)) = next_tag(rest) {
        rest = after;
        for token in tag.tokens.iter().filter(|token| token.text.starts_with(['"', '\''])) {
            let mut characters = token.text.chars();
            while let Some(character) = characters.next() {
                let escaped = if character == '\\' { characters.next() } else { None };
                if let Some(escaped) = escaped.filter(|escaped| OTHERS.contains(escaped)) {
                    return Some(escaped);
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_escapes_in_texts_count() {
        for (source, expected) in [
            (r"{{ '\N{BULLET}' }}", Some('N')),
            (r#"{% set a = "\U0001f600" %}"#, Some('U')),
            (r"{{ 'a\\v' ~ '\v' }}", Some('v')),
            ("{{ 'a\\\nb' }}", Some('\n')),
            (r"{{ '\n\t\x41\u00e9\\a\'' }} \alpha \/ {# '\a' #}", None),
        ] {
            assert_eq!(unknown_escape(source), expected, "{source}");
        }
    }
}
