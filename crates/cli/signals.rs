//! Signals that stop a run: the first asks, the second insists. Of a child, the end of its input asks as well.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
    iterator::Signals,
    low_level,
};

use crate::failure::STOPPED;

const STOPPING: [i32; 2] = [SIGTERM, SIGINT];

/// Whether the end of standard input stops the process as the first signal does.
static AT_END_OF_INPUT: AtomicBool = AtomicBool::new(false);

/// Makes the end of standard input count as a signal: the process was started by another of this program, which has ended or
/// wants this one to.
pub(crate) fn count_end_of_input() {
    AT_END_OF_INPUT.store(true, Ordering::Relaxed);
}

/// Calls `then` at the end of standard input, where that counts.
fn at_end_of_input(then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    if AT_END_OF_INPUT.load(Ordering::Relaxed) {
        std::thread::Builder::new().name("input".to_owned()).spawn(move || {
            // An input that cannot be read has no end to wait for, either.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            then();
        })?;
    }
    Ok(())
}

/// Makes SIGTERM and SIGINT set the returned flag; a second one ends the process at once.
///
/// `consequence` completes the message that the first signal prints: `stopping: …`.
///
/// # Errors
///
/// Where the system refuses a handler.
pub(crate) fn stop_on_signals(consequence: &'static str) -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in STOPPING {
        // Registered first, so that it sees the flag as it was before this signal.
        flag::register_conditional_shutdown(signal, i32::from(STOPPED), Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    // A handler may not print, so a thread does; it ends with the process.
    let mut signals = Signals::new(STOPPING)?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            tracing::warn!("stopping: {consequence} (a second signal stops at once)");
        }
    })?;
    let flag = Arc::clone(&stop);
    at_end_of_input(move || {
        // A signal that came first, from the same terminal, has said so.
        if !flag.swap(true, Ordering::Relaxed) {
            tracing::warn!("stopping: {consequence}");
        }
    })?;
    Ok(stop)
}

/// Makes SIGTERM and SIGINT end the process at once, for commands that leave nothing half done at any moment.
///
/// # Errors
///
/// Where the system refuses a handler.
pub(crate) fn exit_on_signals() -> io::Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    for signal in STOPPING {
        flag::register_conditional_shutdown(signal, i32::from(STOPPED), Arc::clone(&always))?;
    }
    at_end_of_input(|| drop(low_level::raise(SIGTERM)))
}
