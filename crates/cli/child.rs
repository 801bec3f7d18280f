//! This program as a child of its own, for commands that are made of others: the child's memory, log and crash are its own.
//!
//! A child ends with its parent, however that ends. Its standard input is a pipe from the parent, and `--stop-at-end-of-input`
//! makes it stop, as on SIGTERM, when that pipe is closed: by a parent that was asked to stop, or by the system, whose parent
//! was killed. So nothing has to be sent to it, and no child goes on beside the same command that was run again.

use std::{
    env,
    ffi::OsString,
    io,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::exit_code;

/// How soon the end of a child is noticed: after an eighth of the time that it took, and between these.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildEnd {
    /// It did all that it was to do.
    Done,
    /// It was stopped, by its parent or by a signal of its own, and goes on when it is run again.
    Stopped,
    /// It said why it failed, with this exit code.
    Failed(u8),
    /// It was killed, or crashed: all that is known is what the system says.
    Died(ExitStatus),
}

impl ChildEnd {
    fn of(status: ExitStatus) -> Self {
        match status.code().map(u8::try_from) {
            Some(Ok(exit_code::DONE)) => Self::Done,
            Some(Ok(exit_code::STOPPED)) => Self::Stopped,
            Some(Ok(code @ (exit_code::WRONG_INPUT | exit_code::UNEXPECTED))) => Self::Failed(code),
            _ => Self::Died(status),
        }
    }

    /// The exit code of a parent that cannot do without this child.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Done => exit_code::DONE,
            Self::Stopped => exit_code::STOPPED,
            Self::Failed(code) => code,
            Self::Died(_) => exit_code::UNEXPECTED,
        }
    }
}

/// Runs this program with `arguments` to its end.
///
/// When `stop` is set the child is asked to stop, and waited for. `meanwhile` is called a few times a second.
///
/// # Errors
///
/// Where the child cannot be started or waited for.
pub(crate) fn run(
    arguments: &[OsString],
    (stdout, stderr): (Stdio, Stdio),
    stop: &AtomicBool,
    meanwhile: &mut dyn FnMut(),
) -> io::Result<ChildEnd> {
    let mut child = Command::new(env::current_exe()?)
        .args(arguments)
        .arg("--stop-at-end-of-input")
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()?;
    wait(&mut child, stop, meanwhile)
}

fn wait(child: &mut Child, stop: &AtomicBool, meanwhile: &mut dyn FnMut()) -> io::Result<ChildEnd> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(ChildEnd::of(status));
        }
        if stop.load(Ordering::Relaxed) {
            // Closes the pipe, and waits for as long as it takes.
            return child.wait().map(ChildEnd::of);
        }
        meanwhile();
        thread::sleep((began.elapsed() / 8).clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
    }
}
