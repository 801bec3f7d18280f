//! Turns panics of a decoder into errors.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread would be caught and become an error, so that a panic hook need not report it.
pub fn panics_become_errors() -> bool {
    GUARDED.get()
}

/// Calls `decode`, and returns its result or the message of its panic. After a panic, do not use anything that `decode` was
/// changing.
///
/// # Errors
///
/// If it panics.
pub fn guarded<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    let before = GUARDED.replace(true);
    let decoded = catch_unwind(AssertUnwindSafe(decode));
    GUARDED.set(before);
    decoded.map_err(|panic| {
        let words = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(words), _) => words,
            (_, Some(words)) => words.as_str(),
            _ => "unknown",
        };
        format!("the decoder panicked: {words}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        assert_eq!(guarded(|| 3), Ok(3));
        assert_eq!(
            guarded(|| assert!(!panics_become_errors(), "a page is too long")),
            Err("the decoder panicked: a page is too long".to_owned())
        );
        assert!(!panics_become_errors());
    }
}
