//! Reads the parts of a number from the start of a text: spaces, signs, digits, decimals.

use super::rational::Rational;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Sign {
    Plus,
    Minus,
}

/// What stands between the groups of three digits. One number has one kind.
#[derive(Clone, Copy, PartialEq)]
enum Separator {
    /// `,`, `{,}` and `,\!`.
    Comma,
    /// White space and thin spaces.
    Space,
    Apostrophe,
}

/// The spaces of LaTeX and of Unicode.
pub(super) const SPACES: [&str; 12] = [
    "\\,",
    "\\;",
    "\\:",
    "\\!",
    "\\ ",
    "\\thinspace",
    "~",
    " ",
    "\u{a0}",
    "\u{2009}",
    "\u{202f}",
    "\u{2007}",
];

/// Reads a text from its start. A method that finds nothing leaves the text as it is.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a str,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(rest: &'a str) -> Self {
        Self { rest }
    }

    /// Takes the first of `words` that is next.
    pub(super) fn take(&mut self, words: &[&str]) -> bool {
        let found = words.iter().find_map(|word| self.rest.strip_prefix(word));
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// Takes all spaces; whether there was one.
    pub(super) fn spaces(&mut self) -> bool {
        let mut found = false;
        while self.take(&SPACES) {
            found = true;
        }
        found
    }

    /// What `part` reads; nothing is taken if it reads nothing.
    pub(super) fn attempt<T>(&mut self, part: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut reader = *self;
        let found = part(&mut reader)?;
        *self = reader;
        Some(found)
    }

    pub(super) fn sign(&mut self) -> Option<Sign> {
        let sign = if self.take(&["-", "−", "–", "﹣", "－", "minus ", "Minus ", "negative ", "Negative "]) {
            Sign::Minus
        } else if self.take(&["+"]) {
            Sign::Plus
        } else {
            return None;
        };
        self.spaces();
        Some(sign)
    }

    /// A run of digits, not empty.
    pub(super) fn digits(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!digits.is_empty()).then_some(digits)
    }

    /// A decimal with or without separators.
    pub(super) fn decimal(&mut self) -> Option<Rational> {
        let mut whole = self.attempt(Self::digits).unwrap_or_default().to_owned();
        let mut kind = None;
        while ((1..=3).contains(&whole.len()) && !whole.starts_with('0') || kind.is_some())
            && let Some((separator, group)) = self.attempt(|reader| {
                reader
                    .group(3..=3)
                    .filter(|(next, _)| kind.is_none_or(|kind| kind == *next))
            })
        {
            whole += group;
            kind = Some(separator);
        }
        let fraction = self.attempt(|reader| reader.take(&["."]).then(|| reader.digits()).flatten());
        let mut fraction = fraction.unwrap_or_default().to_owned();
        let mut last = fraction.len();
        while last == 3
            && let Some((Separator::Space, group)) = self.attempt(|reader| {
                let group = reader.group(1..=3)?;
                // `2.125 3/4` and `0.125 \times 10^3` go on with something else.
                (group.0 == Separator::Space && !reader.rest.starts_with('/')).then_some(group)
            })
        {
            fraction += group;
            last = group.len();
        }
        Rational::decimal(&whole, &fraction)
    }

    /// A separator and the digits after it.
    fn group(&mut self, lengths: std::ops::RangeInclusive<usize>) -> Option<(Separator, &'a str)> {
        let separator = if self.take(&["{,}", ",\\!", ","]) {
            self.take(&["\\!"]);
            Separator::Comma
        } else if self.take(&["'", "’"]) {
            Separator::Apostrophe
        } else if self.take(&SPACES) {
            Separator::Space
        } else {
            return None;
        };
        let digits = self.digits()?;
        lengths.contains(&digits.len()).then_some((separator, digits))
    }
}
