//! Which one of several workers a process is.

use std::{fmt, str::FromStr, time::Duration};

/// One of several processes that fill the same cache. Each takes a share of the work units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    index: usize,
    count: usize,
    lease: Option<Duration>,
}

/// A text or numbers that do not name a worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWorker {
    /// The text is not two numbers with a slash between them.
    #[error("`{given}` is not a worker: write it as I/N, such as `0/4` for the first of four")]
    NotAFraction {
        /// The text.
        given: String,
    },
    /// The number of workers is 0.
    #[error("`{given}` names no workers: N must be at least 1")]
    NoWorkers {
        /// The text.
        given: String,
    },
    /// The index is not below the number of workers.
    #[error("`{given}` is not one of the workers: I counts from 0, so the last of {count} is `{last}/{count}`", last = .count - 1)]
    BeyondCount {
        /// The text.
        given: String,
        /// The number of workers.
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

    /// Worker `index`, counted from 0, of `count` workers.
    ///
    /// # Errors
    ///
    /// If `count` is 0, or `index` is not below it.
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

    /// The same worker, which claims units one by one: first those of its own share, then those of others. A claim stays valid
    /// for `lease` after its last renewal.
    #[must_use]
    pub const fn claiming(self, lease: Duration) -> Self {
        Self {
            lease: Some(lease),
            ..self
        }
    }

    /// The lease of its claims; `None` if it does not claim units and keeps to its share.
    pub const fn lease(self) -> Option<Duration> {
        self.lease
    }

    /// Its index, counted from 0.
    pub const fn index(self) -> usize {
        self.index
    }

    /// The number of workers.
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
    fn a_text_that_names_no_worker_is_refused_with_the_right_form() {
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
