//! Divides the runs of a sweep among workers.

use super::PlannedRun;

/// The indices of the runs that worker `index` of `count` takes, in order: every `count`-th of the runs that need no other run,
/// and the runs that need one of these.
pub fn share(runs: &[PlannedRun], index: usize, count: usize) -> Vec<usize> {
    let mut worker = vec![0; runs.len()];
    let mut independent = 0;
    for (place, run) in runs.iter().enumerate() {
        worker[place] = if let Some(other) = run.as_long_as {
            worker[other]
        } else {
            independent += 1;
            (independent - 1) % count.max(1)
        };
    }
    (0..runs.len()).filter(|&place| worker[place] == index).collect()
}
