//! Whether a text holds an answer, and not only as part of a longer word or number.
//!
//! `5` is not in `-5`, `0.5`, `5,000`, `5/6` or `10^5`. A text that writes the answer in another way does not hold it: this
//! compares characters, not values.

/// Whether a text holds `part`, and not only as part of a longer word.
pub(super) fn holds_as_word(text: &str, part: &str) -> bool {
    places(text, part).any(|(before, after)| stands_as_word(before, part, after))
}

/// Whether a text holds `part`, and not only as part of a longer word or of another number.
pub(super) fn holds(text: &str, part: &str) -> bool {
    let is_number = part.chars().any(char::is_numeric);
    places(text, part).any(|(before, after)| {
        stands_as_word(before, part, after)
            && !(is_number && begins_as_number(part) && continues_before(before, part))
            && !(is_number && part.ends_with(ends_as_number) && continues_after(part, after))
    })
}

/// What is before and after each place of `part`.
fn places<'a>(text: &'a str, part: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let places = text.match_indices(part);
    places.map(move |(at, _)| (&text[..at], &text[at + part.len()..]))
}

fn stands_as_word(before: &str, part: &str, after: &str) -> bool {
    let continues = |outside: Option<char>, inside: Option<char>| {
        let is_word = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
        is_word(outside) && is_word(inside)
    };
    !continues(before.chars().next_back(), part.chars().next())
        && !continues(after.chars().next(), part.chars().next_back())
}

const SIGNS: [char; 8] = ['-', '+', '−', '–', '‐', '‑', '－', '±'];
const SPACES: [char; 5] = [' ', '\u{a0}', '\u{2009}', '\u{202f}', '~'];
const SLASHES: [char; 3] = ['/', '⁄', '∕'];

/// LaTeX's separators of groups of digits.
const SEPARATORS: [&str; 7] = ["{,}", "{.}", "\\,", "\\!", "\\;", "\\:", "\\ "];

/// LaTeX's commands for numbers that are more than their digits.
const COMMANDS: [&str; 6] = ["\\frac", "\\dfrac", "\\tfrac", "\\cfrac", "\\sqrt", "\\pi"];

/// Words that make another number of the one before them.
const WORDS: [&str; 5] = ["hundred", "thousand", "million", "billion", "trillion"];

fn begins_as_number(part: &str) -> bool {
    let begins = |first: char| first.is_numeric() || first == '.' || SIGNS.contains(&first);
    part.starts_with(begins) || begins_with(part, &COMMANDS)
}

fn ends_as_number(last: char) -> bool {
    last.is_numeric() || last == '}'
}

fn begins_with(text: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| text.starts_with(beginning))
}

/// Digits at the start of a text.
fn leading_digits(text: &str) -> usize {
    text.chars().take_while(char::is_ascii_digit).count()
}

/// Digits at the end of a text.
fn trailing_digits(text: &str) -> usize {
    text.chars().rev().take_while(char::is_ascii_digit).count()
}

/// Whether a number that begins with `part` began before it.
pub(super) fn continues_before(before: &str, part: &str) -> bool {
    let Some(last) = before.chars().next_back() else {
        return false;
    };
    let earlier = &before[..before.len() - last.len_utf8()];
    let after_digit = earlier.ends_with(char::is_numeric);
    let after_operand = earlier.ends_with(|c: char| c.is_alphanumeric() || [')', ']', '}'].contains(&c));
    let is_group = leading_digits(part) == 3;
    let is_after_group = |text: &str| is_group && (1..=3).contains(&trailing_digits(text));
    if part.starts_with(|first| SIGNS.contains(&first)) {
        // An operator, no sign.
        let follows_operand = last.is_alphanumeric() || [')', ']', '}'].contains(&last);
        let is_exponent = last == '^' || (last == '{' && earlier.ends_with('^'));
        return follows_operand || is_exponent || SIGNS.contains(&last);
    }
    if SEPARATORS.iter().any(|separator| {
        before
            .strip_suffix(separator)
            .is_some_and(|text| text.ends_with([',']) || is_after_group(text))
    }) {
        return is_group;
    }
    match last {
        '.' | '^' | '√' => true,
        ',' | ':' | '_' | '\'' | '’' => after_digit,
        '+' => after_operand,
        '*' => earlier
            .strip_suffix('*')
            .is_some_and(|text| text.ends_with(char::is_alphanumeric)),
        '{' => {
            let inside = ["^", "_", "}", "]", "frac", "sqrt", "binom"];
            inside.iter().any(|before| earlier.ends_with(before))
        }
        _ if SIGNS.contains(&last) || SLASHES.contains(&last) => true,
        _ if SPACES.contains(&last) => {
            let text = before.trim_end_matches(SPACES);
            let is_fraction = begins_with(part, &COMMANDS[..4])
                || part[leading_digits(part)..]
                    .trim_start()
                    .starts_with(|c| SLASHES.contains(&c));
            let is_mixed = is_fraction && text.ends_with(|c: char| c.is_ascii_digit());
            let is_signed = text.strip_suffix(['-', '−']).is_some_and(|text| {
                text.trim_end_matches(SPACES)
                    .ends_with(['=', '(', '[', '{', ',', '<', '>', '≤', '≥', ':', '$'])
            });
            is_mixed || is_signed || is_after_group(text) || text.ends_with(['^', '√']) || text.ends_with(SLASHES)
        }
        _ => last.is_numeric(),
    }
}

/// Whether a number that ends with `part` goes on after it.
pub(super) fn continues_after(part: &str, after: &str) -> bool {
    let begins_with_digit = |text: &str| text.starts_with(char::is_numeric);
    let rest = after.trim_start_matches(SPACES);
    // A group of digits follows one of three at most.
    let is_before_group = |text: &str| (1..=3).contains(&trailing_digits(part)) && leading_digits(text) == 3;
    if SEPARATORS.iter().any(|separator| {
        let text = after.strip_prefix(',').unwrap_or(after).strip_prefix(separator);
        text.is_some_and(is_before_group)
    }) {
        return true;
    }
    let is_power_of_ten = ["×", "·", "⋅", "∙", "*", "x ", "\\times", "\\cdot"]
        .iter()
        .any(|times| {
            let factor = rest.strip_prefix(times).map(|text| text.trim_start_matches(SPACES));
            let power = factor.and_then(|text| text.trim_start_matches('{').strip_prefix("10"));
            power.is_some_and(|text| {
                let text = text.trim_start_matches(SPACES);
                text.starts_with(['^', '⁻'])
                    || text.starts_with("**")
                    || text.starts_with(|c: char| "⁰¹²³⁴⁵⁶⁷⁸⁹".contains(c))
            })
        });
    let is_mixed = || {
        let digits = leading_digits(rest);
        let denominator = rest[digits..].trim_start().strip_prefix(SLASHES);
        let is_fraction = digits > 0 && denominator.is_some_and(|text| begins_with_digit(text.trim_start()));
        let is_sign = rest.starts_with(|c: char| c.is_numeric() && !c.is_ascii_digit() && !c.is_alphabetic());
        rest.len() < after.len() && (is_fraction || is_sign || is_before_group(rest))
    };
    let has_word = || {
        let word = rest.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        WORDS.contains(&word.to_lowercase().trim_end_matches('s'))
    };
    if is_power_of_ten || begins_with(rest, &COMMANDS) || is_mixed() || has_word() {
        return true;
    }
    let mut letters = rest.chars();
    let (first, next) = (letters.next(), letters.as_str());
    let touches = rest.len() == after.len();
    match first {
        Some('^') => !begins_with(next, &["\\circ", "{\\circ", "\\degree", "°"]),
        Some('√') => true,
        Some(first) if SLASHES.contains(&first) => next
            .trim_start()
            .starts_with(|c: char| c.is_alphanumeric() || ['\\', '(', '{'].contains(&c)),
        Some('.' | ',' | ':' | '-' | '–') if touches => begins_with_digit(next),
        Some('_') if touches => begins_with_digit(next) || next.starts_with('{'),
        Some('\'' | '’') if touches => is_before_group(next),
        Some('*') if touches => next
            .strip_prefix('*')
            .is_some_and(|text| text.starts_with(char::is_alphanumeric)),
        Some('}') if touches => {
            next.starts_with('{') || next.starts_with('^') && !begins_with(&next[1..], &["\\circ", "{\\circ"])
        }
        Some(')') if touches => next.starts_with(['^', '/']),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_by_itself() {
        for (part, texts) in [
            (
                "5",
                "5|is 5.|$5$|\\boxed{5}|= 5, so|(5)|**5**|5%|x=5;|5\n000|Answer:5|_5_|- 5 apples|10 - 5|5 km/h|5^\\circ|5 cm^2|3, 5|\
                 5!|from 1 to 5: done|[1, 5]|+5|\\text{5}|5 x",
            ),
            ("-5", "-5|= -5.|(-5)|\\boxed{-5}"),
            ("42", "42|the answer is 42.|42,|42 000 is 42"),
            ("5/6", "5/6|= 5/6.|or 5/6 of it"),
            ("\\frac{3}{4}", "\\boxed{\\frac{3}{4}}|= \\frac{3}{4}"),
            ("0.5", "0.5|0.5."),
            ("5,000", "$5,000|5,000."),
            ("x^2", "x^2 + 1"),
            ("Paris", "In Paris."),
        ] {
            for text in texts.split('|') {
                assert!(holds(text, part), "{part} in {text}");
            }
        }
    }

    #[test]
    fn a_number_is_not_a_part_of_another() {
        for (part, texts) in [
            (
                "5",
                "-5|−5|is -5.|\\boxed{-5}|= - 5|5/6|6/5|5 / 6|0.5|.5|5.5|5,000|5{,}000|5\\,000|5,\\!000|5 000|5\u{202f}000|5'000|\
                 5_000|1,5|10^5|10^{5}|x_{5}|\\frac{5}{6}|\\frac{6}{5}|\\frac56|\\sqrt{5}|√5|5^2|5²|5e3|5 \\times 10^3|5 × 10⁴|5*10^3|\
                 5 1/2|5 ½|5\\frac{1}{2}|5 \\frac12|5\\pi|5π|5√2|5\\sqrt{2}|5:3|3:5|5-6|5–6|5 million|5 Millions|55|x5|5x|10**5|5**2|±5|\
                 101_5|{5}^2|5_2|(5)/6",
            ),
            ("-5", "x-5|3-5|)-5|-5.5|-5/6|10^{-5}|10^-5|e-5"),
            ("42", "42.5|1.42|142|420|42.0|1,42"),
            ("5/6", "11 5/6|-5/6|1/5/6|5/60|15/6"),
            (
                "\\frac{3}{4}",
                "-\\frac{3}{4}|2\\frac{3}{4}|2 \\frac{3}{4}|\\frac{3}{4}^2",
            ),
            ("000", "5,000|5 000|5{,}000|5,\\!000"),
            ("567", "1 234 567|1\\,234\\,567"),
            ("0.5", "10.5|0.55|-0.5|0.5/3"),
            ("5%", "0.5%|15%"),
            ("Paris", "Parisian"),
        ] {
            for text in texts.split('|') {
                assert!(!holds(text, part), "{part} in {text}");
            }
        }
        // As corpora of older rules have it.
        for text in ["-5", "0.5", "5/6", "5,000"] {
            assert!(holds_as_word(text, "5"), "{text}");
        }
    }

    #[test]
    fn one_place_is_enough() {
        assert!(holds("10/2 = 5.", "5") && holds("-5 or 5", "5") && !holds("-5 or 0.5", "5"));
        assert!(holds("anything", ""));
    }
}
