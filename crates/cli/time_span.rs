//! Durations on the command line: `2h`, `90min`, `1h 30m`, `45s`.

use std::{fmt, str::FromStr, time::Duration};

use crate::amounts;

/// A duration above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeSpan(pub(crate) Duration);

/// A text that is not a duration above zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidTimeSpan {
    /// It is not a duration.
    #[error(
        "`{given}` is not a length of time: write whole numbers with their units, the largest first, such as `2h`, `90min`, `1d 12h` or `45s`"
    )]
    NotATime { given: String },
    /// It is zero.
    #[error("`{given}` is too short: a length of time must be above 0")]
    Zero { given: String },
}

/// The units, largest first, with their names and seconds.
const UNITS: [(&[&str], u64); 4] = [(&["d"], 86_400), (&["h"], 3600), (&["min", "m"], 60), (&["s"], 1)];

impl FromStr for TimeSpan {
    type Err = InvalidTimeSpan;

    fn from_str(text: &str) -> Result<Self, InvalidTimeSpan> {
        let given = || text.to_owned();
        match parse(text) {
            Some(seconds) if seconds > 0 => Ok(Self(Duration::from_secs(seconds))),
            // An empty text names no unit.
            Some(_) if !text.trim().is_empty() => Err(InvalidTimeSpan::Zero { given: given() }),
            _ => Err(InvalidTimeSpan::NotATime { given: given() }),
        }
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
    fn zero_is_refused_as_too_short() {
        for text in ["0s", "0h 0min"] {
            let error = text.parse::<TimeSpan>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("`{text}` is too short: a length of time must be above 0")
            );
        }
        assert!(matches!("".parse::<TimeSpan>(), Err(InvalidTimeSpan::NotATime { .. })));
    }

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
