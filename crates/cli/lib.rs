//! `leadspan`: offline reasoning distillation on the leading span of every sequence.
//!
//! All of the program is in [`run`]; `bin/main.rs` and the Python package start it. The program parses arguments, reads the pipeline file, starts logging, wires the libraries together and chooses the
//! exit code. It is the only crate that prints, reads the environment or the clock, or exits.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod alternatives;
mod amounts;
mod arguments;
mod backtrace;
mod bus_error;
mod child;
mod clock;
mod commands;
mod configuration;
mod configuration_error;
mod ending;
mod exit_code;
mod failure;
mod free_space;
mod given;
mod heartbeat;
mod holding;
mod hub;
mod keys;
mod last_line;
mod launch;
mod logs;
mod output;
mod outputs;
mod overrides;
mod parting;
mod path_text;
mod pipeline_file;
mod place;
mod plain_words;
mod progress;
mod replay;
mod replay_error;
mod signals;
mod stores;
mod sweep_reading;
mod sweep_table;
mod swept_name;
mod tables;
mod time_span;
mod visible;
mod worker_here;
mod written_order;

use std::{
    borrow::Cow,
    ffi::OsString,
    io::{self, ErrorKind, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
};

use clap::Parser as _;

use crate::arguments::Arguments;

/// Runs the program with `arguments`, of which the first is its name, and returns the exit code.
///
/// `start` is a program with its first arguments that starts this program again, for commands that consist of other commands.
/// If it is empty, they start the file of this process.
///
/// A process calls this once and ends afterwards: it takes over the signals, the panics and the allocator of the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>, start: &[OsString]) -> u8 {
    leadspan_memory::keep_freed_blocks();
    clock::start();
    child::start_with(start);
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(shown) => {
            let failed = show_usage(&shown).is_err() || shown.use_stderr();
            return if failed {
                exit_code::WRONG_INPUT
            } else {
                exit_code::DONE
            };
        }
    };
    let follower = launch::follower(&arguments.command);
    logs::start(arguments.log_level.into(), follower);
    bus_error::report();
    holding::start();
    failure::report_panics();
    if follower.is_none()
        && let Some(name) = arguments.command.of_long()
    {
        last_line::begin(name);
    }
    let run = || {
        if launch::has_others() {
            signals::await_own_end();
        }
        signals::listen(arguments.stop_at_end_of_input)?;
        commands::run(arguments)
    };
    ending::conclude(catch_unwind(AssertUnwindSafe(run)).ok())
}

/// Shows help or a version, which are results, or what is wrong with the arguments. Arguments that would steer a terminal are
/// shown without colours, and escaped.
fn show_usage(shown: &clap::Error) -> io::Result<()> {
    let text = visible::without_colours(&shown.render().ansi().to_string());
    let written = match visible::escaped(&text) {
        Cow::Borrowed(_) => shown.print(),
        Cow::Owned(text) if shown.use_stderr() => io::stderr().write_all(text.as_bytes()),
        Cow::Owned(text) => io::stdout().write_all(text.as_bytes()),
    };
    // A reader that has gone away is no error.
    written.or_else(|error| match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

/// Writes to standard error, above the progress bar.
fn show_error(text: &str) {
    logs::write(text);
}
