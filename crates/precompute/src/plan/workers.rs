//! The number of workers that finish a capture in time. Pure.

use leadspan_workers::UnitCosts;
use serde::Serialize;

/// A number of workers, and how long they take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Workers {
    /// The number: N of `--worker I/N`.
    pub count: usize,
    /// The time of the worker with the most work, including loading the teacher.
    pub longest_seconds: f64,
}

/// How a capture can be divided among workers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Division {
    /// The fewest workers that finish in time.
    Workers(Workers),
    /// Loading and the largest work unit alone take longer, so no number of workers helps.
    UnitTooLong {
        /// The time of a worker that does only that unit.
        seconds: f64,
    },
}

/// The work that is left of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LeftOfLayer {
    /// The costs by which all units of the layer are divided.
    pub(super) costs: UnitCosts,
    /// The index of each unit that is left, and its time.
    pub(super) seconds: Vec<(usize, f64)>,
}

/// Divides units among workers as `precompute` does, for the fewest workers that finish in `wall_seconds`.
pub(super) fn divide(layers: &[LeftOfLayer], load_seconds: f64, wall_seconds: f64) -> Division {
    let longest = |count: usize| {
        let mut busy = vec![0.0; count];
        for layer in layers {
            let takers = layer.costs.takers(count);
            for &(unit, seconds) in &layer.seconds {
                busy[takers[unit]] += seconds;
            }
        }
        load_seconds + busy.iter().copied().fold(0.0, f64::max)
    };
    // With as many workers as units, each has at most one unit of a layer.
    let most = layers.iter().map(|layer| layer.costs.units()).max().unwrap_or(1).max(1);
    let alone = longest(most);
    if alone > wall_seconds {
        return Division::UnitTooLong { seconds: alone };
    }
    let total: f64 = layers
        .iter()
        .flat_map(|layer| &layer.seconds)
        .map(|(_, seconds)| seconds)
        .sum();
    let fewest = (total / (wall_seconds - load_seconds).max(f64::MIN_POSITIVE)).ceil() as usize;
    let mut count = fewest.clamp(1, most);
    while count < most && longest(count) > wall_seconds {
        // If there are hundreds of workers, a few more do not matter.
        count = (count + (count / 64).max(1)).min(most);
    }
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

    fn left(units: usize, seconds: &[(usize, f64)]) -> [LeftOfLayer; 1] {
        [LeftOfLayer {
            costs: UnitCosts::equal(units),
            seconds: seconds.to_vec(),
        }]
    }

    #[test]
    fn the_fewest_workers_that_finish_in_time_are_found() {
        let units: Vec<(usize, f64)> = (0..10).map(|number| (number, 10.0)).collect();
        let units = left(10, &units);
        assert_eq!(divide(&units, 5.0, 1000.0), workers(1, 105.0));
        // Two take 50 seconds each; three take 40, 30 and 30.
        assert_eq!(divide(&units, 5.0, 55.0), workers(2, 55.0));
        assert_eq!(divide(&units, 5.0, 54.9), workers(3, 45.0));
        assert_eq!(divide(&units, 5.0, 15.0), workers(10, 15.0));
        assert_eq!(divide(&units, 5.0, 14.9), Division::UnitTooLong { seconds: 15.0 });
        assert_eq!(divide(&[], 5.0, 10.0), workers(1, 5.0));
    }

    #[test]
    fn units_that_are_left_stay_with_the_workers_whose_share_they_are() {
        // Of five like units, the first and the last both belong to the first of two or four workers, but not of three.
        let units = left(5, &[(0, 10.0), (4, 10.0)]);
        assert_eq!(divide(&units, 0.0, 15.0), workers(3, 10.0));
    }

    #[test]
    fn what_is_left_of_several_layers_adds_up() {
        let [one] = left(2, &[(0, 10.0), (1, 10.0)]);
        assert_eq!(divide(&[one.clone(), one], 1.0, 21.0), workers(2, 21.0));
    }
}
