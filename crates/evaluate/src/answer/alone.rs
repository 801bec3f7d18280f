//! Finds the last number of a text, if it stands alone.
//!
//! Alone means: in a sentence or behind an equals sign, with no more than a sign, a currency, a percent sign or a unit. What is
//! not known to leave the number as it is makes it a part of something else: `5 \cdot 35`, `7!`, `x_7`, `not 7`, `pages 3-4`.

use super::{
    bare::bare,
    beside::{after_spaces, before_spaces, is_formula, length_of_unit, words_before},
    characters::vulgar_fraction,
    clean::without_contrast,
    number::{Quantity, length_of_magnitude},
    prose::{begins_item, begins_line, ends_with_term, is_behind_dash, is_in_multiples, is_listed, stands_before},
    remark::{Remark, at_end},
    unit::{split_word, text_command},
    unit_words::is_turn,
};

/// A unit has fewer numbers, its exponents, than this.
const MOST_IN_UNIT: usize = 4;

/// Words before a number that make it something else than the answer.
const NOT_BEFORE: &str = " or and than least most between plus minus times over under below above negative except without from by \
    squared log ln sin cos tan sqrt root mod versus vs per nearly almost up within exceeds step case page figure equation problem \
    question part chapter section example line version item either neither nor twice double triple thrice half base option otherwise \
    maybe perhaps through modulo no from but ";
/// Words that deny what follows within a few words.
const DENIALS: [&str; 10] = [
    "not", "never", "cannot", "no", "without", "except", "isnt", "anything", "unlikely", "excluded",
];
/// Nouns whose value a number behind `of` is.
const VALUES: &str = " total sum amount answer value result cost price average profit gain ";
/// Commands that may stand before or behind a number.
const COMMANDS: &str = " approx quad qquad therefore implies iff rightarrow Rightarrow longrightarrow Longrightarrow displaystyle end \
    square blacksquare checkmark tag hfill ";

/// The last number of a text as it is written, with its sign, currency and unit, if it stands alone. A number in a remark behind
/// another number is the answer only if both are the same.
pub(super) fn last_alone(text: &str) -> Option<String> {
    let text = without_contrast(text);
    let Some((before, inner)) = at_end(text.trim_end().trim_end_matches(['.', '!', '*'])) else {
        return last_in(text);
    };
    if count_of_numbers(before.lines().next_back().unwrap_or_default()) == 0 || count_of_numbers(inner) == 0 {
        return last_in(text);
    }
    let outer = last_in(before)?;
    let is_reason = Remark::of(inner) == Remark::Reason;
    let number = |text: &str| Quantity::parse(&bare(text));
    let is_same = || Some(number(&last_in(text)?)?.is(&number(&outer)?));
    (is_reason || is_same() == Some(true)).then_some(outer)
}

/// The last number of a text, if it stands alone.
fn last_in(text: &str) -> Option<String> {
    let (start, end) = last_number(text)?;
    let (before, number, after) = (&text[..start], &text[start..end], &text[end..]);
    let is_formula = is_formula(before, after);
    let is_integer = !number.contains(['.', '/', '⁄']) && !number.contains("frac") && !number.chars().any(is_fraction);
    let (stem, sign) = lead(before, is_formula);
    let is_long = number.len() > 1 && !before.trim().is_empty();
    let unit = trail(after, is_formula, is_integer, is_long)?;
    may_start(stem, is_formula).then(|| format!("{sign}{number}{unit}"))
}

fn is_fraction(character: char) -> bool {
    vulgar_fraction(character).is_some()
}

/// How many numbers a text has, units apart; 2 if it has more.
pub(super) fn count_of_numbers(text: &str) -> usize {
    let mut end = 0;
    numbers(text)
        .into_iter()
        .filter(|(start, number_end)| {
            let is_new = *start >= end;
            end = end.max(number_end + length_of_unit(&text[*number_end..]));
            is_new
        })
        .take(2)
        .count()
}

/// The bounds of all numbers.
fn numbers(text: &str) -> Vec<(usize, usize)> {
    let (mut numbers, mut place) = (Vec::new(), 0);
    let may_begin = |c: char| c.is_ascii_digit() || matches!(c, '.' | '\\') || is_fraction(c);
    while let Some(next) = text[place..].find(may_begin) {
        let start = place + next;
        place = match length_of_magnitude(&text[start..]) {
            Some(length) => {
                numbers.push((start, start + length));
                start + length
            }
            None => start + text[start..].chars().next().map_or(1, char::len_utf8),
        };
    }
    numbers
}

/// The bounds of the last number, whatever it is a part of. The 2 of `12 cm^2` is a part of the unit of 12.
fn last_number(text: &str) -> Option<(usize, usize)> {
    let numbers = numbers(text);
    let (_, last_end) = *numbers.last()?;
    let mut latest = numbers[numbers.len().saturating_sub(MOST_IN_UNIT)..].iter();
    let owner = latest.find(|(_, end)| *end == last_end || end + length_of_unit(&text[*end..]) >= last_end);
    owner.copied()
}

/// The sign and the currency that a text ends with, and the text before them.
fn lead(before: &str, is_formula: bool) -> (&str, String) {
    let (mut rest, mut sign) = (before, String::new());
    for _ in 0..2 {
        let marks = ["\\$", "€", "£", "¥", "-", "−", "$"];
        // `$` opens a formula, or is a currency.
        let mark = marks
            .into_iter()
            .find(|mark| rest.ends_with(mark) && !(*mark == "$" && is_formula));
        let Some(stem) = mark.and_then(|mark| rest.strip_suffix(mark)) else {
            break;
        };
        sign.insert_str(0, &rest[stem.len()..]);
        rest = stem;
    }
    (rest, sign)
}

/// Whether a number that stands alone may begin behind a text.
fn may_start(before: &str, mut is_formula: bool) -> bool {
    let (mut rest, mut is_apart) = (before, false);
    loop {
        let stem = before_spaces(rest, is_formula);
        is_apart |= stem.len() < rest.len();
        rest = stem;
        if is_formula && rest.ends_with('\n') {
            rest = rest.trim_end();
        } else if let Some(stem) = ["$$", "$", "\\(", "\\[", "**", "`", "“", "‘"]
            .iter()
            .find_map(|mark| rest.strip_suffix(mark))
        {
            (rest, is_apart, is_formula) = (stem, true, false);
        } else {
            break;
        }
    }
    let Some(last) = rest.chars().next_back() else {
        return true;
    };
    let stem = &rest[..rest.len() - last.len_utf8()];
    let is_digit_before = stem.ends_with(|c: char| c.is_ascii_digit());
    match last {
        '\n' => !ends_with_command(rest.trim_end()) || is_command(rest.trim_end()),
        '≈' | '∴' => true,
        '—' => !ends_with_term(rest),
        '→' | '⇒' | '⟹' => begins_line(stem),
        '>' => stem.strip_suffix(['=', '-']).is_some_and(begins_line),
        '-' | '*' | '•' => is_apart && !is_formula && begins_item(stem),
        '=' => !stem.ends_with(['<', '>', '!', '~', '≠', '/']) && !stem.trim_end().ends_with("\\not"),
        ':' => !is_digit_before,
        '.' | '!' | '?' => is_apart && !is_formula && !stem.ends_with(['.', '!', '?']) && !stem.is_empty(),
        ',' | ';' => is_apart && !is_formula && stem.ends_with(char::is_alphabetic),
        _ if ends_with_command(rest) => is_command(rest),
        _ if last.is_alphabetic() => is_apart && !is_formula && may_follow_words(rest),
        _ => false,
    }
}

fn ends_with_command(text: &str) -> bool {
    let stem = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    stem.len() < text.len() && stem.ends_with('\\')
}

/// Whether a text ends with a command that leaves a number behind it as it is.
fn is_command(text: &str) -> bool {
    let stem = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    stem.ends_with('\\') && is_listed(COMMANDS, &text[stem.len()..])
}

/// Whether a number may follow these words.
fn may_follow_words(text: &str) -> bool {
    let words: Vec<String> = words_before(text).take(3).collect();
    let word = |place: usize| words.get(place).map_or("", String::as_str);
    let is_denial = |word: &String| DENIALS.contains(&&word[..]) || word.ends_with("n't") || word.ends_with("n’t");
    let is_allowed = match word(0) {
        "of" => is_listed(VALUES, word(1)),
        // `3 to 7` is a range.
        "to" => !word(1).contains(|c: char| c.is_ascii_digit()),
        word => word.chars().count() > 1 && !is_listed(NOT_BEFORE, word) && !is_turn(word),
    };
    is_allowed && !words.iter().any(is_denial)
}

/// What may stand between a number and what follows it.
struct Beyond<'a> {
    rest: &'a str,
    is_formula: bool,
    is_apart: bool,
    is_closed: bool,
}

impl<'a> Beyond<'a> {
    /// The text behind spaces, ends of formulas and marks.
    fn new(text: &'a str, is_formula: bool) -> Self {
        let mut found = Self {
            rest: text,
            is_formula,
            is_apart: false,
            is_closed: false,
        };
        let marks = ["$$", "$", "\\)", "\\]", "**", "`", "”", "’", ")"];
        loop {
            let next = after_spaces(found.rest, found.is_formula);
            found.is_apart |= next.len() < found.rest.len();
            found.rest = next;
            if found.is_formula && next.starts_with('\n') {
                found.rest = next.trim_start();
            } else if let Some(next) = marks.iter().find_map(|mark| next.strip_prefix(mark)) {
                (found.rest, found.is_closed, found.is_formula) = (next, true, false);
            } else {
                return found;
            }
        }
    }
}

/// The unit behind a number, if the number stands alone.
fn trail(after: &str, is_formula: bool, is_integer: bool, is_long: bool) -> Option<String> {
    let length = length_of_unit(after);
    let mut unit = after[..length].to_owned();
    let mut beyond = Beyond::new(&after[length..], is_formula);
    // The unit of a number in a formula may stand behind the formula.
    if beyond.is_closed && unit.is_empty() {
        let length = length_of_unit(beyond.rest);
        if length > 0 {
            let space = if beyond.is_apart { " " } else { "" };
            unit = format!("{space}{}", &beyond.rest[..length]);
            beyond = Beyond::new(&beyond.rest[length..], beyond.is_formula);
        }
    }
    let Beyond {
        rest,
        is_formula,
        is_apart,
        is_closed,
    } = beyond;
    let Some(first) = rest.chars().next() else {
        return Some(unit);
    };
    let next = &rest[first.len_utf8()..];
    let is_alone = match first {
        '\n' | '≈' | '\u{2600}'..='\u{27bf}' | '\u{1f000}'.. => true,
        '=' => !next.starts_with('='),
        '.' => !next.starts_with(|c: char| c.is_alphanumeric() || c == '.'),
        ',' | ';' | ':' if is_formula => {
            next.trim_start().starts_with(['$', '\\']) && !next.trim_start().starts_with("\\text")
        }
        ',' if ["or ", "not "].iter().any(|word| next.trim_start().starts_with(word)) => false,
        ',' | ';' | ':' if is_in_multiples(next) => false,
        ',' | ';' | ':' => !next.starts_with(char::is_alphanumeric),
        // `7!` may be a factorial.
        '!' => is_closed || !is_integer || !unit.is_empty() || is_long && !is_formula,
        // `5 - x` is an expression.
        '-' | '–' => is_apart && !is_formula && next.starts_with(' ') && is_behind_dash(next),
        '—' => !is_formula && is_behind_dash(next),
        '(' if !is_apart || is_formula => false,
        '(' => {
            let (remark, inner) = Remark::behind_bracket(next);
            if remark == Remark::Unit && unit.is_empty() {
                unit = format!(" {inner}");
            }
            remark != Remark::Change
        }
        '<' => next.starts_with(|c: char| matches!(c, '/' | '|') || c.is_ascii_alphabetic()),
        '\\' => match text_command(rest) {
            Some((inner, _)) => stands_before(inner.trim_start()),
            None => rest.starts_with("\\\\") || is_listed(COMMANDS, split_word(next).0),
        },
        _ => is_apart && !is_formula && stands_before(rest),
    };
    is_alone.then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_is_an_answer_only_where_it_stands_alone() {
        for (text, expected) in [
            ("It is 7.", Some("7")),
            ("7", Some("7")),
            ("so $7$", Some("7")),
            ("5 × 7 = 35", Some("35")),
            ("so $3 + 4 = 7$.", Some("7")),
            ("$3 + 4 =\n7$", Some("7")),
            ("Therefore, 7", Some("7")),
            ("a total of 7", Some("7")),
            ("**7**", Some("7")),
            ("the total is **7** apples", Some("7")),
            ("It has ½ left", Some("½")),
            ("It has 1½ of them", Some("1½")),
            ("= -7", Some("-7")),
            ("is $-7$", Some("-7")),
            ("7 (since it is odd)", Some("7")),
            ("(that is 7)", Some("7")),
            ("7 apples!", Some("7")),
            ("It is 3.50!", Some("3.50")),
            ("7 😀", Some("7")),
            ("7 is the third one", Some("7")),
            ("7 and that is all", Some("7")),
            ("it equals \\(7\\).", Some("7")),
            ("x ≈ 7", Some("7")),
            ("<answer>\n7</answer>", Some("7")),
            ("7<|end|>", Some("7")),
            // The unit belongs to it.
            ("it is 7 cm long", Some("7 cm")),
            ("it is $7$ cm long", Some("7 cm")),
            ("it is 7 degrees Fahrenheit", Some("7 degrees Fahrenheit")),
            ("it costs €7", Some("€7")),
            ("it costs -$7 now", Some("-$7")),
            ("it is 7 per cent", Some("7 per cent")),
            ("it is 7 in all", Some("7")),
            // Parts of expressions.
            ("5 \\cdot 35", None),
            ("5 \\cdot\n35", None),
            ("$5 \\cdot$ 35", None),
            ("3 + 7", None),
            ("3 - 7", None),
            ("3-7", None),
            ("x - 7", None),
            ("3*7", None),
            ("price * 7", None),
            ("2**7", None),
            ("12 x", None),
            ("$12 x$", None),
            ("$12 abc$", None),
            ("12 m", None),
            ("12 axes²", None),
            ("7!", None),
            ("$7!$", None),
            ("\\sqrt 7", None),
            ("\\sqrt{7}", None),
            ("\\log 7", None),
            ("log 7", None),
            ("\\sin(7)", None),
            ("f(7)", None),
            ("(3, 7)", None),
            ("[3,7]", None),
            ("|7|", None),
            ("x^2", None),
            ("x_2", None),
            ("7^2", None),
            ("7²", None),
            ("10^5 \\times 7", None),
            ("x \\ge 7", None),
            ("x > 7", None),
            ("x ≠ 7", None),
            ("± 7", None),
            ("7...", None),
            ("0.333...7", None),
            ("7‰", None),
            ("12, 7", None),
            ("10:30", None),
            ("2024-01-07", None),
            ("1.2.3", None),
            ("3:4", None),
            ("the 7th", None),
            ("$7$th", None),
            // Words that make it something else.
            ("the answer is not 7", None),
            ("it isn't 7", None),
            ("it cannot be 7", None),
            ("it is never $7$", None),
            ("3 or 7", None),
            ("7 or so", None),
            ("between 3 and 7", None),
            ("at least 7", None),
            ("3 out of 7", None),
            ("3 to 7", None),
            ("7 million", None),
            ("7 and a half", None),
            ("7 miles north", None),
            ("7 pm", None),
            ("7% increase", None),
            ("5 degrees below zero", None),
            ("see step 7", None),
            ("a loss of -$7", None),
            ("none", None),
        ] {
            assert_eq!(last_alone(text).as_deref(), expected, "{text}");
        }
    }
}
