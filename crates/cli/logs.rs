//! The log on standard error: its lines stand above a progress bar, and nothing follows its closing line.
//!
//! A log that cannot be written (its reader is gone, its disk is full, its terminal is closed) loses lines. It never ends a
//! command: whatever the command is for goes on.

use std::{
    borrow::Cow,
    io::{self, IsTerminal as _, Write},
    panic,
    sync::{LazyLock, Mutex, OnceLock, PoisonError},
    thread,
};

use leadspan_workers::Worker;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, fmt};

use crate::{progress, visible};

/// The program's log.
static LOG: LazyLock<Log<io::Stderr>> = LazyLock::new(|| Log::new(io::stderr()));

/// What stands before every line: which process speaks, if it is one of several and not the first.
static SPEAKER: OnceLock<String> = OnceLock::new();

/// Starts logging. A `follower`, one of several processes that work together, but not the first, logs warnings and errors
/// alone, and says which process it is. On a terminal lines carry colours but no time; in a file, a time but no colours.
pub(crate) fn start(level: LevelFilter, follower: Option<Worker>) {
    let level = match follower {
        Some(follower) => {
            let speaker = format!("process {} of {}: ", follower.index(), follower.count());
            let _ = SPEAKER.set(speaker);
            level.min(LevelFilter::WARN)
        }
        None => level,
    };
    let on_terminal = io::stderr().is_terminal();
    let colours = on_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // Dependencies are quiet unless something is wrong: their news is about themselves.
    let others = level.min(LevelFilter::WARN);
    let filter = EnvFilter::new(format!("{others},leadspan={level}"));
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(|| AboveBar)
        // Told on standard error, which would be the second failure, and end the thread.
        .log_internal_errors(false)
        .with_ansi(colours)
        .with_target(false);
    // A second start, in tests, changes nothing.
    let _ = if on_terminal {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
}

/// Writes text to the log, unless the log is closed.
pub(crate) fn write(text: &str) {
    let shown = spoken(without_closing_lines(visible::escaped(text)));
    progress::standing_aside(|| LOG.write(shown.as_bytes()));
}

/// Text of which every line says which process speaks, if that is known.
fn spoken(text: Cow<'_, str>) -> Cow<'_, str> {
    match SPEAKER.get() {
        Some(speaker) => text
            .split_inclusive('\n')
            .flat_map(|line| [speaker.as_str(), line])
            .collect::<String>()
            .into(),
        None => text,
    }
}

/// Text in which no line looks like the closing line of a log, which scripts search for.
fn without_closing_lines(text: Cow<'_, str>) -> Cow<'_, str> {
    const BEGINNING: &str = "{\"leadspan\":";
    if !text.contains(BEGINNING) {
        return text;
    }
    let lines = text.split_inclusive('\n');
    let gap = |line: &str| if line.starts_with(BEGINNING) { " " } else { "" };
    lines.flat_map(|line| [gap(line), line]).collect::<String>().into()
}

/// Writes the closing line. Whatever any thread logs later, or says in a panic, is dropped.
pub(crate) fn close(line: &str) {
    if !thread::panicking() {
        panic::set_hook(Box::new(|_| ()));
    }
    progress::standing_aside(|| LOG.close(line));
}

/// A log that can be closed. Writing and closing take the same lock, so no line can follow the closing one.
struct Log<W> {
    /// `None` once it is closed.
    sink: Mutex<Option<W>>,
}

impl<W: Write> Log<W> {
    fn new(sink: W) -> Self {
        Self {
            sink: Mutex::new(Some(sink)),
        }
    }

    /// Writes `text`, or drops it if the log is closed or cannot be written.
    fn write(&self, text: &[u8]) {
        if let Some(sink) = &mut *self.sink.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = sink.write_all(text);
        }
    }

    /// Writes the closing line, once.
    fn close(&self, line: &str) {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut sink) = sink.take() {
            let _ = writeln!(sink, "{line}");
        }
    }
}

/// The log as its lines are written: while the progress bar stands aside. Each call brings whole lines.
struct AboveBar;

impl Write for AboveBar {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(text);
        let shown = spoken(without_closing_lines(visible::escaped_but_colours(&line)));
        progress::standing_aside(|| LOG.write(shown.as_bytes()));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    /// Keeps what is written after its log is gone.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_line_follows_the_closing_line_whatever_threads_do() {
        const THREADS: usize = 4;
        let kept = Kept::default();
        let log = Log::new(kept.clone());
        let (all_have_written, closed) = (Barrier::new(THREADS + 1), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    log.write(b"before\n");
                    all_have_written.wait();
                    // Each goes on beyond the closing line, whatever the order of the threads.
                    while !closed.load(Ordering::Relaxed) {
                        log.write(b"meanwhile\n");
                    }
                    log.write(b"after\n");
                    log.close("{\"second\":true}");
                });
            }
            all_have_written.wait();
            log.close("{\"leadspan\":true}");
            closed.store(true, Ordering::Relaxed);
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("before\n").count(), THREADS);
        assert!(text.ends_with("\n{\"leadspan\":true}\n"), "{text}");
        assert!(!text.contains("after") && !text.contains("second"), "{text}");
    }

    /// Standard error whose reader is gone.
    struct Dead;

    impl Write for Dead {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_loses_lines_and_nothing_else() {
        let log = Log::new(Dead);
        log.write(b"lost\n");
        log.close("{\"leadspan\":true}");
        log.write(b"late\n");
    }

    #[test]
    fn no_other_line_looks_like_the_closing_line() {
        let forged = "an id\n{\"leadspan\":\"train\"}\nmore\n";
        assert_eq!(
            without_closing_lines(forged.into()),
            "an id\n {\"leadspan\":\"train\"}\nmore\n"
        );
        assert!(matches!(without_closing_lines("plain\n".into()), Cow::Borrowed(_)));
    }
}
