//! Finds the answer where a text names it: `the answer is 5.`

use std::sync::LazyLock;

use regex::Regex;

use super::{bare::bare, number::Quantity};

/// What is before the answer.
static BEFORE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)\banswer(?:\*\*|__)?\s*(?:(?:is|was)\b|:|=)(?:[\s:*]+(?:therefore|thus|then|hence|now|simply|just|given by|equal to|as follows)\b)?[\s:*]*",
    )
    .expect("it is a valid expression")
});

/// Where a sentence goes on after the answer.
static AFTER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i),?\s+(?:because|since|which|so|as|where|when)\b").expect("it is a valid expression")
});

/// An answer that is no number has at most this many words.
const MOST_WORDS: usize = 3;

/// Words after `answer is` that say something about an answer that is elsewhere.
const JUDGEMENTS: [&str; 7] = ["right", "correct", "wrong", "incorrect", "not", "yes or no", "unique"];

/// The answer in the last sentence that names one.
pub(super) fn named(text: &str) -> Option<String> {
    let places: Vec<usize> = BEFORE.find_iter(text).map(|found| found.end()).collect();
    places.into_iter().rev().find_map(|place| {
        let sentence = sentence(&text[place..]);
        let end = AFTER.find(sentence).map_or(sentence.len(), |found| found.start());
        let answer = sentence[..end].trim_end_matches(['*', '_', ':']).trim();
        is_answer(answer).then(|| answer.to_owned())
    })
}

fn is_answer(text: &str) -> bool {
    let plain = bare(text);
    if plain.is_empty() || !plain.contains(|c: char| c.is_alphanumeric() || c == '\\') {
        return false;
    }
    let words = plain
        .split_whitespace()
        .filter(|word| !word.contains('\\') && word.chars().filter(|c| c.is_alphabetic()).count() > 1);
    Quantity::parse(&plain).is_some()
        || words.count() <= MOST_WORDS && !JUDGEMENTS.iter().any(|word| plain.to_lowercase().starts_with(word))
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
    let ends = line.char_indices().find(|(place, character)| {
        let rest = &line[place + character.len_utf8()..];
        match character {
            '.' => rest.is_empty() || rest.starts_with(|c: char| c.is_whitespace() || c == '*'),
            '?' => true,
            _ => false,
        }
    });
    ends.map_or(line, |(place, _)| &line[..place])
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
            assert_eq!(named(text).as_deref(), expected, "{text}");
        }
    }
}
