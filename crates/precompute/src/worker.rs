//! Dividing the work units of a cache among the tasks of an array job.

use std::{fmt, str::FromStr};

/// One of several processes that fill the same cache, each taking every n-th work unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    index: usize,
    count: usize,
}

/// Text that does not name a worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWorker {
    /// It is not two numbers with a slash between them.
    #[error("`{given}` is not a worker: write it as I/N, such as `0/4` for the first of four")]
    NotAFraction {
        /// What was written.
        given: String,
    },
    /// There would be no workers at all.
    #[error("`{given}` says that there are no workers: N must be at least 1")]
    NoWorkers {
        /// What was written.
        given: String,
    },
    /// The index is not below the count.
    #[error("`{given}` is not one of the workers: I counts from 0, so the last of {count} is `{last}/{count}`", last = .count - 1)]
    BeyondCount {
        /// What was written.
        given: String,
        /// How many workers it says there are.
        count: usize,
    },
}

impl Worker {
    /// The only worker: it takes every unit.
    pub const ALONE: Self = Self { index: 0, count: 1 };

    /// Its number, from 0.
    pub const fn index(self) -> usize {
        self.index
    }

    /// How many workers there are.
    pub const fn count(self) -> usize {
        self.count
    }

    /// Whether it takes the unit with this number.
    pub const fn takes(self, number: usize) -> bool {
        number % self.count == self.index
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self::ALONE
    }
}

impl FromStr for Worker {
    type Err = InvalidWorker;

    fn from_str(text: &str) -> Result<Self, InvalidWorker> {
        let given = || text.to_owned();
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse::<usize>().ok()).flatten()
        };
        let (index, count) = text
            .split_once('/')
            .and_then(|(index, count)| number(index).zip(number(count)))
            .ok_or_else(|| InvalidWorker::NotAFraction { given: given() })?;
        match count {
            0 => Err(InvalidWorker::NoWorkers { given: given() }),
            _ if index >= count => Err(InvalidWorker::BeyondCount { given: given(), count }),
            _ => Ok(Self { index, count }),
        }
    }
}

impl fmt::Display for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workers_of_a_job_take_every_unit_once() {
        let workers: Vec<Worker> = (0..3).map(|index| format!("{index}/3").parse().unwrap()).collect();
        for number in 0..20 {
            assert_eq!(
                workers.iter().filter(|worker| worker.takes(number)).count(),
                1,
                "{number}"
            );
        }
        assert!((0..20).all(|number| Worker::ALONE.takes(number)));
        assert_eq!(workers[2].to_string(), "2/3");
    }

    #[test]
    fn what_is_no_worker_says_how_to_write_one() {
        let message = |text: &str| text.parse::<Worker>().unwrap_err().to_string();
        for text in [
            "",
            "1",
            "/",
            "a/b",
            "-1/4",
            "1/4/2",
            " 1/4",
            "+1/4",
            "1/99999999999999999999999",
        ] {
            assert!(message(text).contains("I/N"), "{text}");
        }
        assert!(message("0/0").contains("at least 1"));
        assert!(message("4/4").contains("the last of 4 is `3/4`"));
    }
}
