//! Formats numbers for people.

use crate::Estimate;

/// A share, in percent: `93.1 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A unit of an amount.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Unit {
    pub(super) name: &'static str,
    /// The amount of one unit.
    pub(super) amount: f64,
}

const fn of(name: &'static str, amount: f64) -> Unit {
    Unit { name, amount }
}

/// Units of time, in seconds.
pub(super) const TIMES: [Unit; 3] = [of("s", 1.0), of("min", 60.0), of("h", 3600.0)];
/// Units of memory, in bytes.
pub(super) const SIZES: [Unit; 4] = [
    of("bytes", 1.0),
    of("KiB", 1024.0),
    of("MiB", 1_048_576.0),
    of("GiB", 1_073_741_824.0),
];
/// Units of operations.
pub(super) const OPERATIONS: [Unit; 7] = [
    of("FLOP", 1.0),
    of("kFLOP", 1e3),
    of("MFLOP", 1e6),
    of("GFLOP", 1e9),
    of("TFLOP", 1e12),
    of("PFLOP", 1e15),
    of("EFLOP", 1e18),
];

/// The largest unit of which `amount` has at least one and a half.
pub(super) fn unit(amount: f64, units: &[Unit]) -> Unit {
    let fits = |unit: &&Unit| amount >= 1.5 * unit.amount;
    *units.iter().rev().find(fits).unwrap_or(&units[0])
}

/// An amount in the unit that fits: `12.3 min`, `1.5 PFLOP`.
pub(super) fn amount(amount: f64, units: &[Unit]) -> String {
    let unit = unit(amount, units);
    format!("{} {}", digits(amount / unit.amount), unit.name)
}

/// Three significant digits, or all digits before the decimal point, without trailing zeros after it.
pub(super) fn digits(amount: f64) -> String {
    let decimals = match amount.abs() {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    let text = format!("{amount:.decimals$}");
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}

/// A count with thousands separators: `1,234,567`.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The number of answers without a verdict, behind other numbers: `, 3 ungraded`; nothing if there are none.
pub(super) fn ungraded(ungraded: u64) -> String {
    match ungraded {
        0 => String::new(),
        some => format!(", {} ungraded", count(some)),
    }
}

/// A mean, with its interval if that has a width: `93.1 % (88.0 % to 98.2 %)`.
pub(super) fn estimate(estimate: &Estimate, shown: impl Fn(f64) -> String) -> String {
    let mean = shown(estimate.mean);
    match estimate.interval {
        Some((low, high)) if low < high => format!("{mean} ({} to {})", shown(low), shown(high)),
        _ => mean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_for_people() {
        assert_eq!([0.931, 1.0, 0.0].map(percent), ["93.1 %", "100.0 %", "0.0 %"]);
        let shown = |units: &[Unit], amounts: [f64; 3]| amounts.map(|value| amount(value, units));
        assert_eq!(shown(&TIMES, [0.5, 89.0, 738.0]), ["0.5 s", "89 s", "12.3 min"]);
        assert_eq!(
            shown(&SIZES, [512.0, 1536.0, 3_221_225_472.0]),
            ["512 bytes", "1.5 KiB", "3 GiB"]
        );
        assert_eq!(
            shown(&OPERATIONS, [999.0, 1.5e15, 2e21]),
            ["999 FLOP", "1.5 PFLOP", "2000 EFLOP"]
        );
        assert_eq!([7, 1000, 1_234_567].map(count), ["7", "1,000", "1,234,567"]);
        let of = |values: &[f64]| estimate(&Estimate::of(values).unwrap(), percent);
        assert_eq!(of(&[0.5]), "50.0 %");
        assert_eq!(of(&[0.5, 0.5]), "50.0 %");
        // 12.7062 · 5 % on both sides, but nothing below 0.
        assert_eq!(of(&[0.45, 0.55]), "50.0 % (0.0 % to 113.5 %)");
    }
}
