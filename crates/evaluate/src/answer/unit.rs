//! What may stand beside a number without being part of its value: percent signs, currencies, degrees and units.
//!
//! A single letter is a variable unless it stands in `\text{…}` or a command like it: `12 x` and `5 m` are not numbers. Words that
//! change the value, such as `million` and `north`, and words of mathematics are no units either.

use super::{
    reader::SPACES,
    unit_words::{behind_total, is_no_unit, known, power_of, rate, singular},
};

/// What stands beside a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Nothing stands there.
    Nothing,
    /// `%`.
    Percent,
    /// Words and signs with their powers, in the order of their names.
    Named {
        /// Units of measurement and currencies.
        known: Vec<(&'static str, i32)>,
        /// Other words, such as `apple`.
        other: Vec<(String, i32)>,
    },
}

/// Commands whose argument is text.
pub(super) const TEXT_COMMANDS: [&str; 12] = [
    "\\text",
    "\\textrm",
    "\\textbf",
    "\\textit",
    "\\textsf",
    "\\textnormal",
    "\\mathrm",
    "\\mathbf",
    "\\mathit",
    "\\mathsf",
    "\\mbox",
    "\\operatorname",
];

/// Those of them whose argument is letters rather than words: `4\mathbf{i}`.
const LETTER_COMMANDS: [&str; 4] = ["\\mathbf", "\\mathit", "\\mathsf", "\\operatorname"];

/// The currency sign that `text` starts with, and the rest.
pub(super) fn currency(text: &str) -> Option<(Unit, &str)> {
    for (sign, name) in [
        ("\\$", "dollar"),
        ("$", "dollar"),
        ("\\textdollar", "dollar"),
        ("US$", "dollar"),
        ("€", "euro"),
        ("\\euro", "euro"),
        ("£", "sterling"),
        ("\\pounds", "sterling"),
        ("¥", "yen"),
    ] {
        if let Some(rest) = text.strip_prefix(sign) {
            let known = vec![(name, 1)];
            return Some((Unit::Named { known, other: vec![] }, rest));
        }
    }
    None
}

/// A part of the text behind a number.
#[derive(Debug, PartialEq)]
enum Part {
    /// A word: whether it is in a text command, and whether a space is before it.
    Word(String, bool, bool),
    Power(i32),
    /// `/` or `per`.
    Over,
    Percent,
}

impl Unit {
    /// The unit that all of `text` behind a number is; `None` if it is no unit.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // `5\text{K}` may be 5000.
        if text.starts_with("\\text{K}") {
            return None;
        }
        let parts = parts(text, None)?;
        match &parts[..] {
            [] => return Some(Self::Nothing),
            [Part::Percent] => return Some(Self::Percent),
            _ => {}
        }
        let mut known: Vec<(&'static str, i32)> = Vec::new();
        let mut other: Vec<(String, i32)> = Vec::new();
        let (mut direction, mut next_power, mut words) = (1, 1, 0);
        let mut before: Option<&str> = None;
        // Whether the last word, which a power would raise, is among the known ones.
        let mut raised: Option<bool> = None;
        for part in &parts {
            let is_degrees = before == Some("°");
            before = match part {
                Part::Word(word, ..) => Some(word),
                _ => None,
            };
            match part {
                Part::Over => direction = -1,
                Part::Percent => return None,
                Part::Power(power) => {
                    if raised.take()? {
                        known.last_mut()?.1 *= power;
                    } else {
                        other.last_mut()?.1 *= power;
                    }
                }
                // `5°N` is no newton.
                Part::Word(word, ..) if is_degrees && word.chars().count() == 1 => {
                    let scale = match &word[..] {
                        "C" => "celsius",
                        "F" => "fahrenheit",
                        _ => return None,
                    };
                    known.push((scale, 1));
                    words += 1;
                }
                Part::Word(word, is_text, is_apart) => {
                    words += 1;
                    let lower = word.to_lowercase();
                    let (is_letter, power) = (word.chars().count() == 1, direction * next_power);
                    if is_no_unit(&lower) || words > 4 {
                        return None;
                    }
                    next_power = 1;
                    raised = None;
                    if let Some(power) = power_of(&lower) {
                        next_power = power;
                    } else if lower == "mph" {
                        known.extend([("mi", power), ("h", -power)]);
                    } else if let Some(name) = self::known(word).filter(|_| *is_text || words > 1 || !is_letter) {
                        known.push((name, power));
                        raised = Some(true);
                    } else if *is_text && !is_letter || *is_apart && is_natural(word) {
                        other.push((singular(&lower), power));
                        raised = Some(false);
                    } else {
                        return None;
                    }
                }
            }
        }
        known.sort_unstable();
        other.sort_unstable();
        let is_named = !known.is_empty() || !other.is_empty();
        is_named.then_some(Self::Named { known, other })
    }

    /// The unit of a number that has this one before it and `after` behind it, as `$5 per hour`; `None` if they are two units.
    pub(super) fn with(self, after: Self) -> Option<Self> {
        match (self, after) {
            (unit, Self::Nothing) | (Self::Nothing, unit) => Some(unit),
            (Self::Named { mut known, .. }, Self::Named { known: more, other }) => {
                if known != more {
                    if more.iter().any(|(_, power)| *power > 0) {
                        return None;
                    }
                    known.extend(more);
                    known.sort_unstable();
                }
                Some(Self::Named { known, other })
            }
            _ => None,
        }
    }

    /// Whether numbers with these units may be the same answer. A unit on one side alone says nothing, nor do words on one side
    /// alone beside the same units: `5 apples` may be `5` and `5 green apples`, but not `5 pears`.
    pub(super) fn agrees(&self, with: &Self) -> bool {
        match (self, with) {
            (Self::Nothing, _) | (_, Self::Nothing) => true,
            (Self::Named { known, other }, Self::Named { known: k, other: o }) => {
                let all_in = |a: &[(String, i32)], b: &[(String, i32)]| a.iter().all(|word| b.contains(word));
                same_units(known, k) && (all_in(other, o) || all_in(o, other))
            }
            (a, b) => a == b,
        }
    }
}

/// Whether two lists of units are the same. A pound is one of weight or one of money.
fn same_units(a: &[(&'static str, i32)], b: &[(&'static str, i32)]) -> bool {
    let is_pound = |unit: &str| matches!(unit, "pound" | "lb" | "sterling");
    let is_same = |(a, b): (&(&str, i32), &(&str, i32))| {
        a.1 == b.1 && (a.0 == b.0 || is_pound(a.0) && is_pound(b.0) && (a.0 == "pound" || b.0 == "pound"))
    };
    a == b || a.len() == b.len() && a.iter().zip(b).all(is_same)
}

/// Whether letters are a word rather than a product of variables.
fn is_natural(word: &str) -> bool {
    word.chars().count() >= 4
        && word.chars().skip(1).all(char::is_lowercase)
        && (!word.is_ascii() || word.contains(['a', 'e', 'i', 'o', 'u', 'y']))
}

/// The parts of a text behind a number; `None` if something else is in it. `within` says that it is the argument of a command, and
/// whether that is for words.
fn parts(mut text: &str, within: Option<bool>) -> Option<Vec<Part>> {
    let is_text = within == Some(true);
    let mut parts = Vec::new();
    let mut is_apart = false;
    while let Some(first) = text.chars().next() {
        if let Some(rest) = SPACES.iter().find_map(|space| text.strip_prefix(space)) {
            (text, is_apart) = (rest, true);
            continue;
        }
        let sign = |name: &str| Part::Word(name.to_owned(), true, false);
        if let Some((part, rest)) = [
            ("\\%", Part::Percent),
            ("%", Part::Percent),
            ("^{\\circ}", sign("°")),
            ("{}^\\circ", sign("°")),
            ("^\\circ", sign("°")),
            ("\\degree", sign("°")),
            ("°", sign("°")),
            ("\\$", sign("$")),
            ("$", sign("$")),
            ("€", sign("€")),
            ("£", sign("£")),
            ("¥", sign("¥")),
            ("¢", sign("¢")),
            ("/", Part::Over),
            ("^2", Part::Power(2)),
            ("^{2}", Part::Power(2)),
            ("²", Part::Power(2)),
            ("^3", Part::Power(3)),
            ("^{3}", Part::Power(3)),
            ("³", Part::Power(3)),
        ]
        .into_iter()
        .find_map(|(written, part)| Some((part, text.strip_prefix(written)?)))
        {
            parts.push(part);
            text = rest;
        } else if let Some((inner, rest)) = text_command(text) {
            if within.is_some() {
                return None;
            }
            let is_letters = LETTER_COMMANDS.iter().any(|command| text.starts_with(command));
            parts.extend(self::parts(inner, Some(!is_letters))?);
            text = rest;
        } else if let Some(rest) = rate(text, is_text) {
            parts.push(Part::Over);
            text = rest;
        } else if let Some(rest) = behind_total(text) {
            text = rest;
        } else if first.is_alphabetic() {
            let (word, rest) = split_word(text);
            let lower = word.to_lowercase();
            let cent = Some(rest.trim_start()).filter(|_| lower == "per").and_then(|rest| {
                let (next, rest) = split_word(rest);
                (next == "cent").then_some(rest)
            });
            let is_percent = cent.is_some() || matches!(&lower[..], "percent" | "percents" | "pct");
            parts.push(match &lower[..] {
                _ if is_percent => Part::Percent,
                "per" => Part::Over,
                _ => Part::Word(word.to_owned(), is_text, is_apart),
            });
            text = cent.unwrap_or(rest);
        } else if let Some(rest) = text.strip_prefix("\\cdot").or_else(|| text.strip_prefix('·')) {
            if parts.is_empty() {
                return None;
            }
            text = rest;
        } else if first == '.' && (is_text && !text[1..].starts_with(char::is_alphabetic) || text.len() == 1) {
            // An abbreviation, or the end of a sentence. `a.m.` is no ampere and metre.
            text = &text[1..];
        } else {
            return None;
        }
        is_apart = false;
    }
    Some(parts)
}

/// The letters that `text` starts with, and the rest.
pub(super) fn split_word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len()))
}

/// The argument of the text command that `text` starts with, and the rest.
pub(super) fn text_command(text: &str) -> Option<(&str, &str)> {
    let argument = TEXT_COMMANDS
        .iter()
        .find_map(|command| text.strip_prefix(command)?.trim_start().strip_prefix('{'))?;
    let end = closing_brace(argument)?;
    Some((&argument[..end], &argument[end + 1..]))
}

/// Where the brace closes that was opened just before `text`; an escaped brace is a character.
pub(super) fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 1;
    let mut is_escaped = false;
    text.char_indices().find_map(|(place, character)| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_told_from_variables_and_words_that_change_the_value() {
        let named = |known: &[(&'static str, i32)], other: &[(&str, i32)]| {
            let other = other.iter().map(|(word, power)| ((*word).to_owned(), *power));
            Some(Unit::Named {
                known: known.to_vec(),
                other: other.collect(),
            })
        };
        let known = |factors: &[(&'static str, i32)]| named(factors, &[]);
        let other = |words: &[(&str, i32)]| named(&[], words);
        for (text, expected) in [
            ("", Some(Unit::Nothing)),
            ("\\%", Some(Unit::Percent)),
            (" percent", Some(Unit::Percent)),
            (" per cent", Some(Unit::Percent)),
            ("\\text{ per cent}", Some(Unit::Percent)),
            (" apples", other(&[("apple", 1)])),
            (" green apples.", other(&[("apple", 1), ("green", 1)])),
            ("\\text{ students}", other(&[("student", 1)])),
            (" square units", other(&[("unit", 2)])),
            ("\\text{ units}^2", other(&[("unit", 2)])),
            (" boxes per berry", other(&[("berry", -1), ("box", 1)])),
            (" feet tall", named(&[("ft", 1)], &[("tall", 1)])),
            // Words that turn the number around, and other letters that are no unit.
            (" north", None),
            ("\\text{ miles south}", None),
            ("^\\circ\\text{N}", None),
            ("°W", None),
            ("\\text{ a.m.}", None),
            ("\\text{ PM}", None),
            (" losses", None),
            (" below zero", None),
            ("\\text{ M}", None),
            ("\\text{ K}", known(&[("k", 1)])),
            (" pairs", None),
            (" tens", None),
            ("\\mathit{ab}", None),
            ("cm", known(&[("cm", 1)])),
            (" centimeters", known(&[("cm", 1)])),
            ("\\,\\text{cm}^2", known(&[("cm", 2)])),
            (" square inches", known(&[("in", 2)])),
            ("\\mathrm{~m} / \\mathrm{s}^{2}", known(&[("m", 1), ("s", -2)])),
            (" km/h", known(&[("h", -1), ("km", 1)])),
            (" miles per hour", known(&[("h", -1), ("mi", 1)])),
            (" mph", known(&[("h", -1), ("mi", 1)])),
            ("^\\circ", known(&[("degree", 1)])),
            ("^{\\circ}", known(&[("degree", 1)])),
            (" degrees", known(&[("degree", 1)])),
            ("\\text{ m}", known(&[("m", 1)])),
            ("€", known(&[("euro", 1)])),
            ("°C", known(&[("celsius", 1), ("degree", 1)])),
            ("^\\circ\\text{F}", known(&[("degree", 1), ("fahrenheit", 1)])),
            (" degrees Fahrenheit", known(&[("degree", 1), ("fahrenheit", 1)])),
            ("\\mathbf{i}", None),
            ("\\operatorname{x}", None),
            ("\\text{ eighths}", None),
            (" lakh", None),
            (" x", None),
            (" m", None),
            ("x", None),
            ("ab", None),
            (" ab", None),
            (" xyz", None),
            ("apples", None),
            (" million", None),
            ("\\text{ million}", None),
            (" dozen eggs", None),
            (" and a half", None),
            ("\\text{ or } 5", None),
            ("\\pi", None),
            ("!", None),
            ("^2", None),
            (" (cm)", None),
            ("%%", None),
        ] {
            assert_eq!(Unit::parse(text), expected, "{text}");
        }
    }
}
