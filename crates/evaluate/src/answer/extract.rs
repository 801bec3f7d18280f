//! Finds the answer in a text: at a mark, where a sentence names it, or its last number.

use regex::Regex;

use super::{
    alone::last_alone,
    bare::bare,
    boxed::{boxed, has_box},
    characters::vulgar_fraction,
    clean::{plain, without_tags},
    number::Quantity,
    phrase::{Named, is_named, named, number_of},
};

/// The marker of the final answer in GSM8K and similar sets.
const HASHES: &str = "####";
/// The marked lines that are looked at, from the last one.
const MOST_LINES: usize = 1000;
/// A marked line of more bytes is no number.
const LONGEST_LINE: usize = 2000;
/// Words that make a sentence of an expected answer.
const WORDS_OF_SENTENCE: usize = 8;
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
/// that is closed, with what directly beside the box changes its value; the number after the last `####` at the start of a
/// line; what follows the last `answer is`; the last number, if it stands alone. The text after `thinking_end` is searched
/// first, and the thinking only if nothing there may be an answer.
pub fn answer_of_text(text: &str, thinking_end: &str, pattern: Option<&AnswerPattern>) -> Option<String> {
    let conclusion = text
        .rfind(thinking_end)
        .map(|place| &text[place + thinking_end.len()..]);
    if let Some(pattern) = pattern {
        return conclusion
            .into_iter()
            .chain([text])
            .find_map(|text| pattern.last_in(text));
    }
    match conclusion {
        // What is refused there is not replaced by what the model thought before.
        Some(conclusion) if gives_answer(conclusion) => found(conclusion),
        _ => found(text),
    }
}

/// Whether a text has something that may be an answer.
fn gives_answer(text: &str) -> bool {
    has_box(text) || is_named(text) || text.contains(|c: char| c.is_ascii_digit() || vulgar_fraction(c).is_some())
}

/// The answer that is marked or named, or the last number.
fn found(text: &str) -> Option<String> {
    let text = without_tags(text);
    match marked(&text) {
        Some(Named::Answer(answer)) => Some(answer),
        Some(Named::Refused) => None,
        None => last_alone(&text),
    }
}

/// The answer in a reference: what the pattern finds, or what is marked or named as in a generated text, or else all of the
/// text after the thinking. It is never reduced to a number in it.
pub fn answer_of_reference(text: &str, thinking_end: &str, pattern: Option<&AnswerPattern>) -> String {
    let text = text
        .rfind(thinking_end)
        .map_or(text, |place| &text[place + thinking_end.len()..])
        .trim();
    if let Some(answer) = pattern.and_then(|pattern| pattern.last_in(text)) {
        return answer;
    }
    match marked(&without_tags(text)) {
        Some(Named::Answer(answer)) => answer,
        _ => text.to_owned(),
    }
}

/// Whether an expected answer is a sentence, which no other wording of it equals.
pub fn is_sentence(expected: &str) -> bool {
    let words = expected
        .split_whitespace()
        .filter(|word| word.len() > 1 && word.chars().all(|c| c.is_alphabetic() || matches!(c, ',' | '.' | '\'')));
    words.count() >= WORDS_OF_SENTENCE && Quantity::parse(&bare(expected)).is_none()
}

/// The answer at the last mark, or that a sentence names.
fn marked(text: &str) -> Option<Named> {
    boxed(text)
        .or_else(|| after_hashes(text))
        .map(Named::Answer)
        .or_else(|| named(text))
}

/// The number on the last line that has nothing but `####` and a number. Other lines with `####` are headings.
fn after_hashes(text: &str) -> Option<String> {
    let marked = text.lines().rev().filter_map(|line| {
        let answer = line
            .trim_start_matches(|c: char| c.is_whitespace() || c == '*')
            .strip_prefix(HASHES)?
            .trim();
        Some(answer).filter(|answer| answer.len() <= LONGEST_LINE)
    });
    marked.take(MOST_LINES).find_map(|answer| {
        // `#### 2. Multiply` is a heading; `#### 2 apples` is an answer.
        let is_numbered = answer
            .split_whitespace()
            .next()
            .is_some_and(|first| first.ends_with(['.', ')', ':']));
        let is_alone = answer.split_whitespace().count() == 1;
        number_of(&plain(answer)).filter(|_| !is_numbered || is_alone)
    })
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
            ("\\boxed{} is 9", Some("9")),
            ("\\boxed{5} is wrong, it is 6", Some("5 is wrong, it is 6")),
            ("9 * 5 = 45\n#### 45", Some("45")),
            ("#### 1\n#### $1,200 \nDone 3", Some("$1,200")),
            ("#### 12 apples\n", Some("12 apples")),
            ("#### -7.5", Some("-7.5")),
            ("####\nthen 8", Some("8")),
            ("\\boxed{3}\n#### 4", Some("3")),
            // What is behind the marker is no number.
            ("#### 5!", None),
            ("#### 5 million", None),
            ("#### 5 or 6", None),
            // Headings of Markdown.
            ("#### Conclusion\nIt is 6.", Some("6")),
            ("It is 6.\n#### Conclusion", Some("6")),
            ("#### 2. Multiply\nSo 3 * 4 = 12", Some("12")),
            ("#### Step 3\nSo 12", Some("12")),
            ("##### 5\nSo 12", Some("12")),
            ("write #### 5 there, then 12", Some("12")),
            ("She has 3. The answer is 4. There were 5.", Some("4")),
            // The last number, with its currency and unit: another one is another answer.
            ("She has 1,234 apples, then 5.5 pears.", Some("5.5")),
            ("It costs $1,234.", Some("$1,234")),
            ("It costs $9{,}500$.", Some("9{,}500")),
            ("It costs $10,\\!080$.", Some("10,\\!080")),
            ("there are 1 234 567 people", Some("1 234 567")),
            ("so \\(\\frac{3}{4}\\)", Some("\\frac{3}{4}")),
            ("so $-\\frac{3}{4}$", Some("-\\frac{3}{4}")),
            ("is $3.2 \\times 10^5$ of them", Some("3.2 \\times 10^5")),
            ("use 11 5/6 cups", Some("11 5/6")),
            ("it is 4.5e33 kg", Some("4.5e33 kg")),
            ("it is 12cm long", Some("12cm")),
            ("it is 12 cm^2", Some("12 cm^2")),
            ("Total:42", Some("42")),
            ("it makes 50%", Some("50%")),
            ("it makes $50\\%$", Some("50\\%")),
            ("It falls to -12 degrees", Some("-12 degrees")),
            ("It falls to −$12", Some("−$12")),
            ("a half is 1/2", Some("1/2")),
            ("the total is 1,234,567.", Some("1,234,567")),
            ("half of 7 is 3.50!", Some("3.50")),
            // The last number is a part of something else: a number before it is not taken in its place.
            ("12 and then x^2", None),
            ("12 and then 2\\sqrt{3}", None),
            ("12 and then 2 \\sqrt{3}", None),
            ("12, the 3rd time", None),
            ("12 at 10:30", None),
            ("12 in version 1.2.3", None),
            ("She has 1,234 apples and 5.5 pears.", None),
            ("a share of 50%", None),
            ("pages 3-4", None),
            ("x = 10-4", None),
            ("(3,4)", None),
            ("so it is 5 \\cdot 35", None),
            ("so the area is $12 x$.", None),
            ("so the count is 7!", None),
            ("the answer is not 7", None),
            ("no number here", None),
            ("", None),
            ("<think>I say 5</think>\n\nThe answer is 6.", Some("6")),
            ("<think>It is \\boxed{5}</think>\n\nDone.", Some("5")),
            ("<think>It is \\boxed{5}</think>\n\nSo 6.", Some("6")),
        ] {
            assert_eq!(answer_of_text(text, "</think>", None).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_touches_a_box_is_compared() {
        for (expected, text, is_right) in [
            ("5", "\\boxed{5}", true),
            ("5", "\\boxed 5", true),
            ("5", "\\boxed{5}\\%", true),
            ("5 cm", "\\boxed{5}\\%", false),
            ("500", "\\boxed{5}\\%", false),
            ("0.05", "$\\boxed{5}\\%$", true),
            ("5 cm", "$\\boxed{5}\\text{ cm}$", true),
            ("5 cm", "$\\boxed{5}$ m", false),
            ("5 cm", "$\\boxed{5}$ kg", false),
            ("5", "$\\boxed{5} \\cdot 2$", false),
            ("10", "$\\boxed{5} \\cdot 2$", false),
            ("5", "$\\boxed{5}\\pi$", false),
            ("5\\pi", "$\\boxed{5}\\pi$", true),
            ("5", "$-\\boxed{5}$", false),
            ("-5", "$-\\boxed{5}$", true),
            ("-x+1", "$-\\boxed{x+1}$", false),
            ("25", "$2\\boxed{5}$", false),
            ("52", "$\\boxed{5}2$", false),
            ("5", "\\boxed 52", false),
            ("5", "$\\boxed{5}$ million", false),
            ("5 million", "$\\boxed{5}$ million", true),
            ("5", "\\boxed{5} is wrong, it is 6", false),
            ("4", "$\\boxed{3}\\text{ or }\\boxed{4}$", false),
            ("4 or 3", "$\\boxed{3}\\text{ or }\\boxed{4}$", true),
            ("4, 3", "$\\boxed{3}$ and $\\boxed{4}$", true),
            ("4", "$\\boxed{3}$, then $\\boxed{4}$", true),
        ] {
            let found = answer_of_text(text, "</think>", None);
            let verdict = found
                .as_deref()
                .is_some_and(|found| super::super::same_answer(expected, found));
            assert_eq!(verdict, is_right, "{expected} and {text}: {found:?}");
        }
    }

    #[test]
    fn so_many_marked_lines_are_looked_at_and_no_more() {
        let text = |lines: usize| format!("#### 7\n{}", "#### 5!\n".repeat(lines));
        let found = |lines: usize| after_hashes(&text(lines));
        assert_eq!(found(MOST_LINES - 1).as_deref(), Some("7"));
        assert_eq!(found(MOST_LINES), None);
        // Other lines do not count.
        let other = format!("#### 7\n{}", "5!\n".repeat(2 * MOST_LINES));
        assert_eq!(after_hashes(&other).as_deref(), Some("7"));
        let long = format!("#### 7\n#### {}9", "0".repeat(LONGEST_LINE));
        assert_eq!(after_hashes(&long).as_deref(), Some("7"));
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
