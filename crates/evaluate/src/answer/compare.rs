//! Compares two answers.

use super::{
    alternatives::alternatives,
    bare::bare,
    number::Quantity,
    tokens::{text_of, tokens},
    unit::split_word,
};

/// Commands that are letters.
const LETTERS: &str = "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi rho sigma tau \
    upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar";
/// Lists within lists are compared down to this depth, and texts below it.
const DEEPEST: usize = 8;
/// Answers of more bytes are the same only if they are written the same, which bounds the time.
const LONGEST: usize = 10_000;
/// Lists of more elements are compared in their order.
const MOST_IN_ANY_ORDER: usize = 64;

/// Whether `found` is the answer `expected`: the same number in any notation, or the same text.
///
/// Numbers are compared exactly. If only one side has a percent sign, the sign may be ignored or mean a hundredth: `50%` equals
/// both `50` and `0.5`. A unit on one side alone is ignored; two different units, or words such as `apples` and `pears`, make
/// different answers, and so do words that turn a number around, as `north`. The elements of tuples, intervals, sets and
/// lists are compared one by one, in any order if no round or square brackets enclose them; so are alternatives between
/// which `or` stands. All else is compared symbol by symbol, without white space, styles and sizes. An answer that is not
/// a number equals no number.
pub fn same_answer(expected: &str, found: &str) -> bool {
    if expected.len().max(found.len()) > LONGEST {
        return expected.trim() == found.trim();
    }
    same(expected, found, 0)
}

fn same(expected: &str, found: &str, depth: usize) -> bool {
    let (expected, found) = (bare(expected), bare(found));
    let (expected, found) = match (assigned(&expected), assigned(&found)) {
        // `x = 5` and `y = 5` differ.
        (Some((a, _)), Some((b, _))) if tokens(a) != tokens(b) => return false,
        (a, b) => (value(a.map_or(&expected, |a| a.1)), value(b.map_or(&found, |b| b.1))),
    };
    match (Quantity::parse(&expected), Quantity::parse(&found)) {
        (Some(expected), Some(found)) => return expected.is(&found),
        // `1,200` is no list of two elements.
        (Some(_), None) | (None, Some(_)) => return false,
        (None, None) => {}
    }
    let (expected, found) = (without_and(expected), without_and(found));
    let (left, right) = (tokens(&expected), tokens(&found));
    if left.is_empty() || right.is_empty() {
        return false;
    }
    left == right
        || depth < DEEPEST && (same_alternatives(&expected, &found, depth) || same_lists(&left, &right, depth))
}

/// The text without what encloses it and without the sign of an approximation: a rounded number is compared as it is given.
fn value(text: &str) -> String {
    let text = bare(text);
    // `(-3)` is -3.
    let inner = text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
    let signed = inner.filter(|inner| inner.starts_with(['-', '−', '+']) && Quantity::parse(inner).is_some());
    if let Some(number) = signed {
        return number.to_owned();
    }
    match text.strip_prefix("\\approx").or_else(|| text.strip_prefix('≈')) {
        Some(rest) if !rest.starts_with(char::is_alphabetic) => bare(rest),
        _ => text,
    }
}

/// The text with commas for the `and` between numbers: `-2 and 1`.
fn without_and(text: String) -> String {
    let joined = text.replace("\\text{ and }", " and ");
    let parts: Vec<&str> = joined.split(" and ").collect();
    let is_number = |part: &&str| Quantity::parse(&bare(part)).is_some();
    if parts.len() > 1 && parts.iter().all(is_number) {
        parts.join(", ")
    } else {
        text
    }
}

/// Whether two texts are the same alternatives, in any order.
fn same_alternatives(expected: &str, found: &str, depth: usize) -> bool {
    let (Some(expected), Some(found)) = (alternatives(expected), alternatives(found)) else {
        return false;
    };
    same_elements(&expected, found, false, depth)
}

/// Whether two texts are lists in the same brackets with the same elements.
fn same_lists(expected: &[String], found: &[String], depth: usize) -> bool {
    let (Some(expected), Some(found)) = (List::of(expected), List::of(found)) else {
        return false;
    };
    let texts = |list: &List<'_>| list.elements.iter().map(|symbols| text_of(symbols)).collect::<Vec<_>>();
    expected.brackets == found.brackets && same_elements(&texts(&expected), texts(&found), expected.is_ordered(), depth)
}

/// Whether two lists have the same elements. `x = 1, y = 2` and `2, 1` are ordered in any case: nothing says which number is `x`.
fn same_elements(expected: &[String], mut found: Vec<String>, is_ordered: bool, depth: usize) -> bool {
    if expected.len() != found.len() {
        return false;
    }
    let names = |elements: &[String]| {
        elements
            .iter()
            .map(|element| assigned(element).map(|(name, _)| tokens(name)))
            .collect()
    };
    let (ours, theirs): (Vec<_>, Vec<_>) = (names(expected), names(&found));
    let is_named_by = |names: &[Option<Vec<String>>], others: &[Option<Vec<String>>]| {
        let has_several = names
            .iter()
            .flatten()
            .any(|name| Some(name) != names.iter().flatten().next());
        has_several && others.contains(&None)
    };
    if is_ordered || expected.len() > MOST_IN_ANY_ORDER || is_named_by(&ours, &theirs) || is_named_by(&theirs, &ours) {
        return expected.iter().zip(&found).all(|(a, b)| same(a, b, depth + 1));
    }
    expected.iter().all(|element| {
        let place = found.iter().position(|other| same(element, other, depth + 1));
        place.map(|place| found.remove(place)).is_some()
    })
}

/// A list of elements between commas.
struct List<'a> {
    /// The opening and the closing bracket, if there are brackets.
    brackets: Option<(&'a str, &'a str)>,
    elements: Vec<&'a [String]>,
}

impl<'a> List<'a> {
    /// The list that all symbols are: with two elements at least, or with one in brackets.
    fn of(symbols: &'a [String]) -> Option<Self> {
        let elements = elements(symbols)?;
        if elements.len() > 1 {
            return Some(Self {
                brackets: None,
                elements,
            });
        }
        let [open, inner @ .., close] = symbols else {
            return None;
        };
        let is_bracket = matches!(&open[..], "(" | "[" | "\\{") && matches!(&close[..], ")" | "]" | "\\}");
        // `(1)(2)` is not in brackets as a whole: its inside closes one that it did not open.
        is_bracket.then_some(())?;
        Some(Self {
            brackets: Some((open, close)),
            elements: self::elements(inner)?,
        })
    }

    /// The elements of sets and of lists without brackets have no order.
    fn is_ordered(&self) -> bool {
        self.brackets.is_some_and(|(open, _)| open != "\\{")
    }
}

/// The parts between commas outside brackets; `None` if brackets do not match.
fn elements(symbols: &[String]) -> Option<Vec<&[String]>> {
    let (mut depth, mut start, mut elements) = (0_usize, 0, Vec::new());
    for (place, symbol) in symbols.iter().enumerate() {
        match &symbol[..] {
            "(" | "[" | "{" | "\\{" | "\\langle" => depth += 1,
            ")" | "]" | "}" | "\\}" | "\\rangle" => depth = depth.checked_sub(1)?,
            "," if depth == 0 => {
                elements.push(&symbols[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    elements.push(&symbols[start..]);
    (depth == 0 && elements.iter().all(|element| !element.is_empty())).then_some(elements)
}

/// The name and the value of `x = 5`, `x_1 = 5`, `f(x) = 5` or `x \approx 5`; `None` if there is no such name or a second equals sign.
fn assigned(text: &str) -> Option<(&str, &str)> {
    // `x \in [1, 2]` names an interval or a set.
    let member = text
        .split_once("\\in ")
        .or_else(|| text.split_once("\\in["))
        .or_else(|| text.split_once('∈'));
    if let Some((name, _)) = member {
        let value = text[name.len()..]
            .trim_start_matches("\\in")
            .trim_start_matches('∈')
            .trim();
        let is_set = value.starts_with(['[', '(', '\\']) && value.len() > 1 && !value.contains('=');
        let is_letter = name.trim().chars().count() == 1 && name.trim().chars().all(char::is_alphabetic);
        return (is_letter && is_set).then_some((name, value));
    }
    let (name, value) = ["=", "\\approx ", "≈"]
        .into_iter()
        .find_map(|sign| text.split_once(sign))?;
    let name = name.trim();
    // `(x, y) = (1, 2)`.
    if let Some(names) = name.strip_prefix('(').and_then(|names| names.strip_suffix(')')) {
        let is_letter = |name: &str| name.trim().chars().count() == 1 && name.trim().chars().all(char::is_alphabetic);
        let is_tuple = value.trim_start().starts_with(['(', '\\']) && !value.contains('=');
        return (names.contains(',') && names.split(',').all(is_letter) && is_tuple).then_some((name, value));
    }
    let letter = match name.strip_prefix('\\') {
        // `\not= 5` names nothing.
        Some(command) => Some(split_word(command).0).filter(|letter| LETTERS.split(' ').any(|name| name == *letter))?,
        None => name.get(..name.chars().next().filter(|c| c.is_alphabetic())?.len_utf8())?,
    };
    let rest = &name[letter.len() + usize::from(name.starts_with('\\'))..];
    let is_index = |rest: &str| {
        let index = rest.strip_prefix('_').unwrap_or("-");
        let index = index
            .strip_prefix('{')
            .and_then(|index| index.strip_suffix('}'))
            .unwrap_or(index);
        !index.is_empty() && index.chars().all(char::is_alphanumeric)
    };
    let is_argument = |rest: &str| matches!(rest.as_bytes(), [b'(', letter, b')'] if letter.is_ascii_alphabetic());
    let is_name = !letter.is_empty() && (rest.is_empty() || is_index(rest) || is_argument(rest));
    (is_name && !value.contains('=') && !value.trim().is_empty()).then_some((name, value))
}
