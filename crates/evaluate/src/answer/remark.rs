//! Remarks in brackets behind an answer: `18 (dollars)`, `18 (rounded to the nearest dollar)`, `18 (million)`.
//!
//! A remark is left out only if it says nothing about the value. A unit in brackets is a unit. All else stays, so that the answer is
//! no number.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    bare::bare,
    number::Quantity,
    unit::{Unit, split_word},
    unit_words::{is_change, is_no_unit, is_scale, is_turn},
};

/// Words that deny what is before them, or make it depend on something.
const DENIALS: &str = " wrong incorrect false not no never but if unless otherwise guess else except however instead isn't isn’t \
    maybe perhaps really actually rather ";
/// The most characters of a remark.
const LONGEST: usize = 300;

/// Remarks that say how a number was found, or what it is.
static HARMLESS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)^(?:
            (?: approximately | approx\.? | about | exact | exactly | correct | checked | verified | maximum | minimum | q\.?e\.?d\.? ) $
            | (?: rounded | nearest | since | because | see | mod | modulo | rejecting | discarding | ignoring | taking | using
                | assuming | where | when | given | including | excluding | counting | with | via | after | before | from | only
                | we | i\.?e\. | e\.g\. | that\ is | as | to\ the\ nearest
                | (?: to\ )? (?: \d+ | one | two | three | four ) \ (?: decimal | significant ) ) (?: \W | $ )
            | by\ [a-z-]{2,} | (?: option | choice )\ \(?[a-z]\)?$ | [✓✔∎□■] $
        )",
    )
    .expect("it is a valid expression")
});

/// The remarks among these that give a reason: what they deny is not the answer.
static REASONS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^(?:since|because|as|assuming|rejecting|discarding|ignoring|by)\b")
        .expect("it is a valid expression")
});

/// Words with which a remark goes on with the answer.
const CONTINUING: &str = " or times plus minus over under beyond base nearly almost owed owing off short ";

/// What a remark says about the answer before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remark {
    /// It says why or how.
    Reason,
    /// It has words that change no value.
    Words,
    /// It is the unit of a number.
    Unit,
    /// It may change the value.
    Change,
}

/// Whether a text of words has one that denies what is before it.
pub(super) fn is_denied(text: &str) -> bool {
    let lower = text.to_lowercase();
    lower
        .split(|c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '’')))
        .any(|word| !word.is_empty() && DENIALS.split(' ').any(|denial| denial == word))
}

impl Remark {
    /// What the text between the brackets says.
    pub(super) fn of(inner: &str) -> Self {
        let inner = inner.trim();
        if inner.is_empty() || is_denied(inner) && !REASONS.is_match(inner) {
            return Self::Change;
        }
        if HARMLESS.is_match(inner) || is_equation(inner) {
            return Self::Reason;
        }
        match Unit::parse(&format!(" {}", unit_in(inner))) {
            Some(Unit::Nothing) => return Self::Words,
            Some(_) => return Self::Unit,
            None => {}
        }
        let is_word = |word: &&str| {
            word.chars()
                .all(|c| c.is_alphabetic() || matches!(c, '\'' | '’' | ',' | '.' | '-' | ':'))
        };
        let words: Vec<&str> = inner.split_whitespace().collect();
        let is_prose = words.iter().all(is_word);
        // Behind a formula, the words that come first tell.
        let looked_at = if is_prose { words.len() } else { 2 };
        let first = words.first().map_or("", |word| split_word(word).0);
        let begins = words.first().is_some_and(is_word) && (words.len() > 1 || first.chars().count() > 2);
        let changes = |word: &&str| may_change(word, words.len() > 1);
        let goes_on = CONTINUING
            .split(' ')
            .any(|word| !word.is_empty() && word == first.to_lowercase())
            || is_bound(&words);
        if begins && !goes_on && !words.iter().take(looked_at).any(|word| changes(&word)) {
            Self::Words
        } else {
            Self::Change
        }
    }

    /// What the remark says with which `text` begins, behind its bracket, and the unit that it may be.
    pub(super) fn behind_bracket(text: &str) -> (Self, &str) {
        let inner = text.split([')', '\n']).next().unwrap_or_default();
        (Self::of(inner), unit_in(inner.trim()))
    }
}

/// The unit in `in dollars`.
fn unit_in(remark: &str) -> &str {
    let unit = remark.strip_prefix("in ").map(str::trim);
    unit.filter(|unit| !matches!(*unit, "all" | "total")).unwrap_or(remark)
}

/// Whether a remark says what something is equal to.
fn is_equation(remark: &str) -> bool {
    let compares = ['<', '>', '≤', '≥', '≠'].iter().any(|sign| remark.contains(*sign))
        || ["\\ne", "\\le", "\\ge", "\\lt", "\\gt", "\\not"]
            .iter()
            .any(|command| remark.contains(command));
    remark.contains(['=', '≈']) && !compares
}

/// Whether the words bound the number before them: `at most`.
fn is_bound(words: &[&str]) -> bool {
    matches!(words, ["at", "most" | "least", ..])
}

/// Whether a word of a remark may change the value before it. Among other words, some are common.
fn may_change(word: &str, is_among_words: bool) -> bool {
    let word = split_word(word).0.to_lowercase();
    let is_letter = word.chars().count() == 1 && !matches!(&word[..], "a" | "i");
    let turns = is_turn(&word) && !matches!(&word[..], "maximum" | "minimum" | "true");
    let is_changed = if is_among_words {
        is_scale(&word) && word != "one" || is_change(&word) || turns || matches!(&word[..], "zero" | "infinity")
    } else {
        is_no_unit(&word)
    };
    is_letter || is_changed
}

/// The text before the brackets at its end, and what is in them. A space is before a remark.
pub(super) fn at_end(text: &str) -> Option<(&str, &str)> {
    let stem = text.trim_end().strip_suffix(')').filter(|stem| !stem.ends_with('\\'))?;
    let mut depth = 1;
    let (start, _) = stem.char_indices().rev().take(LONGEST).find(|(_, character)| {
        depth += match character {
            ')' => 1,
            '(' => -1,
            _ => 0,
        };
        depth == 0
    })?;
    let (before, inner) = (&stem[..start], &stem[start + 1..]);
    (before.ends_with([' ', '\t']) && !inner.contains('\n')).then(|| (before.trim_end(), inner))
}

/// The text without the remark at its end, or with the unit that it is.
pub(super) fn without_remark(text: &str) -> String {
    let Some((before, inner)) = at_end(text) else {
        return text.to_owned();
    };
    match Remark::of(inner) {
        Remark::Reason | Remark::Words => before.to_owned(),
        Remark::Change => text.to_owned(),
        // `Paris (France)` is no number.
        Remark::Unit if Quantity::parse(&bare(before)).is_none() => before.to_owned(),
        Remark::Unit => {
            let joined = format!("{before} {}", unit_in(inner.trim()));
            let is_number = Quantity::parse(&bare(&joined)).is_some();
            if is_number { joined } else { text.to_owned() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_is_left_out_only_if_it_says_nothing_about_the_value() {
        for (remark, expected) in [
            ("dollars", Remark::Unit),
            ("in dollars", Remark::Unit),
            ("eggs", Remark::Unit),
            ("percent", Remark::Unit),
            ("per day", Remark::Unit),
            ("in all", Remark::Words),
            ("at the farmers' market", Remark::Words),
            ("which is 2 + 3", Remark::Words),
            ("approximately", Remark::Reason),
            ("since it is odd", Remark::Reason),
            ("rounded to the nearest hundredth", Remark::Reason),
            ("rejecting x = -3", Remark::Reason),
            ("mod 7", Remark::Reason),
            ("as required", Remark::Reason),
            ("million", Remark::Change),
            ("in millions", Remark::Change),
            ("in thousands of dollars", Remark::Change),
            ("thousand dollars", Remark::Change),
            ("dozen", Remark::Change),
            ("hundred", Remark::Change),
            ("squared", Remark::Change),
            ("doubled", Remark::Change),
            ("negative", Remark::Change),
            ("below zero", Remark::Change),
            ("factorial", Remark::Change),
            ("times x", Remark::Change),
            ("at most", Remark::Change),
            ("or six", Remark::Change),
            ("thousandths", Remark::Change),
            ("wrong", Remark::Change),
            ("if x > 0", Remark::Change),
            ("for x > 0", Remark::Change),
            ("x > 0", Remark::Change),
            ("2x", Remark::Change),
            ("12", Remark::Change),
            ("to the power x", Remark::Change),
            ("since it is not 6", Remark::Reason),
            ("by symmetry", Remark::Reason),
            ("by AM-GM", Remark::Reason),
            ("by x", Remark::Change),
            ("where $x = 9$", Remark::Reason),
            ("for n = 3", Remark::Reason),
            ("= 36/2", Remark::Reason),
            ("≈ 17.9", Remark::Reason),
            ("n \\ne 3, x = 4", Remark::Change),
            ("as x cannot be negative", Remark::Reason),
            ("taking the positive root", Remark::Reason),
            ("the negative root is rejected", Remark::Words),
            ("an integer", Remark::Words),
            ("maximum", Remark::Reason),
            ("option B", Remark::Reason),
            ("including Tom", Remark::Reason),
            ("to two decimal places", Remark::Reason),
            ("after tax", Remark::Reason),
            ("left over", Remark::Words),
            ("QED", Remark::Reason),
            ("✓", Remark::Reason),
            ("i.e. eighteen", Remark::Reason),
            ("a decrease", Remark::Change),
            ("a dozen and a half", Remark::Change),
            ("plus tax", Remark::Change),
            ("quadrillion", Remark::Change),
            ("base 6", Remark::Change),
            ("negative solution discarded", Remark::Words),
            ("repeating", Remark::Change),
            ("not counting Tom", Remark::Change),
            ("", Remark::Change),
        ] {
            assert_eq!(Remark::of(remark), expected, "{remark}");
        }
        for (text, expected) in [
            ("18 (eggs)", "18 eggs"),
            ("$18 (in dollars)", "$18 dollars"),
            ("$18 (euros)", "$18 (euros)"),
            ("18 (million)", "18 (million)"),
            ("Paris (France)", "Paris"),
            ("x = 17 (rejecting x = -3)", "x = 17"),
            ("f(x)", "f(x)"),
        ] {
            assert_eq!(without_remark(text), expected, "{text}");
        }
    }
}
