//! The variables by which schedulers number the tasks of a job, except for Slurm's.

use std::num::NonZeroUsize;

use super::{WORKERS, unclear::UnclearWorker};
use crate::Worker;

/// Looks up a variable; `None` if it is not set.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A number of workers that was stated, and the flag or variable that states it.
pub(super) type Stated = Option<(usize, &'static str)>;

/// The environment of a task, and the number of workers if it is stated.
pub(super) struct TaskEnvironment<'a> {
    lookup: Lookup<'a>,
    stated: Stated,
}

/// The worker that one scheduler names.
pub(super) struct Named {
    /// The variables with the index.
    pub(super) by: Vec<&'static str>,
    pub(super) worker: Worker,
}

impl Named {
    pub(super) fn new(by: &'static str, worker: Worker) -> Self {
        Self { by: vec![by], worker }
    }
}

/// Worker `index` of `count`, named by `variable`.
pub(super) fn worker(variable: &'static str, index: usize, count: usize) -> Result<Worker, UnclearWorker> {
    Worker::new(index, count).map_err(|source| UnclearWorker::NoSuchWorker { variable, source })
}

impl<'a> TaskEnvironment<'a> {
    /// `workers` is the number of workers on the command line; it takes precedence over the variable.
    pub(super) fn new(lookup: Lookup<'a>, workers: Option<NonZeroUsize>) -> Result<Self, UnclearWorker> {
        let mut environment = Self { lookup, stated: None };
        environment.stated = match workers {
            Some(workers) => Some((workers.get(), "--workers")),
            None => environment.number(WORKERS)?.map(|count| (count, WORKERS)),
        };
        if environment.stated == Some((0, WORKERS)) {
            return Err(UnclearWorker::NotANumber {
                variable: WORKERS,
                value: "0".to_owned(),
            });
        }
        Ok(environment)
    }

    /// The number of workers, if it is stated.
    pub(super) fn stated(&self) -> Stated {
        self.stated
    }

    /// The number in a variable; `None` if the variable is not set or empty.
    pub(super) fn number(&self, variable: &'static str) -> Result<Option<usize>, UnclearWorker> {
        let Some(value) = (self.lookup)(variable).filter(|value| !value.trim().is_empty()) else {
            return Ok(None);
        };
        let digits = value.trim();
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        match digits.parse().ok().filter(|_| plain) {
            Some(number) => Ok(Some(number)),
            None => Err(UnclearWorker::NotANumber { variable, value }),
        }
    }

    /// The number in the variable `missing`, which must be set because `there` is.
    pub(super) fn beside(&self, there: &'static str, missing: &'static str) -> Result<usize, UnclearWorker> {
        self.number(missing)?.ok_or(UnclearWorker::HalfAPair { there, missing })
    }

    /// The worker with `index` of the stated number of workers. `last` is the highest known index.
    pub(super) fn numbered(&self, variable: &'static str, index: usize, last: usize) -> Result<Worker, UnclearWorker> {
        let (count, _) = self.stated.expect("callers check that a number is stated");
        if last >= count {
            return Err(UnclearWorker::BeyondCount { variable, last, count });
        }
        worker(variable, index, count)
    }

    /// A scheduler that gives an index, counted from 0, and a count.
    pub(super) fn index_and_count(
        &self,
        index: &'static str,
        count: &'static str,
    ) -> Result<Option<Named>, UnclearWorker> {
        let half = |there, missing| Err(UnclearWorker::HalfAPair { there, missing });
        let worker = match (self.number(index)?, self.number(count)?) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return half(count, index),
            (Some(at), _) if self.stated.is_some() => self.numbered(index, at, at)?,
            (Some(at), Some(all)) => worker(index, at, all)?,
            (Some(_), None) => return half(index, count),
        };
        Ok(Some(Named::new(index, worker)))
    }

    /// A scheduler that gives an index, but no count.
    pub(super) fn index_alone(&self, index: &'static str) -> Result<Option<Named>, UnclearWorker> {
        let Some(at) = self.number(index)? else {
            return Ok(None);
        };
        if self.stated.is_none() {
            return Err(UnclearWorker::CountUnknown { index });
        }
        Ok(Some(Named::new(index, self.numbered(index, at, at)?)))
    }

    /// Grid Engine counts from 1, and says `undefined` in a job that is not an array. An array with a step that begins within it is
    /// whole; one that begins later may be a part.
    pub(super) fn sge(&self) -> Result<Option<Named>, UnclearWorker> {
        const ID: &str = "SGE_TASK_ID";
        const LAST: &str = "SGE_TASK_LAST";
        let defined = |name: &'static str| match (self.lookup)(name) {
            Some(value) if value.trim() == "undefined" => Ok(None),
            _ => self.number(name),
        };
        let Some(at) = defined(ID)?.and_then(|id| id.checked_sub(1)) else {
            return Ok(None);
        };
        if self.stated.is_some() {
            return Ok(Some(Named::new(ID, self.numbered(ID, at, at)?)));
        }
        let half = |missing| UnclearWorker::HalfAPair { there: ID, missing };
        let first = defined("SGE_TASK_FIRST")?.ok_or_else(|| half("SGE_TASK_FIRST"))?;
        let last = defined(LAST)?.ok_or_else(|| half(LAST))?;
        let step = defined("SGE_TASK_STEPSIZE")?.unwrap_or(1).max(1);
        let id = at + 1;
        let tasks = last.saturating_sub(first) / step + 1;
        if first > step || id < first || id > last || !(id - first).is_multiple_of(step) {
            return Err(UnclearWorker::PartOfAnArray { tasks, first, last });
        }
        Ok(Some(Named::new(ID, worker(ID, (id - first) / step, tasks)?)))
    }

    /// LSF counts from 1; index 0 means a job that is not an array.
    pub(super) fn lsf(&self) -> Result<Option<Named>, UnclearWorker> {
        const INDEX: &str = "LSB_JOBINDEX";
        const END: &str = "LSB_JOBINDEX_END";
        let Some(at) = self.number(INDEX)?.and_then(|index| index.checked_sub(1)) else {
            return Ok(None);
        };
        let worker = if self.stated.is_some() {
            self.numbered(INDEX, at, at)?
        } else {
            let end = self.beside(INDEX, END)?;
            let step = self.number("LSB_JOBINDEX_STEP")?.unwrap_or(1).max(1);
            worker(INDEX, at / step, end.saturating_sub(1) / step + 1)?
        };
        Ok(Some(Named::new(INDEX, worker)))
    }
}
