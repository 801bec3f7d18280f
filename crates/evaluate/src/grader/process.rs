//! The process of a grader: lines in, lines out, its end.
//!
//! Its input and outputs each have a thread, so that no full pipe blocks the evaluation. The process has a group of its own, which is
//! killed as a whole: programs that the grader starts end with it, unless they leave the group.

use std::{
    io::{self, BufRead as _, BufReader, Read, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    thread,
    time::Duration,
};

use super::fault::{GraderFault, last_line};

/// The most bytes of a line.
const LONGEST_LINE: u64 = 1 << 20;
/// The bytes that are kept of the end of the standard error.
const KEPT_ERRORS: usize = 4096;
/// How often a stop is looked for while a line is awaited.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a process whose output has ended may take to end itself, in pauses.
const PAUSES_BEFORE_END: u32 = 100;

/// What came from the grader.
pub(super) enum Line {
    Text(Vec<u8>),
    TooLong,
    /// The output has ended.
    Ended,
    /// Nothing came in time.
    Late,
    /// The evaluation was stopped.
    Stopped,
}

/// A running process.
pub(super) struct Process {
    child: Child,
    /// Lines to write; `None` once the input is closed.
    input: Option<Sender<Vec<u8>>>,
    lines: Receiver<Line>,
    errors: Arc<Mutex<Vec<u8>>>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `program` in `folder`.
    pub(super) fn start(program: &Path, arguments: &[String], folder: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        if !folder.as_os_str().is_empty() {
            command.current_dir(folder);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            unreachable!("all three were asked for as pipes")
        };
        let (input, to_write) = mpsc::channel::<Vec<u8>>();
        thread::spawn(move || {
            // A grader that reads no more shows it by its output.
            while let Ok(line) = to_write.recv()
                && stdin.write_all(&line).and_then(|()| stdin.flush()).is_ok()
            {}
        });
        // A grader that writes more than is read waits.
        let (sender, lines) = mpsc::sync_channel(4);
        thread::spawn(move || read_lines(stdout, &sender));
        let errors = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&errors);
        thread::spawn(move || keep_end(stderr, &kept));
        Ok(Self {
            child,
            input: Some(input),
            lines,
            errors,
            status: None,
        })
    }

    /// Gives a line to the process.
    pub(super) fn send(&self, line: Vec<u8>) {
        if let Some(input) = &self.input {
            // If the process reads no more, the next line is its end.
            drop(input.send(line));
        }
    }

    /// Ends the process's input after what was sent.
    pub(super) fn close_input(&mut self) {
        self.input = None;
    }

    /// The next line, if it comes while `in_time` holds.
    pub(super) fn next_line(&self, stop: &AtomicBool, in_time: &dyn Fn() -> bool) -> Line {
        loop {
            match self.lines.recv_timeout(PAUSE) {
                Ok(line) => return line,
                Err(RecvTimeoutError::Disconnected) => return Line::Ended,
                Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Relaxed) => return Line::Stopped,
                Err(RecvTimeoutError::Timeout) if !in_time() => return Line::Late,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Whether a process whose output has ended ends with success. What is left of its group is killed.
    pub(super) fn succeeded(&mut self) -> bool {
        for _ in 0..PAUSES_BEFORE_END {
            if self.take_status() {
                break;
            }
            thread::sleep(PAUSE);
        }
        self.status.is_some_and(|status| status.success())
    }

    /// Whether the process has ended, whoever still has its output.
    #[cfg(test)]
    pub(super) fn has_ended(&self) -> bool {
        has_ended(&self.child)
    }

    /// Why nothing came within so many seconds. The output of a process that has ended is open as long as a program has it that the
    /// process started.
    pub(super) fn late(&mut self, seconds: u64) -> GraderFault {
        if self.take_status() {
            let status = self.status.map(|status| status.to_string()).unwrap_or_default();
            GraderFault::LeftOpen { status, seconds }
        } else {
            GraderFault::Late { seconds }
        }
    }

    /// Takes the exit status of a process that has ended, after killing what is left of its group; whether it has ended.
    fn take_status(&mut self) -> bool {
        if self.status.is_none() && has_ended(&self.child) {
            kill_group(&self.child);
            self.status = self.child.wait().ok();
        }
        self.status.is_some()
    }

    /// How a process whose output has ended ended.
    pub(super) fn ended(&mut self) -> GraderFault {
        self.succeeded();
        let status = self
            .status
            .map_or_else(|| "its output is closed".to_owned(), |status| status.to_string());
        // The thread that reads the standard error may be a moment behind.
        thread::sleep(PAUSE);
        let errors = self.errors.lock().map(|errors| last_line(&errors)).unwrap_or_default();
        GraderFault::Ended { status, errors }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            kill_group(&self.child);
            drop(self.child.wait());
        }
    }
}

/// Kills the group of a child that leads one and has not been waited for.
fn kill_group(child: &Child) {
    let Ok(group) = libc::pid_t::try_from(child.id()) else {
        return;
    };
    // SAFETY: `kill` takes two integers and touches no memory of this process. The group is the child's own: its number is not
    // given to another process or group before the child was waited for.
    unsafe { libc::kill(-group, libc::SIGKILL) };
}

/// Whether a child has ended. It is not waited for: until it is, its group's number is given to no other.
fn has_ended(child: &Child) -> bool {
    // SAFETY: the type is a C structure of integers and pointers, for which zeroes are valid.
    let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `waitid` writes only to the structure, which lives here.
    let result = unsafe { libc::waitid(libc::P_PID, child.id(), &raw mut found, options) };
    // Without a child that has ended, the structure stays as it is.
    result == 0 && found.si_signo != 0
}

fn read_lines(stdout: impl Read, lines: &SyncSender<Line>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let read = (&mut stdout).take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
        let line = match read {
            Ok(0) | Err(_) => Line::Ended,
            Ok(_) if line.len() as u64 > LONGEST_LINE => Line::TooLong,
            Ok(_) => Line::Text(line.trim_ascii_end().to_vec()),
        };
        let is_last = !matches!(line, Line::Text(_));
        if lines.send(line).is_err() || is_last {
            return;
        }
    }
}

fn keep_end(mut stderr: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut piece = [0; KEPT_ERRORS];
    while let Ok(length @ 1..) = stderr.read(&mut piece) {
        let Ok(mut kept) = kept.lock() else { return };
        kept.extend_from_slice(&piece[..length]);
        let surplus = kept.len().saturating_sub(KEPT_ERRORS);
        kept.drain(..surplus);
    }
}
