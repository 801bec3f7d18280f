//! Answers between which `or` stands: `x = 2 or x = 3`.

use std::sync::LazyLock;

use regex::Regex;

/// The word, or the symbol, between two alternatives.
static OR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\\(?:text|textrm|textnormal|mathrm|mbox)\s*\{[\s~,]*or[\s~]*\}|\\(?:lor|vee)\b|,?\s+or\s+|∨")
        .expect("it is a valid expression")
});

/// The alternatives that a text is; `None` if there is only one.
pub(super) fn alternatives(text: &str) -> Option<Vec<String>> {
    let parts: Vec<String> = OR
        .split(text)
        .map(|part| part.trim().trim_end_matches(',').to_owned())
        .collect();
    let is_whole = |part: &String| !part.is_empty() && is_balanced(part);
    (parts.len() > 1 && parts.iter().all(is_whole)).then_some(parts)
}

/// Whether all braces and brackets that are opened are closed. Intervals are closed by either kind of bracket.
fn is_balanced(text: &str) -> bool {
    let mut depth = 0_i32;
    for character in text.chars() {
        match character {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_what_stands_between_or() {
        for (text, expected) in [
            ("x = 2 or x = 3", Some(&["x = 2", "x = 3"][..])),
            ("2\\text{ or }3", Some(&["2", "3"])),
            ("1, or 2 or 3", Some(&["1", "2", "3"])),
            ("p \\lor q", Some(&["p", "q"])),
            ("[1, 2) or (3, 4]", Some(&["[1, 2)", "(3, 4]"])),
            ("(1 or 2)", None),
            ("\\text{a or b}", None),
            ("for 2", None),
            ("2 or", None),
            ("\\overline{2}", None),
        ] {
            let expected = expected.map(|parts| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
            assert_eq!(alternatives(text), expected, "{text}");
        }
    }
}
