//! An amount of memory as a setting states it: `8 GiB`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an amount of memory looks like, for the schema.
pub(crate) const MEMORY_PATTERN: &str = r"^[1-9][0-9]* ?[KMGT]iB$";

/// The units, from the largest to the smallest.
const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// An amount of memory: a whole number of KiB, MiB, GiB or TiB, above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemorySize {
    bytes: u64,
}

/// A text is no amount of memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no amount of memory: write a whole number and a unit, such as `8 GiB` or `512 MiB`")]
pub struct WrongMemorySize {
    given: String,
}

impl MemorySize {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.bytes
    }
}

impl TryFrom<String> for MemorySize {
    type Error = WrongMemorySize;

    fn try_from(given: String) -> Result<Self, Self::Error> {
        let parsed = UNITS.iter().find_map(|&(unit, size)| {
            let number = given.strip_suffix(unit)?;
            let number = number.strip_suffix(' ').unwrap_or(number);
            // A sign or a leading zero parses as well.
            let is_plain = number.starts_with(|first: char| ('1'..='9').contains(&first));
            number.parse::<u64>().ok().filter(|_| is_plain)?.checked_mul(size)
        });
        parsed.map(|bytes| Self { bytes }).ok_or(WrongMemorySize { given })
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |&&(_, size): &&(&str, u64)| self.bytes.is_multiple_of(size);
        let (unit, size) = UNITS.iter().find(divides).expect("an amount is made of a unit");
        write!(f, "{} {unit}", self.bytes / size)
    }
}

impl From<MemorySize> for String {
    fn from(size: MemorySize) -> Self {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_back() {
        for (given, bytes, written) in [
            ("8 GiB", 8 << 30, "8 GiB"),
            ("512MiB", 512 << 20, "512 MiB"),
            ("2048 MiB", 2 << 30, "2 GiB"),
            ("1 KiB", 1 << 10, "1 KiB"),
            ("3 TiB", 3 << 40, "3 TiB"),
        ] {
            let size = MemorySize::try_from(given.to_owned()).unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, written));
            assert_eq!(MemorySize::try_from(size.to_string()), Ok(size));
        }
        for wrong in [
            "8",
            "8 GB",
            "8gib",
            "8 Gi",
            "0 GiB",
            "-8 GiB",
            "+8 GiB",
            "1.5 GiB",
            "GiB",
            "",
            "8  GiB",
            " 8 GiB",
            "8 GiB ",
            "99999999999 GiB",
            "08 GiB",
        ] {
            let error = MemorySize::try_from(wrong.to_owned()).unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{wrong}`")) && error.contains("`8 GiB`"),
                "{error}"
            );
        }
    }
}
