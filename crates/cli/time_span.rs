//! Durations on the command line: `2h`, `90min`, `1h 30m`, `45s`.

use std::{fmt, str::FromStr, time::Duration};

use crate::amounts;

/// A duration above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeSpan(pub(crate) Duration);

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not a length of time: write whole numbers with their units, the largest first, such as `2h`, `90min`, `1d 12h` or `45s`"
)]
pub(crate) struct InvalidTimeSpan {
    given: String,
}

/// The units, largest first, with their names and seconds.
const UNITS: [(&[&str], u64); 4] = [(&["d"], 86_400), (&["h"], 3600), (&["min", "m"], 60), (&["s"], 1)];

impl FromStr for TimeSpan {
    type Err = InvalidTimeSpan;

    fn from_str(text: &str) -> Result<Self, InvalidTimeSpan> {
        parse(text)
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Self(Duration::from_secs(seconds)))
            .ok_or_else(|| InvalidTimeSpan { given: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<u64> {
    let (mut rest, mut seconds, mut units) = (text.trim(), 0u64, UNITS.iter());
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let name = &rest[..letters];
        let (_, unit_seconds) = units.find(|(names, _)| names.contains(&name))?;
        seconds = seconds.checked_add(number.checked_mul(*unit_seconds)?)?;
        rest = rest[letters..].trim_start();
    }
    Some(seconds)
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&amounts::duration(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_in_their_units() {
        let seconds = |text: &str| text.parse::<TimeSpan>().map(|span| span.0.as_secs()).ok();
        for (text, expected) in [
            ("2h", 7200),
            ("90min", 5400),
            ("90 m", 5400),
            ("1d 12h", 129_600),
            ("1h30m", 5400),
            ("45s", 45),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "2",
            "h",
            "0s",
            "-1h",
            "1.5h",
            "2 hours",
            "30m 1h",
            "1h 1h",
            "1h30",
            "99999999999999999d",
            "2é",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
