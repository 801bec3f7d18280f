//! How long the program has run.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

/// When the program began.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Begins to count.
pub(crate) fn start() {
    LazyLock::force(&STARTED);
}

/// The time since the program began.
pub(crate) fn elapsed() -> Duration {
    STARTED.elapsed()
}
