//! Runs of consecutive rows, each of which is one stretch of a file.

use std::ops::Range;

/// `wanted` as ranges of consecutive numbers, in their order.
pub(super) fn runs(wanted: &[u32]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for row in wanted.iter().map(|&row| row as usize) {
        match runs.last_mut() {
            Some(run) if run.end == row => run.end += 1,
            _ => runs.push(row..row + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_rows_are_one_run() {
        let ranges = |wanted: &[u32]| runs(wanted).iter().map(|run| (run.start, run.end)).collect::<Vec<_>>();
        assert_eq!(ranges(&[4, 5, 6, 2, 3, 3, 9]), [(4, 7), (2, 4), (3, 4), (9, 10)]);
        assert_eq!(ranges(&[]), []);
    }
}
