//! The time since the program began.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

/// When the program began.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Starts the clock.
pub(crate) fn start() {
    LazyLock::force(&STARTED);
}

/// The time since the program began.
pub(crate) fn elapsed() -> Duration {
    STARTED.elapsed()
}
