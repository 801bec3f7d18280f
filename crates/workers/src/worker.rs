//! Dividing the work units of a cache among the tasks of an array job.

use std::{fmt, str::FromStr, time::Duration};

/// One of several processes that fill the same cache, each taking a share of the work units, as even as whole units allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    index: usize,
    count: usize,
    lease: Option<Duration>,
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
    pub const ALONE: Self = Self {
        index: 0,
        count: 1,
        lease: None,
    };

    /// The worker with this index, from 0, of so many.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn new(index: usize, count: usize) -> Result<Self, InvalidWorker> {
        let given = || format!("{index}/{count}");
        match count {
            0 => Err(InvalidWorker::NoWorkers { given: given() }),
            _ if index >= count => Err(InvalidWorker::BeyondCount { given: given(), count }),
            _ => Ok(Self {
                index,
                count,
                lease: None,
            }),
        }
    }

    /// The same worker, which claims units one by one, its own share first and then the others': a claim outlives its last
    /// renewal by `lease`.
    #[must_use]
    pub const fn claiming(self, lease: Duration) -> Self {
        Self {
            lease: Some(lease),
            ..self
        }
    }

    /// The lease of its claims; none where it keeps to its share.
    pub const fn lease(self) -> Option<Duration> {
        self.lease
    }

    /// Its number, from 0.
    pub const fn index(self) -> usize {
        self.index
    }

    /// How many workers there are.
    pub const fn count(self) -> usize {
        self.count
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
        Self::new(index, count).map_err(|error| match error {
            InvalidWorker::BeyondCount { count, .. } => InvalidWorker::BeyondCount { given: given(), count },
            _ => InvalidWorker::NoWorkers { given: given() },
        })
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
    fn a_worker_is_written_as_it_is_read() {
        let worker: Worker = "2/3".parse().unwrap();
        assert_eq!((worker.index(), worker.count(), worker.lease()), (2, 3, None));
        assert_eq!(worker.to_string(), "2/3");
        let claiming = worker.claiming(Duration::from_mins(1));
        assert_eq!(
            (claiming.to_string(), claiming.lease()),
            ("2/3".to_owned(), Some(Duration::from_mins(1)))
        );
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
