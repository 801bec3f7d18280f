//! The processes that train one student together: whether `mpirun` or `srun` started several, and how they reach each other.

use leadspan_diagnosis::Diagnosis;
use leadspan_train::parallel::{Alone, Processes};
use leadspan_workers::{
    Worker,
    scheduler::{self, Assigned, UnclearWorker},
};

use crate::{
    arguments::{Command, TrainArguments},
    worker_here::variable,
};

/// A process of a launch that cannot train with the others.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error("could not tell which of several processes this is")]
    Unclear {
        #[source]
        source: UnclearWorker,
    },
    #[error(
        "this is process {index} of {count} (`{by}`), which would train one student together, but this program was built without \
         MPI"
    )]
    WithoutMpi {
        index: usize,
        count: usize,
        by: &'static str,
    },
    #[cfg(feature = "mpi")]
    #[error(
        "this is process {index} of {count} (`{by}`), but for the MPI that this program uses it is process {found_index} of \
         {found_count}"
    )]
    OtherMpi {
        index: usize,
        count: usize,
        by: &'static str,
        found_index: usize,
        found_count: usize,
    },
}

impl Diagnosis for LaunchError {
    fn hint(&self) -> Option<String> {
        const ALONE: &str = "add `--alone` if each process trains a student of its own, in a folder of its own";
        Some(match self {
            Self::Unclear { .. } => format!("unset that variable, or {ALONE}"),
            Self::WithoutMpi { .. } => format!(
                "build the program with `cargo build --release --features mpi`, start a single process, or {ALONE}"
            ),
            #[cfg(feature = "mpi")]
            Self::OtherMpi { .. } => format!(
                "start it with the `mpirun` of the MPI that it was built with, or with `srun --mpi=pmix` (`srun --mpi=list` lists \
                 what there is); {ALONE}"
            ),
        })
    }
}

/// Which process of its launch `train` is.
///
/// # Errors
///
/// If the environment does not say, or if there are several and this program knows no MPI.
pub(crate) fn here(arguments: &TrainArguments) -> Result<Assigned, LaunchError> {
    let launched = launched(arguments).map_err(|source| LaunchError::Unclear { source })?;
    match launched.by.first() {
        Some(&by) if cfg!(not(feature = "mpi")) => Err(LaunchError::WithoutMpi {
            index: launched.worker.index(),
            count: launched.worker.count(),
            by,
        }),
        _ => Ok(launched),
    }
}

fn launched(arguments: &TrainArguments) -> Result<Assigned, UnclearWorker> {
    if arguments.alone {
        return Ok(Assigned {
            worker: Worker::ALONE,
            by: Vec::new(),
        });
    }
    scheduler::launched(&variable)
}

/// Whether a launcher started other processes with this one. It ends them once one of them has ended with an error.
pub(crate) fn has_others() -> bool {
    // What cannot be told is refused soon, by each of them.
    !scheduler::launched(&variable).is_ok_and(|launched| launched.by.is_empty())
}

/// The number of this process and how many there are, if it trains together with others and is not the first of them: then it
/// logs warnings and errors alone.
pub(crate) fn follower(command: &Command) -> Option<Worker> {
    let Command::Train(arguments) = command else {
        return None;
    };
    let worker = launched(arguments).ok()?.worker;
    (worker.index() > 0).then_some(worker)
}

/// The processes of a launch, connected.
///
/// # Errors
///
/// If MPI knows other processes than the launcher.
#[cfg(feature = "mpi")]
pub(crate) fn processes(launched: &Assigned) -> Result<Box<dyn Processes>, LaunchError> {
    let Some(&by) = launched.by.first() else {
        return Ok(Box::new(Alone));
    };
    // A command trains once.
    let mpi = leadspan_train::parallel::Mpi::start().expect("MPI starts once");
    let (index, count) = (launched.worker.index(), launched.worker.count());
    if (mpi.rank(), mpi.count()) == (index, count) {
        return Ok(Box::new(mpi));
    }
    Err(LaunchError::OtherMpi {
        index,
        count,
        by,
        found_index: mpi.rank(),
        found_count: mpi.count(),
    })
}

/// The one process that a program without MPI can train with.
///
/// # Errors
///
/// None: [`here`] refuses several processes.
#[cfg(not(feature = "mpi"))]
#[expect(clippy::unnecessary_wraps, reason = "with MPI there are errors")]
pub(crate) fn processes(_: &Assigned) -> Result<Box<dyn Processes>, LaunchError> {
    Ok(Box::new(Alone))
}
