//! Finds the answer in a box, with what directly beside the box changes its value.
//!
//! The last box is the answer, whatever the text says around it. But a percent sign, a unit, an operator or a factor that touches
//! the box belongs to the answer: `\boxed{5}\%` is `5\%`, and `\boxed{5} \cdot 2` is an expression, no 5.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    bare::bare,
    beside::{is_formula, rest_of_formula},
    number::Quantity,
    surroundings::{denied_by, is_element},
    touching::{self, After, Before, start_of_formula},
    unit::{Unit, closing_brace, split_word},
};

/// Commands whose argument is the final answer.
const BOXES: [&str; 2] = ["\\boxed", "\\fbox"];
/// The boxes that are tried, from the last one. Each that is not closed is read to the end of the text.
const MOST_BOXES: usize = 1000;
/// Boxes between which only `or`, `and` or a comma stands are one answer, up to this number.
const MOST_IN_A_ROW: usize = 64;
/// The bytes that are looked at between two boxes.
const LONGEST_SEPARATOR: usize = 60;

/// What stands between two boxes that are one answer.
static SEPARATOR: LazyLock<Regex> = LazyLock::new(|| {
    const SPACE: &str = r"(?:[ \t\n$*~]|\\[()\[\],;:! ]|\\q?quad\b)*";
    const WORD: &str =
        r"\\(?:text|textrm|mathrm|mbox)\s*\{[\s,]*(?P<text>or|and)\s*\}|(?P<word>or|and)\b|(?P<or>\\lor\b)";
    Regex::new(&format!("^{SPACE}(?P<comma>[,;])?{SPACE}(?:{WORD})?{SPACE}$")).expect("it is a valid expression")
});

/// A box in a text.
#[derive(Clone, Copy)]
struct Place<'a> {
    start: usize,
    end: usize,
    argument: &'a str,
}

/// Whether a text has a box, closed or not.
pub(super) fn has_box(text: &str) -> bool {
    BOXES.iter().any(|command| text.contains(command))
}

/// The argument of the last closed box, with what belongs to it.
pub(super) fn boxed(text: &str) -> Option<String> {
    let mut places: Vec<(usize, usize)> = BOXES
        .iter()
        .flat_map(|command| {
            text.match_indices(command)
                .map(move |(start, _)| (start, start + command.len()))
        })
        .collect();
    places.sort_unstable();
    let mut boxes = places
        .into_iter()
        .rev()
        .take(MOST_BOXES)
        .filter_map(|(start, command_end)| {
            let (argument, end) = argument(text, command_end)?;
            Some(Place { start, end, argument })
        });
    let last = boxes.next()?;
    let (mut start, mut answer, mut is_alone) = (last.start, last.argument.to_owned(), true);
    for before in boxes.take(MOST_IN_A_ROW) {
        let Some(separator) = text.get(before.end..start).and_then(separator) else {
            break;
        };
        answer = format!("{}{separator}{answer}", before.argument);
        (start, is_alone) = (before.start, false);
    }
    let (before, behind) = (&text[..start], &text[last.end..]);
    let is_formula = is_formula(before, behind);
    let number = Quantity::parse(&bare(&answer)).filter(|_| is_alone);
    let is_bare = number.as_ref().is_some_and(|number| number.unit == Unit::Nothing);
    // `\boxed{18}!` ends a sentence; `\boxed{5}!` may be a factorial.
    let behind = Some(behind)
        .filter(|_| !is_formula && is_bare && answer.len() > 1)
        .and_then(|behind| behind.strip_prefix('!'))
        .unwrap_or(behind);
    if let Some(word) = denied_by(before).filter(|_| is_alone) {
        // `x minus \boxed{5}` is no -5.
        let space = if word.ends_with("minus") || word.ends_with("negative") {
            "… "
        } else {
            " "
        };
        return Some(format!("{word}{space}{answer}"));
    }
    if is_element(before, behind, is_formula) {
        let whole = joined(start_of_formula(before), &answer, rest_of_formula(behind));
        return Some(if whole == answer { part(&answer) } else { whole });
    }
    let after = touching::after(behind, is_formula, is_bare);
    Some(match (touching::before(before, is_formula), after) {
        (Before::Nothing, After::Nothing) => answer,
        (Before::Nothing, After::Unit(unit)) => format!("{answer}{unit}"),
        (Before::Sign(sign), After::Nothing) if number.is_some() => format!("{sign}{answer}"),
        (Before::Sign(sign), After::Unit(unit)) => format!("{sign}{answer}{unit}"),
        (Before::Nothing, After::Part(rest)) => joined("", &answer, rest),
        (Before::Sign(sign), after) => joined(sign, &answer, after.text()),
        (Before::Part, after) => {
            let rest = if is_formula {
                rest_of_formula(behind)
            } else {
                after.text()
            };
            let whole = joined(start_of_formula(before), &answer, rest);
            // What changes it is not in the same formula.
            if whole == answer { part(&answer) } else { whole }
        }
    })
}

/// A text that says that the answer is a part of something, and is no number.
fn part(answer: &str) -> String {
    format!("… {answer}")
}

/// The answer with what is beside it, in brackets where it would become something else: `2\boxed{5}` is not 25, and
/// `\boxed{x+1}^2` is not `x+1^2`.
fn joined(before: &str, answer: &str, after: &str) -> String {
    let is_command = answer
        .strip_prefix('\\')
        .is_some_and(|name| name.chars().all(char::is_alphabetic));
    let is_symbol = is_command || answer.chars().all(|c| c.is_alphanumeric() || c == '.');
    let touches = before.ends_with(|c: char| c.is_ascii_digit() || c == '.')
        || after.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | ':'));
    let space = if after.starts_with(char::is_alphabetic) {
        " "
    } else {
        ""
    };
    if before.ends_with('{') && after.starts_with('}') || is_symbol && !touches {
        format!("{before}{answer}{space}{after}")
    } else {
        format!("{before}({answer}){space}{after}")
    }
}

/// The argument of the box whose command ends at `place`, and its end: in braces, or one digit, letter or command.
fn argument(text: &str, place: usize) -> Option<(&str, usize)> {
    let rest = text[place..].trim_start();
    let start = text.len() - rest.len();
    let Some(inner) = rest.strip_prefix('{') else {
        let first = rest.chars().next()?;
        let is_word = |text: &str| split_word(text).0.chars().nth(1).is_some();
        let length = match first {
            '\\' => 1 + Some(split_word(&rest[1..]).0.len()).filter(|length| *length > 0)?,
            // `\boxed to show it` is prose, and `\boxedx` another command.
            _ if first.is_alphabetic() && (start == place || is_word(rest)) => return None,
            _ if first.is_alphanumeric() => first.len_utf8(),
            _ => return None,
        };
        return Some((&rest[..length], start + length));
    };
    let end = closing_brace(inner)?;
    let answer = inner[..end].trim();
    (!answer.is_empty()).then_some((answer, start + end + 2))
}

/// What joins two boxes with this text between them; `None` if they are two answers.
fn separator(between: &str) -> Option<&'static str> {
    if between.len() > LONGEST_SEPARATOR || between.contains("\n\n") {
        return None;
    }
    let found = SEPARATOR.captures(between)?;
    let word = found
        .name("text")
        .or_else(|| found.name("word"))
        .map(|word| word.as_str());
    if word == Some("or") || found.name("or").is_some() {
        Some("\\text{ or }")
    } else {
        (word.is_some() || found.name("comma").is_some()).then_some(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_box_is_the_answer_with_what_touches_it() {
        for (text, expected) in [
            ("So it is \\boxed{42}.", Some("42")),
            ("\\boxed{1} no, \\boxed{\\frac{3}{4}}", Some("\\frac{3}{4}")),
            ("\\boxed{\\{1, 2\\}}", Some("\\{1, 2\\}")),
            ("\\boxed {x^{2}}", Some("x^{2}")),
            ("\\fbox{7}", Some("7")),
            ("\\boxed{\\boxed{5}}", Some("5")),
            ("\\[ \\boxed{\\displaystyle \\fbox{5}} \\]", Some("5")),
            // One token without braces.
            ("\\boxed 5", Some("5")),
            ("$\\boxed5$", Some("5")),
            ("\\boxed \\pi.", Some("\\pi")),
            ("\\boxed\\frac{1}{2}", Some("\\frac{1}{2}")),
            ("\\boxed 52", Some("(5)2")),
            ("\\boxed x", Some("x")),
            ("\\boxed to show it", None),
            ("\\boxedx", None),
            // The last box is cut off.
            ("\\boxed{5} and then \\boxed{6", Some("5")),
            ("\\boxed{} is 9", None),
            // Prose and relations around it.
            ("**\\boxed{5}**", Some("5")),
            ("- \\boxed{5}", Some("5")),
            ("Answer - \\boxed{5} - which was asked", Some("5")),
            ("Step 3 gives\\boxed{5} as required", Some("5")),
            ("$x = 3 + 2 = \\boxed{5} = 5.0$", Some("5")),
            ("$\\text{Area} = \\boxed{5} \\quad \\blacksquare$", Some("5")),
            ("$x \\equiv \\boxed{5} \\pmod{7}$", Some("5")),
            ("it costs $5, so \\boxed{3} for $2", Some("3")),
            ("\\[ \\boxed{5} \\text{ as required} \\]", Some("5")),
            ("$\\boxed{12}$ in total, $\\boxed{13}$ after that", Some("13")),
            ("$\\boxed{5}$!", Some("5")),
            ("\\boxed{5} (since x > 0)", Some("5")),
            ("\\boxed{5} and 6 more", Some("5")),
            // What changes the value.
            ("\\boxed{5}\\%", Some("5\\%")),
            ("$\\boxed{5}$%", Some("5%")),
            ("$\\boxed{5}$ per cent", Some("5 per cent")),
            ("$\\boxed{5}\\text{ cm}$", Some("5\\text{ cm}")),
            ("$\\boxed{5}$ miles per hour.", Some("5 miles per hour")),
            ("$\\boxed{5 \\text{ cm}}$ per day", Some("5 \\text{ cm}")),
            ("$\\boxed{5}^\\circ$", Some("5^\\circ")),
            ("$\\boxed{5} \\cdot 2$", Some("5\\cdot 2")),
            ("\\boxed{5} \\cdot 2", Some("5\\cdot 2")),
            ("\\boxed{5} + 3 is it", Some("5+ 3 is it")),
            ("\\boxed{5}!", Some("5!")),
            ("$\\boxed{5}x$.", Some("5 x")),
            ("$\\boxed{5}\\pi$", Some("5\\pi")),
            ("$\\boxed{x+1}^2$", Some("(x+1)^2")),
            ("\\boxed{5}.5", Some("(5).5")),
            ("$\\boxed{5}\\text{ million}$", Some("5\\text{ million}")),
            ("$\\boxed{5}$ million", Some("5 million")),
            ("$\\boxed{5}\\text{ north}$", Some("5\\text{ north}")),
            ("\\boxed{5} is wrong, it is 6", Some("5 is wrong, it is 6")),
            ("$-\\boxed{5}$", Some("-5")),
            ("it is -\\boxed{5}", Some("-5")),
            ("= -\\boxed{x+1}", Some("-(x+1)")),
            ("\\$\\boxed{5}", Some("\\$5")),
            ("-\\boxed{5\\text{ cm}}", Some("-5\\text{ cm}")),
            ("$\\boxed{-5}^2$", Some("(-5)^2")),
            ("$x = 2\\boxed{5}$", Some("2(5)")),
            ("$3 - \\boxed{5}$", Some("3 - 5")),
            ("$\\sqrt{\\boxed{5}}$", Some("\\sqrt{5}")),
            ("$x = \\frac{\\boxed{5}}{2}$", Some("\\frac{5}{2}")),
            ("$\\boxed{3}\\text{ or }4$", Some("3\\text{ or }4")),
            ("\\boxed{3} or $4$", Some("3 or")),
            ("$3 \\text{ or } \\boxed{4}$", Some("3 \\text{ or } 4")),
            ("it is 3 or \\boxed{4}", Some("it is 3 or 4")),
            // Boxes that are one answer.
            ("$\\boxed{3}\\text{ or }\\boxed{4}$", Some("3\\text{ or }4")),
            ("$\\boxed{3}$ or $\\boxed{4}$", Some("3\\text{ or }4")),
            ("\\boxed{3}, \\boxed{4}, and \\boxed{5}", Some("3, 4, 5")),
            ("\\boxed{3}\n\\boxed{4}", Some("4")),
        ] {
            assert_eq!(boxed(text).as_deref(), expected, "{text}");
        }
    }
}
