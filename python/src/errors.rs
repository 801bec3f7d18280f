//! Errors of the crates as Python exceptions, in the program's words. The classes are in `leadspan/_errors.py`.

use std::{error::Error, iter};

use leadspan_cache::CacheError;
use leadspan_diagnosis::Diagnosis as _;
use pyo3::{PyErr, Python, prelude::*};

/// The class of an error that is a value error in Python as well.
const VALUE: &str = "LeadspanValueError";
const INDEX: &str = "LeadspanIndexError";
const SYSTEM: &str = "LeadspanOSError";
const OTHER: &str = "LeadspanError";

/// An error of a cache: the system's, an index out of range, something that the user can mend, or a fault.
pub(crate) fn of_cache(py: Python<'_>, error: &CacheError) -> PyErr {
    let class = match error {
        CacheError::Io { .. } => SYSTEM,
        CacheError::NoSuchSample { .. } => INDEX,
        _ if error.is_unexpected() => OTHER,
        _ => VALUE,
    };
    let raised = raised(py, class, &in_a_line(error), error.hint());
    if let CacheError::Io { source, .. } = error
        && let Some(number) = source.raw_os_error()
    {
        // Without its number the exception is not wrong.
        let _ = raised.value(py).setattr("errno", number);
    }
    raised
}

/// A value that is refused.
pub(crate) fn value(py: Python<'_>, message: &str) -> PyErr {
    raised(py, VALUE, message, None)
}

/// What the system refuses.
pub(crate) fn system(py: Python<'_>, message: &str) -> PyErr {
    raised(py, SYSTEM, message, None)
}

/// The error and its causes, each once.
fn in_a_line(error: &CacheError) -> String {
    let mut texts: Vec<String> = Vec::new();
    let first: &(dyn Error + 'static) = error;
    for cause in iter::successors(Some(first), |&cause| cause.source()) {
        let text = cause.to_string();
        if !texts.iter().any(|earlier| earlier.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

fn raised(py: Python<'_>, class: &str, message: &str, hint: Option<String>) -> PyErr {
    let made = || py.import("leadspan._errors")?.getattr(class)?.call1((message, hint));
    made().map_or_else(|error| error, PyErr::from_value)
}
