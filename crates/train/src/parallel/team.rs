//! Exchanges between processes, in which a process that failed ends all.

use std::cell::Cell;

use leadspan_diagnosis::Diagnosis as _;

use super::{
    error::ParallelError,
    processes::{MESSAGE_WORDS, Message, Processes},
};
use crate::TrainError;

/// The words of a message before its contents: whether its process failed and how, what failed, and where in the run it is.
const HEAD: usize = 3;
const STATE: usize = 0;
const FAILURE: usize = 1;
const PLACE: usize = 2;

/// The state of a process that goes on, that failed by wrong input, and that failed unexpectedly.
const GOES_ON: u64 = 0;
const WRONG_INPUT: u64 = 1;
const UNEXPECTED: u64 = 2;

/// What an exchange is about. Processes that exchange different things have lost each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Whether each can begin, and in which folder.
    Begin = 1,
    /// What the run is.
    Identity,
    /// Where it begins.
    Start,
    /// Whether it goes on with another step.
    Step,
    /// How much weight the share of a step has.
    Share,
    /// Which GPUs there are, and how they are connected.
    #[cfg(feature = "nccl")]
    Gpus,
    /// The losses and counts of a step.
    Totals,
    /// The held-out losses.
    HeldOut,
    /// Its end.
    End,
    /// A failure.
    Failure,
}

/// The processes of a run.
pub(crate) struct Team<'a> {
    processes: &'a dyn Processes,
    /// Whether all know that the run failed. Nothing is exchanged after that.
    is_over: Cell<bool>,
}

impl<'a> Team<'a> {
    pub(crate) fn new(processes: &'a dyn Processes) -> Self {
        Self {
            processes,
            is_over: Cell::new(false),
        }
    }

    pub(crate) fn processes(&self) -> &'a dyn Processes {
        self.processes
    }

    pub(crate) fn rank(&self) -> usize {
        self.processes.rank()
    }

    pub(crate) fn count(&self) -> usize {
        self.processes.count()
    }

    /// Whether this process has the run's folder.
    pub(crate) fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether no other process takes part.
    pub(crate) fn is_alone(&self) -> bool {
        self.count() == 1
    }

    /// Tells all processes some words, and returns those of each, in the order of the processes.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Failed`] if another process has failed.
    ///
    /// # Panics
    ///
    /// If there are more words than a message holds.
    pub(crate) fn exchange<const N: usize>(&self, place: Place, words: &[u64; N]) -> Result<Vec<[u64; N]>, TrainError> {
        if self.is_alone() {
            return Ok(vec![*words]);
        }
        let mut message = Self::message(GOES_ON, 0, place);
        message[HEAD..HEAD + N].copy_from_slice(words);
        let all = self.processes.gather(&message);
        if let Some((rank, failed)) = (all.iter().enumerate()).find(|(_, message)| message[STATE] != GOES_ON) {
            self.is_over.set(true);
            return Err(self.failed(rank, failed[STATE] == UNEXPECTED));
        }
        if let Some(rank) = all.iter().position(|message| message[PLACE] != all[0][PLACE]) {
            return Err(self.verdict(ParallelError::OutOfStep { rank }));
        }
        let words = |message: &Message| std::array::from_fn(|word| message[HEAD + word]);
        Ok(all.iter().map(words).collect())
    }

    /// Whether a flag is set in any process.
    ///
    /// # Errors
    ///
    /// Those of [`exchange`](Self::exchange).
    pub(crate) fn any(&self, place: Place, flag: bool) -> Result<bool, TrainError> {
        let flags = self.exchange(place, &[u64::from(flag)])?;
        Ok(flags.iter().any(|&[flag]| flag != 0))
    }

    /// An error that all processes have found in the same words: the first one has it, and the others refer to that.
    pub(crate) fn verdict(&self, error: ParallelError) -> TrainError {
        self.is_over.set(true);
        if self.is_first() {
            return error.into();
        }
        self.failed(0, error.is_unexpected())
    }

    /// The result of this process's part of the run. If it failed, all others learn of it, in the exchange that they come to next.
    ///
    /// # Errors
    ///
    /// The error of this process, or [`ParallelError::Failed`] if one before it failed in the same way.
    pub(crate) fn conclude<T>(&self, result: Result<T, TrainError>) -> Result<T, TrainError> {
        result.map_err(|error| {
            let earlier = self.tell_failure(&error.to_string(), error.is_unexpected());
            earlier.unwrap_or(error)
        })
    }

    /// Tells all others that this process failed, with this message, in the exchange that they come to next. Returns
    /// [`ParallelError::Failed`] if one before it failed in the same way: that one shows the message.
    pub(crate) fn tell_failure(&self, text: &str, unexpected: bool) -> Option<TrainError> {
        if self.is_alone() || self.is_over.get() {
            return None;
        }
        let state = if unexpected { UNEXPECTED } else { WRONG_INPUT };
        let text = blake3::hash(text.as_bytes());
        let (text, _) = text.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
        let mine = Self::message(state, u64::from_le_bytes(*text), Place::Failure);
        let all = self.processes.gather(&mine);
        self.is_over.set(true);
        let first = all.iter().position(|message| message[..HEAD] == mine[..HEAD])?;
        (first < self.rank()).then(|| self.failed(first, unexpected))
    }

    fn message(state: u64, failure: u64, place: Place) -> Message {
        let mut message = [0; MESSAGE_WORDS];
        (message[STATE], message[FAILURE], message[PLACE]) = (state, failure, place as u64);
        message
    }

    fn failed(&self, rank: usize, unexpected: bool) -> TrainError {
        let count = self.count();
        ParallelError::Failed {
            rank,
            count,
            unexpected,
        }
        .into()
    }
}
