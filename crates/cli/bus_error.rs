//! A bus error as a message. Reading a mapped file that another program truncates raises one; the process then ends with the
//! file's name and the exit code for wrong input, instead of by the signal.
//!
//! Everything here that runs in the handler is safe in a signal handler: it neither locks nor allocates.

use std::{
    ffi::{c_int, c_void},
    mem, ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use leadspan_files::mapped_file_at;

use crate::exit_code;

const BEFORE: &[u8] = b"error: `";
const AFTER: &[u8] = b"` became shorter while it was read\n\
    hint: find the program that changed it";
const OF_CACHE: &[u8] = b"; `leadspan cache verify` checks the files of a cache\n";
const OF_MODEL: &[u8] = b", and restore the model's file from a copy\n";

/// Whether a thread has begun to report. Several threads may read the same file.
static REPORTED: AtomicBool = AtomicBool::new(false);

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
        // The handler stays: the signal's usual effect on a second thread would end the process before the first has written.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
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
    if REPORTED.swap(true, Ordering::SeqCst) {
        wait_for_the_end();
    }
    let Some(path) = mapped_file_at(address) else {
        // The instruction runs again, and the signal now has its usual effect.
        restore_the_usual_effect();
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
    write(rest_of_hint(path));
    // SAFETY: `_exit` is safe in a signal handler.
    unsafe { libc::_exit(c_int::from(exit_code::WRONG_INPUT)) }
}

/// What the hint about a file says beyond the first words, which hold for every file.
fn rest_of_hint(path: &[u8]) -> &'static [u8] {
    if path.ends_with(b".safetensors") || path.ends_with(b".gguf") {
        OF_MODEL
    } else {
        OF_CACHE
    }
}

/// Waits until the thread that reports has ended the process.
#[expect(
    unsafe_code,
    reason = "the standard library has no way to wait that is safe in a signal handler"
)]
fn wait_for_the_end() -> ! {
    loop {
        // SAFETY: `pause` is safe in a signal handler. Handlers of other signals interrupt it.
        unsafe { libc::pause() };
    }
}

#[expect(unsafe_code, reason = "the effect of a signal cannot be changed otherwise")]
fn restore_the_usual_effect() {
    // SAFETY: `signal` is safe in a signal handler.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

/// Writes to standard error. If that fails, there is nobody to tell.
#[expect(unsafe_code, reason = "the standard library's writers lock")]
fn write(bytes: &[u8]) {
    // SAFETY: the pointer and the length are those of a slice, and `write` is safe in a signal handler.
    unsafe {
        libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len());
    }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "only a mapping that was cut short faults")]
mod tests {
    use std::{
        env, fs,
        io::{self, Read as _, Write as _},
        os::fd::{AsFd as _, AsRawFd as _},
        process::{Command, Stdio},
        slice,
        sync::Barrier,
        thread,
    };

    use leadspan_files::MappedFile;

    use super::*;

    /// The file that the test below has its child map.
    const FILE: &str = "LEADSPAN_TEST_BUS_ERROR";
    const BYTES: usize = 1 << 16;
    const THREADS: usize = 3;

    /// Does nothing unless the test below runs it in a process of its own, which does not end by itself.
    #[test]
    fn child_whose_threads_read_what_is_gone() {
        let Some(path) = env::var_os(FILE) else { return };
        report();
        let file = fs::File::options().read(true).write(true).open(&path).unwrap();
        // SAFETY: the mapping is never removed, and a fault in it is what is tested.
        let mapping: &[u8] = unsafe {
            let (access, kind) = (libc::PROT_READ, libc::MAP_SHARED);
            let start = libc::mmap(ptr::null_mut(), BYTES, access, kind, file.as_raw_fd(), 0);
            assert_ne!(start, libc::MAP_FAILED);
            slice::from_raw_parts(start.cast(), BYTES)
        };
        let _noted = MappedFile::note(path.as_ref(), mapping);
        file.set_len(0).unwrap();
        let together = Barrier::new(THREADS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    together.wait();
                    std::hint::black_box(mapping[BYTES / 2]);
                });
            }
        });
    }

    /// How many threads of a process handle a bus error now: the signal is blocked meanwhile.
    fn in_the_handler(process: u32) -> usize {
        let threads = fs::read_dir(format!("/proc/{process}/task"))
            .into_iter()
            .flatten()
            .flatten();
        let handles = |thread: &fs::DirEntry| {
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
            let blocked = blocked.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            blocked.unwrap_or_default() >> (libc::SIGBUS - 1) & 1 == 1
        };
        threads.filter(handles).count()
    }

    #[test]
    fn a_file_of_a_model_is_not_said_to_be_one_of_a_cache() {
        for (path, of_model) in [
            (&b"model/model-00001-of-00002.safetensors"[..], true),
            (b"teacher.gguf", true),
            (b"cache/corpus/tokens.u32", false),
            (b"cache/layers/0-0.5-answer/train-000000.parquet", false),
        ] {
            assert_eq!(rest_of_hint(path) == OF_MODEL, of_model);
        }
    }

    #[test]
    fn threads_that_fault_together_end_with_the_name_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.u32");
        fs::write(&path, vec![0; BYTES]).unwrap();
        // The thread that reports first waits for room in this pipe, while the others fault.
        let (mut errors, mut full) = io::pipe().unwrap();
        // SAFETY: it only asks for the size of an open pipe.
        let room = unsafe { libc::fcntl(full.as_fd().as_raw_fd(), libc::F_GETPIPE_SZ) };
        let filling = vec![b'.'; usize::try_from(room).unwrap()];
        full.write_all(&filling).unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "bus_error::tests::child_whose_threads_read_what_is_gone",
            ])
            .env(FILE, &path)
            .stdout(Stdio::null())
            .stderr(full)
            .spawn()
            .unwrap();
        while child.try_wait().unwrap().is_none() && in_the_handler(child.id()) < THREADS {
            thread::yield_now();
        }
        let mut said = Vec::new();
        errors.read_to_end(&mut said).unwrap();
        let status = child.wait().unwrap();
        let said = String::from_utf8_lossy(&said[filling.len()..]).into_owned();
        assert_eq!(
            status.code(),
            Some(i32::from(exit_code::WRONG_INPUT)),
            "{status}: {said}"
        );
        let line = format!("error: `{}` became shorter while it was read\n", path.display());
        assert!(said.starts_with(&line) && said.matches("error:").count() == 1, "{said}");
    }
}
