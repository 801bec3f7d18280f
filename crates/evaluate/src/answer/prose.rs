//! Words behind a number: whether they leave it as it is, or make it a part of an expression.

use super::{
    beside::{before_spaces, words_after, words_before},
    unit::split_word,
    unit_words::{are_in_multiples, is_change, is_scale, is_symbol, is_turn},
};

/// Short words that may follow a number.
const SHORT: &str = " is in as so by on at if we it he an be do my no us of to and for the has are was but ";
/// Words behind a number that join it to something else.
const OPERATORS: &str = " or plus minus times over choose mod modulo base off under short ";
/// Words between a number and a variable.
const JOINING: &str = " of and than by ";
/// Words that take back what is before them.
const TAKING_BACK: &str = " wait actually sorry oops hmm hm rather wrong incorrect maybe perhaps scratch ";
/// Words behind `is` by which a number is not the answer.
const DENYING: &str = " not wrong incorrect false too never impossible invalid extraneous rejected excluded ";
/// Names of functions. Others are no units.
const FUNCTIONS: &str = " max min exp sec csc cot gcd lcm det arcsin arccos arctan sinh cosh tanh floor ceil ";

/// Whether a number before these words stands alone.
pub(super) fn stands_before(text: &str) -> bool {
    let (first, rest) = split_word(text);
    // `x^2`, `x²` and `x_2` are no words.
    if rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '^' | '_' | '{')) {
        return false;
    }
    let is_word = match first.chars().count() {
        2 | 3 if is_listed(SHORT, first) => true,
        0..=2 => false,
        _ => {
            first.chars().skip(1).all(char::is_lowercase)
                && (!first.is_ascii() || first.to_lowercase().contains(['a', 'e', 'i', 'o', 'u', 'y']))
        }
    };
    let words: Vec<String> = words_after(text).take(3).collect();
    let Some((next, others)) = words.split_first() else {
        return false;
    };
    let is_changed = match &next[..] {
        // `7 and a half`, but not `7 and so on`.
        "and" => others.iter().any(|word| is_scale(word)),
        // `7 in thousands`, but not `7 in two days`.
        "in" | "per" => is_in_multiples(text),
        short if is_listed(SHORT, short) => false,
        _ => {
            is_listed(OPERATORS, next)
                || is_scale(next)
                || is_change(next)
                || words.iter().any(|word| is_turn(word))
                || is_in_multiples(text)
        }
    };
    is_word && !is_changed && !denies(text) && !joins_variable(text, &words)
}

/// Whether a text behind a number says that it counts multiples: ` in millions`, `, expressed in thousands`.
pub(super) fn is_in_multiples(text: &str) -> bool {
    let text = text.trim_start_matches([' ', '\t', '*', '_', '(']);
    let words: Vec<String> = words_after(text).take(6).collect();
    are_in_multiples(words.iter().map(String::as_str))
}

/// Whether one of the words joins the number before them to a variable or a formula: `of x`, `less than $x$`.
fn joins_variable(text: &str, words: &[String]) -> bool {
    let is_joined = |pair: &[String]| is_listed(JOINING, &pair[0]) && is_letter(&pair[1]);
    let end = text.find(|c: char| !(c.is_alphanumeric() || c.is_whitespace()));
    let before_formula = end
        .filter(|end| {
            text[*end..].starts_with(['$', '\\']) && !text[end + 1..].starts_with(|c: char| c.is_ascii_digit())
        })
        .map_or("", |end| &text[..end]);
    let mut last = words_before(before_formula);
    words.windows(2).any(is_joined) || last.next().is_some_and(|word| is_listed(JOINING, &word)) && last.count() < 3
}

/// Whether prose ends with a term and an operator behind it: `k - ` or `$x$ + `.
pub(super) fn ends_with_term(text: &str) -> bool {
    let text = before_spaces(text, false);
    let Some(stem) = text.strip_suffix(['-', '−', '–', '—', '+']) else {
        return false;
    };
    let term = before_spaces(stem, false);
    let is_formula = term.ends_with(['$', ')', '}']) || term.ends_with(|c: char| c.is_ascii_digit());
    let is_apart = stem.len() > term.len();
    is_apart && (is_formula || words_before(term).next().is_some_and(|word| is_letter(&word)))
}

/// Whether nothing is on the line that a text ends with.
pub(super) fn begins_line(text: &str) -> bool {
    text.rsplit('\n').next().is_some_and(|line| line.trim().is_empty())
}

/// Whether a mark behind this text begins an item of a list, the only one: `17` in `So:\n- 17`.
pub(super) fn begins_item(text: &str) -> bool {
    let lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
    let last = lines.trim_end().lines().next_back().unwrap_or_default().trim();
    let is_list = last.starts_with(['-', '*', '•']) && !last.starts_with("**");
    let goes_on = !begins_line(lines) && !last.ends_with([':', '*']);
    begins_line(text) && !is_list && !goes_on
}

/// Whether a word is a variable: one letter that is no word of its own.
fn is_letter(word: &str) -> bool {
    word.chars().count() == 1 && word.chars().all(char::is_alphabetic) && !matches!(word, "a" | "i")
}

/// Whether a spaced dash before this text is one of prose, and no minus sign: `5 - that is, five dollars`, but not `5 - x`.
pub(super) fn is_behind_dash(text: &str) -> bool {
    let text = text.trim_start_matches([' ', '\t', '*', '_', '"', '“']);
    let sentence = text.split(['\n', '.']).next().unwrap_or_default();
    if sentence.is_empty() {
        return true;
    }
    let (first, rest) = split_word(sentence);
    let word = first.to_lowercase();
    let next = rest
        .strip_prefix(' ')
        .map_or("", |rest| split_word(rest.trim_start()).0);
    let is_word = match word.chars().count() {
        0 => false,
        // `a whole number`, `I hope`.
        1 => matches!(&word[..], "a" | "i") && next.chars().count() > 1,
        2 => is_listed(SHORT, &word),
        _ => true,
    };
    let is_formula = is_symbol(&word) || is_listed(FUNCTIONS, &word) || rest.starts_with(['(', '^', '_']);
    is_word && !is_formula && !is_scale(&word) && !takes_back(sentence)
}

/// Whether words behind a dash take back what is before it: `no, it is 6`, but not `no more, no less`.
fn takes_back(sentence: &str) -> bool {
    let words: Vec<String> = words_after(sentence).take(2).collect();
    let word = |place: usize| words.get(place).map_or("", String::as_str);
    match word(0) {
        "no" => !matches!(word(1), "more" | "less" | "other" | "remainder" | "need"),
        first => is_listed(TAKING_BACK, first),
    }
}

/// Whether words behind a number say that it is not the answer: `is wrong`, `is extraneous`, `was rejected`.
pub(super) fn denies(text: &str) -> bool {
    let words: Vec<String> = words_after(text).take(2).collect();
    let word = |place: usize| words.get(place).map_or("", String::as_str);
    matches!(word(0), "is" | "was") && is_listed(DENYING, word(1)) || matches!(word(0), "isn't" | "isn’t" | "cannot")
}

pub(super) fn is_listed(list: &str, word: &str) -> bool {
    !word.is_empty() && list.split(' ').any(|listed| listed == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_one_of_prose_before_words_alone() {
        for (text, expected) in [
            (" that is, five dollars", true),
            (" which was asked", true),
            (" **done**", true),
            (" so she is right", true),
            (" a whole number", true),
            (" I hope this helps!", true),
            (" if I am right", true),
            (" QED", true),
            (" not 17", true),
            (" no more, no less", true),
            (" since 9*2 = 18", true),
            (" and that is the answer", true),
            (" to be precise", true),
            (" a", false),
            (" x is positive", false),
            (" wait, it is 6", false),
            (" two x", false),
            ("", true),
            (" x", false),
            (" $x$", false),
            (" i", false),
            (" π", false),
            (" pi", false),
            (" alpha", false),
            (" cos x", false),
            (" max(x, y)", false),
            (" max x", false),
            (" f(x)", false),
            (" area(x)", false),
            (" p.", false),
            (" no, it is 6", false),
            (" 3", false),
        ] {
            assert_eq!(is_behind_dash(text), expected, "{text}");
        }
    }
}
