//! Formats counts, rates, sizes and times for people.

use std::time::Duration;

/// A rate with about three digits.
pub(crate) fn rounded(rate: f64) -> String {
    if rate < 10.0 {
        format!("{rate:.2}")
    } else if rate < 100.0 {
        format!("{rate:.1}")
    } else {
        grouped(rate.round() as u64)
    }
}

/// A count with thousands separators: `1,234,567`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count of things, such as `1 run` and `1,234 runs`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {thing}{s}", grouped(count))
}

/// A count or rate in at most six characters: `999`, `12.3 k`, `4.56 M`.
pub(crate) fn short(count: f64) -> String {
    let mut amount = count;
    for unit in ["", " k", " M", " G", " T", " P"] {
        if amount.round() < 1000.0 {
            return match unit {
                "" => format!("{amount:.0}"),
                _ => three_digits(amount) + unit,
            };
        }
        amount /= 1000.0;
    }
    three_digits(amount) + " E"
}

/// Three significant digits, or all digits before the decimal point if there are more.
fn three_digits(amount: f64) -> String {
    if amount < 9.995 {
        format!("{amount:.2}")
    } else if amount < 99.95 {
        format!("{amount:.1}")
    } else {
        format!("{amount:.0}")
    }
}

/// A duration in one unit with two or three digits: `45 s`, `12 min`, `3.4 h`.
pub(crate) fn short_duration(seconds: f64) -> String {
    let (amount, unit) = match seconds {
        ..99.5 => (seconds, "s"),
        ..5970.0 => (seconds / 60.0, "min"),
        ..172_800.0 => (seconds / 3600.0, "h"),
        _ => (seconds / 86_400.0, "d"),
    };
    if amount < 9.95 {
        format!("{amount:.1} {unit}")
    } else {
        format!("{amount:.0} {unit}")
    }
}

/// A duration in its two largest units: `3 h 05 min`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// [`duration`] of a number of seconds, which may be too large for a [`Duration`].
pub(crate) fn spelt(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// A size in binary units: `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut amount = count as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if amount < 1024.0 {
            return if unit == "bytes" {
                format!("{count} bytes")
            } else {
                format!("{amount:.1} {unit}")
            };
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_for_people() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0, 1, 1234].map(|count| counted(count, "work unit")),
            ["0 work units", "1 work unit", "1,234 work units"]
        );
        assert_eq!([5.0, 45.678, 1234.4].map(rounded), ["5.00", "45.7", "1,234"]);
        assert_eq!(
            [0, 59, 60, 3725, 90_000].map(|s| duration(Duration::from_secs(s))),
            ["0 s", "59 s", "1 min 00 s", "1 h 02 min", "1 d 1 h"]
        );
        assert_eq!(
            [0.0, 999.4, 999.6, 12_345.0, 999_600.0, 4.56e6, 1.5e21].map(short),
            ["0", "999", "1.00 k", "12.3 k", "1.00 M", "4.56 M", "1500 E"]
        );
        assert_eq!(
            [0.0, 9.96, 99.0, 100.0, 5969.0, 6000.0, 200_000.0].map(short_duration),
            ["0.0 s", "10 s", "99 s", "1.7 min", "99 min", "1.7 h", "2.3 d"]
        );
        assert_eq!([512, 1536, 3 << 30].map(bytes), ["512 bytes", "1.5 KiB", "3.0 GiB"]);
    }
}
