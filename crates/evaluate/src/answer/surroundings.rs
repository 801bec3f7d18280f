//! What a box is an element of, or what denies it: `(\boxed{5}, 6)`, `not \boxed{5}`.

use super::{
    bare::bare,
    beside::{after_spaces, before_spaces, rest_of_formula, words_before},
    number::Quantity,
    touching::start_of_formula,
    unit::split_word,
};

/// Environments whose cells are parts of one value.
const TABLES: [&str; 9] = [
    "matrix",
    "pmatrix",
    "bmatrix",
    "vmatrix",
    "Vmatrix",
    "Bmatrix",
    "smallmatrix",
    "array",
    "cases",
];
/// Words that turn around or change what directly follows them.
const CHANGES: &str = " twice double triple thrice half least most minus plus times than negative between nor ";
/// Words before `of` that make a part or a multiple.
const PARTS: &str =
    " half third quarter fifth tenth percent % multiple factor divisor square cube root power reciprocal ";

/// The word that denies or changes what follows a text: `not`, `twice`, `half of`.
pub(super) fn denied_by(before: &str) -> Option<String> {
    let mut rest = before;
    loop {
        let stem = before_spaces(rest, true);
        let stem = [
            "$$",
            "$",
            "\\(",
            "\\[",
            "**",
            "__",
            "}",
            "\\text{",
            "\\textbf{",
            "\\displaystyle",
        ]
        .iter()
        .find_map(|mark| stem.strip_suffix(mark))
        .unwrap_or(stem);
        if stem.len() == rest.len() {
            break;
        }
        rest = stem;
    }
    // It is struck out.
    if rest.ends_with("~~") || before.ends_with("~~") {
        return Some("not".to_owned());
    }
    let words: Vec<String> = words_before(rest).take(3).collect();
    let first = words.first()?;
    let is_denial = |word: &String| {
        matches!(
            &word[..],
            "not" | "never" | "cannot" | "isn't" | "isn’t" | "wasn't" | "can't" | "neither"
        )
    };
    let is_listed = |list: &str, word: &str| list.split(' ').any(|listed| listed == word);
    let is_part = first == "of" && words.get(1).is_some_and(|word| is_listed(PARTS, word));
    if let Some(denial) = words.iter().find(|word| is_denial(word)) {
        return Some(denial.clone());
    }
    (is_part || is_listed(CHANGES, first)).then(|| words.iter().rev().cloned().collect::<Vec<_>>().join(" "))
}

/// Whether a box is one of several elements: in brackets, in a matrix, or in a list of numbers.
pub(super) fn is_element(before: &str, behind: &str, is_formula: bool) -> bool {
    let is_in_table = TABLES.iter().any(|name| {
        let opened = before.rfind(&format!("\\begin{{{name}}}"));
        opened.is_some_and(|place| before.rfind(&format!("\\end{{{name}}}")).is_none_or(|end| end < place))
    });
    let (mut rest, mut next) = (before_spaces(before, is_formula), after_spaces(behind, true));
    let is_glued = rest.len() == before.len();
    for size in ["\\left", "\\bigl", "\\big", "\\Big"] {
        // `\left` is before the bracket.
        rest = rest.strip_suffix(size).unwrap_or(rest);
    }
    let is_delimiter = rest.ends_with("\\(") || rest.ends_with("\\[");
    let is_in_brackets = rest.ends_with("\\{")
        || !is_delimiter && rest.ends_with(['(', '[']) && (is_formula || is_glued && !next.starts_with([')', ']']))
        || rest.ends_with('|') && (is_formula || is_glued);
    // A list that is opened before the box, and not closed.
    let list = start_of_formula(before);
    let count = |brackets: [char; 2]| list.matches(brackets).count();
    let is_within = is_formula && list.trim_end().ends_with([',', ';']) && count(['(', '[']) > count([')', ']']);
    let is_number = |text: &str| Quantity::parse(&bare(text)).is_some();
    let is_listed_before = is_formula
        && rest
            .strip_suffix([',', ';'])
            .is_some_and(|list| is_number(start_of_formula(list)));
    let is_listed_after = is_formula && next.starts_with([',', ';']) && {
        next = after_spaces(&next[1..], true);
        while let Some(space) = ["\\quad", "\\qquad"].iter().find_map(|space| next.strip_prefix(space)) {
            next = after_spaces(space, true);
        }
        is_number(rest_of_formula(next))
    };
    let is_congruence = before
        .lines()
        .next_back()
        .is_some_and(|line| line.contains("\\equiv") || line.contains('≡'));
    let is_remainder = !is_congruence
        && next
            .strip_prefix('\\')
            .is_some_and(|command| matches!(split_word(command).0, "mod" | "bmod"));
    is_in_table || is_in_brackets || is_within || is_listed_before || is_listed_after || is_remainder
}
