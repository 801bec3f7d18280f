//! The end of processes that work together: none ends before each has said how it ends.
//!
//! A launcher ends the others once a process has ended with an error. One that had not yet shown the error by then would say that
//! it was stopped, and ask to be run again.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
    time::Duration,
};

use leadspan_train::parallel::{MESSAGE_WORDS, Processes};
use signal_hook::low_level;

use crate::{ending::Ending, exit_code, failure::Result};

/// How long a process that failed waits for the others.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a command, says how it ended, and returns when all processes have done so. `say` returns the exit code; it gets `None` if the
/// command panicked.
///
/// Of a process that is alone the caller says how it ended.
///
/// # Panics
///
/// If the command does. The others are not waited for: they may be anywhere.
pub(crate) fn end_together(
    processes: &dyn Processes,
    command: impl FnOnce() -> Result<Ending>,
    say: impl FnOnce(Option<Result<Ending>>) -> u8,
) -> Result<Ending> {
    if processes.count() == 1 {
        return command();
    }
    let code = match catch_unwind(AssertUnwindSafe(command)) {
        Ok(ended) => say(Some(ended)),
        Err(panic) => {
            say(None);
            resume_unwind(panic)
        }
    };
    processes.gather(&[0; MESSAGE_WORDS]);
    Ok(Ending::Concluded(code))
}

/// Ends this process with an exit code that says that it failed, if the others do not come to the end: one of them may be dead.
pub(crate) fn end_soon(code: u8) {
    if [exit_code::WRONG_INPUT, exit_code::UNEXPECTED].contains(&code) {
        // Without this thread, the launcher alone ends a process whose others are gone.
        let _ = thread::Builder::new().name("parting".to_owned()).spawn(move || {
            thread::sleep(PATIENCE);
            low_level::exit(i32::from(code));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use leadspan_train::parallel::{Alone, Message};

    use super::*;

    /// One of several processes, which meets the others when it has `said` how it ends.
    struct Said<'a> {
        said: &'a Cell<bool>,
        met: &'a Cell<usize>,
    }

    impl Processes for Said<'_> {
        fn rank(&self) -> usize {
            1
        }

        fn count(&self) -> usize {
            2
        }

        fn gather(&self, mine: &Message) -> Vec<Message> {
            assert!(self.said.get(), "it may end before it has said how");
            self.met.set(self.met.get() + 1);
            vec![*mine; 2]
        }

        fn exchange_pieces(&self, _: &[f32], _: &mut [f32]) {}

        fn gather_pieces(&self, _: &[f32], _: &mut [f32]) {}
    }

    #[test]
    fn a_process_says_how_it_ends_before_it_meets_the_others_for_the_last_time() {
        let (said, met) = (&Cell::new(false), &Cell::new(0));
        let processes = Said { said, met };
        let say = |code| {
            move |ended: Option<Result<Ending>>| {
                assert_eq!(ended.is_some(), code != 2);
                said.set(true);
                code
            }
        };
        for (ending, code) in [
            (Ending::Done, 0),
            (Ending::Stopped, 75),
            (Ending::FailedElsewhere(1), 1),
        ] {
            said.set(false);
            assert_eq!(
                end_together(&processes, || Ok(ending), say(code)).ok(),
                Some(Ending::Concluded(code))
            );
        }
        assert_eq!(met.get(), 3);
        // A panic is told, and then ends all: the others may never come to a last meeting.
        said.set(false);
        let panicking = AssertUnwindSafe(|| end_together(&processes, || resume_unwind(Box::new("a fault")), say(2)));
        assert!(catch_unwind(panicking).is_err() && said.get());
        assert_eq!(met.get(), 3);
        // The caller says it for a process that is alone.
        let never = |_: Option<Result<Ending>>| -> u8 { unreachable!() };
        assert_eq!(
            end_together(&Alone, || Ok(Ending::Stopped), never).ok(),
            Some(Ending::Stopped)
        );
    }
}
