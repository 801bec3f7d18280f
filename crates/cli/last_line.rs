//! The last line of a log: one JSON object that says how a long command ended, for whoever greps a thousand logs.
//!
//! It begins with `{"leadspan":` at the start of a line, where no log line does, and it is there however the command ends,
//! unless the process is killed. On a terminal, where a person has just read the result, there is none.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value, json};

use crate::{progress, signals};

/// What is known of the command so far; `None` where it is none that tells, or has told.
static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

struct Known {
    command: &'static str,
    counts: Map<String, Value>,
}

fn known() -> MutexGuard<'static, Option<Known>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins a command that has a last line.
pub(crate) fn begin(command: &'static str) {
    *known() = Some(Known {
        command,
        counts: Map::new(),
    });
}

/// Notes the values of an object, each in the place of one of the same name.
pub(crate) fn note(values: Value) {
    if let (Some(known), Value::Object(values)) = (&mut *known(), values) {
        known.counts.extend(values);
    }
}

/// Writes it, once: how the command ended, and why where it failed.
pub(crate) fn write(outcome: &str, exit_code: u8, error: Option<&str>) {
    let Some(Known { command, counts }) = known().take() else {
        return;
    };
    if io::stderr().is_terminal() || !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let mut line = json!({
        "leadspan": command,
        "outcome": outcome,
        "exit_code": exit_code,
        "seconds": (signals::elapsed().as_secs_f64() * 1e3).round() / 1e3,
    });
    let values = line.as_object_mut().expect("it is an object");
    if let Some(cause) = signals::cause().filter(|_| outcome == "stopped") {
        values.insert("stopped_by".to_owned(), cause.into());
    }
    if let Some(error) = error {
        values.insert("error".to_owned(), error.into());
    }
    values.insert("host".to_owned(), host().into());
    values.insert("pid".to_owned(), std::process::id().into());
    values.insert(
        "peak_memory_bytes".to_owned(),
        leadspan_memory::peak_memory_bytes().into(),
    );
    values.extend(counts);
    progress::standing_aside(|| {
        let _ = writeln!(io::stderr().lock(), "{line}");
    });
}

/// The name of this machine.
pub(crate) fn host() -> String {
    let of_system = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let of_shell = || std::env::var("HOSTNAME").ok();
    let name = of_system.or_else(of_shell).unwrap_or_default();
    match name.trim() {
        "" => "unknown".to_owned(),
        name => name.to_owned(),
    }
}
