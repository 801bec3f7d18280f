//! Signals that stop a run: the first asks, the second insists.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
    iterator::Signals,
};

use crate::failure::STOPPED;

const STOPPING: [i32; 2] = [SIGTERM, SIGINT];

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
    Ok(())
}
