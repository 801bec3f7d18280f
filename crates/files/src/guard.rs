//! Panics of a decoder as errors.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread would be caught and become an error, so that a panic hook has nothing to tell.
pub fn panics_become_errors() -> bool {
    GUARDED.get()
}

/// What `decode` gives, or the words of its panic. Whatever it was changing is not to be used afterwards.
///
/// # Errors
///
/// Where it panics.
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
        format!("the decoder gave up: {words}")
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
            Err("the decoder gave up: a page is too long".to_owned())
        );
        assert!(!panics_become_errors());
    }
}
