//! What may stand beside a number without being part of its value: percent signs, currencies, degrees and units.
//!
//! A single letter is a variable unless it stands in `\text{…}` or a command like it: `12 x` and `5 m` are not numbers. Words that
//! change the value, such as `million`, and words of mathematics are no units either.

use super::{
    reader::SPACES,
    unit_words::{NO_UNITS, known},
};

/// What stands beside a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Nothing stands there.
    Nothing,
    /// `%`.
    Percent,
    /// A unit of measurement or a currency: its factors and their powers, in the order of their names.
    Known(Vec<(&'static str, i32)>),
    /// Other words, such as `apples`. They are not compared.
    Other,
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

/// The currency sign that `text` starts with, and the rest.
pub(super) fn currency(text: &str) -> Option<(Unit, &str)> {
    for (sign, name) in [
        ("\\$", "dollar"),
        ("$", "dollar"),
        ("\\textdollar", "dollar"),
        ("US$", "dollar"),
        ("€", "euro"),
        ("\\euro", "euro"),
        ("£", "lb"),
        ("\\pounds", "lb"),
        ("¥", "yen"),
    ] {
        if let Some(rest) = text.strip_prefix(sign) {
            return Some((Unit::Known(vec![(name, 1)]), rest));
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
        let parts = parts(text, false)?;
        match &parts[..] {
            [] => return Some(Self::Nothing),
            [Part::Percent] => return Some(Self::Percent),
            _ => {}
        }
        let mut factors: Vec<(&'static str, i32)> = Vec::new();
        let (mut direction, mut next_power, mut is_known, mut words) = (1, 1, true, 0);
        let mut before: Option<&str> = None;
        for part in &parts {
            let degrees = before == Some("°");
            before = match part {
                Part::Word(word, ..) => Some(word),
                _ => None,
            };
            match part {
                Part::Word(scale, ..) if degrees && matches!(&scale[..], "C" | "F") => {
                    factors.push((if scale == "C" { "celsius" } else { "fahrenheit" }, 1));
                }
                Part::Over if words > 0 || direction > 0 => direction = -1,
                Part::Percent | Part::Over => return None,
                Part::Power(power) => match factors.last_mut() {
                    Some(factor) => factor.1 *= power,
                    // A power of an unknown word.
                    None if words > 0 => {}
                    None => return None,
                },
                Part::Word(word, is_text, is_apart) => {
                    words += 1;
                    let lower = word.to_lowercase();
                    if NO_UNITS.contains(&&lower[..]) || words > 4 {
                        return None;
                    }
                    if let Some(power) = [("square", 2), ("sq", 2), ("cubic", 3)]
                        .iter()
                        .find(|known| known.0 == lower)
                    {
                        next_power = power.1;
                    } else if lower == "mph" {
                        factors.extend([("mi", 1), ("h", -1)]);
                    } else if let Some(name) =
                        known(&lower).filter(|_| *is_text || words > 1 || word.chars().count() > 1)
                    {
                        factors.push((name, direction * next_power));
                        next_power = 1;
                    } else if *is_text && word.chars().count() > 1 || *is_apart && is_natural(word) {
                        is_known = false;
                    } else {
                        return None;
                    }
                }
            }
        }
        if words == 0 {
            return None;
        }
        factors.sort_unstable();
        Some(if is_known && !factors.is_empty() {
            Self::Known(factors)
        } else {
            Self::Other
        })
    }
}

/// Whether letters are a word rather than a product of variables.
fn is_natural(word: &str) -> bool {
    word.chars().count() >= 4
        && word.chars().skip(1).all(char::is_lowercase)
        && (!word.is_ascii() || word.contains(['a', 'e', 'i', 'o', 'u', 'y']))
}

/// The parts of a text behind a number; `None` if something else is in it.
fn parts(mut text: &str, is_text: bool) -> Option<Vec<Part>> {
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
            if is_text {
                return None;
            }
            parts.extend(self::parts(inner, true)?);
            text = rest;
        } else if first.is_alphabetic() {
            let end = text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len());
            let (word, rest) = text.split_at(end);
            let is_percent = matches!(&word.to_lowercase()[..], "percent" | "percents");
            parts.push(match word {
                "per" => Part::Over,
                _ if is_percent => Part::Percent,
                _ => Part::Word(word.to_owned(), is_text, is_apart),
            });
            text = rest;
        } else if let Some(rest) = text.strip_prefix("\\cdot").or_else(|| text.strip_prefix('·')) {
            if parts.is_empty() {
                return None;
            }
            text = rest;
        } else if first == '.' && (is_text || text.len() == 1) {
            // An abbreviation, or the end of a sentence.
            text = &text[1..];
        } else {
            return None;
        }
        is_apart = false;
    }
    Some(parts)
}

/// The argument of the text command that `text` starts with, and the rest.
pub(super) fn text_command(text: &str) -> Option<(&str, &str)> {
    let argument = TEXT_COMMANDS
        .iter()
        .find_map(|command| text.strip_prefix(command)?.trim_start().strip_prefix('{'))?;
    let mut depth = 1;
    let mut is_escaped = false;
    for (place, character) in argument.char_indices() {
        match character {
            _ if is_escaped => {
                is_escaped = false;
                continue;
            }
            '\\' => is_escaped = true,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&argument[..place], &argument[place + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_told_from_variables_and_words_that_change_the_value() {
        let known = |factors: &[(&'static str, i32)]| Some(Unit::Known(factors.to_vec()));
        for (text, expected) in [
            ("", Some(Unit::Nothing)),
            ("\\%", Some(Unit::Percent)),
            (" percent", Some(Unit::Percent)),
            (" apples", Some(Unit::Other)),
            (" green apples.", Some(Unit::Other)),
            ("\\text{ students}", Some(Unit::Other)),
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
