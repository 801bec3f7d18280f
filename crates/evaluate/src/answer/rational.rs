//! Exact fractions of any size.

use num_bigint::BigInt;

/// The largest power of ten, up or down, that is computed. Larger ones would take memory for nothing.
const LARGEST_EXPONENT: u32 = 10_000;

/// A fraction. It is not reduced: equality is decided by multiplication.
#[derive(Clone, Debug)]
pub(super) struct Rational {
    numerator: BigInt,
    /// Not zero.
    denominator: BigInt,
}

impl Rational {
    /// The number whose decimal digits are `whole` before and `fraction` after the point; `None` if both are empty or
    /// anything but a digit is in them.
    pub(super) fn decimal(whole: &str, fraction: &str) -> Option<Self> {
        let digits = format!("{whole}{fraction}");
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            numerator: digits.parse().ok()?,
            denominator: power_of_ten(u32::try_from(fraction.len()).ok()?)?,
        })
    }

    /// `10^exponent`; `None` if that has more than ten thousand digits.
    pub(super) fn ten_to(exponent: i32) -> Option<Self> {
        let power = power_of_ten(exponent.unsigned_abs())?;
        let one = BigInt::from(1);
        let (numerator, denominator) = if exponent < 0 { (one, power) } else { (power, one) };
        Some(Self { numerator, denominator })
    }

    /// The product of two numbers.
    pub(super) fn times(&self, other: &Self) -> Self {
        Self {
            numerator: &self.numerator * &other.numerator,
            denominator: &self.denominator * &other.denominator,
        }
    }

    /// The quotient of two numbers; `None` if `other` is zero.
    pub(super) fn over(&self, other: &Self) -> Option<Self> {
        (other.numerator != BigInt::from(0)).then(|| Self {
            numerator: &self.numerator * &other.denominator,
            denominator: &self.denominator * &other.numerator,
        })
    }

    /// The sum of two numbers.
    pub(super) fn plus(&self, other: &Self) -> Self {
        Self {
            numerator: &self.numerator * &other.denominator + &other.numerator * &self.denominator,
            denominator: &self.denominator * &other.denominator,
        }
    }

    /// The number with the other sign.
    pub(super) fn negated(self) -> Self {
        Self {
            numerator: -self.numerator,
            ..self
        }
    }

    /// Whether it is at least zero and less than one.
    pub(super) fn is_proper(&self) -> bool {
        let zero = BigInt::from(0);
        self.numerator >= zero && self.denominator > self.numerator
    }
}

impl PartialEq for Rational {
    fn eq(&self, other: &Self) -> bool {
        &self.numerator * &other.denominator == &other.numerator * &self.denominator
    }
}

fn power_of_ten(exponent: u32) -> Option<BigInt> {
    (exponent <= LARGEST_EXPONENT).then(|| BigInt::from(10).pow(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_exact() {
        let number = |whole: &str, fraction: &str| Rational::decimal(whole, fraction).unwrap();
        let third = number("1", "").over(&number("3", "")).unwrap();
        assert_eq!(third.plus(&third).plus(&third), number("1", ""));
        assert_ne!(third, number("0", "333333333333333333333333333333333333333333"));
        assert_eq!(
            number("4", "50").times(&Rational::ten_to(33).unwrap()),
            number(&format!("45{}", "0".repeat(32)), "")
        );
        assert_eq!(Rational::ten_to(-2).unwrap(), number("", "01"));
        assert_eq!(
            number("2", "").negated().over(&number("4", "").negated()).unwrap(),
            number("0", "5")
        );
        assert!(number("1", "").over(&number("0", "00")).is_none());
        assert!(third.is_proper() && number("0", "").is_proper());
        assert!(!number("1", "").is_proper() && !third.negated().is_proper());
        assert!(Rational::decimal("", "").is_none() && Rational::decimal("1a", "").is_none());
        assert!(Rational::decimal("+1", "").is_none());
        assert!(Rational::ten_to(10_000).is_some() && Rational::ten_to(10_001).is_none());
        assert!(Rational::ten_to(i32::MIN).is_none());
    }
}
