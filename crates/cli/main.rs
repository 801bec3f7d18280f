//! `leadspan`: offline reasoning distillation on the leading span of every sequence.
//!
//! The program parses arguments, reads the pipeline file, starts logging, wires the libraries together and chooses the
//! exit code. It is the only crate that prints, reads the environment or the clock, or exits.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod amounts;
mod arguments;
mod bus_error;
mod child;
mod clock;
mod commands;
mod configuration;
mod configuration_error;
mod exit_code;
mod failure;
mod free_space;
mod heartbeat;
mod holding;
mod hub;
mod keys;
mod last_line;
mod logs;
mod output;
mod outputs;
mod overrides;
mod pipeline_file;
mod place;
mod progress;
mod replay;
mod replay_error;
mod signals;
mod sweep_table;
mod swept_name;
mod tables;
mod time_span;
mod worker_here;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use clap::Parser as _;

use crate::{arguments::Arguments, commands::Ending};

fn main() -> ExitCode {
    leadspan_memory::keep_freed_blocks();
    clock::start();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(shown) => {
            // Help and version are results; a reader of them that has gone away is no error.
            let _ = shown.print();
            return ExitCode::from(if shown.use_stderr() {
                exit_code::WRONG_INPUT
            } else {
                exit_code::DONE
            });
        }
    };
    logs::start(arguments.log_level.into());
    bus_error::report();
    holding::start();
    failure::report_panics();
    if let Some(name) = arguments.command.of_long() {
        last_line::begin(name);
    }
    let run = || {
        signals::listen(arguments.stop_at_end_of_input)?;
        commands::run(arguments)
    };
    let (outcome, code, error) = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(Ending::Done)) => ("done", exit_code::DONE, None),
        Ok(Ok(Ending::Stopped)) => ("stopped", exit_code::STOPPED, None),
        Ok(Err(failure)) => {
            show_error(&failure.described());
            ("failed", failure.exit_code(), Some(failure.in_a_line()))
        }
        // The panic hook has said what happened.
        Err(_) => (
            "failed",
            exit_code::UNEXPECTED,
            Some("leadspan failed unexpectedly".to_owned()),
        ),
    };
    ExitCode::from(last_line::write(&last_line::Conclusion {
        outcome,
        exit_code: code,
        stopped_by: signals::cause().filter(|_| outcome == "stopped"),
        error: error.as_deref(),
    }))
}

/// Writes to standard error, above the progress bar.
fn show_error(text: &str) {
    logs::write(text);
}
