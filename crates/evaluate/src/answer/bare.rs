//! Removes what encloses an answer without being part of it.

use super::unit::text_command;

/// Layers of delimiters that are removed, which bounds the time.
const MOST_LAYERS: usize = 64;

/// The text without what encloses it: delimiters of mathematics, Markdown, a text command or a box.
pub(super) fn bare(text: &str) -> String {
    let mut text = without_spaces(text);
    for _ in 0..MOST_LAYERS {
        let within = [
            ("$$", "$$"),
            ("$", "$"),
            ("\\(", "\\)"),
            ("\\[", "\\]"),
            ("**", "**"),
            ("`", "`"),
        ]
        .into_iter()
        .find_map(|(start, end)| text.strip_prefix(start)?.strip_suffix(end))
        .filter(|within| !within.is_empty() && !within.ends_with('\\'));
        let unstyled = text
            .strip_prefix("\\displaystyle")
            .filter(|rest| !rest.starts_with(char::is_alphabetic));
        let inner =
            text_command(text).filter(|(inner, rest)| rest.trim_end_matches('.').is_empty() && !inner.is_empty());
        text = match within
            .or(unstyled)
            .or(inner.map(|(inner, _)| inner))
            .or_else(|| in_braces(text))
        {
            Some(within) => without_spaces(within),
            None => break,
        };
    }
    // `(B)` is the choice `B`.
    if let [b'(', letter, b')'] = text.as_bytes()
        && letter.is_ascii_uppercase()
    {
        return char::from(*letter).to_string();
    }
    without_dollars(text)
}

/// The text without white space and the spaces of LaTeX around it. An end of `\\ ` is `\\` here.
fn without_spaces(text: &str) -> &str {
    let mut text = text.trim();
    for _ in 0..MOST_LAYERS {
        let spaces = ["\\,", "\\;", "\\:", "\\!", "~", "\\quad", "\\qquad", "\\\\"];
        let is_escaped = |stem: &str| (stem.len() - stem.trim_end_matches('\\').len()) % 2 == 1;
        let end = spaces
            .into_iter()
            .find_map(|space| text.strip_suffix(space))
            .or_else(|| text.strip_suffix('\\'))
            .filter(|stem| !is_escaped(stem) && !stem.is_empty());
        match end {
            Some(stem) => text = stem.trim(),
            None => break,
        }
    }
    text
}

/// The text in the braces that enclose all of it.
fn in_braces(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut depth = 0_usize;
    let mut is_escaped = false;
    for character in inner.chars() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1)?,
            // `{1, 2}` may be a set.
            ',' if depth == 0 => return None,
            _ => {}
        }
    }
    (depth == 0 && !is_escaped && !inner.trim().is_empty()).then_some(inner)
}

/// The text without pairs of dollar signs that enclose a part of it. `\$`, and a single sign, are currencies.
fn without_dollars(text: &str) -> String {
    let is_delimiter = |place: usize| !text[..place].ends_with('\\');
    let count = text
        .match_indices('$')
        .filter(|(place, _)| is_delimiter(*place))
        .count();
    if count == 0 || count % 2 == 1 {
        return text.to_owned();
    }
    text.char_indices()
        .filter(|(place, character)| *character != '$' || !is_delimiter(*place))
        .map(|(_, character)| character)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_encloses_the_whole_answer_is_removed() {
        for (text, expected) in [
            (" $\\frac{1}{2}$ ", "\\frac{1}{2}"),
            ("**$5$**", "5"),
            ("\\(x\\)", "x"),
            ("\\text{Paris}.", "Paris"),
            ("\\text{(C)}", "C"),
            ("\\text{a} + \\text{b}", "\\text{a} + \\text{b}"),
            ("$5", "$5"),
            ("5\\$", "5\\$"),
            ("$x$ and $y$", "x and y"),
            ("(b)", "(b)"),
            ("6\\,", "6"),
            ("6\\", "6"),
            ("{6}", "6"),
            ("{1}{2}", "{1}{2}"),
            ("{1, 2}", "{1, 2}"),
            ("$$", ""),
            ("", ""),
        ] {
            assert_eq!(bare(text), expected, "{text}");
        }
    }
}
