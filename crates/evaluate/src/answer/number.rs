//! The one parser of numbers: as people and LaTeX write them, exactly.
//!
//! It reads a decimal with separators of thousands, a fraction, a mixed number or a power of ten, with its sign and currency.
//! It does no arithmetic beyond that: `2^{10}`, `3 \cdot 4` and `2\sqrt{3}` are no numbers here.

use super::{
    characters::{raised, vulgar_fraction},
    rational::Rational,
    reader::{Reader, Sign},
    unit::{Unit, currency},
};

/// Texts of more bytes are not read as numbers, which bounds the time for their digits.
const LONGEST: usize = 1000;

/// A number with what stands beside it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantity {
    pub(super) value: Rational,
    /// A percent sign, a currency or another unit.
    pub(super) unit: Unit,
}

impl Quantity {
    /// The number that all of `text` is, with its unit; `None` if `text` is anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut reader = Reader::new(text.trim().trim_end_matches([',', ';']));
        reader.spaces();
        let (sign, before) = (reader.sign(), reader.currency());
        // `$-5` beside `-$5`.
        let sign = if before.is_some() && sign.is_none() {
            reader.sign()
        } else {
            sign
        };
        let value = reader.magnitude()?;
        let after = Unit::parse(reader.rest)?;
        Some(Self {
            value: if sign == Some(Sign::Minus) {
                value.negated()
            } else {
                value
            },
            unit: before.unwrap_or(Unit::Nothing).with(after)?,
        })
    }

    /// Whether it is the same number with a unit that agrees. A percent sign on one side alone may be left out, but it can also
    /// mean a hundredth: `50%` is both `50` and `0.5`.
    pub(super) fn is(&self, other: &Self) -> bool {
        let is_same_value = self.value == other.value;
        match (&self.unit, &other.unit) {
            (Unit::Percent, Unit::Nothing) => is_same_value || self.is_hundredfold(other),
            (Unit::Nothing, Unit::Percent) => is_same_value || other.is_hundredfold(self),
            (a, b) => is_same_value && a.agrees(b),
        }
    }

    fn is_hundredfold(&self, other: &Self) -> bool {
        Rational::ten_to(2).is_some_and(|hundred| self.value == other.value.times(&hundred))
    }
}

/// The length in bytes of the number without sign and currency that `text` starts with.
pub(super) fn length_of_magnitude(text: &str) -> Option<usize> {
    // No more is looked at: a text may have as many places to begin as it has bytes.
    let text = &text[..text.floor_char_boundary(LONGEST)];
    let mut reader = Reader::new(text);
    reader.magnitude()?;
    Some(text.len() - reader.rest.len())
}

/// The parts of numbers.
impl Reader<'_> {
    fn currency(&mut self) -> Option<Unit> {
        let (unit, rest) = currency(self.rest)?;
        self.rest = rest;
        self.spaces();
        Some(unit)
    }

    /// A number without a sign, also in braces of its own as in `-{6}`.
    fn magnitude(&mut self) -> Option<Rational> {
        let in_braces = |reader: &mut Self| {
            let number = reader.take(&["{"]).then(|| reader.plain_magnitude()).flatten()?;
            reader.take(&["}"]).then_some(number)
        };
        self.attempt(in_braces).or_else(|| self.plain_magnitude())
    }

    /// A fraction, a mixed number, a power of ten or a decimal.
    fn plain_magnitude(&mut self) -> Option<Rational> {
        if let Some(fraction) = self.attempt(Self::fraction) {
            return Some(fraction);
        }
        let before = *self;
        let decimal = self.decimal()?;
        let written = &before.rest[..before.rest.len() - self.rest.len()];
        let is_integer = written.bytes().all(|byte| byte.is_ascii_digit());
        if is_integer && let Some(fraction) = self.attempt(Self::rest_of_mixed) {
            return Some(decimal.plus(&fraction));
        }
        if let Some(denominator) = self.attempt(Self::denominator).or_else(|| self.attempt(Self::over)) {
            // `1 234/567` may be a mixed number or a fraction.
            let is_ambiguous = written.contains(|c: char| c.is_whitespace() || c == '\\' || c == '~');
            return if is_ambiguous { None } else { decimal.over(&denominator) };
        }
        if written == "10"
            && let Some(power) = self.attempt(Self::exponent_of_ten)
        {
            return Some(power);
        }
        match self
            .attempt(Self::e_notation)
            .or_else(|| self.attempt(Self::times_power_of_ten))
        {
            Some(power) => Some(decimal.times(&power)),
            None => Some(decimal),
        }
    }

    /// `\frac{a}{b}` of signed decimals, or `½`.
    fn fraction(&mut self) -> Option<Rational> {
        if let Some(first) = self.rest.chars().next()
            && let Some((numerator, denominator)) = vulgar_fraction(first)
        {
            self.rest = &self.rest[first.len_utf8()..];
            return Rational::decimal(numerator, "")?.over(&Rational::decimal(denominator, "")?);
        }
        if !self.take(&["\\frac", "\\dfrac", "\\tfrac", "\\cfrac"]) {
            return None;
        }
        let numerator = self.argument()?;
        numerator.over(&self.argument()?)
    }

    /// The argument of a command: a signed decimal in braces, or one digit.
    fn argument(&mut self) -> Option<Rational> {
        self.spaces();
        if !self.take(&["{"]) {
            let digit = self
                .rest
                .get(..1)
                .filter(|digit| digit.as_bytes()[0].is_ascii_digit())?;
            self.rest = &self.rest[1..];
            return Rational::decimal(digit, "");
        }
        self.spaces();
        let sign = self.sign();
        let value = self.decimal()?;
        self.spaces();
        self.take(&["}"]).then_some(if sign == Some(Sign::Minus) {
            value.negated()
        } else {
            value
        })
    }

    /// The part of a mixed number after its integer: a fraction between zero and one.
    fn rest_of_mixed(&mut self) -> Option<Rational> {
        let is_apart = self.spaces();
        let fraction = self.attempt(Self::fraction).or_else(|| {
            let numerator = Rational::decimal(self.digits()?, "")?;
            numerator.over(&self.denominator()?).filter(|_| is_apart)
        })?;
        fraction.is_proper().then_some(fraction)
    }

    /// `/ b`.
    fn denominator(&mut self) -> Option<Rational> {
        self.spaces();
        if !self.take(&["/", "⁄"]) {
            return None;
        }
        self.spaces();
        self.decimal()
    }

    /// `\over b`.
    fn over(&mut self) -> Option<Rational> {
        self.spaces();
        if !self.take(&["\\over "]) {
            return None;
        }
        self.spaces();
        self.decimal()
    }

    /// `\times 10^{5}`.
    fn times_power_of_ten(&mut self) -> Option<Rational> {
        self.spaces();
        if !self.take(&["\\times", "\\cdot", "\\ast", "×", "·", "⋅", "*", "x"]) {
            return None;
        }
        self.spaces();
        if !self.take(&["10", "{10}"]) {
            return None;
        }
        self.exponent_of_ten()
    }

    /// `^{5}` after a ten.
    fn exponent_of_ten(&mut self) -> Option<Rational> {
        self.spaces();
        let exponent = if self.take(&["^{", "**{"]) {
            self.spaces();
            let exponent = self.exponent()?;
            self.spaces();
            self.take(&["}"]).then_some(exponent)
        } else if self.take(&["^", "**"]) {
            self.exponent()
        } else {
            self.raised()
        };
        Rational::ten_to(exponent?)
    }

    /// `e5` after a decimal.
    fn e_notation(&mut self) -> Option<Rational> {
        if !self.take(&["e", "E"]) {
            return None;
        }
        let power = Rational::ten_to(self.exponent()?)?;
        (!self.rest.starts_with(char::is_alphanumeric)).then_some(power)
    }

    /// A signed integer of a few digits.
    fn exponent(&mut self) -> Option<i32> {
        let sign = self.sign();
        let value: i32 = self.digits()?.parse().ok()?;
        Some(if sign == Some(Sign::Minus) { -value } else { value })
    }

    /// A signed integer in raised characters.
    fn raised(&mut self) -> Option<i32> {
        let is_negative = self.take(&["⁻"]);
        let mut value: Option<i32> = None;
        while let Some(next) = self.rest.chars().next()
            && let Some(digit) = raised(next).and_then(|raised| raised.to_digit(10))
        {
            value = Some(value.unwrap_or(0).checked_mul(10)?.checked_add(digit.cast_signed())?);
            self.rest = &self.rest[next.len_utf8()..];
        }
        value.map(|value| if is_negative { -value } else { value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number `numerator / denominator`, as decimals.
    fn ratio(numerator: &str, denominator: &str) -> Rational {
        let (is_negative, digits) = numerator
            .strip_prefix('-')
            .map_or((false, numerator), |digits| (true, digits));
        let value = Rational::decimal(digits, "").unwrap();
        let value = value.over(&Rational::decimal(denominator, "").unwrap()).unwrap();
        if is_negative { value.negated() } else { value }
    }

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        for (text, numerator, denominator) in [
            ("42", "42", "1"),
            ("-42", "-42", "1"),
            ("007", "7", "1"),
            ("1,234,567.50", "2469135", "2"),
            (".5", "1", "2"),
            ("2.500", "5", "2"),
            ("0.123\\,456", "123456", "1000000"),
            ("-3/4", "-3", "4"),
            ("\\frac{-1}{2}", "-1", "2"),
            ("-3\\frac{1}{2}", "-7", "2"),
            ("4.5e-3", "9", "2000"),
            ("10^{3}", "1000", "1"),
            ("2×10⁻³", "1", "500"),
            ("½", "1", "2"),
            ("-1½", "-3", "2"),
            ("2 ⅜", "19", "8"),
            ("3⁄4", "3", "4"),
            ("-{6}", "-6", "1"),
            ("{\\frac{1}{2}}\\text{ cm}", "1", "2"),
        ] {
            let found = Quantity::parse(text).map(|quantity| quantity.value);
            assert_eq!(found, Some(ratio(numerator, denominator)), "{text}");
        }
        let long = "9".repeat(LONGEST + 1);
        for text in [
            "",
            "-",
            ".",
            "x",
            "1.2.3",
            "12,34",
            "1,2345",
            "0,123",
            "1,234 567",
            "1 234/567",
            "1/0",
            "\\frac{1}{0}",
            "\\frac{a}{2}",
            "3 5/2",
            "(1, 2)",
            "2^{10}",
            "3x",
            "3\\pi",
            "1e99999",
            "10^{99999999999}",
            "--5",
            "5!",
            "3 \\times 4",
            "1.5½",
            "½/2",
            "5²",
            "{1}{2}",
            "{6",
            "-{6}^2",
            "{10}^{2}",
            "$5%",
            "\\$5\\text{ K}",
            &long,
        ] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_number_at_the_start_of_a_text_is_as_long_as_it_can_be() {
        for (text, expected) in [
            ("1 234 567 people", Some("1 234 567")),
            ("11 5/6 cups", Some("11 5/6")),
            ("9{,}500$", Some("9{,}500")),
            ("3.2 \\times 10^5.", Some("3.2 \\times 10^5")),
            ("\\frac{3}{4}$", Some("\\frac{3}{4}")),
            ("12,34", Some("12")),
            ("5.", Some("5")),
            ("12\n345", Some("12")),
            ("x", None),
        ] {
            assert_eq!(
                length_of_magnitude(text).map(|length| &text[..length]),
                expected,
                "{text}"
            );
        }
    }
}
