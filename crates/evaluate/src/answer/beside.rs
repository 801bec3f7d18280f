//! What stands beside a number or a box: formulas and prose around it, the unit behind it.

use super::{
    reader::SPACES,
    unit::{Unit, split_word, text_command},
    unit_words::is_comparison,
};

/// The most bytes of a unit behind a number.
const LONGEST_UNIT: usize = 60;

/// Whether the place between `before` and `after` is in a formula. Text between two prices is none.
pub(super) fn is_formula(before: &str, after: &str) -> bool {
    let before = before.rsplit("\n\n").next().unwrap_or_default();
    let after = after.split("\n\n").next().unwrap_or_default();
    let opened = |open: &str, close: &str| {
        before
            .rfind(open)
            .filter(|place| before.rfind(close).is_none_or(|end| end < *place))
    };
    let brackets = [("\\(", "\\)"), ("\\[", "\\]")];
    let opener = brackets
        .into_iter()
        .filter_map(|(open, close)| opened(open, close))
        .max();
    if let Some(place) = opener {
        return !has_prose(&before[place + 2..], 2);
    }
    let dollars: Vec<usize> = (before.match_indices('$').map(|(place, _)| place))
        .filter(|place| !before[..*place].ends_with('\\'))
        .collect();
    match dollars.last() {
        // `$$` counts twice.
        Some(last) if dollars.len() % 2 == 1 || before[..*last].ends_with('$') && dollars.len() % 4 == 2 => {
            let formula = &before[last + 1..];
            // `$5, so` is a price.
            let longest = if formula.starts_with(|c: char| c.is_ascii_digit()) {
                1
            } else {
                2
            };
            after.contains('$') && !has_prose(formula, longest)
        }
        _ => false,
    }
}

/// Whether a word of more than so many letters stands in a formula outside its commands.
fn has_prose(mut formula: &str, longest: usize) -> bool {
    while let Some(first) = formula.chars().next() {
        formula = if let Some((_, rest)) = text_command(formula) {
            rest
        } else if let Some(rest) = (formula.strip_prefix("\\begin{")).or_else(|| formula.strip_prefix("\\end{")) {
            rest.split_once('}').map_or("", |(_, rest)| rest)
        } else if first == '\\' {
            let (name, rest) = split_word(&formula[1..]);
            if name.is_empty() {
                rest.get(1..).unwrap_or_default()
            } else {
                rest
            }
        } else if first.is_alphabetic() {
            let (word, rest) = split_word(formula);
            if word.chars().count() > longest {
                return true;
            }
            rest
        } else {
            &formula[first.len_utf8()..]
        };
    }
    false
}

/// The length in bytes of the unit of measurement, the currency or the percent sign that `text` starts with; 0 if there is none.
pub(super) fn length_of_unit(text: &str) -> usize {
    let starts = text.char_indices().map(|(place, _)| place).chain([text.len()]);
    let mut ends: Vec<usize> = starts.take_while(|end| *end <= LONGEST_UNIT).collect();
    let line = &text[..ends.last().copied().unwrap_or(0)];
    // `\$` is a currency, and `$` the end of a formula.
    let is_end = |place: &usize| !line[..*place].ends_with('\\');
    let end = line.match_indices(['\n', '$']).map(|(place, _)| place).find(is_end);
    ends.retain(|place| end.is_none_or(|end| *place <= end));
    ends.reverse();
    let found = ends.into_iter().find(|end| {
        let (unit, rest) = text.split_at(*end);
        let is_end =
            !unit.ends_with(|c: char| c.is_whitespace() || c == '.') && !rest.starts_with(char::is_alphanumeric);
        // `12 in all` are no inches.
        let is_preposition = unit.trim() == "in" && rest.trim_start().starts_with(char::is_alphabetic);
        is_end
            && !is_preposition
            && match Unit::parse(unit) {
                Some(Unit::Percent) => true,
                Some(Unit::Named { known, other }) => {
                    !known.is_empty() && other.iter().all(|(word, _)| is_comparison(word))
                }
                _ => false,
            }
    });
    found.unwrap_or(0)
}

/// The text behind the spaces that it starts with. Those of LaTeX are spaces in formulas alone.
pub(super) fn after_spaces(mut text: &str, is_formula: bool) -> &str {
    loop {
        let rest = text.trim_start_matches([' ', '\t']);
        let rest = SPACES
            .iter()
            .filter(|_| is_formula)
            .find_map(|space| rest.strip_prefix(space))
            .unwrap_or(rest);
        if rest.len() == text.len() {
            return rest;
        }
        text = rest;
    }
}

/// The text before the spaces that it ends with.
pub(super) fn before_spaces(mut text: &str, is_formula: bool) -> &str {
    loop {
        let rest = text.trim_end_matches([' ', '\t']);
        let rest = SPACES
            .iter()
            .filter(|_| is_formula)
            .find_map(|space| rest.strip_suffix(space))
            .unwrap_or(rest);
        if rest.len() == text.len() {
            return rest;
        }
        text = rest;
    }
}

/// The text up to the end of the formula, the line or the sentence.
pub(super) fn rest_of_formula(text: &str) -> &str {
    let ends = ["$", "\\)", "\\]", "\\\\", "\\end", "\n", "&", ". "];
    let end = ends.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    text[..end].trim().trim_end_matches('.')
}

/// The last words of a text in lower case, the last one first, back to the end of a sentence or to a symbol.
pub(super) fn words_before(text: &str) -> impl Iterator<Item = String> + '_ {
    let start = text.rfind(|c: char| !(c.is_alphanumeric() || matches!(c, ' ' | '\t' | '\'' | '’')));
    let words = text[start.map_or(0, |start| {
        start + text[start..].chars().next().map_or(0, char::len_utf8)
    })..]
        .split_whitespace();
    words.rev().map(str::to_lowercase)
}

/// The first words of a text in lower case, up to the end of a sentence or to a symbol.
pub(super) fn words_after(text: &str) -> impl Iterator<Item = String> + '_ {
    let end = text.find(|c: char| !(c.is_alphanumeric() || matches!(c, ' ' | '\t' | '\'' | '’')));
    text[..end.unwrap_or(text.len())]
        .split_whitespace()
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_in_a_formula_between_its_delimiters() {
        for (before, after, expected) in [
            ("so $x = ", "$.", true),
            ("so $x$ is ", " and $y$", false),
            ("so \\(x = ", "\\)", true),
            ("so \\(x\\) is ", "", false),
            ("so \\[ \\begin{aligned} x &= ", "\\end{aligned} \\]", true),
            ("so $$x = ", "$$", true),
            ("so $$x$$ is ", " or $$y$$", false),
            ("it costs $5 and gets ", " for $2", false),
            ("it costs \\$5 and ", " for $2", false),
            ("it costs $", ".", false),
            ("it costs $5, so ", " for $2", false),
            ("so $5x + ab = ", "$", false),
            ("a \\text{and} $\\text{area} = ", "$", true),
            ("one $\n\ntwo ", "$", false),
        ] {
            assert_eq!(is_formula(before, after), expected, "{before}…{after}");
        }
    }

    #[test]
    fn a_unit_is_as_long_as_it_can_be() {
        for (text, expected) in [
            (" cm long", " cm"),
            ("cm^2.", "cm^2"),
            (" miles per hour", " miles per hour"),
            ("\\text{ cm} = x", "\\text{ cm}"),
            ("\\%$", "\\%"),
            ("\\text{ cm}$", "\\text{ cm}"),
            ("\\$.", "\\$"),
            ("$ cm", ""),
            (" per cent of it", " per cent"),
            ("^\\circ$", "^\\circ"),
            (" in all", ""),
            (" in.", " in"),
            (" apples", ""),
            (" x", ""),
            (" northern", ""),
            (" years older than", " years older"),
            (" in a year", " in a year"),
            (" cm in all", " cm in all"),
        ] {
            assert_eq!(&text[..length_of_unit(text)], expected, "{text}");
        }
    }
}
