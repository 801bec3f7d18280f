//! Finds the answer in a text: at a mark, where a sentence names it, or its last number.

use regex::Regex;

use super::{
    bare::bare,
    number::{Quantity, length_of_magnitude},
    phrase::named,
    unit::Unit,
};

/// Commands whose argument is the final answer.
const BOXES: [&str; 2] = ["\\boxed", "\\fbox"];
/// The marker of the final answer in GSM8K and similar sets.
const HASHES: &str = "####";
/// Words that make a sentence of an expected answer.
const WORDS_OF_SENTENCE: usize = 8;
/// What goes on with an expression after a number.
const OPERATIONS: [&str; 14] = [
    "\\sqrt", "\\pi", "\\frac", "\\dfrac", "\\tfrac", "\\cdot", "\\times", "\\log", "\\ln", "\\sin", "\\cos", "\\tan",
    "\\infty", "\\binom",
];

/// A regular expression that finds the answer: its first group, or the whole match if it has no group.
#[derive(Clone, Debug)]
pub struct AnswerPattern(Regex);

impl AnswerPattern {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// If the expression is not valid.
    pub fn new(pattern: &str) -> Result<Self, regex::Error> {
        Regex::new(pattern).map(Self)
    }

    /// The last answer in a text.
    fn last_in(&self, text: &str) -> Option<String> {
        let found = self.0.captures_iter(text).last()?;
        let answer = found.get(1).or_else(|| found.get(0))?;
        Some(answer.as_str().trim().to_owned())
    }
}

/// The answer that a model gives in `text`.
///
/// With a pattern, it is the last match. Otherwise it is the first of these that is found: the argument of the last `\boxed{…}`
/// that is closed, the number after the last `####` at the start of a line, what follows the last `answer is`, the last
/// number. The text after `thinking_end` is searched before the whole text.
pub fn answer_of_text(text: &str, thinking_end: &str, pattern: Option<&AnswerPattern>) -> Option<String> {
    let conclusion = text
        .rfind(thinking_end)
        .map(|place| &text[place + thinking_end.len()..]);
    conclusion.into_iter().chain([text]).find_map(|text| match pattern {
        Some(pattern) => pattern.last_in(text),
        None => marked(text).or_else(|| last_number(text)),
    })
}

/// The answer in a reference: what the pattern finds, or what is marked or named as in a generated text, or else all of the
/// text after the thinking. It is never reduced to a number in it.
pub fn answer_of_reference(text: &str, thinking_end: &str, pattern: Option<&AnswerPattern>) -> String {
    let text = text
        .rfind(thinking_end)
        .map_or(text, |place| &text[place + thinking_end.len()..])
        .trim();
    pattern
        .and_then(|pattern| pattern.last_in(text))
        .or_else(|| marked(text))
        .unwrap_or_else(|| text.to_owned())
}

/// Whether an expected answer is a sentence, which no other wording of it equals.
pub fn is_sentence(expected: &str) -> bool {
    let words = expected
        .split_whitespace()
        .filter(|word| word.len() > 1 && word.chars().all(|c| c.is_alphabetic() || matches!(c, ',' | '.' | '\'')));
    words.count() >= WORDS_OF_SENTENCE && Quantity::parse(&bare(expected)).is_none()
}

/// The answer at the last mark, or that a sentence names.
fn marked(text: &str) -> Option<String> {
    boxed(text).or_else(|| after_hashes(text)).or_else(|| named(text))
}

/// The number on the last line that has nothing but `####` and a number. Other lines with `####` are headings.
fn after_hashes(text: &str) -> Option<String> {
    text.lines().rev().find_map(|line| {
        let answer = line.trim_start().strip_prefix(HASHES)?.trim();
        // `#### 2. Multiply` is a heading; `#### 2 apples` is an answer.
        let is_numbered = answer
            .split_whitespace()
            .next()
            .is_some_and(|first| first.ends_with(['.', ')', ':']));
        let is_alone = answer.split_whitespace().count() == 1;
        ((!is_numbered || is_alone) && Quantity::parse(&bare(answer)).is_some()).then(|| answer.to_owned())
    })
}

/// The boxes that are tried, from the last one. Each that is not closed is read to the end of the text.
const MOST_BOXES: usize = 1000;

/// The argument of the last closed box.
fn boxed(text: &str) -> Option<String> {
    let mut places: Vec<usize> = BOXES
        .iter()
        .flat_map(|command| text.match_indices(command).map(move |(place, _)| place + command.len()))
        .collect();
    places.sort_unstable();
    places.into_iter().rev().take(MOST_BOXES).find_map(|place| {
        let argument = text[place..].trim_start().strip_prefix('{')?;
        let mut depth = 1;
        let mut escaped = false;
        for (index, character) in argument.char_indices() {
            match character {
                _ if escaped => {
                    escaped = false;
                    continue;
                }
                '\\' => escaped = true,
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(argument[..index].trim().to_owned()).filter(|answer| !answer.is_empty());
            }
        }
        None
    })
}

/// The last number of a text as it is written, with its sign and a percent sign. Numbers that are part of an expression, such as
/// the exponent of `x^2` or the factor of `2\sqrt{3}`, are left out.
fn last_number(text: &str) -> Option<String> {
    let mut last = None;
    let mut place = 0;
    while let Some(next) = text[place..].find(|c: char| c.is_ascii_digit() || matches!(c, '.' | '\\')) {
        let start = place + next;
        let length = length_of_magnitude(&text[start..]);
        let end = start + length.unwrap_or(1);
        if length.is_some() && !is_part_before(&text[..start]) && !is_part_after(&text[end..]) {
            last = Some((start, end));
        }
        place = end;
    }
    let (start, end) = last?;
    let before = text[..start].trim_end_matches(['$', '€', '£', '¥', '\\']);
    let is_negative = before.ends_with(['-', '−'])
        && !before
            .trim_end_matches(['-', '−'])
            .ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | '}'));
    let percent = ["\\%", "%"].into_iter().find(|sign| text[end..].starts_with(sign));
    Some(format!(
        "{}{}{}",
        if is_negative { "-" } else { "" },
        &text[start..end],
        percent.unwrap_or_default()
    ))
}

/// Whether what is before a number makes it a part of something else.
fn is_part_before(text: &str) -> bool {
    let mut before = text.chars().rev();
    match before.next() {
        Some(last) if last.is_alphabetic() || matches!(last, '_' | '^' | '{' | '\\') => true,
        Some('.' | ':') => before.next().is_some_and(|c| c.is_ascii_digit()),
        Some('/') => before
            .next()
            .is_some_and(|c| c.is_alphanumeric() || matches!(c, ')' | '}')),
        Some(last) => last.is_ascii_digit(),
        None => false,
    }
}

/// Words behind a number that make it a larger one.
const SCALES: [&str; 8] = [
    "hundred", "thousand", "million", "billion", "trillion", "lakh", "crore", "dozen",
];

/// Whether what is behind a number makes it a part of something else.
fn is_part_after(text: &str) -> bool {
    let mut after = text.chars();
    let is_glued = match after.next() {
        Some('^') => !text.starts_with("^\\circ") && !text.starts_with("^{\\circ}"),
        Some('_' | '(' | '{' | '√' | 'π') => true,
        Some(first) if first.is_ascii_digit() => true,
        Some('.' | ':') => after.next().is_some_and(|c| c.is_ascii_digit()),
        Some('/') => after.next().is_some_and(char::is_alphanumeric),
        Some(first) if first.is_alphabetic() => {
            let end = text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len());
            Unit::parse(&text[..end]).is_none()
        }
        _ => false,
    };
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len());
    let is_scaled = SCALES.contains(&&text[..end].to_lowercase()[..]);
    is_glued || is_scaled || OPERATIONS.iter().any(|operation| text.starts_with(operation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_found_where_a_person_would_look_for_it() {
        for (text, expected) in [
            ("It has 3 million people, 7 of them here.", Some("7")),
            ("It has 3 million people.", None),
            ("So it is \\boxed{42}.", Some("42")),
            ("\\boxed{1} no, \\boxed{\\frac{3}{4}}", Some("\\frac{3}{4}")),
            ("\\boxed{\\{1, 2\\}}", Some("\\{1, 2\\}")),
            ("\\boxed {x^{2}}", Some("x^{2}")),
            ("\\fbox{7}", Some("7")),
            // The last box is cut off.
            ("\\boxed{5} and then \\boxed{6", Some("5")),
            ("\\boxed{} is 9", Some("9")),
            ("9 * 5 = 45\n#### 45", Some("45")),
            ("#### 1\n#### $1,200 \nDone 3", Some("$1,200")),
            ("#### 12 apples\n", Some("12 apples")),
            ("#### -7.5", Some("-7.5")),
            ("####\nthen 8", Some("8")),
            ("\\boxed{3}\n#### 4", Some("3")),
            // Headings of Markdown.
            ("#### Conclusion\nIt is 6.", Some("6")),
            ("It is 6.\n#### Conclusion", Some("6")),
            ("#### 2. Multiply\nSo 3 * 4 = 12", Some("12")),
            ("#### Step 3\nSo 12", Some("12")),
            ("##### 5\nSo 12", Some("12")),
            ("write #### 5 there, then 12", Some("12")),
            ("She has 3. The answer is 4. There were 5.", Some("4")),
            ("She has 1,234 apples and 5.5 pears.", Some("5.5")),
            ("It costs $1,234.", Some("1,234")),
            ("It costs $9{,}500$.", Some("9{,}500")),
            ("It costs $10,\\!080$.", Some("10,\\!080")),
            ("there are 1 234 567 people", Some("1 234 567")),
            ("so \\(\\frac{3}{4}\\)", Some("\\frac{3}{4}")),
            ("so $-\\frac{3}{4}$", Some("-\\frac{3}{4}")),
            ("about $3.2 \\times 10^5$ of them", Some("3.2 \\times 10^5")),
            ("use 11 5/6 cups", Some("11 5/6")),
            ("it is 4.5e33 kg", Some("4.5e33")),
            ("it is 12cm long", Some("12")),
            ("it is 12 cm^2", Some("12")),
            ("12 and then x^2", Some("12")),
            ("12 and then 2\\sqrt{3}", Some("12")),
            ("12 and then 2 \\sqrt{3}", Some("12")),
            ("12, the 3rd time", Some("12")),
            ("12 at 10:30", Some("12")),
            ("Total:42", Some("42")),
            ("12 in version 1.2.3", Some("12")),
            ("a share of 50%", Some("50%")),
            ("a share of $50\\%$", Some("50\\%")),
            ("It falls to -12 degrees", Some("-12")),
            ("It falls to −$12", Some("-12")),
            ("pages 3-4", Some("4")),
            ("x = 10-4", Some("4")),
            ("a half is 1/2", Some("1/2")),
            ("(3,4)", Some("4")),
            ("the total is 1,234,567.", Some("1,234,567")),
            ("no number here", None),
            ("", None),
            ("half of 7 is 3.50!", Some("3.50")),
            ("<think>I say 5</think>\n\nThe answer is 6.", Some("6")),
            ("<think>It is \\boxed{5}</think>\n\nDone.", Some("5")),
            ("<think>It is \\boxed{5}</think>\n\nSo 6.", Some("6")),
        ] {
            assert_eq!(answer_of_text(text, "</think>", None).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_pattern_overrides_everything_else() {
        let pattern = AnswerPattern::new(r"(?i)answer:\s*(\S+)").unwrap();
        let found = |text| answer_of_text(text, "</think>", Some(&pattern));
        assert_eq!(found("Answer: B\nanswer: C \\boxed{7}").as_deref(), Some("C"));
        assert_eq!(found("\\boxed{7}"), None);
        assert_eq!(found("answer: A </think>nothing").as_deref(), Some("A"));
        let whole = AnswerPattern::new(r"[A-E]\b").unwrap();
        assert_eq!(
            answer_of_text("B or D.", "</think>", Some(&whole)).as_deref(),
            Some("D")
        );
        assert!(AnswerPattern::new("(").is_err());
    }

    #[test]
    fn a_reference_is_its_marked_answer_or_itself() {
        for (text, expected) in [
            ("#### 28080", "28080"),
            ("thus \\boxed{\\frac12}", "\\frac12"),
            (" 42 ", "42"),
            ("x^2 + 1", "x^2 + 1"),
            ("Paris", "Paris"),
            ("<think>7</think>\n\nB", "B"),
            ("She sells 12 eggs for 3 dollars each. The answer is 36.", "36"),
            // An answer that is not a number is never reduced to one.
            (
                "She sells the 12 eggs for 3 dollars each, 36 in all.",
                "She sells the 12 eggs for 3 dollars each, 36 in all.",
            ),
            (
                "\\left( 3, \\frac{\\pi}{2} \\right)",
                "\\left( 3, \\frac{\\pi}{2} \\right)",
            ),
            ("#### Heading\nx + 1", "#### Heading\nx + 1"),
            ("12 square meters", "12 square meters"),
        ] {
            assert_eq!(answer_of_reference(text, "</think>", None), expected, "{text}");
        }
    }

    #[test]
    fn a_sentence_is_told_from_an_answer() {
        for (text, expected) in [
            ("She sells the 12 eggs for three dollars each, 36 in all.", true),
            ("\\left( 3, \\frac{\\pi}{2} \\right)", false),
            ("12 square meters", false),
            ("a rectangle that is not a square", false),
        ] {
            assert_eq!(is_sentence(text), expected, "{text}");
        }
    }
}
