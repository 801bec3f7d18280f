//! Whether a final text gives another answer than the row's own field.
//!
//! Only plain numbers are compared, which are decimals with a sign, separators of thousands and a currency, and the letters of
//! choices. The text's own answer is in its last box, behind its last `####`, or the number that it names. What cannot be
//! compared is no contradiction: formulas, units, percentages, texts.

use std::mem::discriminant;

use super::held::{continues_after, continues_before, holds, holds_as_word};

/// The boxes that are looked at, from the last one.
const MOST_BOXES: usize = 100;
/// A box of more bytes holds no plain number.
const LONGEST: usize = 1000;
/// What has no value in a plain number.
const MARKS: [&str; 11] = ["\\$", "\\(", "\\)", "\\[", "\\]", "**", "$", "€", "£", "¥", "`"];
/// What may stand between groups of three digits. The longer ones are first.
const SEPARATORS: [&str; 13] = [
    "{,}", ",\\!", "\\,", "\\!", "\\;", "\\:", "\\ ", "\u{a0}", "\u{2009}", "\u{202f}", "~", " ", ",",
];
/// Words before the number that a text names as its answer.
const NAMING: [&str; 8] = ["is", "are", "was", "were", "be", "equals", "gives", "makes"];

/// Words behind a number that make it another one: `3 dozen`, `50 cents`, `3 PM`.
const CHANGING: [&str; 21] = [
    "squared",
    "cubed",
    "factorial",
    "dozen",
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "cent",
    "pence",
    "am",
    "a.m.",
    "pm",
    "p.m.",
    "times",
    "halves",
    "thirds",
    "quarters",
    "fourths",
    "tenths",
];

/// Whether the answer that `text` gives is certainly not `answer`.
pub(super) fn contradicts(text: &str, answer: &str) -> bool {
    let Some(expected) = marked(answer).map_or_else(|| Plain::parse(answer), |(_, plain)| plain) else {
        return false;
    };
    match marked(text) {
        None => names_another(text, answer, &expected),
        Some((own, None)) => is_only_part(own, answer),
        // Another box may have a part of the answer, or the answer in another form.
        Some((_, Some(own))) => {
            let is_expected = |(_, other): (&str, Option<Plain>)| other.as_ref() == Some(&expected);
            own.differs(&expected) && !boxes(text).any(is_expected)
        }
    }
}

/// What the last box of a text holds, or the number behind its last `####`, and what that is if it is plain.
fn marked(text: &str) -> Option<(&str, Option<Plain>)> {
    boxes(text).next().or_else(|| behind_hashes(text))
}

/// Whether a text has the answer only as a part of another number.
fn is_only_part(text: &str, answer: &str) -> bool {
    holds_as_word(text, answer) && !holds(text, answer)
}

/// Whether a text without a mark names a number that is not the expected one.
fn names_another(text: &str, answer: &str, expected: &Plain) -> bool {
    let numbers = numbers(text);
    let is_expected = |(_, number): &(usize, Option<Plain>)| number.as_ref() == Some(expected);
    if holds(text, answer) || numbers.iter().any(is_expected) {
        return false;
    }
    if let Plain::Choice(letter) = expected {
        let named = choices(text);
        return !named.is_empty() && !named.contains(letter);
    }
    let Some((start, _)) = numbers.last() else {
        return false;
    };
    let is_read = numbers.iter().all(|(_, number)| number.is_some());
    is_read && (is_named(&text[..*start]) || Plain::parse(text).is_some()) || is_only_part(text, answer)
}

/// The letters of choices that a text names: `The answer is (C).`, `Answer: C`, or `(C) 12` at its start.
fn choices(text: &str) -> Vec<char> {
    let capitals = text.char_indices().filter(|(_, letter)| letter.is_ascii_uppercase());
    let named = capitals.filter(|(at, _)| {
        let (before, after) = (&text[..*at], &text[at + 1..]);
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '’' | '-' | '_' | '^');
        if before.ends_with(is_word) || after.starts_with(is_word) {
            return false;
        }
        let is_mark = |c: char| c.is_whitespace() || "$*\\([{`\"".contains(c);
        let lead = before.trim_end_matches(is_mark);
        let lead = ["\\text", "\\textbf", "\\mathrm"]
            .iter()
            .find_map(|style| lead.strip_suffix(&style[1..]))
            .map_or(lead, |lead| lead.trim_end_matches(is_mark));
        let is_option = ["option", "Option", "choice", "Choice"]
            .iter()
            .any(|word| lead.ends_with(word));
        let is_enclosed = before.ends_with('(') && after.starts_with(')');
        let rest = after.trim_start_matches([')', ']', '}', '$', '*', '`', '"']);
        let is_end = rest.is_empty() || rest.starts_with(['.', ',', ';', ':', '\n']);
        (lead.is_empty() || is_option || is_named(lead)) && (is_enclosed || is_end)
    });
    named.map(|(_, letter)| letter).collect()
}

/// Whether the number or the letter behind this text is what a sentence or an equation comes to.
fn is_named(before: &str) -> bool {
    let before = before.trim_end_matches(|c: char| c.is_whitespace() || "$*\\([-−€£".contains(c));
    let word = before.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    before.ends_with(['=', ':']) || NAMING.contains(&word)
}

/// What the boxes of a text hold, the last one first, and what each is if it is plain: `-\boxed{5}` is -5.
fn boxes(text: &str) -> impl Iterator<Item = (&str, Option<Plain>)> {
    let places = text.rmatch_indices("\\boxed{").take(MOST_BOXES);
    places.filter_map(|(start, command)| {
        let inner = &text[start + command.len()..];
        let near = &inner[..inner.floor_char_boundary(LONGEST)];
        let mut depth = 1;
        let (end, _) = near.char_indices().find(|(_, character)| {
            depth += match character {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth == 0
        })?;
        let held = inner[..end].trim();
        Some((held, alone(&text[..start], held, &inner[end + 1..])))
    })
}

/// The number behind the last `####` at the start of a line. Other lines with this mark are headings.
fn behind_hashes(text: &str) -> Option<(&str, Option<Plain>)> {
    let mut marked = text
        .lines()
        .rev()
        .filter_map(|line| line.trim_start().strip_prefix("####"));
    marked.find_map(|number| Some((number, Some(Plain::parse(number)?))))
}

/// All numbers of a text and where they start; `None` for one that is a part of something else or a percentage.
fn numbers(text: &str) -> Vec<(usize, Option<Plain>)> {
    let (mut numbers, mut at) = (Vec::new(), 0);
    while let Some(next) = text[at..].find(|c: char| c.is_ascii_digit()) {
        let start = at + next;
        at = start + length(&text[start..]);
        numbers.push((start, alone(&text[..start], &text[start..at], &text[at..])));
    }
    numbers
}

/// The length of the number that a text starts with: digits, groups of three behind separators, and decimals.
fn length(text: &str) -> usize {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut length = digits(text);
    if length <= 3 {
        while let Some(separator) = SEPARATORS.iter().find(|separator| {
            let group = text[length..].strip_prefix(**separator);
            group.is_some_and(|group| digits(group) == 3)
        }) {
            length += separator.len() + 3;
        }
    }
    match text[length..].strip_prefix('.').map(digits) {
        Some(decimals) if decimals > 0 => length + 1 + decimals,
        _ => length,
    }
}

/// The number between two texts, with its sign, if it stands by itself.
fn alone(before: &str, number: &str, after: &str) -> Option<Plain> {
    let next = after.trim_start();
    let is_changed = ["%", "\\%", "percent", "per cent", "!"]
        .iter()
        .any(|sign| next.starts_with(sign));
    let word = next
        .split(char::is_whitespace)
        .next()
        .unwrap_or_default()
        .to_lowercase();
    let is_changed = is_changed || CHANGING.iter().any(|change| word.starts_with(change));
    if is_changed || continues_after(number, after) {
        return None;
    }
    let before = before.trim_end_matches(['$', '€', '£', '¥', '\\']);
    let (before, signed) = match before.strip_suffix(['-', '−']) {
        Some(stem) => (stem, format!("-{number}")),
        None => (before, number.to_owned()),
    };
    if continues_before(before, &signed) {
        return None;
    }
    Plain::parse(&signed)
}

/// What is compared.
#[derive(Debug, PartialEq)]
enum Plain {
    /// A decimal, with its digits without zeros at the ends.
    Decimal {
        is_negative: bool,
        whole: String,
        decimals: String,
    },
    /// A capital letter.
    Choice(char),
}

impl Plain {
    /// The number or the letter that all of a text is.
    fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut text = text.to_owned();
        for mark in MARKS {
            text = text.replace(mark, "");
        }
        let text = text.trim().trim_end_matches('.');
        Self::choice(text).or_else(|| Self::decimal(text))
    }

    /// Whether both are numbers, or both letters, and not the same.
    fn differs(&self, other: &Self) -> bool {
        discriminant(self) == discriminant(other) && self != other
    }

    /// `B`, `(B)` or `\text{(B)}`.
    fn choice(text: &str) -> Option<Self> {
        let inner = ["\\text{", "\\textbf{", "\\mathrm{"]
            .iter()
            .find_map(|style| text.strip_prefix(style)?.strip_suffix('}'))
            .unwrap_or(text);
        let inner = inner
            .strip_prefix('(')
            .and_then(|inner| inner.strip_suffix(')'))
            .unwrap_or(inner);
        let mut letters = inner.chars();
        let letter = letters.next().filter(char::is_ascii_uppercase)?;
        letters.next().is_none().then_some(Self::Choice(letter))
    }

    fn decimal(text: &str) -> Option<Self> {
        let (is_negative, text) = match text.strip_prefix(['-', '−']) {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, decimals) = text.trim_start().split_once('.').unwrap_or((text.trim_start(), ""));
        let mut whole = whole.to_owned();
        for separator in SEPARATORS {
            whole = whole.replace(separator, ",");
        }
        let groups: Vec<&str> = whole.split(',').collect();
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_grouped =
            groups.len() == 1 || (1..=3).contains(&groups[0].len()) && groups[1..].iter().all(|group| group.len() == 3);
        let is_number = is_grouped
            && groups.iter().all(|group| are_digits(group))
            && are_digits(decimals)
            && !(whole.is_empty() && decimals.is_empty());
        let whole = groups.concat().trim_start_matches('0').to_owned();
        let decimals = decimals.trim_end_matches('0').to_owned();
        is_number.then_some(Self::Decimal {
            is_negative: is_negative && !(whole.is_empty() && decimals.is_empty()),
            whole,
            decimals,
        })
    }
}

#[cfg(test)]
mod tests;
