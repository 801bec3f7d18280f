//! Which worker this process is: named on the command line, or else by the environment.

use std::env;

use leadspan_workers::{
    Worker,
    scheduler::{self, Assigned, UnclearWorker},
};

use crate::arguments::WorkerArguments;

/// The worker that this process is.
///
/// # Errors
///
/// If neither the command line nor the environment says which worker this is.
pub(crate) fn here(arguments: &WorkerArguments) -> Result<Assigned, UnclearWorker> {
    let assigned = match arguments.worker {
        Some(worker) => Assigned {
            worker,
            by: vec!["--worker"],
        },
        None => scheduler::assigned(&variable, arguments.workers)?,
    };
    if assigned.worker != Worker::ALONE {
        tracing::info!("{assigned}");
    }
    Ok(assigned)
}

/// The number of workers that the command line or the environment states.
///
/// # Errors
///
/// If the environment does not hold a positive number.
pub(crate) fn stated_here(arguments: &WorkerArguments) -> Result<Option<usize>, UnclearWorker> {
    scheduler::stated_workers(&variable, arguments.workers)
}

/// The value of an environment variable.
pub(crate) fn variable(name: &str) -> Option<String> {
    // What is no text is no number either, and must not count as unset.
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}
