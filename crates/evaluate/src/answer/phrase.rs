//! Finds the answer where a text names it: `the answer is 5.`

use std::sync::LazyLock;

use regex::Regex;

use super::{
    alone::{count_of_numbers, last_alone},
    bare::bare,
    clean::{plain, without_contrast},
    number::Quantity,
    remark::is_denied,
    unit::split_word,
};

/// What is before the answer.
static BEFORE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)(?:\b|_)answer(?:\*\*|__|")?\s*(?:(?:is|was)\b|:|=)(?:[\s:*,]+(?:therefore|thus|then|hence|now|simply|just|given by|equal to|as follows)\b,?)?[\s:*]*"#,
    )
    .expect("it is a valid expression")
});

/// Where a sentence goes on after the answer.
static AFTER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(?:,|\s+[-–—])?\s+(?:(because|since|so)|(which|as)|(?:only\s+)?(where|when|if|unless))\b")
        .expect("it is a valid expression")
});

/// An answer that is no number has at most this many words.
const MOST_WORDS: usize = 3;

/// The places that are looked at, from the last one.
const MOST_PLACES: usize = 100;
/// A sentence of more bytes gives no answer.
const LONGEST: usize = 2000;
/// The most bytes of a name before an equals sign, as in `x_1 = 5`.
const LONGEST_NAME: usize = 6;

/// Words after `answer is` that say something about an answer that is elsewhere.
const JUDGEMENTS: &str = " right correct wrong incorrect not yes_or_no unique in simple clear obvious easy found obtained given below \
    above here known based computed calculated determined ";

/// What a text says about its answer.
pub(super) enum Named {
    /// A number or a text.
    Answer(String),
    /// It names one, and takes it back or makes it depend on something.
    Refused,
}

/// Whether a text names an answer.
pub(super) fn is_named(text: &str) -> bool {
    BEFORE.is_match(text)
}

/// The answer in the last sentence that names one.
pub(super) fn named(text: &str) -> Option<Named> {
    let places: Vec<(usize, bool)> = BEFORE
        .find_iter(text)
        .map(|found| (found.end(), !found.as_str().to_lowercase().contains("is")))
        .collect();
    places
        .into_iter()
        .rev()
        .take(MOST_PLACES)
        .find_map(|(place, is_label)| of_sentence(sentence(&text[place..]), is_label))
}

/// The answer that a sentence behind `the answer is` or, as a label, `Answer:` gives.
fn of_sentence(sentence: &str, is_label: bool) -> Option<Named> {
    // `{"answer": 18}`
    let sentence = (sentence.strip_suffix('}').filter(|within| !within.contains('{'))).unwrap_or(sentence);
    if sentence.len() > LONGEST {
        return None;
    }
    let has_number = count_of_numbers(sentence) > 0;
    let refused = || has_number.then_some(Named::Refused);
    if sentence.ends_with('?') {
        return refused();
    }
    let mut end = sentence.len();
    if let Some(found) = AFTER.captures(sentence) {
        let whole = found.get(0).map_or(0..end, |whole| whole.range());
        let rest = &sentence[whole.end..];
        let is_conditional = found.get(3).is_some();
        if found.get(1).is_none() && is_denied(rest)
            || is_conditional && (rest.trim().is_empty() || count_of_numbers(rest) > 0)
        {
            return refused();
        }
        end = whole.start;
    }
    let phrase = plain(without_contrast(&sentence[..end]));
    let first = split_word(phrase.trim_start()).0.to_lowercase();
    if matches!(&first[..], "wrong" | "incorrect" | "not" | "never") {
        return refused();
    }
    if let Some(number) = number_of(&phrase) {
        return Some(Named::Answer(number));
    }
    let bare = bare(&phrase);
    if !bare.contains(|c: char| c.is_alphanumeric() || c == '\\') {
        return None;
    }
    let words = bare
        .split_whitespace()
        .filter(|word| !word.contains('\\') && word.chars().filter(|c| c.is_alphabetic()).count() > 1)
        .count();
    // The name of `x = 5` is compared.
    let is_named_number = bare
        .split_once('=')
        .is_some_and(|(name, _)| name.trim().len() <= LONGEST_NAME);
    if (is_label || words <= MOST_WORDS)
        && !is_named_number
        && count_of_numbers(&phrase) == 1
        && let Some(number) = last_alone(&phrase)
    {
        return Some(Named::Answer(number));
    }
    let is_judgement = !first.is_empty() && JUDGEMENTS.split(' ').any(|word| word == first);
    let is_text = words <= MOST_WORDS && !is_judgement && !bare.to_lowercase().starts_with("yes or no");
    is_text.then_some(Named::Answer(phrase))
}

/// The number that a phrase is: alone, in brackets, or as the last side of a calculation.
pub(super) fn number_of(phrase: &str) -> Option<String> {
    let inner = phrase.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
    let phrase = inner
        .filter(|inner| Quantity::parse(&bare(inner)).is_some())
        .unwrap_or(phrase);
    if Quantity::parse(&bare(phrase)).is_some() {
        return Some(phrase.to_owned());
    }
    let bare = bare(phrase);
    let (sides, last) = bare.rsplit_once('=')?;
    let last = last.trim();
    let is_number = Quantity::parse(last).is_some();
    (is_number && sides.split('=').all(is_calculation)).then(|| last.to_owned())
}

/// Whether a side of an equation is numbers and operators alone: `9 \times 2`, but not `2x`.
fn is_calculation(side: &str) -> bool {
    let mut rest = side.trim();
    if rest.is_empty() || !rest.contains(|c: char| c.is_ascii_digit()) {
        return false;
    }
    while let Some(first) = rest.chars().next() {
        let command = [
            "\\times", "\\cdot", "\\div", "\\frac", "\\dfrac", "\\left", "\\right", "\\$", "\\,",
        ]
        .into_iter()
        .find_map(|command| rest.strip_prefix(command));
        rest = match command {
            Some(rest) => rest,
            None if first.is_ascii_digit() || " .,$€£+-−*×·÷/(){}".contains(first) => &rest[first.len_utf8()..],
            None => return false,
        };
    }
    // `1, 2 = 2` is no calculation.
    !side.contains(", ")
}

/// The text up to the end of its first sentence or line. A displayed formula is taken as a whole.
fn sentence(text: &str) -> &str {
    for (start, end) in [("$$", "$$"), ("\\[", "\\]")] {
        if let Some(inner) = text.strip_prefix(start)
            && let Some(place) = inner.find(end)
        {
            return inner[..place].trim();
        }
    }
    let line = text.lines().next().unwrap_or_default();
    // An item of a list.
    let line = line
        .strip_prefix("- ")
        .filter(|item| item.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or(line);
    for (place, character) in line.char_indices() {
        let (before, rest) = (&line[..place], &line[place + character.len_utf8()..]);
        let is_abbreviated = ["approx", "Rs"].iter().any(|word| before.ends_with(word));
        match character {
            '.' if !is_abbreviated
                && (rest.is_empty() || rest.starts_with(|c: char| c.is_whitespace() || c == '*')) =>
            {
                return before;
            }
            '!' if rest.starts_with(' ') && rest.trim_start().starts_with(char::is_uppercase) => {
                return &line[..=place];
            }
            '?' => return &line[..=place],
            _ => {}
        }
    }
    line.trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_what_a_sentence_says_it_is() {
        for (text, expected) in [
            ("So the answer is 5.", Some("5")),
            ("The answer is 5.5 metres. That is all.", Some("5.5 metres")),
            ("The answer is: $\\frac{3}{4}$", Some("$\\frac{3}{4}$")),
            ("**Answer:** 42\n", Some("42")),
            ("**Final answer**: **42**.", Some("42")),
            ("Answer:\n\n7", Some("7")),
            (
                "Final Answer: The final answer is $(1, 2)$. I hope it is correct.",
                Some("$(1, 2)$"),
            ),
            ("The answer is\n\\[\n x = 5\n\\]\nas was shown", Some("x = 5")),
            ("the answer is 12 because 3 * 4 = 12", Some("12")),
            ("The answer is therefore 9.", Some("9")),
            ("The answer is 4. Check: the answer is right.", Some("4")),
            ("The answer is Paris.", Some("Paris")),
            ("the answer is whatever you would like it to be", None),
            ("What is the answer?", None),
            ("the answer is ...", None),
            ("answers: 5", None),
            ("the answer is not 7", None),
            ("the answer isn't 7", None),
            ("", None),
        ] {
            let found = match named(text) {
                Some(Named::Answer(answer)) => Some(answer),
                _ => None,
            };
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
