//! The program, as the command `leadspan` of the package calls it.

use std::{
    ffi::OsString,
    io::{self, Write as _},
};

use pyo3::{
    Bound, PyResult, Python,
    prelude::*,
    types::{PyCFunction, PyDict, PyTuple},
};

/// `run(arguments, start)`: runs the program with `arguments`, of which the first is its name, and returns its exit code.
///
/// `start` is a program with its first arguments that starts this program again. A process calls this once and then ends.
///
/// # Errors
///
/// If the function cannot be made.
pub(crate) fn function(py: Python<'_>) -> PyResult<Bound<'_, PyCFunction>> {
    PyCFunction::new_closure(
        py,
        Some(c"run"),
        None,
        |given: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| run(given),
    )
}

fn run(given: &Bound<'_, PyTuple>) -> PyResult<u8> {
    let (arguments, start) = given.extract::<(Vec<OsString>, Vec<OsString>)>()?;
    Ok(given.py().detach(|| {
        let exit_code = leadspan::run(arguments, &start);
        // Nothing else does it in a process whose `main` is not Rust's. Results were flushed, or failed, before.
        let _ = io::stdout().flush();
        exit_code
    }))
}
