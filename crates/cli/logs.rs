//! Logging on standard error, in harmony with a progress bar that may be there.

use std::io::{self, IsTerminal as _, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, fmt};

use crate::progress;

/// Starts logging. On a terminal lines carry colours but no time; in a file, a time but no colours.
pub(crate) fn start(level: LevelFilter) {
    let on_terminal = io::stderr().is_terminal();
    let colours = on_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // Dependencies are quiet unless something is wrong: their news is about themselves.
    let others = level.min(LevelFilter::WARN);
    let filter = EnvFilter::new(format!("{others},leadspan={level}"));
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(|| AboveBar)
        .with_ansi(colours)
        .with_target(false);
    // A second start, in tests, changes nothing.
    let _ = if on_terminal {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
}

/// Standard error, written while the progress bar stands aside.
struct AboveBar;

impl Write for AboveBar {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        progress::standing_aside(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
