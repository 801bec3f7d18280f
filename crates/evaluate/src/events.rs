//! What an evaluation is given while it runs, and what it tells.

use std::{sync::atomic::AtomicBool, time::Duration};

use leadspan_workers::Holder;

/// What the program passes to an evaluation.
pub struct EvaluationContext<'a> {
    /// Set to stop.
    pub stop: &'a AtomicBool,
    /// The time since some fixed moment.
    pub clock: &'a dyn Fn() -> Duration,
}

/// An event of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub enum EvaluationEvent {
    /// The folder's file system has no locks, and another process may be working in the folder. Reported before each pause.
    Waiting(Holder),
    /// The model is about to be asked.
    Started {
        /// The number of problems.
        problems: u64,
        /// The number of problems that were answered before.
        done: u64,
    },
    /// Nothing is known to end the model's turn but its own stop tokens: the chat template shows no token that does, and the
    /// settings name nothing.
    NoEndOfTurn,
    /// A setting has no effect.
    WithoutEffect {
        /// Its key.
        setting: String,
        /// The reason.
        because: &'static str,
    },
    /// Expected answers are sentences, which only the same sentence equals.
    Sentences {
        /// The number of such answers.
        count: u64,
        /// The id of the first problem with one.
        first: String,
    },
    /// An answer was graded.
    Answered {
        /// The number of answers so far, including earlier ones.
        done: u64,
        /// The number of right answers among them.
        correct: u64,
        /// The number of answers among them on which the grader gave no verdict.
        ungraded: u64,
        /// The tokens that this process has generated.
        tokens: u64,
        /// The seconds that this took.
        seconds: f64,
    },
    /// Losses are about to be measured, or why they are not.
    HeldOut(HeldOutLosses),
}

/// Whether losses on held-out samples are measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldOutLosses {
    /// They are measured.
    Measured,
    /// They are not measured, for this reason.
    NotMeasured(String),
}
