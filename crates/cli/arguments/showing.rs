//! How much a command logs, and how it shows progress.

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;

/// How much to log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The level as it is given on the command line.
    pub(crate) fn given(self) -> String {
        let value = self.to_possible_value().expect("every level can be given");
        value.get_name().to_owned()
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// How to show progress.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ProgressStyle {
    /// A bar on a terminal, lines elsewhere
    Auto,
    /// A bar
    Bar,
    /// Log lines, for the log file of a scheduler
    Lines,
}
