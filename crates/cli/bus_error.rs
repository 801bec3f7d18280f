//! A bus error as a message. Reading a mapped file that another program truncates raises one; the process then ends with the
//! file's name and the exit code for wrong input, instead of by the signal.
//!
//! Everything here that runs in the handler is safe in a signal handler: it neither locks nor allocates.

use std::{
    ffi::{c_int, c_void},
    mem, ptr,
};

use leadspan_files::mapped_file_at;

use crate::exit_code;

const BEFORE: &[u8] = b"error: `";
const AFTER: &[u8] = b"` became shorter while it was read\n\
    hint: find the program that changed it; `leadspan cache verify` checks the files of a cache\n";

/// Reports bus errors from here on.
#[expect(
    unsafe_code,
    reason = "a handler that sees the address of a fault cannot be installed otherwise"
)]
pub(crate) fn report() {
    // SAFETY: a `sigaction` of zeros is valid, and `on_bus_error` has the signature that `SA_SIGINFO` asks for and is safe in a
    // signal handler. Should the system refuse, bus errors end the process as they did before.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = on_bus_error as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
        // A second fault, and one at an unknown address, ends the process by the signal.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
    }
}

#[expect(
    unsafe_code,
    reason = "the system passes a pointer, and the process must end without running destructors"
)]
extern "C" fn on_bus_error(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: with `SA_SIGINFO` the system passes a valid pointer, and SIGBUS has an address.
    let address = unsafe { (*info).si_addr() } as usize;
    let Some(path) = mapped_file_at(address) else {
        // The instruction runs again, and the signal now has its usual effect.
        return;
    };
    write(BEFORE);
    // A name may hold what a terminal obeys.
    let mut start = 0;
    for (place, byte) in path.iter().enumerate() {
        if byte.is_ascii_control() {
            write(&path[start..place]);
            write(b"?");
            start = place + 1;
        }
    }
    write(&path[start..]);
    write(AFTER);
    // SAFETY: `_exit` is safe in a signal handler.
    unsafe { libc::_exit(c_int::from(exit_code::WRONG_INPUT)) }
}

/// Writes to standard error. If that fails, there is nobody to tell.
#[expect(unsafe_code, reason = "the standard library's writers lock")]
fn write(bytes: &[u8]) {
    // SAFETY: the pointer and the length are those of a slice, and `write` is safe in a signal handler.
    unsafe {
        libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len());
    }
}
