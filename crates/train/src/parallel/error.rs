//! Why processes could not train one student together.

use std::path::PathBuf;

use leadspan_diagnosis::Diagnosis;

/// A run of several processes that could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ParallelError {
    /// Another process failed, and has its own error.
    #[error("process {rank} of {count} failed")]
    Failed {
        /// The process, counted from 0.
        rank: usize,
        /// The number of processes.
        count: usize,
        /// Whether its error was unexpected.
        unexpected: bool,
    },
    /// More processes than samples of a step.
    #[error("{count} processes cannot share the steps of a run in which `train.batch_samples` is {samples}")]
    TooMany {
        /// The number of processes.
        count: usize,
        /// Samples of a step.
        samples: usize,
    },
    /// A process was given another run.
    #[error(
        "process {rank} of {count} has another run than process 0: other settings, another student or another cache"
    )]
    Other {
        /// The process.
        rank: usize,
        /// The number of processes.
        count: usize,
    },
    /// A process was given another folder.
    #[error("process {rank} of {count} has another `train.dir` than process 0, which has `{}`", dir.display())]
    OtherFolder {
        /// The process.
        rank: usize,
        /// The number of processes.
        count: usize,
        /// The folder of the first process.
        dir: PathBuf,
    },
    /// A process does not see the checkpoint that the first one resumes from.
    #[error("the checkpoint `{}`, from which process 0 resumes, cannot be used by process {rank}: {because}", path.display())]
    Unseen {
        /// Its path.
        path: PathBuf,
        /// The process.
        rank: usize,
        /// The reason.
        because: String,
    },
    /// The students of two processes have come apart.
    #[error("process {rank} of {count} has other weights than process 0")]
    Drifted {
        /// The process.
        rank: usize,
        /// The number of processes.
        count: usize,
    },
    /// Two processes exchange different things.
    #[error("process {rank} is at another place of the run than process 0")]
    OutOfStep {
        /// The process.
        rank: usize,
    },
}

impl Diagnosis for ParallelError {
    fn is_unexpected(&self) -> bool {
        matches!(self, Self::Failed { unexpected: true, .. } | Self::OutOfStep { .. })
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { rank, .. } => Some(format!("the message of process {rank} says why")),
            Self::TooMany { samples, .. } => Some(format!(
                "start at most {samples} processes, or raise `train.batch_samples`, which is for all of them together"
            )),
            Self::Other { .. } | Self::OtherFolder { .. } => {
                Some("give all processes the same command, and files that all of them see".to_owned())
            }
            Self::Unseen { .. } => Some("keep `train.dir` on a file system that all processes see".to_owned()),
            Self::Drifted { .. } => Some(
                "run all processes on processors of the same kind; the run resumes from its last checkpoint, also with \
                 one process"
                    .to_owned(),
            ),
            Self::OutOfStep { .. } => None,
        }
    }
}
