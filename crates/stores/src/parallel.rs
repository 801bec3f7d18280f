//! Jobs on several threads, with what they tell on the thread of the caller.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use crate::{Event, StoreError};

/// Does one job, and tells what happens meanwhile.
pub(crate) type Work<'a, J, D> = dyn Fn(&J, &dyn Fn(Event)) -> Result<D, StoreError> + Sync + 'a;

/// Does all jobs, up to `threads` at a time, and returns their results in order. With one thread, it is that of the caller.
///
/// # Errors
///
/// The first error of a job; [`StoreError::Stopped`] once `stop` is set. Jobs that run are finished, others are not begun.
pub(crate) fn each<J: Sync, D: Send>(
    jobs: &[J],
    threads: usize,
    stop: &AtomicBool,
    events: &mut dyn FnMut(Event),
    work: &Work<'_, J, D>,
) -> Result<Vec<D>, StoreError> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results: Mutex<Vec<(usize, Result<D, StoreError>)>> = Mutex::new(Vec::with_capacity(jobs.len()));
    let keep = |number: usize, result: Result<D, StoreError>| {
        if result.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
        results
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((number, result));
    };
    let do_all = |tell: &dyn Fn(Event)| {
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(number) else {
                return;
            };
            if stop.load(Ordering::Relaxed) {
                return keep(number, Err(StoreError::Stopped));
            }
            keep(number, work(job, tell));
        }
    };
    let threads = threads.min(jobs.len());
    if threads <= 1 {
        let events = std::cell::RefCell::new(events);
        do_all(&|event| (events.borrow_mut())(event));
    } else {
        let (teller, told) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..threads {
                let (teller, do_all) = (teller.clone(), &do_all);
                scope.spawn(move || {
                    do_all(&|event| {
                        let _ = teller.send(event);
                    });
                });
            }
            drop(teller);
            told.iter().for_each(events);
        });
    }
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_a_failure_or_a_stop_ends_it() {
        let jobs: Vec<u64> = (0..50).collect();
        let go = AtomicBool::new(false);
        for threads in [1, 4] {
            let mut told = 0;
            let mut events = |event| match event {
                Event::Moved(bytes) => told += bytes,
                _ => unreachable!(),
            };
            let doubled = each(&jobs, threads, &go, &mut events, &|job, tell| {
                tell(Event::Moved(1));
                Ok(2 * job)
            });
            assert_eq!(doubled.unwrap(), jobs.iter().map(|job| 2 * job).collect::<Vec<_>>());
            assert_eq!(told, 50);
            let failing = each(&jobs, threads, &go, &mut |_| {}, &|job, _| match job {
                7 => Err(StoreError::NoCache { url: String::new() }),
                _ => Ok(()),
            });
            assert!(matches!(failing, Err(StoreError::NoCache { .. })));
            let stop = AtomicBool::new(true);
            let stopped = each(&jobs, threads, &stop, &mut |_| {}, &|_, _| Ok(()));
            assert!(matches!(stopped, Err(StoreError::Stopped)));
        }
    }
}
