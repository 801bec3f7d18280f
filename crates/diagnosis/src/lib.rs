//! What an error says beyond its text: whether the user caused it, and how to mend it.
//!
//! Each crate implements [`Diagnosis`] for its own error enum. The program chooses its exit code and prints its hint
//! through this trait alone, so it needs no list of error types.

use std::{error::Error, io};

/// An error that says whether it was expected and how to mend it.
pub trait Diagnosis: Error {
    /// Whether the cause is the program or the machine, not the user's files or configuration.
    fn is_unexpected(&self) -> bool {
        false
    }

    /// What the user can do about it, if that is known.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// An I/O error without context from a crate.
impl Diagnosis for io::Error {
    fn is_unexpected(&self) -> bool {
        true
    }
}
