//! The closing line of a log: one JSON object that says how a long command ended, for tools that search thousands of logs.
//!
//! It begins with `{"leadspan":` at the start of a line, which no log line does. It is written at every end of the command
//! unless the process is killed, and nothing follows it. On a terminal it is left out.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Map, Value, json};

use crate::{clock, logs, visible};

static STATE: Mutex<State> = Mutex::new(State {
    command: None,
    decided: None,
});

/// Whether it is known how the command ended.
static IS_DECIDED: AtomicBool = AtomicBool::new(false);

struct State {
    /// `None` if the command has no closing line.
    command: Option<Command>,
    /// The exit code, once it is known how the command ended.
    decided: Option<u8>,
}

/// What is known of the command so far.
struct Command {
    name: &'static str,
    counts: Map<String, Value>,
}

/// How a command ended.
pub(crate) struct Conclusion<'a> {
    pub(crate) outcome: &'a str,
    pub(crate) exit_code: u8,
    /// What stopped it.
    pub(crate) stopped_by: Option<&'a str>,
    /// Why it failed.
    pub(crate) error: Option<&'a str>,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins a command that has a closing line.
pub(crate) fn begin(name: &'static str) {
    state().command = Some(Command {
        name,
        counts: Map::new(),
    });
}

/// Notes the values of an object. Each replaces an earlier one of the same name.
pub(crate) fn note(values: Value) {
    if let (Some(command), Value::Object(values)) = (&mut state().command, values) {
        command.counts.extend(values);
    }
}

/// Whether it is known how the command ended. Its closing line may still be being written.
pub(crate) fn is_decided() -> bool {
    IS_DECIDED.load(Ordering::Relaxed)
}

/// Writes the closing line and closes the log. Returns the exit code to end with.
///
/// A command may end while a signal stops it. The first conclusion counts: a second one writes nothing, waits until the line
/// of the first is written, and gets its exit code.
pub(crate) fn write(conclusion: &Conclusion<'_>) -> u8 {
    let mut state = state();
    if let Some(exit_code) = state.decided {
        return exit_code;
    }
    state.decided = Some(conclusion.exit_code);
    IS_DECIDED.store(true, Ordering::Relaxed);
    if let Some(command) = state.command.take()
        && !io::stderr().is_terminal()
        && tracing::enabled!(tracing::Level::INFO)
    {
        logs::close(&visible::escaped_json(&line(command, conclusion).to_string()));
    }
    conclusion.exit_code
}

fn line(command: Command, conclusion: &Conclusion<'_>) -> Value {
    let mut line = json!({
        "leadspan": command.name,
        "outcome": conclusion.outcome,
        "exit_code": conclusion.exit_code,
        "seconds": (clock::elapsed().as_secs_f64() * 1e3).round() / 1e3,
    });
    let values = line.as_object_mut().expect("it is an object");
    if let Some(cause) = conclusion.stopped_by {
        values.insert("stopped_by".to_owned(), cause.into());
    }
    if let Some(error) = conclusion.error {
        values.insert("error".to_owned(), error.into());
    }
    values.insert("host".to_owned(), host().into());
    values.insert("pid".to_owned(), std::process::id().into());
    values.insert(
        "peak_memory_bytes".to_owned(),
        leadspan_memory::peak_memory_bytes().into(),
    );
    values.extend(command.counts);
    line
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
