//! Runs this program as a child process, for commands that consist of other commands. Each child has its own memory and log, and
//! a crash of a child does not end the parent.
//!
//! A child ends with its parent. Its standard input is a pipe from the parent, and `--stop-at-end-of-input` makes it stop, as on
//! SIGTERM, when that pipe is closed. The parent closes it when it is asked to stop, and the system closes it when the parent is
//! killed. Therefore no child continues beside the same command that is run again.

use std::{
    env,
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::exit_code;

/// The end of a child is noticed after at most an eighth of its running time, within these bounds.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// A program with its first arguments that starts this program; empty if that is the file of this process.
static START: OnceLock<Vec<OsString>> = OnceLock::new();

/// Makes children start with `start`, a program and its first arguments, unless it is empty. The first call counts.
pub(crate) fn start_with(start: &[OsString]) {
    START.get_or_init(|| start.to_vec());
}

/// This program without arguments of its own, as a command.
fn this_program(start: &[OsString]) -> io::Result<Command> {
    let Some((program, first)) = start.split_first() else {
        return Ok(Command::new(env::current_exe()?));
    };
    let mut command = Command::new(program);
    command.args(first);
    Ok(command)
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildEnd {
    /// It finished its work.
    Done,
    /// It was stopped by its parent or by a signal, and continues when it is run again.
    Stopped,
    /// It failed with an error message and this exit code.
    Failed(u8),
    /// It was killed or it crashed, and ended with this status.
    Died(ExitStatus),
}

impl ChildEnd {
    fn of(status: ExitStatus) -> Self {
        // It takes these signals itself, so it got this one before it listened, and had nothing to lose. A terminal sends Ctrl-C to
        // children as well.
        if matches!(status.signal(), Some(SIGINT | SIGTERM | SIGHUP)) {
            return Self::Stopped;
        }
        match status.code().map(u8::try_from) {
            Some(Ok(exit_code::DONE)) => Self::Done,
            Some(Ok(exit_code::STOPPED)) => Self::Stopped,
            Some(Ok(code @ (exit_code::WRONG_INPUT | exit_code::UNEXPECTED))) => Self::Failed(code),
            _ => Self::Died(status),
        }
    }

    /// The exit code of a parent that depends on this child.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Done => exit_code::DONE,
            Self::Stopped => exit_code::STOPPED,
            Self::Failed(code) => code,
            Self::Died(_) => exit_code::UNEXPECTED,
        }
    }
}

/// Runs this program with `arguments` to its end, with so many threads, or as many as this process would have.
///
/// When `stop` is set, the child is asked to stop, and this function waits for it. `meanwhile` is called a few times a second.
///
/// # Errors
///
/// If the child cannot be started or waited for.
pub(crate) fn run(
    arguments: &[OsString],
    threads: Option<usize>,
    (stdout, stderr): (Stdio, Stdio),
    stop: &AtomicBool,
    meanwhile: &mut dyn FnMut(),
) -> io::Result<ChildEnd> {
    let mut command = this_program(START.get().map_or(&[], Vec::as_slice))?;
    if let Some(threads) = threads {
        command.env("RAYON_NUM_THREADS", threads.to_string());
    }
    let mut child = command
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
            // Closes the pipe, and waits without a limit.
            return child.wait().map(ChildEnd::of);
        }
        meanwhile();
        thread::sleep((began.elapsed() / 8).clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_starts_as_it_is_said_and_else_from_the_file_of_this_process() {
        let words = |start: &[&str]| -> Vec<OsString> {
            let start: Vec<OsString> = start.iter().map(OsString::from).collect();
            let command = this_program(&start).unwrap();
            let arguments = command.get_args().map(OsString::from);
            std::iter::once(command.get_program().to_owned())
                .chain(arguments)
                .collect()
        };
        assert_eq!(
            words(&["python3", "leadspan/__main__.py"]),
            ["python3", "leadspan/__main__.py"]
        );
        assert_eq!(words(&[]), [env::current_exe().unwrap().into_os_string()]);
    }

    #[test]
    fn a_child_that_a_signal_ends_before_it_listens_is_stopped_and_a_killed_one_is_not() {
        let of = |signal| ChildEnd::of(ExitStatus::from_raw(signal));
        assert_eq!([SIGHUP, SIGINT, SIGTERM].map(of), [ChildEnd::Stopped; 3]);
        let killed = signal_hook::consts::SIGKILL;
        assert_eq!(of(killed), ChildEnd::Died(ExitStatus::from_raw(killed)));
    }
}
