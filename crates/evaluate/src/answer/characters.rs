//! Characters that stand for several symbols: `½` and the `²` of `x²`.

/// The numerator and the denominator of a character that is a fraction.
pub(super) fn vulgar_fraction(character: char) -> Option<(&'static str, &'static str)> {
    Some(match character {
        '½' => ("1", "2"),
        '⅓' => ("1", "3"),
        '⅔' => ("2", "3"),
        '¼' => ("1", "4"),
        '¾' => ("3", "4"),
        '⅕' => ("1", "5"),
        '⅖' => ("2", "5"),
        '⅗' => ("3", "5"),
        '⅘' => ("4", "5"),
        '⅙' => ("1", "6"),
        '⅚' => ("5", "6"),
        '⅐' => ("1", "7"),
        '⅛' => ("1", "8"),
        '⅜' => ("3", "8"),
        '⅝' => ("5", "8"),
        '⅞' => ("7", "8"),
        '⅑' => ("1", "9"),
        '⅒' => ("1", "10"),
        _ => return None,
    })
}

/// The symbol that a raised character is.
pub(super) fn raised(character: char) -> Option<char> {
    among("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni", character)
}

/// The symbol that a lowered character is.
pub(super) fn lowered(character: char) -> Option<char> {
    among("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", character)
}

fn among(from: &str, to: &str, character: char) -> Option<char> {
    from.chars()
        .zip(to.chars())
        .find(|(from, _)| *from == character)
        .map(|(_, to)| to)
}
