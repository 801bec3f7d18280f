//! Compares two answers.

use super::number::Number;

/// Whether `found` is the answer `expected`: the same number in any notation, or the same text.
///
/// Numbers are compared exactly. If only one side has a percent sign, the sign may be ignored or mean a hundredth: `50%` equals
/// both `50` and `0.5`. Texts are compared without white space, case, LaTeX's spacing and sizes, and final punctuation.
pub fn same_answer(expected: &str, found: &str) -> bool {
    let (expected, found) = (bare(expected), bare(found));
    if let (Some(a), Some(b)) = (Number::parse(&expected), Number::parse(&found)) {
        let hundredth = |number: Number| number.is_percent.then(|| number.hundredth()).flatten();
        return a.equals(b)
            || (a.is_percent != b.is_percent)
                && (hundredth(a).is_some_and(|a| a.equals(b)) || hundredth(b).is_some_and(|b| a.equals(b)));
    }
    let (expected, found) = (plain(&expected), plain(&found));
    !expected.is_empty() && expected == found
}

/// The text without the delimiters of mathematics.
fn bare(text: &str) -> String {
    let mut text = text.trim();
    loop {
        let within = [
            ("$$", "$$"),
            ("$", "$"),
            ("\\(", "\\)"),
            ("\\[", "\\]"),
            ("**", "**"),
            ("`", "`"),
        ]
        .into_iter()
        .find_map(|(start, end)| text.strip_prefix(start)?.strip_suffix(end));
        match within {
            Some(within) if !within.is_empty() => text = within.trim(),
            _ => return text.to_owned(),
        }
    }
}

/// The text without parts that do not change its meaning.
fn plain(text: &str) -> String {
    let mut text = text.to_lowercase();
    for (from, to) in [
        ("\\dfrac", "\\frac"),
        ("\\tfrac", "\\frac"),
        ("\\left", ""),
        ("\\right", ""),
        ("\\!", ""),
        ("\\,", ""),
        ("\\;", ""),
        ("\\:", ""),
        ("\\ ", ""),
        ("~", ""),
        ("\\$", ""),
        ("$", ""),
        ("\\%", "%"),
        ("−", "-"),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
    ] {
        text = text.replace(from, to);
    }
    for command in ["\\text{", "\\mathrm{", "\\textbf{", "\\mathbf{", "\\mbox{"] {
        while let Some(place) = text.find(command) {
            let inner = &text[place + command.len()..];
            let Some(end) = inner.find('}') else { break };
            text = format!("{}{}{}", &text[..place], &inner[..end], &inner[end + 1..]);
        }
    }
    text.retain(|c| !c.is_whitespace());
    text.trim_end_matches(['.', ',', ';', '!']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_the_same_in_any_notation() {
        for (expected, found, same) in [
            ("42", "42", true),
            ("42", "42.0", true),
            ("42", "43", false),
            ("42", "-42", false),
            ("28080", "$28,080", true),
            ("28080", "28,080 dollars.", true),
            ("0.5", "\\frac{1}{2}", true),
            ("1/2", "$\\frac{1}{2}$", true),
            ("1/3", "0.333", false),
            ("3/2", "1 1/2", true),
            ("50%", "50", true),
            ("50", "50 \\%", true),
            ("0.5", "50%", true),
            ("50%", "50%", true),
            ("50%", "5000%", false),
            ("5000", "50%", false),
            ("12", "12 apples", true),
            ("12 apples", "12", true),
            ("12", "12x", false),
            ("Paris", " paris. ", true),
            ("Paris", "Rome", false),
            ("B", "\\text{B}", true),
            ("(1, 2)", "\\left( 1,2 \\right)", true),
            ("(1, 2)", "(2, 1)", false),
            ("x^2+1", "x^2 + 1", true),
            ("\\frac{x}{2}", "\\dfrac{x}{2}", true),
            ("2\\sqrt{3}", "$2\\sqrt{3}$", true),
            ("yes", "**Yes**", true),
            ("", "", false),
            (
                "10000000000000000000000000000000000000000000",
                "10000000000000000000000000000000000000000000",
                true,
            ),
        ] {
            assert_eq!(same_answer(expected, found), same, "{expected} and {found}");
        }
    }
}
