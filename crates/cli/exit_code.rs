//! The exit codes of the program. They are part of its interface: scripts and schedulers depend on them.

/// Everything that was asked for is done.
pub(crate) const DONE: u8 = 0;
/// The input or the configuration is wrong.
pub(crate) const WRONG_INPUT: u8 = 1;
/// Something failed that the user did not cause.
pub(crate) const UNEXPECTED: u8 = 2;
/// A signal stopped the run; the same command continues it.
pub(crate) const STOPPED: u8 = 75;
