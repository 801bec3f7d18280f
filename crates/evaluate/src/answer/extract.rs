//! Finds the answer in a text.

use regex::Regex;

use super::number::Number;

/// Commands whose argument is the final answer.
const BOXES: [&str; 2] = ["\\boxed", "\\fbox"];
/// The marker of the final answer in GSM8K and similar sets.
const HASHES: &str = "####";

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
/// With a pattern, it is the last match. Otherwise it is the first of these that is found: the argument of the last `\boxed{…}`,
/// the rest of the line after the last `####`, the last number. The text after `thinking_end` is searched before the whole text.
pub fn answer_of_text(text: &str, thinking_end: &str, pattern: Option<&AnswerPattern>) -> Option<String> {
    let conclusion = text
        .rfind(thinking_end)
        .map(|place| &text[place + thinking_end.len()..]);
    conclusion.into_iter().chain([text]).find_map(|text| match pattern {
        Some(pattern) => pattern.last_in(text),
        None => marked(text).or_else(|| last_number(text)),
    })
}

/// The answer in a reference. It is found by the pattern or a marker, as in a generated text. Otherwise it is the text after the
/// thinking or, if that is prose of three words or more, its last number.
pub fn answer_of_reference(text: &str, thinking_end: &str, pattern: Option<&AnswerPattern>) -> String {
    let text = text
        .rfind(thinking_end)
        .map_or(text, |place| &text[place + thinking_end.len()..])
        .trim();
    let words = text
        .split_whitespace()
        .filter(|word| word.chars().filter(|c| c.is_alphabetic()).count() > 1);
    let is_prose = words.count() >= 3;
    pattern
        .and_then(|pattern| pattern.last_in(text))
        .or_else(|| marked(text))
        .or_else(|| last_number(text).filter(|_| is_prose))
        .unwrap_or_else(|| text.to_owned())
}

/// The answer after the last marker.
fn marked(text: &str) -> Option<String> {
    boxed(text).or_else(|| {
        let place = text.rfind(HASHES)? + HASHES.len();
        let line = text[place..].lines().next()?.trim();
        (!line.is_empty()).then(|| line.to_owned())
    })
}

/// The argument of the last closed box.
fn boxed(text: &str) -> Option<String> {
    let mut places: Vec<usize> = BOXES
        .iter()
        .flat_map(|command| text.match_indices(command).map(move |(place, _)| place + command.len()))
        .collect();
    places.sort_unstable();
    places.into_iter().rev().find_map(|place| {
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

/// The last number of a text as it is written, with its sign and, if it is a fraction, its denominator.
fn last_number(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '/');
    let mut end = text.len();
    loop {
        end = text[..end].rfind(|c: char| c.is_ascii_digit())? + 1;
        let start = text[..end].rfind(|c| !is_part(c)).map_or(0, |place| {
            place + text[place..].chars().next().map_or(0, char::len_utf8)
        });
        let digits = text[start..end].trim_start_matches([',', '/']);
        // A list such as `3,4` or a date is not one number. Then the number is the text after the last separator.
        let number = [digits, digits.rsplit([',', '/']).next().unwrap_or(digits)]
            .into_iter()
            .find(|number| Number::parse(number).is_some());
        if let Some(number) = number {
            let before = text[..end - number.len()].trim_end_matches(['$', '€', '£', '¥']);
            let is_negative = before.ends_with(['-', '−'])
                && !before
                    .trim_end_matches(['-', '−'])
                    .ends_with(|c: char| c.is_alphanumeric() || c == ')');
            return Some(if is_negative {
                format!("-{number}")
            } else {
                number.to_owned()
            });
        }
        end = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_found_where_a_person_would_look_for_it() {
        for (text, expected) in [
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
            ("####\nthen 8", Some("8")),
            ("\\boxed{3}\n#### 4", Some("3")),
            ("She has 1,234 apples and 5.5 pears.", Some("5.5")),
            ("It costs $1,234.", Some("1,234")),
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
            ("She sells the 12 eggs for 3 dollars each, 36 in all.", "36"),
            ("12 square meters", "12 square meters"),
        ] {
            assert_eq!(answer_of_reference(text, "</think>", None), expected, "{text}");
        }
    }
}
