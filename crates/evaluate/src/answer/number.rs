//! Parses numbers as people and LaTeX write them into exact fractions.

/// A number, and whether it was written with a percent sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    /// In lowest terms, with a positive denominator.
    numerator: i128,
    denominator: i128,
    pub(super) is_percent: bool,
}

const CURRENCIES: [char; 4] = ['$', '€', '£', '¥'];

impl Number {
    fn new(numerator: i128, denominator: i128) -> Option<Self> {
        if denominator == 0 {
            return None;
        }
        let divisor = greatest_common_divisor(numerator.checked_abs()?, denominator.checked_abs()?).max(1);
        let sign = denominator.signum();
        Some(Self {
            numerator: sign * numerator / divisor,
            denominator: sign * denominator / divisor,
            is_percent: false,
        })
    }

    /// The number that all of `text` is: an integer with or without thousands separators, a decimal, a fraction `a/b` or
    /// `\frac{a}{b}` or a mixed number, with a sign, a currency sign, a percent sign and a unit after it. `None` if it is
    /// anything else, or has too many digits to compare exactly.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut text = text.trim();
        // `x = 5` is 5.
        if let Some((name, value)) = text.split_once('=')
            && matches!(name.trim().chars().collect::<Vec<_>>()[..], [c] if c.is_alphabetic())
        {
            text = value.trim();
        }
        text = text.trim_end_matches(['.', ',', ';']).trim_end();
        let (negative, mut text) = signed(text);
        text = text
            .trim_start_matches("\\$")
            .trim_start_matches(CURRENCIES)
            .trim_start();
        let (more_negative, text) = if negative { (false, text) } else { signed(text) };
        let (text, is_percent) = without_unit(text);
        let value = Self::unsigned(text)?;
        let numerator = if negative || more_negative {
            value.numerator.checked_neg()?
        } else {
            value.numerator
        };
        Some(Self {
            numerator,
            is_percent,
            ..value
        })
    }

    /// One hundredth of it.
    pub(super) fn hundredth(self) -> Option<Self> {
        Self::new(self.numerator, self.denominator.checked_mul(100)?)
    }

    /// Whether the values are equal, ignoring percent signs.
    pub(super) fn equals(self, other: Self) -> bool {
        (self.numerator, self.denominator) == (other.numerator, other.denominator)
    }

    fn unsigned(text: &str) -> Option<Self> {
        let text = text.trim();
        for command in ["\\frac", "\\dfrac", "\\tfrac"] {
            if let Some(place) = text.find(command) {
                let (numerator, rest) = argument(&text[place + command.len()..])?;
                let (denominator, rest) = argument(rest)?;
                if !rest.trim().is_empty() {
                    return None;
                }
                let fraction = Self::divided(Self::parse(numerator)?, Self::parse(denominator)?)?;
                return match text[..place].trim() {
                    "" => Some(fraction),
                    whole => Self::sum(Self::integer(whole)?, fraction),
                };
            }
        }
        if let Some((numerator, denominator)) = text.split_once('/') {
            let denominator = Self::decimal(denominator.trim())?;
            return match numerator.trim().rsplit_once(' ') {
                // A mixed number.
                Some((whole, numerator)) => {
                    let fraction = Self::divided(Self::integer(numerator)?, denominator)?;
                    Self::sum(Self::integer(whole.trim())?, fraction)
                }
                None => Self::divided(Self::decimal(numerator.trim())?, denominator),
            };
        }
        Self::decimal(text)
    }

    fn integer(text: &str) -> Option<Self> {
        Self::new(digits(text)?, 1)
    }

    fn decimal(text: &str) -> Option<Self> {
        let text = without_separators(text)?;
        match text.split_once('.') {
            None => Self::new(digits(&text)?, 1),
            Some(("", "")) => None,
            Some((whole, fraction)) => {
                let fraction = fraction.trim_end_matches('0');
                let scale = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
                let part = |text: &str| if text.is_empty() { Some(0) } else { digits(text) };
                let numerator = part(whole)?.checked_mul(scale)?.checked_add(part(fraction)?)?;
                Self::new(numerator, scale)
            }
        }
    }

    fn divided(a: Self, b: Self) -> Option<Self> {
        Self::new(
            a.numerator.checked_mul(b.denominator)?,
            a.denominator.checked_mul(b.numerator)?,
        )
    }

    fn sum(a: Self, b: Self) -> Option<Self> {
        let numerator =
            (a.numerator.checked_mul(b.denominator)?).checked_add(b.numerator.checked_mul(a.denominator)?)?;
        Self::new(numerator, a.denominator.checked_mul(b.denominator)?)
    }
}

fn greatest_common_divisor(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Whether the text starts with a minus sign, and the text after the sign.
fn signed(text: &str) -> (bool, &str) {
    let negative = text.strip_prefix(['-', '−', '–']);
    let rest = negative.or_else(|| text.strip_prefix('+')).unwrap_or(text);
    (negative.is_some(), rest.trim_start())
}

/// The text without its unit, and whether the unit was a percent sign. A unit without a space before it has at least two
/// letters: `3x` is not a number.
fn without_unit(text: &str) -> (&str, bool) {
    for sign in ["\\%", "%", "percent"] {
        if let Some(text) = text.strip_suffix(sign) {
            return (text.trim_end(), true);
        }
    }
    for sign in ["^\\circ", "^{\\circ}", "°", "€", "\\$", "$"] {
        if let Some(text) = text.strip_suffix(sign) {
            return (text.trim_end(), false);
        }
    }
    for command in ["\\text", "\\mathrm", "\\textrm", "\\mbox"] {
        if let Some((number, unit)) = text.split_once(command)
            && unit.trim_end().ends_with('}')
        {
            return (number.trim_end_matches("\\ ").trim_end_matches("\\,").trim_end(), false);
        }
    }
    let Some(end) = text
        .rfind(|c: char| c.is_ascii_digit() || c == '}')
        .map(|place| place + 1)
    else {
        return (text, false);
    };
    let tail = text[end..].trim_start_matches('.');
    let unit = tail.trim();
    let is_unit = unit.chars().all(|c| c.is_alphabetic() || " /.²³".contains(c))
        && unit.starts_with(char::is_alphabetic)
        && (tail.starts_with(char::is_whitespace) || unit.chars().nth(1).is_some_and(char::is_alphabetic));
    (if is_unit { &text[..end] } else { text }, false)
}

/// The argument at the start of `text`, in braces or a single digit, and the rest.
fn argument(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('{') {
        return inner.split_once('}');
    }
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.split_at(1))
}

fn digits(text: &str) -> Option<i128> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The text without thousands separators; `None` if one of them is not followed by three digits.
fn without_separators(text: &str) -> Option<String> {
    let text = text
        .replace("{,}", ",")
        .replace("\\,", ",")
        .replace(['\u{a0}', '\u{202f}', ' ', '\''], ",");
    if !text.contains(',') {
        return Some(text);
    }
    let whole = text.split('.').next().unwrap_or_default();
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let sound =
        (1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3) && !text[whole.len()..].contains(',');
    sound.then(|| text.replace(',', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_notation() {
        let number = |numerator: i128, denominator: i128| Number::new(numerator, denominator);
        for (text, expected) in [
            ("42", number(42, 1)),
            ("-42", number(-42, 1)),
            ("−42", number(-42, 1)),
            ("+7", number(7, 1)),
            ("007", number(7, 1)),
            ("1,234", number(1234, 1)),
            ("1,234,567.50", number(2_469_135, 2)),
            ("1{,}234", number(1234, 1)),
            ("1 234", number(1234, 1)),
            ("12,34", None),
            ("1,2345", None),
            ("0.5", number(1, 2)),
            (".5", number(1, 2)),
            ("5.", number(5, 1)),
            ("2.500", number(5, 2)),
            ("1/2", number(1, 2)),
            ("2/4", number(1, 2)),
            ("-3/4", number(-3, 4)),
            ("1/0", None),
            ("1 1/2", number(3, 2)),
            ("\\frac{1}{2}", number(1, 2)),
            ("\\dfrac{10}{4}", number(5, 2)),
            ("-\\frac{1}{2}", number(-1, 2)),
            ("\\frac12", number(1, 2)),
            ("\\frac{-1}{2}", number(-1, 2)),
            ("2\\frac{1}{3}", number(7, 3)),
            ("\\frac{a}{2}", None),
            ("$28,080", number(28_080, 1)),
            ("\\$5", number(5, 1)),
            ("-$5", number(-5, 1)),
            ("$-5", number(-5, 1)),
            ("£195.00", number(195, 1)),
            ("5€", number(5, 1)),
            ("12 apples", number(12, 1)),
            ("12 apples.", number(12, 1)),
            ("60 km/h", number(60, 1)),
            ("12cm", number(12, 1)),
            ("5 m", number(5, 1)),
            ("5\\text{ cm}", number(5, 1)),
            ("5 \\mathrm{kg}", number(5, 1)),
            ("90^\\circ", number(90, 1)),
            ("90°", number(90, 1)),
            ("x = 5", number(5, 1)),
            ("3x", None),
            ("x", None),
            ("", None),
            ("-", None),
            (".", None),
            ("1.2.3", None),
            ("(1, 2)", None),
            ("2^{10}", None),
            ("999999999999999999999999999999999999999999", None),
        ] {
            assert_eq!(Number::parse(text), expected, "{text}");
        }
        let percent = Number::parse("12.5 \\%").unwrap();
        assert!(percent.is_percent && percent.equals(number(25, 2).unwrap()));
        assert!(percent.hundredth().unwrap().equals(number(1, 8).unwrap()));
    }
}
