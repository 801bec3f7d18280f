//! What stops the program: SIGTERM, SIGINT, SIGHUP unless it is ignored (`nohup`), `--stop-after`, and for a child process the
//! end of its standard input.
//!
//! While models are loaded and data is prepared, nothing is worth keeping, and a stop ends the process at once. Every file is
//! then whole under its name or absent. Later, a stop sets a flag that [asks](ask_first) the libraries to finish. If they do
//! not finish within the grace period, because a disk is slow or a file is large, the process ends anyway. A second signal
//! ends it too, unless it follows within a second: `timeout` and schedulers send the same signal to a process and to its
//! group.
//!
//! A launcher such as `mpirun` ends the others of a process that failed. One of several processes that is about to fail for the same
//! reason, or has failed, says that, and not that it was stopped.
//!
//! A thread of its own receives the signals, so nothing here runs inside a signal handler.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
    flag,
    iterator::Signals,
    low_level,
};

use crate::{
    clock,
    exit_code::STOPPED,
    holding,
    last_line::{self, Conclusion},
    progress,
    time_span::TimeSpan,
};

/// A second signal within this time counts as the first one: some senders send each signal twice.
const SAME: Duration = Duration::from_secs(1);

/// How long a stop may take unless `--grace` says otherwise.
pub(crate) const GRACE: Duration = Duration::from_secs(8);

/// How long the last messages may delay the end of the process if nobody reads standard error.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// How long one of several processes may take to end by itself after a signal, while nothing is worth keeping. `mpirun` kills it
/// after one second.
const OWN_END: Duration = Duration::from_millis(700);

static STATE: Mutex<State> = Mutex::new(State {
    manner: Manner::AtOnce,
    own_end: Duration::ZERO,
    grace: GRACE,
    cause: None,
    signalled: None,
    at_the_end: None,
});

struct State {
    manner: Manner,
    /// How long a signal that ends the process at once leaves it to end by itself.
    own_end: Duration,
    grace: Duration,
    /// What asked first.
    cause: Option<Cause>,
    /// When the first signal came.
    signalled: Option<Instant>,
    /// What is done before a stop ends the process.
    at_the_end: Option<Box<dyn FnOnce() + Send>>,
}

impl State {
    /// Notes a signal that came at `now`, and returns whether it insists: whether it is a second one, and not the first one
    /// sent twice.
    fn insists(&mut self, now: Instant) -> bool {
        let first = *self.signalled.get_or_insert(now);
        now.duration_since(first) >= SAME
    }
}

/// The effect of a stop.
enum Manner {
    /// It ends the process.
    AtOnce,
    /// It sets the flag, and logs the consequence.
    Asks {
        stop: Arc<AtomicBool>,
        consequence: &'static str,
    },
}

/// What asked the program to stop.
#[derive(Clone, Copy, Debug)]
enum Cause {
    Signal(i32),
    TimeUp(TimeSpan),
    EndOfInput,
}

impl Cause {
    /// Its name in the closing line.
    fn name(self) -> &'static str {
        match self {
            Self::Signal(SIGINT) => "SIGINT",
            Self::Signal(SIGHUP) => "SIGHUP",
            Self::Signal(_) => "SIGTERM",
            Self::TimeUp(_) => "stop-after",
            Self::EndOfInput => "end of input",
        }
    }
}

fn state() -> MutexGuard<'static, State> {
    // A panic while it is held leaves nothing half changed.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes SIGTERM, SIGINT and SIGHUP from here on, the last unless it is ignored: `nohup` and a shell's `trap '' HUP` ask for that,
/// so that a command outlives its terminal. With `at_end_of_input`, the end of standard input stops the program too: its parent
/// has ended or wants it to end.
///
/// # Errors
///
/// If the system refuses a handler or a thread.
pub(crate) fn listen(at_end_of_input: bool) -> io::Result<()> {
    let hang_up = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    let mut signals = Signals::new([SIGTERM, SIGINT].into_iter().chain(hang_up))?;
    // A file that grows beyond `ulimit -f` ends a process unless it takes this signal; then the write fails, as on a full disk.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            stop(Cause::Signal(signal));
        }
    })?;
    if at_end_of_input {
        thread::Builder::new().name("input".to_owned()).spawn(|| {
            // An input that cannot be read counts as ended.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            stop(Cause::EndOfInput);
        })?;
    }
    Ok(())
}

/// Whether the process ignores a signal, as its parent told it to.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores(&status, signal)
}

/// Whether the text of `/proc/PID/status` says that a signal is ignored.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| (mask >> (signal - 1)) & 1 == 1)
}

/// Stops the program when it has run for `time`, if that is given, and gives every stop `grace`.
///
/// # Errors
///
/// If the system refuses a thread.
pub(crate) fn limit(time: Option<TimeSpan>, grace: Option<TimeSpan>) -> io::Result<()> {
    if let Some(grace) = grace {
        state().grace = grace.0;
    }
    if let Some(time) = time {
        thread::Builder::new().name("deadline".to_owned()).spawn(move || {
            thread::sleep(time.0.saturating_sub(clock::elapsed()));
            stop(Cause::TimeUp(time));
        })?;
    }
    Ok(())
}

/// Leaves this process, one of several that a launcher started, a moment to end by itself when a signal comes.
pub(crate) fn await_own_end() {
    state().own_end = OWN_END;
}

/// Makes a stop set the returned flag, from here on, instead of ending the process.
///
/// `consequence` completes the message that it then gives: `stopping: …`.
pub(crate) fn stop_on_signals(consequence: &'static str) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    ask_first(&stop, consequence);
    stop
}

/// As [`stop_on_signals`], with the caller's flag: from here on, something is worth keeping.
pub(crate) fn ask_first(stop: &Arc<AtomicBool>, consequence: &'static str) {
    let mut state = state();
    // If a stop came before, the process is ending already.
    if state.cause.is_none() {
        let stop = Arc::clone(stop);
        state.manner = Manner::Asks { stop, consequence };
    }
}

/// Makes a stop end the process from here on: nothing is under way that could be lost. A stop that came before ends it now.
pub(crate) fn exit_on_signals() {
    let mut state = state();
    state.manner = Manner::AtOnce;
    if state.cause.is_some() {
        drop(state);
        end(&stopped());
    }
}

/// Sets what is done before a stop ends the process; it replaces what was set before.
pub(crate) fn at_the_end(last: Option<Box<dyn FnOnce() + Send>>) {
    state().at_the_end = last;
}

/// How the program was stopped, as the beginning of a sentence.
pub(crate) fn stopped() -> String {
    match state().cause {
        Some(Cause::TimeUp(time)) => format!("stopped after {time}, as `--stop-after` says"),
        _ => "stopped by a signal".to_owned(),
    }
}

/// What stopped the program, for the closing line; `None` if nothing did.
pub(crate) fn cause() -> Option<&'static str> {
    state().cause.map(Cause::name)
}

fn stop(cause: Cause) {
    let mut state = state();
    let insists = matches!(cause, Cause::Signal(_)) && state.insists(Instant::now());
    let first = state.cause.is_none();
    state.cause.get_or_insert(cause);
    // The command has ended by itself; `end` knows with which exit code.
    if last_line::is_decided() {
        drop(state);
        end(&stopped());
    }
    if insists {
        drop(state);
        end("stopped at once by a second signal");
    }
    if !first {
        return;
    }
    let grace = state.grace;
    match &state.manner {
        Manner::AtOnce => {
            let own_end = state.own_end;
            drop(state);
            if matches!(cause, Cause::Signal(_)) {
                wait_for(own_end, &last_line::is_decided);
            }
            end(&stopped());
        }
        Manner::Asks { stop, consequence } => {
            stop.store(true, Ordering::Relaxed);
            holding::release();
            let consequence = *consequence;
            drop(state);
            // In another thread, since writing the message below may block.
            let _ = thread::Builder::new().name("grace".to_owned()).spawn(move || {
                thread::sleep(grace);
                end("stopped when the grace period was over, before everything was saved");
            });
            let how = if matches!(cause, Cause::TimeUp(_)) {
                "time is up, stopping"
            } else {
                "stopping"
            };
            tracing::warn!("{how}: {consequence} (a second signal stops at once)");
        }
    }
}

/// Waits until something is so, for this time at most.
fn wait_for(time: Duration, is_so: &dyn Fn() -> bool) {
    const LOOKS: u32 = 100;
    for _ in 0..LOOKS {
        if is_so() {
            return;
        }
        thread::sleep(time / LOOKS);
    }
}

/// Logs `how` and ends the process, whatever its other threads are doing, and even if nobody reads the log.
///
/// If the command has just ended by itself, the process ends with the exit code of the command.
fn end(how: &str) -> ! {
    let how = how.to_owned();
    let last = state().at_the_end.take();
    let (say, said) = mpsc::channel();
    let saying = thread::Builder::new().spawn(move || {
        progress::remove();
        if !last_line::is_decided() {
            tracing::warn!("{how}: run the same command again");
        }
        let exit_code = last_line::write(&Conclusion {
            outcome: "stopped",
            exit_code: STOPPED,
            stopped_by: cause(),
            error: None,
        });
        // Last, because it writes to a file system that may hang.
        if let Some(last) = last {
            last();
        }
        let _ = say.send(exit_code);
    });
    let exit_code = saying.ok().and_then(|_| said.recv_timeout(LAST_WORDS).ok());
    low_level::exit(i32::from(exit_code.unwrap_or(STOPPED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_ignored_if_the_mask_has_its_bit() {
        let status =
            "Name:\tleadspan\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004002\n";
        assert_eq!(
            [SIGHUP, SIGINT, SIGTERM].map(|signal| ignores(status, signal)),
            [true, false, false]
        );
        assert!(!ignores("", SIGHUP));
    }

    #[test]
    fn a_wait_ends_when_it_is_so_and_when_the_time_is_up() {
        let looks = std::cell::Cell::new(0);
        let look = |at: u32| {
            looks.set(looks.get() + 1);
            looks.get() == at
        };
        wait_for(Duration::from_millis(1), &|| look(3));
        assert_eq!(looks.take(), 3);
        wait_for(Duration::ZERO, &|| look(0));
        assert_eq!(looks.get(), 100);
    }

    #[test]
    fn a_second_signal_insists_but_not_within_a_second() {
        let mut state = State {
            manner: Manner::AtOnce,
            own_end: Duration::ZERO,
            grace: GRACE,
            cause: None,
            signalled: None,
            at_the_end: None,
        };
        let first = Instant::now();
        let after = |ms| first + Duration::from_millis(ms);
        let signals = [0, 1, 999, 1000, 5000];
        assert_eq!(
            signals.map(|ms| state.insists(after(ms))),
            [false, false, false, true, true]
        );
    }
}
