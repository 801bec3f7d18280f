//! How long a server is waited for: pauses that grow, within bounds. No clock is read; what counts is the time that was slept
//! and the time limits of the requests that were sent.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::http::{Failure, Passing, Reach};
use crate::server_error::ServerError;

/// A server that does not answer, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerWait {
    /// Why the last request failed.
    pub why: String,
    /// The time before the next one.
    pub pause: Duration,
    /// How much longer the server is waited for at most.
    pub left: Duration,
}

/// The bounds of waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The first pause; each further one is twice as long.
    pub(super) first_pause: Duration,
    /// The longest pause.
    pub(super) longest_pause: Duration,
    /// How long an unreachable server is waited for.
    pub(super) total: Duration,
    /// How often a request may fail at a server that was reached.
    pub(super) tries: u32,
}

impl Patience {
    pub(super) fn of_seconds(seconds: u64) -> Self {
        Self {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(15),
            total: Duration::from_secs(seconds),
            tries: 5,
        }
    }

    /// Calls `once` until it succeeds, fails for good, or the patience is at an end. `failed` is called with every passing failure
    /// and may fail itself; `waiting` is told of every pause.
    pub(super) fn spend<T>(
        &self,
        server: &str,
        stop: &dyn Fn() -> bool,
        waiting: &mut dyn FnMut(ServerWait),
        once: &mut dyn FnMut() -> Result<T, Failure>,
    ) -> Result<T, ServerError> {
        let (mut left, mut pause, mut tries, mut broken) = (self.total, self.first_pause, 0, 0);
        loop {
            if stop() {
                return Err(ServerError::Stopped);
            }
            let Passing {
                why,
                reach,
                after,
                spent,
            } = match once() {
                Ok(done) => return Ok(done),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(passing)) => passing,
            };
            tries += 1;
            broken += u32::from(reach == Reach::Broken);
            left = left.saturating_sub(spent);
            let next = after.unwrap_or(pause).max(self.first_pause).min(left);
            if broken >= self.tries || left.is_zero() {
                let server = server.to_owned();
                return Err(ServerError::GaveUp { server, why, tries });
            }
            left -= next;
            waiting(ServerWait { why, pause: next, left });
            if !sleep(next, stop) {
                return Err(ServerError::Stopped);
            }
            pause = (pause * 2).min(self.longest_pause);
        }
    }
}

/// Sleeps, unless it is told to stop. Returns whether it was not.
fn sleep(pause: Duration, stop: &dyn Fn() -> bool) -> bool {
    const SLICE: Duration = Duration::from_millis(50);
    let mut left = pause;
    while !left.is_zero() {
        if stop() {
            return false;
        }
        let slice = left.min(SLICE);
        thread::sleep(slice);
        left -= slice;
    }
    true
}

/// A question whether to stop, of a flag.
pub(super) fn when(stop: &AtomicBool) -> impl Fn() -> bool + '_ {
    || stop.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(reach: Reach, after: Option<Duration>) -> Result<(), Failure> {
        Err(Failure::Passing(Passing {
            why: "no answer".to_owned(),
            reach,
            after,
            spent: Duration::ZERO,
        }))
    }

    #[test]
    fn patience_ends_by_time_at_a_server_that_is_not_there_and_by_tries_at_one_that_fails() {
        let patience = Patience {
            first_pause: Duration::from_micros(1),
            longest_pause: Duration::from_micros(4),
            total: Duration::from_micros(20),
            tries: 3,
        };
        let spend = |reach, after| {
            let mut pauses = Vec::new();
            let waiting = &mut |wait: ServerWait| pauses.push(wait.pause.as_micros());
            let ended = patience.spend("http://host", &|| false, waiting, &mut || failing(reach, after));
            (ended.unwrap_err().to_string(), pauses)
        };
        let (error, pauses) = spend(Reach::Away, None);
        assert_eq!(error, "the server `http://host` did not answer: no answer (tries: 8)");
        assert_eq!(pauses, [1, 2, 4, 4, 4, 4, 1]);
        assert_eq!(spend(Reach::Broken, None).1, [1, 2]);
        // What the server asks for is granted, within the bound.
        assert_eq!(spend(Reach::Away, Some(Duration::from_micros(15))).1, [15, 5]);
        let stopped = patience.spend("http://host", &|| true, &mut |_| (), &mut || failing(Reach::Away, None));
        assert!(matches!(stopped, Err(ServerError::Stopped)));
    }
}
