//! The program `leadspan`. What it does is in the library of this package, which the Python package runs as well.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(leadspan::run(std::env::args_os(), &[]))
}
