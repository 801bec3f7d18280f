//! Texts as lists of symbols, without what does not change their meaning: white space, the size of brackets, styles of letters.
//!
//! A command of LaTeX is one symbol as a whole: `\leftarrow` is no `\left`. Every other character is a symbol of its own. No symbol
//! that carries meaning is dropped, and letters keep their case, except in prose.

use super::{
    characters::{lowered, raised, vulgar_fraction},
    unit::{TEXT_COMMANDS, text_command},
};

/// Commands that change only how a formula looks.
const STYLES: [&str; 26] = [
    "\\left",
    "\\right",
    "\\middle",
    "\\big",
    "\\Big",
    "\\bigg",
    "\\Bigg",
    "\\bigl",
    "\\bigr",
    "\\Bigl",
    "\\Bigr",
    "\\biggl",
    "\\biggr",
    "\\Biggl",
    "\\Biggr",
    "\\displaystyle",
    "\\textstyle",
    "\\limits",
    "\\nolimits",
    "\\quad",
    "\\qquad",
    "\\thinspace",
    "\\,",
    "\\;",
    "\\:",
    "\\!",
];

/// Symbols that are written in several ways, and the one that is kept.
const SAME: [(&str, &str); 53] = [
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("\\cfrac", "\\frac"),
    ("−", "-"),
    ("–", "-"),
    ("×", "\\times"),
    ("·", "\\cdot"),
    ("⋅", "\\cdot"),
    ("÷", "\\div"),
    ("⁄", "/"),
    ("±", "\\pm"),
    ("√", "\\sqrt"),
    ("∞", "\\infty"),
    ("π", "\\pi"),
    ("θ", "\\theta"),
    ("α", "\\alpha"),
    ("β", "\\beta"),
    ("γ", "\\gamma"),
    ("λ", "\\lambda"),
    ("μ", "\\mu"),
    ("σ", "\\sigma"),
    ("φ", "\\phi"),
    ("ω", "\\omega"),
    ("≤", "\\leq"),
    ("\\le", "\\leq"),
    ("\\leqslant", "\\leq"),
    ("≥", "\\geq"),
    ("\\ge", "\\geq"),
    ("\\geqslant", "\\geq"),
    ("\\lt", "<"),
    ("\\gt", ">"),
    ("≠", "\\neq"),
    ("\\ne", "\\neq"),
    ("≈", "\\approx"),
    ("∈", "\\in"),
    ("∪", "\\cup"),
    ("∩", "\\cap"),
    ("∅", "\\emptyset"),
    ("\\varnothing", "\\emptyset"),
    ("→", "\\to"),
    ("\\rightarrow", "\\to"),
    ("←", "\\leftarrow"),
    ("\\gets", "\\leftarrow"),
    ("…", "\\dots"),
    ("\\ldots", "\\dots"),
    ("\\lbrace", "\\{"),
    ("\\rbrace", "\\}"),
    ("\\lbrack", "["),
    ("\\rbrack", "]"),
    ("\\lvert", "|"),
    ("\\rvert", "|"),
    ("\\vert", "|"),
    ("\\%", "%"),
];

/// The names of a figure's points are among so many letters that follow each other.
const MOST_POINTS: u8 = 7;

/// The symbols of a text. Prose, which is words alone, is a list of its words in lower case.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let mut text = text.trim();
    if !text.ends_with("...") {
        text = text.trim_end_matches(['.', ',', ';']).trim_end();
    }
    // Greek letters are symbols.
    let is_letter = |c: char| c.is_alphabetic() && !('\u{370}'..'\u{400}').contains(&c);
    // `p - q` and `a b` are formulas, `well-known` is prose.
    let has_operator = text.contains('-') && words(text).any(|word| word.chars().count() < 3);
    let is_product = words(text).all(|word| word.chars().count() == 1) || words(text).count() == 1 && is_short(text);
    let is_prose = text
        .chars()
        .all(|c| is_letter(c) || matches!(c, ' ' | '-' | '\'' | '’' | '\n'));
    if is_prose && !has_operator && !is_product {
        return text.split_whitespace().map(folded).collect();
    }
    unbraced(&without_plus_signs(&symbols(text)))
}

/// The words between white space and hyphens.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c == '-')
        .filter(|word| !word.is_empty())
}

/// Whether a text is two letters that are no word of an answer.
fn is_short(text: &str) -> bool {
    text.len() == 2 && text.to_lowercase() != "no"
}

/// A word in lower case. Letters that are not a word, such as `N`, `AB`, `ABC` or `III`, keep their case.
fn folded(word: &str) -> String {
    let lower = word.to_lowercase();
    if word.chars().count() > 2 && !is_label(word) || lower == "no" {
        lower
    } else {
        word.to_owned()
    }
}

/// Whether letters are the points of a figure, which are near each other in the alphabet, or a Roman numeral.
fn is_label(word: &str) -> bool {
    let mut letters: Vec<u8> = word.bytes().collect();
    letters.sort_unstable();
    let are_points = letters.windows(2).all(|pair| pair[0] < pair[1])
        && matches!(&letters[..], [first, .., last] if last - first < MOST_POINTS);
    letters.iter().all(u8::is_ascii_uppercase)
        && (are_points || letters.iter().all(|letter| b"IVXLCDM".contains(letter)))
}

/// The symbols of a formula, each in the one way in which it is kept.
fn symbols(mut text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    while let Some(first) = text.chars().next() {
        if let Some((inner, rest)) = text_command(text) {
            found.extend(symbols(inner));
            text = rest;
            continue;
        }
        if let Some((numerator, denominator)) = vulgar_fraction(first) {
            found.extend(["\\frac", "{", numerator, "}", "{"].map(String::from));
            found.extend(denominator.chars().map(String::from));
            found.push("}".into());
            text = &text[first.len_utf8()..];
            continue;
        }
        if let Some((script, rest)) = script(text, "^", raised).or_else(|| script(text, "_", lowered)) {
            found.extend(script);
            text = rest;
            continue;
        }
        let length = match first {
            '\\' => command_length(text),
            '.' if text.starts_with("...") => 3,
            // The separator of thousands.
            '{' if text.starts_with("{,}") => 3,
            ',' if text.starts_with(",\\!") => 3,
            _ => first.len_utf8(),
        };
        let (symbol, rest) = text.split_at(length);
        text = rest;
        match symbol {
            "{,}" | ",\\!" | "~" | "\\(" | "\\)" | "\\ " => {}
            // An invisible bracket.
            "\\left" | "\\right" if text.trim_start().starts_with('.') => text = &text.trim_start()[1..],
            _ if STYLES.contains(&symbol) || TEXT_COMMANDS.contains(&symbol) => {}
            // The `000` of `1,000` is no element of a list.
            "," if is_group(&found, text) => {}
            "..." => found.push("\\dots".into()),
            "°" => found.extend(["^", "\\circ"].map(String::from)),
            _ if first.is_whitespace() => {
                // Between two digits, white space keeps two numbers apart.
                let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
                let before = found.last().and_then(|symbol| symbol.chars().next());
                if is_digit(before) && is_digit(text.chars().next()) {
                    found.push(" ".into());
                }
            }
            _ => {
                let kept = SAME
                    .iter()
                    .find(|(from, _)| *from == symbol)
                    .map_or(symbol, |(_, to)| to);
                found.push(kept.to_owned());
            }
        }
    }
    found
}

/// Whether a comma between these symbols and this text separates thousands for certain: `1,000`.
fn is_group(before: &[String], after: &str) -> bool {
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    let is_number = |symbol: &String| symbol.bytes().all(|byte| byte.is_ascii_digit());
    digits == 3 && after.starts_with('0') && before.last().is_some_and(is_number)
}

/// The raised or lowered characters that `text` starts with, as symbols in braces behind `sign`, and the rest.
fn script<'a>(text: &'a str, sign: &str, plain: fn(char) -> Option<char>) -> Option<(Vec<String>, &'a str)> {
    let end = text.find(|c| plain(c).is_none()).unwrap_or(text.len());
    let inner = text[..end].chars().filter_map(plain).map(String::from);
    let script = [sign, "{"].map(String::from).into_iter().chain(inner);
    (end > 0).then(|| (script.chain(["}".to_owned()]).collect(), &text[end..]))
}

/// The length of the command that `text` starts with: a backslash and letters, or one other character.
fn command_length(text: &str) -> usize {
    let name = &text[1..];
    let letters = name.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(name.len());
    1 + letters.max(name.chars().next().map_or(0, char::len_utf8))
}

/// The symbols without braces around a single one, except that everything raised or lowered has braces: `x^2` is `x^{2}`, `x^10` is
/// `x^{10}`, and `x^-1` is `x^{-1}`.
fn unbraced(symbols: &[String]) -> Vec<String> {
    let is_digit = |symbol: &String| symbol.len() == 1 && symbol.as_bytes()[0].is_ascii_digit();
    let mut kept: Vec<String> = Vec::with_capacity(symbols.len());
    let mut place = 0;
    while let Some(symbol) = symbols.get(place) {
        place += 1;
        let rest = &symbols[place..];
        match rest {
            [inner, close, ..] if symbol == "{" && close == "}" && inner != "{" && inner != "}" => {
                kept.push(inner.clone());
                place += 2;
                continue;
            }
            _ => kept.push(symbol.clone()),
        }
        if symbol != "^" && symbol != "_" {
            continue;
        }
        let sign = usize::from(symbol == "^" && matches!(rest, [sign, digit, ..] if sign == "-" && is_digit(digit)));
        let digits = sign + rest[sign..].iter().take_while(|symbol| is_digit(symbol)).count();
        match rest.first() {
            None => {}
            Some(next) if next == "{" => {
                kept.push(next.clone());
                place += 1;
            }
            Some(_) => {
                let length = digits.max(1);
                kept.push("{".into());
                kept.extend(rest[..length].iter().cloned());
                kept.push("}".into());
                place += length;
                // It kept apart what the braces keep apart.
                place += usize::from(symbols.get(place).is_some_and(|next| next == " "));
            }
        }
    }
    kept
}

/// The symbols without plus signs at the start of a number or a term.
fn without_plus_signs(symbols: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(symbols.len());
    for (place, symbol) in symbols.iter().enumerate() {
        let is_first = kept
            .last()
            .is_none_or(|before| matches!(&before[..], "(" | "[" | "\\{" | "," | "="));
        let has_term = symbols.get(place + 1).is_some_and(|next| {
            next.starts_with(|c: char| c.is_alphanumeric()) || next.len() > 2 && next.starts_with('\\')
        });
        if !(symbol == "+" && is_first && has_term) {
            kept.push(symbol.clone());
        }
    }
    kept
}

/// A text that has these symbols.
pub(super) fn text_of(symbols: &[String]) -> String {
    let mut text = String::new();
    for (place, symbol) in symbols.iter().enumerate() {
        let is_word = |symbol: &str| symbol.len() > 2 && symbol.starts_with('\\');
        if place > 0 && is_word(&symbols[place - 1]) && symbol.starts_with(|c: char| c.is_ascii_alphabetic()) {
            text.push(' ');
        }
        text += symbol;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_change_the_meaning_is_dropped_and_nothing_else() {
        for (a, b, same) in [
            ("\\left( 1,\\, 2 \\right)", "(1,2)", true),
            ("\\leftarrow", "\\rightarrow", false),
            ("\\leftarrow", "arrow", false),
            ("x \\to 0", "x \\rightarrow 0", true),
            ("n!", "n", false),
            ("\\dfrac{x}{2}", "\\frac x2", true),
            ("\\frac{x}{23}", "\\frac{x}{2}3", false),
            ("x^{2}", "x^2", true),
            ("x^{10}", "x^10", true),
            ("x^{10}", "x^1", false),
            ("x_{12}", "x_1 2", false),
            ("\\log_3 7", "\\log_{3} 7", true),
            ("\\log_3 7", "\\log_{37}", false),
            ("x^{y+1}", "x^y+1", false),
            ("x^{-1}", "x^-1", true),
            ("x^{-12}y", "x^-12y", true),
            ("x^{-}1", "x^-1", false),
            ("x^{-y}", "x^-y", false),
            ("x²", "x^2", true),
            ("x²y", "x^{2}y", true),
            ("x²", "x2", false),
            ("x⁻¹²", "x^{-12}", true),
            ("H₂O", "H_2O", true),
            ("½x", "\\frac{1}{2}x", true),
            ("⅒x", "\\frac{1}{10}x", true),
            ("\\text{Yes}", "yes", true),
            ("yes", "YES.", true),
            ("no", "No", true),
            ("N", "n", false),
            ("AB", "ab", false),
            ("ABC", "abc", false),
            ("III", "iii", false),
            ("TRUE", "true", true),
            ("Odd", "ODD", true),
            ("Tom", "TOM", true),
            ("Abc", "abc", true),
            ("\\Omega", "\\omega", false),
            ("\\mathbb{R}", "R", false),
            ("12 3", "123", false),
            ("1 2", "1  2", true),
            ("x y", "xy", true),
            ("p - q", "p-q", true),
            ("P-Q", "p-q", false),
            ("a b", "ab", true),
            ("well-known", "Well-known", true),
            ("\\{1,000\\}", "\\{1000\\}", true),
            ("(1,234)", "(1234)", false),
            ("1, 2, \\ldots", "1,2,...", true),
            ("1, 2, ...", "1, 2", false),
            ("(0,+\\infty)", "(0, ∞)", true),
            ("a+b", "ab", false),
            ("\\sin 30^\\circ", "\\sin 30", false),
            ("\\sin 30°", "\\sin 30^{\\circ}", true),
            ("\\left. x \\right|_0", "x|_0", true),
            ("10{,}080 x", "10080x", true),
            ("\\{1\\}", "1", false),
            ("New York", "new york", true),
            ("\\frac{a}{b}", "\\frac{b}{a}", false),
        ] {
            let is_equal = tokens(a) == tokens(b) || tokens(&text_of(&tokens(a))) == tokens(&text_of(&tokens(b)));
            assert_eq!(is_equal, same, "{a} and {b}: {:?} {:?}", tokens(a), tokens(b));
        }
    }
}
