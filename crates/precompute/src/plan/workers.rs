//! Into how many tasks an array job must be divided to be done in time. Pure.

use serde::Serialize;

/// So many workers are done in time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Workers {
    /// How many: `--worker I/N` with this N.
    pub count: usize,
    /// What the one with most to do takes, loading the teacher included.
    pub longest_seconds: f64,
}

/// How a capture can be divided among workers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Division {
    /// The fewest workers that are done in time.
    Workers(Workers),
    /// The largest work unit alone takes longer, with loading: no number of workers helps.
    UnitTooLong {
        /// What a worker with that unit alone takes.
        seconds: f64,
    },
}

/// Divides units, each with its number in the corpus and its time, as [`Worker::takes`](crate::Worker::takes) does.
pub(super) fn divide(units: &[(usize, f64)], load_seconds: f64, wall_seconds: f64) -> Division {
    let longest = |count: usize| {
        let mut busy = vec![0.0; count];
        for &(number, seconds) in units {
            busy[number % count] += seconds;
        }
        load_seconds + busy.iter().copied().fold(0.0, f64::max)
    };
    // As many workers as there are numbers: each has one unit at most.
    let most = units.iter().map(|&(number, _)| number + 1).max().unwrap_or(1);
    let alone = longest(most);
    if alone > wall_seconds {
        return Division::UnitTooLong { seconds: alone };
    }
    let total: f64 = units.iter().map(|(_, seconds)| seconds).sum();
    let fewest = (total / (wall_seconds - load_seconds).max(f64::MIN_POSITIVE)).ceil() as usize;
    let count = (fewest.clamp(1, most)..most)
        .find(|&count| longest(count) <= wall_seconds)
        .unwrap_or(most);
    Division::Workers(Workers {
        count,
        longest_seconds: longest(count),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(count: usize, longest_seconds: f64) -> Division {
        Division::Workers(Workers { count, longest_seconds })
    }

    #[test]
    fn the_fewest_workers_that_are_done_in_time_are_found() {
        let units: Vec<(usize, f64)> = (0..10).map(|number| (number, 10.0)).collect();
        assert_eq!(divide(&units, 5.0, 1000.0), workers(1, 105.0));
        // Two take 50 seconds each; three take 40, 30 and 30.
        assert_eq!(divide(&units, 5.0, 55.0), workers(2, 55.0));
        assert_eq!(divide(&units, 5.0, 54.9), workers(3, 45.0));
        assert_eq!(divide(&units, 5.0, 15.0), workers(10, 15.0));
        assert_eq!(divide(&units, 5.0, 14.9), Division::UnitTooLong { seconds: 15.0 });
        assert_eq!(divide(&[], 5.0, 10.0), workers(1, 5.0));
    }

    #[test]
    fn units_that_are_left_go_to_the_workers_that_take_their_numbers() {
        // Both have even numbers, so two workers help as little as one; three do.
        assert_eq!(divide(&[(0, 10.0), (4, 10.0)], 0.0, 15.0), workers(3, 10.0));
    }
}
