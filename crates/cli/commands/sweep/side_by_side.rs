//! The runs of a sweep, several at the same time.

use std::{
    env,
    num::NonZero,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use super::{
    folder::{RunFolder, State},
    job::{JobEnd, Running},
    jobs::Sweep,
};
use crate::failure::Result;

/// What happens to a run.
pub(super) enum Event {
    /// It is being trained or evaluated; this comes a few times a second.
    Goes(&'static str),
    /// It ended, or could not be run at all.
    Ended(Result<JobEnd>),
}

/// The threads of each of `at_once` students: an equal share of those that one would have.
pub(super) fn threads_of_each(at_once: usize) -> usize {
    let asked = env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok());
    let all = asked.or_else(|| thread::available_parallelism().ok());
    (all.map_or(1, NonZero::get) / at_once).max(1)
}

/// Runs the jobs at the places `mine`, `at_once` of them at the same time, in their order. Tells the place of each event.
///
/// A run that needs the results of another waits for that one. A run that failed leaves the others as they are.
///
/// # Errors
///
/// The first error of `tell`: runs that have begun then go on to their end, and no other begins.
pub(super) fn run_all(
    running: &Running<'_>,
    sweep: &Sweep,
    mine: &[usize],
    at_once: usize,
    mut tell: impl FnMut(usize, Event) -> Result<()>,
) -> Result<()> {
    let runs = Runs {
        left: Mutex::new(Left {
            waiting: mine.to_vec(),
            going: Vec::new(),
        }),
        ended: Condvar::new(),
        needed: &|place| sweep.jobs[place].planned.as_long_as,
    };
    let (events, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..at_once.min(mine.len()) {
            let (events, runs) = (events.clone(), &runs);
            scope.spawn(move || {
                while let Some(taken) = runs.take() {
                    let say = |event| events.send((taken.place, event)).is_ok();
                    let end = run_one(running, sweep, taken.place, &mut |doing| {
                        say(Event::Goes(doing));
                    });
                    if matches!(end, Ok(JobEnd::Stopped) | Err(_)) {
                        runs.begin_no_more();
                    }
                    say(Event::Ended(end));
                }
            });
        }
        drop(events);
        let mut result = Ok(());
        for (place, event) in told {
            if result.is_ok() {
                result = tell(place, event);
                if result.is_err() {
                    runs.begin_no_more();
                }
            }
        }
        result
    })
}

/// Runs one job, if it can be run.
fn run_one(
    running: &Running<'_>,
    sweep: &Sweep,
    place: usize,
    meanwhile: &mut dyn FnMut(&'static str),
) -> Result<JobEnd> {
    let job = &sweep.jobs[place];
    let Some(other) = job.planned.as_long_as else {
        return running.run(job, None, meanwhile);
    };
    let other = RunFolder(&sweep.jobs[other].folder);
    // A run that failed may still have an earlier summary.
    let finished = other.state(false) == State::Finished;
    match other.training_flops()?.filter(|_| finished) {
        Some(flops) => running.run(job, Some(&flops), meanwhile),
        None => Ok(JobEnd::LeftOut),
    }
}

/// Runs that wait, and those that go on.
struct Runs<'a> {
    left: Mutex<Left>,
    /// Told when a run ended.
    ended: Condvar,
    /// The place of the run whose results a run needs.
    needed: &'a (dyn Fn(usize) -> Option<usize> + Sync),
}

struct Left {
    waiting: Vec<usize>,
    going: Vec<usize>,
}

/// A run that was taken; dropped when it ended.
struct Taken<'a> {
    runs: &'a Runs<'a>,
    place: usize,
}

impl Runs<'_> {
    /// The first run that can begin, once there is one; `None` if no run is left.
    fn take(&self) -> Option<Taken<'_>> {
        let mut left = self.left();
        loop {
            let ready = left.waiting.iter().position(|&place| {
                (self.needed)(place).is_none_or(|other| !left.waiting.contains(&other) && !left.going.contains(&other))
            });
            if let Some(ready) = ready {
                let place = left.waiting.remove(ready);
                left.going.push(place);
                return Some(Taken { runs: self, place });
            }
            if left.waiting.is_empty() {
                return None;
            }
            left = self.ended.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn begin_no_more(&self) {
        self.left().waiting.clear();
        self.ended.notify_all();
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.runs.left().going.retain(|&place| place != self.place);
        self.runs.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs<'a>(waiting: &[usize], needed: &'a (dyn Fn(usize) -> Option<usize> + Sync)) -> Runs<'a> {
        Runs {
            left: Mutex::new(Left {
                waiting: waiting.to_vec(),
                going: Vec::new(),
            }),
            ended: Condvar::new(),
            needed,
        }
    }

    #[test]
    fn a_run_waits_for_the_one_whose_results_it_needs() {
        // Runs 2 and 3 are as long as run 0; run 4 needs one that is not among these.
        let needed = |place| match place {
            2 | 3 => Some(0),
            4 => Some(9),
            _ => None,
        };
        let runs = runs(&[0, 2, 1, 4, 3], &needed);
        let first = runs.take().unwrap();
        let others: Vec<_> = (0..2).map(|_| runs.take().unwrap()).collect();
        assert_eq!(first.place, 0);
        assert_eq!(others.iter().map(|taken| taken.place).collect::<Vec<_>>(), [1, 4]);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| runs.take().map(|taken| taken.place));
            drop(first);
            assert_eq!(waiting.join().unwrap(), Some(2));
        });
        assert_eq!(runs.take().unwrap().place, 3);
        assert!(runs.take().is_none());
    }

    #[test]
    fn who_waits_for_a_run_goes_when_no_more_are_to_begin() {
        let needed = |place| (place == 1).then_some(0);
        let runs = runs(&[0, 1], &needed);
        let first = runs.take().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| runs.take().is_none());
            runs.begin_no_more();
            assert!(waiting.join().unwrap());
        });
        drop(first);
        assert!(runs.take().is_none());
    }
}
