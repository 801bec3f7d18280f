//! What stops the program: SIGTERM and SIGINT, a time that is up, and of a child the end of its input.
//!
//! As long as nothing is worth keeping, while models are loaded and data is prepared, a stop ends the process there and then:
//! whatever it writes is whole under its name or not there. Afterwards a command has the libraries [asked](ask_first) to stop,
//! by a flag; where they are not done in time, because a disk is slow or a file large, the process ends all the same. A second
//! signal ends it as well, but for one that follows at once: `timeout` and schedulers send the same signal to a process and
//! then to its group.
//!
//! Signals are taken by a thread of their own, so that nothing here runs inside a handler.

use std::{
    io,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
    low_level,
};

use crate::{exit_code::STOPPED, last_line, progress, time_span::TimeSpan};

const STOPPING: [i32; 2] = [SIGTERM, SIGINT];

/// How soon a second signal counts as the first: some send two of each.
const SAME: Duration = Duration::from_secs(1);

/// How long a stop may take unless it is said.
pub(crate) const GRACE: Duration = Duration::from_secs(8);

/// How long saying so may hold up the end of the process, where nobody reads standard error.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// When the program began.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

static STATE: Mutex<State> = Mutex::new(State {
    manner: Manner::AtOnce,
    grace: GRACE,
    cause: None,
    signalled: None,
    at_the_end: None,
});

struct State {
    manner: Manner,
    grace: Duration,
    /// What asked first.
    cause: Option<Cause>,
    /// When the first signal came.
    signalled: Option<Instant>,
    /// What is done before the process ends here.
    at_the_end: Option<Box<dyn FnOnce() + Send>>,
}

/// What a stop does.
enum Manner {
    /// It ends the process.
    AtOnce,
    /// It sets the flag, and says what comes of it.
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
    /// In a summary.
    fn name(self) -> &'static str {
        match self {
            Self::Signal(SIGINT) => "SIGINT",
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

/// Begins to count the program's time.
pub(crate) fn start_clock() {
    LazyLock::force(&STARTED);
}

/// How long the program has run.
pub(crate) fn elapsed() -> Duration {
    STARTED.elapsed()
}

/// Takes SIGTERM and SIGINT from here on; `at_end_of_input`: and the end of standard input, because the process was started by
/// another of this program, which has ended or wants this one to.
///
/// # Errors
///
/// Where the system refuses a handler or a thread.
pub(crate) fn listen(at_end_of_input: bool) -> io::Result<()> {
    let mut signals = Signals::new(STOPPING)?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            stop(Cause::Signal(signal));
        }
    })?;
    if at_end_of_input {
        thread::Builder::new().name("input".to_owned()).spawn(|| {
            // An input that cannot be read has no end to wait for, either.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            stop(Cause::EndOfInput);
        })?;
    }
    Ok(())
}

/// Stops the program when it has run for `time`, if that is given, and gives every stop `grace`.
///
/// # Errors
///
/// Where the system refuses a thread.
pub(crate) fn limit(time: Option<TimeSpan>, grace: Option<TimeSpan>) -> io::Result<()> {
    if let Some(grace) = grace {
        state().grace = grace.0;
    }
    if let Some(time) = time {
        thread::Builder::new().name("deadline".to_owned()).spawn(move || {
            thread::sleep(time.0.saturating_sub(elapsed()));
            stop(Cause::TimeUp(time));
        })?;
    }
    Ok(())
}

/// Makes a stop set the returned flag, from here on, instead of ending the process.
///
/// `consequence` completes the message that it then gives: `stopping: …`.
pub(crate) fn stop_on_signals(consequence: &'static str) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    ask_first(&stop, consequence);
    stop
}

/// As [`stop_on_signals`], with a flag that is there: something is worth keeping from here on.
pub(crate) fn ask_first(stop: &Arc<AtomicBool>, consequence: &'static str) {
    let mut state = state();
    // One that came before this has the process end already.
    if state.cause.is_none() {
        let stop = Arc::clone(stop);
        state.manner = Manner::Asks { stop, consequence };
    }
}

/// Makes a stop end the process, from here on: nothing is under way that could be lost. One that came before does so now.
pub(crate) fn exit_on_signals() {
    let mut state = state();
    state.manner = Manner::AtOnce;
    if state.cause.is_some() {
        drop(state);
        end(&stopped());
    }
}

/// Has something done before a stop ends the process, in the place of what was to be done.
pub(crate) fn at_the_end(last: Option<Box<dyn FnOnce() + Send>>) {
    state().at_the_end = last;
}

/// How the program was stopped, as a sentence begins; the same command does the rest.
pub(crate) fn stopped() -> String {
    match state().cause {
        Some(Cause::TimeUp(time)) => format!("stopped after {time}, as `--stop-after` says"),
        _ => "stopped by a signal".to_owned(),
    }
}

/// What stopped the program, for a summary; `None` where nothing did.
pub(crate) fn cause() -> Option<&'static str> {
    state().cause.map(Cause::name)
}

fn stop(cause: Cause) {
    let mut state = state();
    let insists = match (cause, state.signalled) {
        (Cause::Signal(_), Some(first)) => first.elapsed() >= SAME,
        _ => false,
    };
    if matches!(cause, Cause::Signal(_)) {
        state.signalled.get_or_insert_with(Instant::now);
    }
    let first = state.cause.is_none();
    state.cause.get_or_insert(cause);
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
            drop(state);
            end(&stopped());
        }
        Manner::Asks { stop, consequence } => {
            stop.store(true, Ordering::Relaxed);
            let consequence = *consequence;
            drop(state);
            // Not in this thread, which may have to end the process before anybody reads what is said.
            let _ = thread::Builder::new().name("grace".to_owned()).spawn(move || {
                thread::sleep(grace);
                end("stopped before everything was done that a stop does, for want of time");
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

/// Says so and ends the process, whatever its other threads are doing and whether or not anybody reads it.
fn end(how: &str) -> ! {
    let how = how.to_owned();
    let last = state().at_the_end.take();
    let (said, heard) = mpsc::channel();
    let saying = thread::Builder::new().spawn(move || {
        progress::remove();
        tracing::warn!("{how}: run the same command again");
        last_line::write("stopped", STOPPED, None);
        // After what matters more: it writes to a file system that may be what holds everything up.
        if let Some(last) = last {
            last();
        }
        let _ = said.send(());
    });
    if saying.is_ok() {
        let _ = heard.recv_timeout(LAST_WORDS);
    }
    low_level::exit(i32::from(STOPPED))
}
